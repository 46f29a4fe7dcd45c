"""A disk that fills up while a real, tiny run works: the reason is named, and nothing computed is lost."""

import errno
import os

import pytest

from dqf.config import RunConfig
from dqf.failures import RESERVE, RESERVE_BYTES
from dqf.jobs.protocol import create_run, read_events
from dqf.jobs.worker import run_in_process
from tests.engine.test_pipeline import caches, launch
from tests.support.tiny import tiny_config


def fills_up_in_training(patch, tmp_path):
    import torch

    save = torch.save
    patch.setattr("dqf.checkpoints.CHECKPOINT_EVERY_S", 0.0)
    patch.setattr(torch, "save", lambda state, _path: save(state, "/dev/full"))


def fills_up_where_a_runtime_serves(patch, tmp_path):
    from dqf.serving.client import Served

    full = tmp_path / "full.npy"
    full.symlink_to("/dev/full")
    patch.setattr(Served, "logits", lambda self, out, rows=None: self.ask(do="logits", rows=rows, out=str(full)))


@pytest.mark.parametrize("fills_up", [fills_up_in_training, fills_up_where_a_runtime_serves])
def test_a_disk_that_fills_up_is_the_reason_and_the_run_goes_on_once_there_is_space(
    settings, tiny_env, tmp_path, monkeypatch, fills_up
):
    run_dir = create_run(settings.runs_dir, RunConfig.from_dict(tiny_config(tiny_env)).to_dict(), "tiny")
    with monkeypatch.context() as patch:
        fills_up(patch, tmp_path)
        assert run_in_process(run_dir, settings) == "failed"
    error = list(read_events(run_dir))[-1].data["error"]
    assert "disk is full" in error, error
    assert error.endswith("free some space and resume; finished stages are kept.")
    done = {event.stage for event in read_events(run_dir) if event.kind == "stage_done"}
    again = {stage for stage, cache in caches(launch(settings, tiny_env)[1]).items() if cache == "miss"}
    assert again
    assert again.isdisjoint(done)


def test_a_worker_holds_space_and_gives_it_back_before_it_writes_why_it_failed(settings, tiny_env, monkeypatch):
    run_dir = create_run(settings.runs_dir, RunConfig.from_dict(tiny_config(tiny_env)).to_dict(), "tiny")
    held = []

    def fails(*_given):
        held.append((run_dir / RESERVE).stat().st_size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def redact(text):
        held.append((run_dir / RESERVE).exists())
        return text

    monkeypatch.setattr("dqf.jobs.worker.redact", redact)
    assert run_in_process(run_dir, settings, pipeline=fails) == "failed"
    assert held == [RESERVE_BYTES, False]
