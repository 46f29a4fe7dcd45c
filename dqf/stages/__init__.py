"""The stages of a run, one file each; `dqf.pipeline` puts them in order."""
