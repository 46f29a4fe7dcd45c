"""Quantizers: how one weight matrix becomes codes."""
