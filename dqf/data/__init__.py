"""Tasks and their examples; nothing here imports torch."""
