"""How a run holds memory."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
import torch
from pathlib import Path
from dqf.memory import give_back_memory, keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

before = resident()
blocks = [torch.ones(4_000_000) for _ in range(16)]  # 16 MB each, every page of them written
used = resident() - before
del blocks
freed = resident() - before
give_back_memory()
print(json.dumps({"used": used, "freed": freed, "given_back": resident() - before}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_freed_memory_is_kept_until_it_is_given_back():
    def outcome(how):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    kept, usual = outcome("kept"), outcome("usual")
    if usual["used"] < 200e6 or usual["freed"] > 100e6:
        pytest.skip(f"this system does not tell what memory is resident, or keeps freed memory by itself: {usual}")
    assert kept["freed"] > 200e6
    assert kept["given_back"] < 100e6
