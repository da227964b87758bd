"""How any stage is planned, made, resumed and written."""
