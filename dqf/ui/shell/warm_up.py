"""What the server does once, before the first visitor comes."""

from __future__ import annotations

import atexit
import gc
import importlib
import pkgutil

import dqf.ui


def warm_up() -> None:
    """Load all that the pages use, and spare the garbage collector the objects that will never be garbage.

    Pandas, plotly and streamlit leave several hundred thousand objects behind; going through them took 0.2 s each time.
    """
    for found in pkgutil.walk_packages(dqf.ui.__path__, f"{dqf.ui.__name__}."):
        importlib.import_module(found.name)
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or libraries that count their objects at the end complain
