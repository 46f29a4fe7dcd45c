"""What is measured: scores, their statistics, and the frontier."""
