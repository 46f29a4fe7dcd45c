"""Reports: what they say, as HTML and PDF."""
