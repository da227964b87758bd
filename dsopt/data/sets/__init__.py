"""What `data.name` can be: every module here registers functions (data configuration) -> Source."""
