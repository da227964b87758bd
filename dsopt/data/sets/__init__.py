"""The values of `data.name`: every module here registers functions (data configuration) -> Source."""
