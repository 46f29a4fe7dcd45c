"""Take it elsewhere, on the page Runs; processes that make exports are pretended but for one."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from pathlib import Path

import pytest

from dqf.artifacts import open_artifact
from dqf.errors import UserError
from dqf.exporting import jobs
from dqf.exporting.places import variant_of
from dqf.jobs import executor, protocol
from dqf.jobs.protocol import read_worker
from tests.app.conftest import everything
from tests.support.example_artifacts import (
    CONTROL,
    EVIL,
    FAKE_COMMAND,
    write_example_artifact,
    write_example_export,
)
from tests.support.example_runs import write_example_run

START = executor.LocalExecutor.start
VARIANT = "student-dqf-gptq-4bit"
FP16 = "fp16-safetensors"


@pytest.fixture
def run(settings, monkeypatch):
    """Write a run with one artifact; exports get the pretended process, runs get none."""
    run_dir = write_example_run(settings.runs_dir, bits=(4,))
    write_example_artifact(run_dir, VARIANT)
    monkeypatch.setattr(jobs, "COMMAND", FAKE_COMMAND)
    own = executor.LocalExecutor(settings, FAKE_COMMAND, grace_s=0.5)
    monkeypatch.setitem(jobs._executors, (settings.results_dir, FAKE_COMMAND), own)
    monkeypatch.setattr(
        executor.LocalExecutor, "start", lambda self, path: jobs.JOBS in path.parts and START(self, path)
    )
    return run_dir


def place_of(run: Path):
    return variant_of(run, VARIANT)


def key(what: str, run: Path, name: str = FP16) -> str:
    return f"export_{what}_{run.name}_{VARIANT}_{name}"


def buttons(app) -> dict[str, object]:
    return {one.key: one for one in app.button if one.key}


def wait_for(settings, run: Path, *states: str, name: str = FP16, seconds: float = 40.0):
    """Look at a job as the page does, until it is in one of the states."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = jobs.look(settings, place_of(run), name)
        if job is not None and job.view.state in states:
            return job
        time.sleep(0.1)
    raise AssertionError(f"the export is not {states} in time: {job}")


def links(app) -> list[str]:
    return [one.proto.url for one in app.get("link_button")]


def test_every_format_is_shown_with_what_it_is_or_why_not(open_page, run):
    from dqf import registry

    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not app.exception
    text = everything(app)
    for entry in registry.entries("exporter"):
        assert entry.title in text
    assert "a GGUF file must hold a decoder" in text
    assert "8-bit ONNX holds 8-bit codes: this variant has 4 bits already" in text
    assert key("make", run) in buttons(app)
    assert key("make", run, "gguf") not in buttons(app)
    assert links(app) == [f"/downloads/{run.name}/{VARIANT}/dqf.zip"]


def test_a_setting_can_make_a_format_fit(open_page, settings, run):
    shutil.rmtree(run / "artifacts")
    write_example_artifact(run, VARIANT, model_type="llama")
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    chosen = app.selectbox(key=f"launch.export.{run.name}.{VARIANT}.gguf.type")
    assert not buttons(app)[key("make", run, "gguf")].disabled
    chosen.select("Q4_0").run()
    assert not app.exception
    assert "Q4_0 has no zero points" in everything(app)
    assert buttons(app)[key("make", run, "gguf")].disabled


def test_an_artifact_that_is_not_here_is_one_sentence(open_page, run):
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    app.selectbox(key=f"export_of_{run.name}").select("teacher").run()
    assert not app.exception
    assert "a variant's artifact must be here to be used" in everything(app)
    assert links(app) == []


def test_missing_packages_are_said_with_the_command_before_starting(open_page, settings, run, monkeypatch):
    from dqf.exporting import export

    find = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not app.exception
    assert "onnxruntime" in next(one.value for one in app.caption if "Not installed yet" in one.value)
    assert "pip install -r requirements-export.txt" in [one.value for one in app.code]
    assert buttons(app)[key("make", run, "onnx-4bit")].disabled
    place = place_of(run)
    with pytest.raises(UserError, match=r"onnxruntime.*is not installed; `pip install -r requirements-export.txt`"):
        jobs.start(settings, place, open_artifact(place.artifact), "onnx-4bit", {})


def test_an_export_is_made_in_the_background_and_offered_when_it_is_verified(open_page, settings, run):
    (settings.results_dir / CONTROL).write_text("wait")
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    buttons(app)[key("make", run)].click().run()
    assert not app.exception
    wait_for(settings, run, protocol.RUNNING)
    second = open_page("runs", run=run.name, part="Take it elsewhere")  # another tab, or the same after a reload
    assert key("stop", run) in buttons(second)
    assert key("make", run) not in buttons(second)
    assert all(one.disabled for name, one in buttons(second).items() if name.startswith("export_make"))
    assert links(second) == [f"/downloads/{run.name}/{VARIANT}/dqf.zip"]
    place = place_of(run)
    with pytest.raises(UserError, match="one export is made at a time"):
        jobs.start(settings, place, open_artifact(place.artifact), FP16, {})
    del jobs._executors[
        settings.results_dir, FAKE_COMMAND
    ]  # a server that was started again knows nothing but the files
    assert jobs.look(settings, place, FP16).live
    buttons(open_page("runs", run=run.name, part="Take it elsewhere"))[key("stop", run)].click().run()
    wait_for(settings, run, protocol.CANCELLED)
    assert not jobs.scratch_of(place, FP16).exists()
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert "The last attempt was cancelled" in everything(app)
    (settings.results_dir / CONTROL).unlink()
    buttons(app)[key("make", run)].click().run()
    wait_for(settings, run, protocol.SUCCEEDED)
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not app.exception
    text = everything(app)
    assert "0.120" in text
    assert "relative L2, n = 64" in text
    assert "cancelled" not in text
    assert f"/downloads/{run.name}/{VARIANT}/{FP16}.zip" in links(app)
    assert "Make it again" in [one.label for one in app.button]


