"""From numbers and images to tables, figures and one HTML page. Depends on pyarrow and numpy, not on stages, training or torch."""
