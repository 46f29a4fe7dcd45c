"""Serving to people: real processes over tiny artifacts, within a memory budget, and none left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from dqf.artifacts import open_artifact
from dqf.errors import UserError
from dqf.exporting.card import Origin, artifact_card
from dqf.serving.client import Served
from dqf.serving.manager import ServingManager
from dqf.serving.models import find_model
from dqf.settings import Settings
from tests.support.served_runs import SERVED, write_served_run

TEXTS = ["the film was great and kind", "a dull song", ""]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def run_dir(tmp_path, scratch):
    return write_served_run(tmp_path / "results" / "runs", scratch)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "results", (), (), 1)


@pytest.fixture
def manager(settings):
    made = ServingManager(settings)
    yield made
    made.close()


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def test_answers_are_those_of_the_artifact_and_the_process_is_kept(run_dir, manager):
    from dqf.data.encode import Encoder
    from dqf.data.tasks import Examples
    from dqf.registry import get

    model = find_model(run_dir, "student-kd")
    first = manager.predict(model, TEXTS, repeats=3)
    runtime = get("runtime", model.runtime).target(open_artifact(model.folder), 1, "cpu")
    encoded = Encoder(model.folder / "tokenizer.json", 32)(Examples(tuple(TEXTS), None, np.zeros(3)))
    alone = np.concatenate([runtime.logits(encoded.batch([row], 0)) for row in range(3)])
    np.testing.assert_allclose(first.logits, alone, rtol=1e-3, atol=1e-4)
    assert first.load_s > 0
    assert len(first.repeat_ms) == 3
    assert min(first.forward_ms, first.encode_ms, *first.repeat_ms) > 0
    assert 2e7 < first.rss_bytes < 1e9
    assert first.tokens == (8, 5, 2)
    pid = manager.pids()[model.key]
    second = manager.predict(model, TEXTS)
    assert second.load_s == 0
    assert manager.pids() == {model.key: pid}
    np.testing.assert_array_equal(first.logits, second.logits)


def test_a_single_text_has_a_graph_of_its_length_where_the_variant_was_timed_with_one(run_dir, manager, monkeypatch):
    allowed = {}
    fix_lengths = Served.fix_lengths

    def recorded(served, lengths):
        allowed[served.pid] = lengths
        fix_lengths(served, lengths)

    monkeypatch.setattr(Served, "fix_lengths", recorded)
    timed = find_model(run_dir, "student-dqf-gptq-4bit")
    assert timed.lengths == (8, 16, 24)
    without = dataclasses.replace(timed, key=f"{timed.key} again", lengths=())
    for text in TEXTS:
        one, other = manager.predict(timed, [text]), manager.predict(without, [text])
        np.testing.assert_allclose(one.logits, other.logits, rtol=0.05, atol=0.02)
    pids = manager.pids()
    assert len(pids) == 2
    assert allowed == {pids[timed.key]: (8, 16, 24)}


def test_the_card_of_an_artifact_loads_it_as_it_was_timed(run_dir):
    model = find_model(run_dir, "student-dqf-gptq-4bit")
    result = json.loads((run_dir / "result.json").read_text())
    origin = Origin(run_dir.name, "student-dqf-gptq-4bit", result)
    code = artifact_card(open_artifact(model.folder), origin).split("```python\n")[1].split("```")[0]
    assert "model.fix_lengths([8, 16, 24])" in code
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=model.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("[[")


def test_a_killed_process_is_started_again_unseen(run_dir, manager):
    model = find_model(run_dir, "student-kd")
    before = manager.predict(model, TEXTS)
    os.kill(manager.pids()[model.key], signal.SIGKILL)
    after = manager.predict(model, TEXTS)
    assert after.load_s > 0
    np.testing.assert_array_equal(before.logits, after.logits)


def test_a_process_killed_while_it_answers_is_started_again(run_dir, manager):
    model = find_model(run_dir, "student-kd")
    manager.predict(model, TEXTS)
    pid = manager.pids()[model.key]
    killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killer.start()
    answer = manager.predict(model, TEXTS * 2000, repeats=20)
    assert len(answer.logits) == 6000
    assert not alive(pid)


def test_the_least_recently_used_model_makes_room(run_dir, settings):
    manager = ServingManager(dataclasses.replace(settings, serving_memory_bytes=310_000_000))
    try:
        teacher, kd, dqf = (find_model(run_dir, name) for name in SERVED)
        manager.predict(teacher, TEXTS)
        manager.predict(kd, TEXTS)
        manager.predict(teacher, TEXTS)
        pids = manager.pids()
        assert set(pids) == {teacher.key, kd.key}
        manager.predict(dqf, TEXTS)
        assert set(manager.pids()) == {teacher.key, dqf.key}
        assert not alive(pids[kd.key])
        assert sum(manager.loaded().values()) <= 310_000_000
    finally:
        manager.close()
    assert not any(alive(pid) for pid in pids.values())


def test_a_model_larger_than_the_budget_is_refused(run_dir, settings):
    manager = ServingManager(dataclasses.replace(settings, serving_memory_bytes=100_000_000))
    with pytest.raises(UserError, match=r"may take 100 MB together.*alone took 150 MB.*DQF_SERVING_MEMORY_MB"):
        manager.predict(find_model(run_dir, "teacher"), TEXTS)
    manager.close()


def test_idle_models_end_by_themselves(run_dir, settings):
    manager = ServingManager(settings, idle_s=0.5)
    try:
        model = find_model(run_dir, "student-kd")
        manager.predict(model, TEXTS)
        pid = manager.pids()[model.key]
        assert wait_until(lambda: not manager.loaded())
        assert not alive(pid)
        assert manager.predict(model, TEXTS).load_s > 0
    finally:
        manager.close()


def test_sessions_at_once_share_one_process_per_model(run_dir, manager):
    models = [find_model(run_dir, name) for name in SERVED]
    answers: dict[int, np.ndarray] = {}
    problems: list[BaseException] = []

    def ask(at: int) -> None:
        try:
            answers[at] = manager.predict(models[at % 3], TEXTS).logits
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(manager.pids()) == 3
    for at in range(3, 9):
        np.testing.assert_array_equal(answers[at], answers[at - 3])


def test_an_altered_artifact_is_refused_even_if_it_was_loaded_before(run_dir, manager):
    model = find_model(run_dir, "student-kd")
    manager.predict(model, TEXTS)
    weights = model.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"^a file must be as it was exported: student-kd/model.safetensors"):
        manager.predict(find_model(run_dir, "student-kd"), TEXTS)
    assert manager.loaded() == {}


def test_only_verified_artifacts_of_the_run_are_served(run_dir):
    import json

    from dqf.artifacts import open_artifact, write_manifest

    with pytest.raises(UserError, match="a variant's artifact must be here to be used"):
        find_model(run_dir, "student-ft")
    with pytest.raises(UserError, match="a variant must be one of the run's"):
        find_model(run_dir, "../teacher")
    result = json.loads((run_dir / "result.json").read_text())
    result["variants"][0]["verified"] = False
    (run_dir / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="must be verified to be served"):
        find_model(run_dir, "teacher")
    folder = run_dir / "artifacts" / "student-kd"
    manifest = dict(open_artifact(folder).manifest)
    (folder / "model.safetensors").write_bytes(b"others")
    write_manifest(folder, {name: value for name, value in manifest.items() if name != "files"})
    with pytest.raises(UserError, match="names other weights than its result"):
        find_model(run_dir, "student-kd")
    packed = run_dir / "artifacts" / "student-dqf-gptq-4bit"
    (packed / "graph.xml").unlink()
    (packed / "graph.xml").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="must hold plain files only"):
        find_model(run_dir, "student-dqf-gptq-4bit")


PROGRAM = """
import sys, time
from pathlib import Path
from dqf.serving.models import find_model
from dqf.serving.shared import ensure_serving
from dqf.settings import load_settings
manager = ensure_serving(load_settings())
model = find_model(Path(sys.argv[1]), "student-kd")
manager.predict(model, ["a film"])
print(manager.pids()[model.key], flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["exit", "SIGTERM", "SIGKILL"])
def test_no_serving_process_outlives_the_app(run_dir, end):
    results = run_dir.parents[1]
    app = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run_dir), "wait" if end != "exit" else "end"],
        env={**os.environ, "DQF_RESULTS_DIR": str(results)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert app.stdout is not None
    pid = int(app.stdout.readline())
    if end != "exit":
        app.send_signal(getattr(signal, end))
    app.wait(timeout=20)
    assert wait_until(lambda: not alive(pid))
