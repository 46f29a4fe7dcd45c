"""Free queries with charts."""
