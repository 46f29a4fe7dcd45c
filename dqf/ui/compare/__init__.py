"""Variants beside each other: tests of differences, flips, scores by task."""
