"""Pure functions on tensors and arrays: choosing parameters, rounding, packing."""
