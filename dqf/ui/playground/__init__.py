"""Texts through all variants at once."""
