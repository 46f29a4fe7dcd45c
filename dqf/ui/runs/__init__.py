"""The runs page: the list, one run in detail, its exports."""
