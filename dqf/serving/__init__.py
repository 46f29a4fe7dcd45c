"""A fresh process that serves one artifact by one runtime; all figures are measured through it."""
