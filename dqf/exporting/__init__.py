"""Exports: an artifact in the form of another ecosystem, kept only if its own consumer gives the same logits."""
