"""Which row serves a scenario best."""