def test_a_process_that_does_not_listen_is_killed(settings, run):
    (settings.results_dir / CONTROL).write_text("deaf")
    place = place_of(run)
    jobs.start(settings, place, open_artifact(place.artifact), FP16, {})
    wait_for(settings, run, protocol.RUNNING)
    while not jobs.scratch_of(place, FP16).exists():
        time.sleep(0.05)
    time.sleep(0.2)
    worker = read_worker(place.job(FP16))
    jobs.cancel(settings, place, FP16)
    wait_for(settings, run, protocol.CANCELLED)
    assert not worker.alive()


@pytest.mark.parametrize(
    ("what", "state", "words"),
    [("fail", protocol.FAILED, "transformers must load it"), ("die", protocol.INTERRUPTED, "ended without a word")],
)
def test_a_failure_is_one_sentence_and_nothing_is_offered(open_page, settings, run, what, state, words):
    (settings.results_dir / CONTROL).write_text(what)
    place = place_of(run)
    jobs.start(settings, place, open_artifact(place.artifact), FP16, {})
    wait_for(settings, run, state)
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not app.exception
    assert words in everything(app)
    assert not any(url.endswith(f"{FP16}.zip") for url in links(app))
    assert not jobs.scratch_of(place, FP16).exists()


def test_words_of_a_card_are_never_markdown(open_page, run):
    write_example_export(place_of(run), FP16, note=EVIL)
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not app.exception
    kinds = ("markdown", "caption", "subheader", "warning", "error", "info")
    assert not any("example.org" in str(one.value) for kind in kinds for one in app.get(kind))
    assert any(EVIL in one.value for one in app.code)
    assert any(EVIL in one.value for one in app.text)


def test_an_export_that_is_not_this_artifacts_or_was_altered_is_not_offered(open_page, settings, run):
    place = place_of(run)
    folder = write_example_export(place, FP16)
    artifact = open_artifact(place.artifact)
    assert jobs.made(place, artifact, FP16) is not None
    record = json.loads((folder / "export.json").read_text())
    for changed in (
        {"source": {"weights_sha256": "0" * 64}},
        {"verification": {**record["verification"], "relative_l2_error": 0.5}},
        {"verification": None},
        {"exporter": "gguf"},
    ):
        (folder / "export.json").write_text(json.dumps({**record, **changed}))
        assert jobs.made(place, artifact, FP16) is None
    (folder / "export.json").write_text(json.dumps(record))
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not any(url.endswith(f"{FP16}.zip") for url in links(app))


def test_a_real_export_is_made_verified_and_downloaded(open_page, settings, monkeypatch, tmp_path):
    from dqf.exporting.package import package_of_export, zip_chunks, zip_size_bytes
    from dqf.ui.shell.downloads import ARTIFACT, find_package
    from tests.support.exporting import make_artifact

    run = write_example_run(settings.runs_dir, bits=(4,))
    monkeypatch.setattr(executor.LocalExecutor, "start", START)
    shutil.copytree(make_artifact(tmp_path / "made", "bert", 4), run / "artifacts" / VARIANT)
    monkeypatch.setenv("DQF_THREADS", "1")
    place = place_of(run)
    artifact = open_artifact(place.artifact)
    jobs.start(settings, place, artifact, FP16, {})
    job = wait_for(settings, run, protocol.SUCCEEDED, protocol.FAILED, seconds=240)
    assert job.error == ""
    assert [stage.status for stage in job.view.stages] == ["done"] * 3
    export = jobs.made(place, artifact, FP16)
    assert 0 <= export.record["verification"]["relative_l2_error"] <= 0.01
    for package in (package_of_export(export), find_package(run.name, VARIANT, ARTIFACT)):
        body = b"".join(zip_chunks(package))
        assert len(body) == zip_size_bytes(package)
        (tmp_path / "got.zip").write_bytes(body)
        with zipfile.ZipFile(tmp_path / "got.zip") as got:
            assert got.testzip() is None
            got.extractall(tmp_path / "got")
        for name in package.files:
            assert (tmp_path / "got" / package.folder.name / name).read_bytes() == (package.folder / name).read_bytes()
    assert open_artifact(tmp_path / "got" / VARIANT).packed == artifact.packed
    card = (tmp_path / "got" / VARIANT / "README.md").read_text()
    assert "packed artifact" in card
    assert f"Run `{run.name}`" in card
    app = open_page("runs", run=run.name, part="Take it elsewhere")
    assert not app.exception
    assert any("text-classification" in one.value for one in app.code)
