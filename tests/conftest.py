"""What holds for all tests."""

import os
import sys

import pytest


@pytest.fixture(autouse=True)
def _torch_threads_stay():
    """Give torch back the threads it began with: a run or a runtime that sets more sets them for the whole process.

    Threads that wait for each other while other tests have the cores made a product of two small matrices take 5 ms.
    """
    yield
    if "torch" in sys.modules and "OMP_NUM_THREADS" in os.environ:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
