"""Numbers and pictures -> tables, figures, one page. Knows pyarrow and numpy; nothing of stages, training or torch."""
