"""What libraries say when a disk is full, as people read it; `/dev/full` is such a disk."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import SafetensorError

from dqf.failures import RESERVE, Advice, cause_of_end, describe_failure, release, reserve, write_failed

ADVICE = Advice(memory="take less", disk="free some")
LARGE = np.zeros(1_000_000, dtype=np.float32)


def checkpoint(full):
    import torch

    torch.save({"weights": torch.from_numpy(LARGE)}, full)


def checkpoint_to_an_open_file(full):
    import torch

    with full.open("wb") as file:
        torch.save({"weights": torch.from_numpy(LARGE)}, file)


def parquet(full):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with full.open("wb") as file:
        pq.write_table(pa.table({"scores": np.random.default_rng(0).normal(size=1_000_000)}), file)


def gguf(full):
    import gguf

    writer = gguf.GGUFWriter(full, "llama")
    writer.add_tensor("weights", LARGE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()


def graph(full):
    from dqf.runtimes._graph import _write
    from dqf.runtimes._ov import ops, ov

    given = ops.parameter(LARGE.shape, dtype=np.float32)
    full.rename(full.with_name("whole.bin"))
    _write(ov.Model([ops.add(ops.constant(LARGE + 1), given)], [given]), full.parent)


@pytest.mark.parametrize(
    "write",
    [checkpoint, checkpoint_to_an_open_file, parquet, gguf, graph],
    ids=lambda one: one.__name__,
)
def test_every_library_that_writes_a_runs_files_says_that_the_disk_is_full(write, tmp_path):
    full = tmp_path / "model.bin"
    full.symlink_to("/dev/full")
    with pytest.raises((OSError, RuntimeError)) as caught:
        write(full)
    said = describe_failure(caught.value, ADVICE)
    assert "disk is full" in said, said
    assert said.endswith(": free some.")


def test_safetensors_says_it_in_words():
    """It replaces a link, so that this is what it said on a file system of 3 MB."""
    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert describe_failure(error, ADVICE) == "the disk is full: free some."


def test_a_broken_file_is_no_full_disk(tmp_path):
    import torch

    checkpoint(tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:500_000])
    with pytest.raises(RuntimeError) as caught:
        torch.load(tmp_path / "half.pt", weights_only=True)
    assert not write_failed(caught.value)
    assert "disk" not in describe_failure(caught.value, ADVICE)


def test_memory_and_what_is_not_known():
    assert describe_failure(MemoryError(), ADVICE) == "there was not enough memory: take less."
    assert "take less" in describe_failure(RuntimeError("DefaultCPUAllocator: can't allocate memory"), ADVICE)
    assert describe_failure(KeyError("weights"), ADVICE) == "KeyError: 'weights' (the log has the details)."


def test_space_is_held_while_work_goes_on_and_given_back_early_or_late(tmp_path):
    with reserve(tmp_path):
        assert (tmp_path / RESERVE).stat().st_size > 100_000
    assert not (tmp_path / RESERVE).exists()
    with reserve(tmp_path):
        release(tmp_path)
        assert not (tmp_path / RESERVE).exists()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (signal.SIGKILL, "SIGKILL): most often the system does so when its memory runs out"),
        (signal.SIGFPE, "SIGFPE), a fault of the runtime on this processor"),
        (signal.SIGTERM, "was ended by SIGTERM"),
    ],
)
def test_the_end_of_a_process_is_explained(number, says):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(process.pid, number)

    assert says in cause_of_end(process.wait(timeout=30))


def test_exit_codes_and_processes_that_still_run_are_told_apart():
    assert cause_of_end(3) == "ended with code 3"
    assert cause_of_end(-signal.SIGRTMIN - 1) == f"was ended by signal {signal.SIGRTMIN + 1}"
    assert cause_of_end(None) == "stopped answering"
