"""Quantization receipts: facts in words, heat strip, tables."""
