"""DuckDB as an index over the run directories; it can always be rebuilt from them."""
