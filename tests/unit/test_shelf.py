"""The shelf: what lies there, what removing frees, and that clean-up leaves what recorded variants need."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys

import pytest

from dqf.artifacts import open_artifact
from dqf.errors import UserError
from dqf.exporting.places import variant_of
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.shelf import clean, items
from dqf.shelf.usage import freed_bytes, run_usage, usage_of
from dqf.sweeps.directory import open_sweep
from dqf.sweeps.plan import Plan, expand
from tests.support.example_artifacts import write_example_artifact, write_example_export
from tests.support.example_runs import STAGES, write_example_run

VARIANT = "student-dqf-gptq-4bit"


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "results", (), (), 1)


@pytest.fixture
def run(settings):
    run_dir = write_example_run(settings.runs_dir, n=20)
    write_example_artifact(run_dir, VARIANT)
    write_example_artifact(run_dir, "teacher", bits=16)
    write_example_export(variant_of(run_dir, VARIANT), "fp16-safetensors")
    return run_dir


def entry(settings: Settings, kind: str, key: str, size: int = 1000):
    folder = settings.cache_dir / kind / key
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * size)
    (folder / "done.json").write_text("{}")
    return folder


def used(run, kind: str) -> str:
    result = json.loads((run / "result.json").read_text())
    return next(row["key"] for row in result["stages"] if row["id"] == kind)


def test_items_are_the_artifacts_and_verified_exports_of_a_run(run):
    found = items.items_of(run)
    assert [(one.place.variant_id, one.format) for one in found] == [
        ("teacher", "dqf"),
        (VARIANT, "dqf"),
        (VARIANT, "fp16-safetensors"),
    ]
    assert found[1].usage.bytes == sum(file.stat().st_size for file in found[1].folder.iterdir())
    assert items.has_items(run)
    (found[2].folder / "model.safetensors").write_bytes(b"cut")
    assert len(items.items_of(run)) == 2


def test_files_with_two_names_are_counted_once_and_free_nothing_alone(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    (first / "w").write_bytes(b"x" * 500)
    os.link(first / "w", second / "w")
    (second / "own").write_bytes(b"x" * 30)
    assert (usage_of(first).bytes, usage_of(first).shared_bytes) == (500, 500)
    assert (usage_of(first, second).bytes, usage_of(first, second).shared_bytes) == (530, 0)
    assert freed_bytes([first]) == 0
    assert freed_bytes([second]) == 30
    assert freed_bytes([first, second]) == 530
    (second / "link").symlink_to("/etc/passwd")
    assert usage_of(second).bytes < 1000


def test_run_usage_adds_up(run):
    usage = run_usage(run)
    assert usage.whole.bytes == usage.artifacts.bytes + usage.exports.bytes + usage.other_bytes
    assert usage.exports.bytes > 12_000
    assert usage.other_bytes > 1000


def test_an_export_is_removed_alone_and_an_artifact_with_its_exports(settings, run):
    found = items.items_of(run)
    assert items.remove(settings, found[2]) == [f"{VARIANT}-fp16-safetensors"]
    assert [one.format for one in items.items_of(run)] == ["dqf", "dqf"]
    write_example_export(variant_of(run, VARIANT), "fp16-safetensors")
    assert len(items.remove(settings, items.items_of(run)[1])) == 2
    assert [one.place.variant_id for one in items.items_of(run)] == ["teacher"]
    assert (run / "predictions" / f"{VARIANT}.parquet").is_file()
    assert (run / "result.json").is_file()
    assert not list(run.rglob(".removed-*"))


def test_what_must_not_be_removed_is_refused(settings, run):
    item = items.items_of(run)[0]
    elsewhere = Settings(settings.results_dir.parent / "other", (), (), 1)
    with pytest.raises(UserError, match="a committed run is not changed from here"):
        items.remove(elsewhere, item)
    (run / "result.json").rename(run / "kept.json")
    (run / "worker.json").unlink()
    (run / "events.jsonl").unlink()
    with pytest.raises(UserError, match="must have ended before its files are removed"):
        items.remove(settings, item)
    assert item.folder.is_dir()


def test_an_artifact_that_leads_elsewhere_is_no_item(settings, run, tmp_path):
    outside = tmp_path / "outside"
    (run / "artifacts" / "teacher").rename(outside)
    (run / "artifacts" / "teacher").symlink_to(outside)
    assert [one.place.variant_id for one in items.items_of(run)] == [VARIANT, VARIANT]


def test_clean_up_takes_only_what_no_recorded_run_used(settings, run):
    kept = [entry(settings, kind, used(run, kind)) for kind, _ in STAGES]
    os.link(run / "artifacts" / VARIANT / "model.safetensors", kept[6] / "shared")
    orphan = entry(settings, "export", "f" * 24, 5000)
    other_kind = entry(settings, "teacher", used(run, "export"))  # the same key under another stage is another entry
    partial = entry(settings, "student-kd", "e" * 24 + clean.PARTIAL)
    found = clean.entries(settings)
    assert {one.folder for one in found if one.status == clean.FREE} == {orphan, other_kind, partial}
    assert clean.freed(clean.removable(found, give_up=False)) == 5002 + 1002 + 1002
    assert clean.clean(settings) == (3, 5002 + 1002 + 1002)
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in (orphan, other_kind, partial))
    open_artifact(run / "artifacts" / VARIANT)
    assert clean.clean(settings) == (0, 0)


def test_what_an_unfinished_run_could_go_on_from_stays_unless_given_up(settings, run):
    orphan = entry(settings, "teacher", "f" * 24)
    write_example_run(settings.runs_dir, state=protocol.INTERRUPTED)
    assert [one.status for one in clean.entries(settings)] == [clean.RESUMABLE]
    assert clean.clean(settings) == (0, 0)
    assert orphan.is_dir()
    assert clean.clean(settings, give_up=True)[0] == 1


@pytest.mark.parametrize("state", [protocol.RUNNING, protocol.QUEUED])
def test_nothing_is_cleaned_up_while_a_run_works_or_waits(settings, run, state):
    orphan = entry(settings, "teacher", "f" * 24)
    write_example_run(settings.runs_dir, state=state)
    with pytest.raises(UserError, match="nothing is cleaned up while a run works or waits"):
        clean.clean(settings, give_up=True)
    assert orphan.is_dir()


def test_what_a_sweep_made_ahead_of_its_runs_stays(settings, run):
    """There is no run directory yet."""
    orphan = entry(settings, "teacher", "f" * 24)
    planned = expand(Plan({}, {"seed": (0, 1)}))
    sweep = open_sweep(settings, Plan({}, {"seed": (0, 1)}), planned.runs, "mine")
    with sweep, pytest.raises(UserError, match="while a run works or waits: mine does"):
        clean.clean(settings, give_up=True)
    assert clean.clean(settings) == (0, 0)
    assert [one.status for one in clean.entries(settings)] == [clean.RESUMABLE]
    assert clean.clean(settings, give_up=True)[0] == 1
    assert not orphan.is_dir()


def test_an_entry_that_somebody_works_on_is_left(settings, run):
    held, free = entry(settings, "teacher", "f" * 24), entry(settings, "teacher", "e" * 24)
    with held.with_name(f"{held.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert clean.clean(settings)[0] == 1
    assert held.is_dir()
    assert not free.exists()


def test_a_result_that_cannot_be_read_stops_the_clean_up(settings, run):
    orphan = entry(settings, "teacher", "f" * 24)
    other = write_example_run(settings.reference_dir, n=10)
    (other / "result.json").write_text("{")
    with pytest.raises(UserError, match="clean-up needs every result"):
        clean.clean(settings)
    assert orphan.is_dir()


def test_a_cache_that_leads_elsewhere_is_left_alone(settings, run, tmp_path):
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("keep")
    (settings.cache_dir / "teacher").mkdir(parents=True)
    (settings.cache_dir / "teacher" / ("f" * 24)).symlink_to(outside)
    assert clean.clean(settings, give_up=True) == (0, 0)
    assert (outside / "file").read_text() == "keep"


def test_card_of_an_artifact_says_how_it_was_made_and_its_code_runs(tmp_path):
    from tests.support.served_runs import write_served_run

    run = write_served_run(tmp_path / "runs", tmp_path / "models")
    item = items.items_of(run)[2]
    card = item.card()
    for words in ("# student-dqf-gptq-4bit, packed artifact", "## Scores", "## Fidelity", "SHA-256", "openvino-packed"):
        assert words in card
    code = card.split("```python\n")[1].split("```")[0]
    root = os.getcwd()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=item.folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith("[[")
