"""Many runs from lists of settings: the plan, the directory that remembers it, and working it off."""
