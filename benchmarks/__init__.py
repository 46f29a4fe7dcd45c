"""Benchmarks: ratios measured within one run; figures in `benchmarks/results/`."""
