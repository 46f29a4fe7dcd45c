"""Studies: a sweep, and everything that is said about its runs together. No torch here: the web process reads it."""
