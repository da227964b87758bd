"""Efficient search by sharing weights (ENAS): one network with the weights of all children, and a controller that names them."""
