"""DQF Studio: distil, quantize, measure and compare language models."""

__version__ = "0.1.0"
