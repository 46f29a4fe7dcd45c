"""Runs as processes: protocol of files, worker, supervisor, and what people see and do."""
