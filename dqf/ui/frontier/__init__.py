"""The frontier: chart, limits and what fits them."""
