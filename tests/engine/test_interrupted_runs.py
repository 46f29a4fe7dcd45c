"""Runs that are killed, fail or are stopped in the middle, and go on: nothing is computed twice, nothing differs."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dqf.config import RunConfig
from dqf.jobs.protocol import create_run, prepare_resume, read_events, read_json, run_state
from dqf.jobs.worker import run_in_process
from dqf.progress import SilentReporter
from tests.support.tiny import tiny_config
from tests.support.tiny_runs import StopsAt, caches, hashes, launch, same_predictions


def start_worker(run_dir, settings):
    environment = {**os.environ, "DQF_RESULTS_DIR": str(settings.results_dir)}
    with (run_dir / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dqf.jobs.worker", str(run_dir)],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def wait_for(condition, seconds=120):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "timed out"
        time.sleep(0.02)


def test_kill_9_in_training_quantization_and_evaluation_then_resume(undisturbed, settings, tiny_env):
    """One run, killed in three stages in turn, ends as an undisturbed one does."""
    config = RunConfig.from_dict(tiny_config(tiny_env))
    run_dir = create_run(settings.runs_dir, config.to_dict(), "tiny")
    for stage in ("student-kd", "quantize:student-dqf-gptq-4bit", "evaluate:student-ft"):
        worker = start_worker(run_dir, settings)

        def reached(stage=stage, worker=worker):
            assert worker.poll() is None, (run_dir / "worker.log").read_text()[-2000:]
            started = [event for event in read_events(run_dir) if event.kind == "stage_started"]
            return any(event.stage == stage for event in started)

        wait_for(reached)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        assert run_state(run_dir) == "interrupted"
        assert not (run_dir / "result.json").exists()
        prepare_resume(run_dir)
    worker = start_worker(run_dir, settings)
    wait_for(lambda: worker.poll() is not None)
    result = read_json(run_dir / "result.json")
    assert run_state(run_dir) == "succeeded"
    assert caches(result)["teacher"] == "hit"
    assert hashes(result) == hashes(undisturbed.result)
    same_predictions(run_dir, undisturbed.run_dir, result)


def test_training_resumes_at_the_step_with_the_same_weights(settings, tiny_env, tmp_path):
    import torch

    from dqf.data.encode import Encoder
    from dqf.data.load import load_task
    from dqf.errors import Cancelled
    from dqf.models.loading import load_source
    from dqf.stages.teacher import hard_label_loss
    from dqf.training import Recipe, train

    config = RunConfig.from_dict(tiny_config(tiny_env))
    task = load_task(config, settings)

    def trained(stops):
        model = load_source(str(tiny_env / "student"), task, settings, 0, tmp_path / "scratch")
        encoded = Encoder(model.tokenizer_json, 32)(task.train)
        metrics = {}
        for stop in (*stops, None):
            try:
                metrics = train(
                    model.model,
                    encoded,
                    model.pad_id,
                    hard_label_loss(task),
                    Recipe(3, 1e-3, 8, 5),
                    torch.device("cpu"),
                    tmp_path / f"checkpoint-{len(stops)}.pt",
                    StopsAt(stop),
                )
            except Cancelled:
                model = load_source(str(tiny_env / "student"), task, settings, 0, tmp_path / "scratch")
        return model.model.state_dict(), {name: metrics[name] for name in ("steps", "loss")}, metrics

    (straight, one, _), (resumed, other, timed) = trained([]), trained([4, 17, 47])
    assert one == other
    assert timed["tokens_per_second"] > 0
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_teachers_answers_are_taken_up_where_they_stopped(settings, tiny_env, tmp_path, monkeypatch):
    import torch

    from dqf.data.encode import Encoder
    from dqf.data.load import load_task
    from dqf.errors import Cancelled
    from dqf.models.loading import load_source
    from dqf.training import predict

    task = load_task(RunConfig.from_dict(tiny_config(tiny_env)), settings)
    model = load_source(str(tiny_env / "student"), task, settings, 0, tmp_path / "scratch")
    encoded = Encoder(model.tokenizer_json, 32)(task.train)
    checkpoint, seen = tmp_path / "checkpoint.pt", []
    model.model.register_forward_pre_hook(
        lambda _model, _args, batch: seen.append(len(batch["input_ids"])), with_kwargs=True
    )

    def answers(reporter, checkpoint=checkpoint):
        cpu = torch.device("cpu")
        return predict(model.model, encoded, model.pad_id, cpu, reporter, batch_tokens=200, checkpoint=checkpoint)

    straight = answers(SilentReporter(), None)
    assert not checkpoint.exists()
    batches, seen[:] = list(seen), []
    assert len(batches) > 4
    for stop in (sum(batches[:2]), sum(batches[:3])):
        with pytest.raises(Cancelled):
            answers(StopsAt(stop))
    assert checkpoint.exists()
    assert torch.equal(answers(SilentReporter()), straight)
    assert seen == batches, "no row is asked twice"

    checkpoint.unlink()
    seen.clear()
    monkeypatch.setattr("dqf.checkpoints.CHECKPOINT_EVERY_S", -1.0)  # at every batch
    with pytest.raises(RuntimeError):
        answers(StopsAt(sum(batches[:3]), RuntimeError))  # as little is done about it as about a kill
    assert torch.equal(answers(SilentReporter()), straight)
    assert seen == [*batches[:3], *batches[2:]], "what the last checkpoint holds is not asked again"


def test_a_failure_late_in_a_run_keeps_what_was_computed(settings, tiny_env, monkeypatch):
    import dqf.pipeline as pipeline
    from dqf.errors import UserError

    def broken(*_args, **_kwargs):
        raise UserError("the benchmark must work: it does not.")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "time_variants", broken)
        config = RunConfig.from_dict(tiny_config(tiny_env))
        run_dir = create_run(settings.runs_dir, config.to_dict(), "tiny")
        assert run_in_process(run_dir, settings) == "failed"
    _, result = launch(settings, tiny_env)
    found = caches(result)
    assert found.pop("benchmark") == "miss"
    assert set(found.values()) == {"hit"}


def test_kills_at_random_moments_change_nothing(undisturbed, tiny_env, tmp_path):
    """`benchmarks/kills.py` does it fifty times."""
    from benchmarks.kills import kill_one

    config = RunConfig.from_dict(tiny_config(tiny_env))
    assert kill_one(config, tmp_path, seed=7, at_most=2, undisturbed=undisturbed.run_dir).total() == 2
