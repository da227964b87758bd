"""Search with weight sharing (ENAS): one network holds the weights of all children, and a controller samples children."""
