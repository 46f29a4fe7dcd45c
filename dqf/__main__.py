"""Entry of `python -m dqf`."""

import sys

from dqf.cli import main

sys.exit(main())
