"""How any stage is planned, run, resumed and written."""
