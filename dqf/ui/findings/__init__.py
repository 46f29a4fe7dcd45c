"""A study on the page: verdicts, tables, charts, examples."""
