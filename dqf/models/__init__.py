"""Models: what there is, how it is loaded, how a student is made."""
