"""Entry of `python -m dqf`."""

from dqf.cli import entry

entry()
