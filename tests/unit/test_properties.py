"""Whatever comes in, what goes out is a sentence: configs, uploads, run directories and events made up by hypothesis.

`DQF_CASES` sets the cases per property (default 60, so that the suite stays quick).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dqf.config import RunConfig
from dqf.data.table import columns, load_table
from dqf.errors import ConfigError, UserError
from dqf.jobs import protocol
from dqf.jobs.views import read_run, tail_log
from dqf.sections import TaskConfig
from dqf.settings import load_settings
from dqf.store import queries
from dqf.store.db import Store
from dqf.store.ingest import sync
from dqf.ui import frames, variant_table
from dqf.ui.launch.sources import store_upload
from tests.support.example_runs import write_example_run

CASES = int(os.environ.get("DQF_CASES", "60"))
settings.register_profile(
    "dqf", max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=CASES <= 60
)
settings.load_profile("dqf")

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", "nan", "NaN", "1e999", "-1", "0x10", "../..", "file:/etc/passwd", "glue:sst2", "a\0b", "😀" * 9]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
SECTIONS = ["task", "teacher", "student", "distillation", "quantization", "measurement"]
FIELDS = sorted({name for section in SECTIONS for name in RunConfig.from_dict({}).to_dict()[section]})


def one_sentence(error: Exception) -> None:
    text = str(error)
    assert text.strip()
    assert "Traceback" not in text
    assert all(len(line) < 800 for line in text.splitlines())


@given(
    st.one_of(
        VALUES,
        st.dictionaries(
            st.sampled_from([*SECTIONS, "seed", "preset", "device", "nonsense"]),
            st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5)),
            max_size=6,
        ),
    )
)
def test_a_config_is_taken_or_refused_in_sentences(data):
    try:
        config = RunConfig.from_dict(data)
    except (ConfigError, UserError) as error:
        one_sentence(error)
        return
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.csv", b"0" * 5_000_000)
    return buffer.getvalue()


def parquet_of(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(rows).astype(str).to_parquet(buffer)
    return buffer.getvalue()


CELLS = st.one_of(TEXTS, st.integers().map(str), st.floats().map(str), st.just("x" * 200_000))
ROWS = st.lists(st.lists(CELLS, max_size=5), max_size=30)
TABLES = st.one_of(
    st.binary(max_size=300),
    ROWS.map(lambda rows: "\n".join(",".join(row) for row in [["text", "label"], *rows])).map(
        lambda text: text.encode()
    ),
    ROWS.map(lambda rows: "text,label\n" + "\n".join(",".join(row) for row in rows)).map(
        lambda text: text.encode("utf-16")
    ),
    st.lists(VALUES, max_size=20).map(lambda rows: "\n".join(json.dumps(row) for row in rows).encode()),
    st.lists(st.fixed_dictionaries({"text": TEXTS, "label": VALUES}), max_size=40).map(
        lambda rows: "\n".join(json.dumps(row) for row in rows).encode()
    ),
    st.lists(st.fixed_dictionaries({"text": TEXTS, "label": TEXTS}), max_size=40).map(parquet_of),
    st.just(",".join(f"c{i}" for i in range(200)).encode() + b"\n" + b",".join([b"1"] * 200)),
    st.just(zip_bomb()),
    st.just(b"PAR1" + bytes(50) + b"PAR1"),
)


@given(TEXTS, st.sampled_from([".csv", ".jsonl", ".parquet", ".CSV", ".exe", ""]), TABLES)
def test_an_upload_is_a_task_or_refused_in_a_sentence(name, suffix, content):
    with tempfile.TemporaryDirectory() as folder:
        here = load_settings(Path(folder) / "results")
        try:
            path = store_upload(here, name + suffix, content)
            assert path.parent == here.uploads_dir
            found = columns(str(path), here)
            task = load_table(TaskConfig(source=f"file:{path}", text_column=found[0], label_column=found[-1]), here)
            assert len(task.train) > 0
        except UserError as error:
            one_sentence(error)


KINDS = ["plan", "progress", "stage_started", "terminal", "x"]
EVENTS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        VALUES.map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {
                "seq": VALUES,
                "time": VALUES,
                "kind": st.sampled_from(["plan", "progress", "stage_started", "terminal", "x"]),
            },
            optional={
                "stage": VALUES,
                "step": VALUES,
                "total": VALUES,
                "metrics": VALUES,
                "data": VALUES,
                "text": VALUES,
            },
        ).map(lambda value: json.dumps(value).encode()),
    ),
    max_size=15,
)


@given(EVENTS, st.binary(max_size=200), st.sampled_from(["\n", "\r", ""]))
def test_events_and_logs_of_any_kind_are_read(lines, log, between):
    with tempfile.TemporaryDirectory() as folder:
        run = write_example_run(Path(folder), state=protocol.RUNNING, n=20)
        with (run / "events.jsonl").open("ab") as file:
            file.write((between or "\n").encode().join(lines) + b"\n")
        (run / "worker.log").write_bytes(log)
        view = read_run(run)
        assert view.state in protocol.STATES
        assert all(stage.seconds is None or stage.seconds >= 0 for stage in view.stages)
        tail_log(run)
        with protocol_log(run) as events:
            events.append("message", text="still here")
        assert "still here" in (run / "events.jsonl").read_text(errors="replace")


class protocol_log:
    def __init__(self, run: Path) -> None:
        self._log = protocol.EventLog(run)

    def __enter__(self) -> protocol.EventLog:
        return self._log

    def __exit__(self, *_: object) -> None:
        self._log._file.close()


TEMPLATES: dict[str, Path] = {}


def template() -> Path:
    if "run" not in TEMPLATES:
        TEMPLATES["run"] = write_example_run(Path(tempfile.mkdtemp()), n=20)
    return TEMPLATES["run"]


@settings(max_examples=max(CASES // 4, 1))
@given(
    st.dictionaries(st.sampled_from(["config.json", "result.json", "worker.json", "cancel", "events.jsonl"]), VALUES),
    st.dictionaries(
        st.sampled_from(["variants", "task", "environment", "baseline", "stages", "created", "schema_version"]), VALUES
    ),
    st.dictionaries(
        st.sampled_from(
            [
                "variant_id",
                "variant",
                "bits",
                "score",
                "tasks",
                "size_bytes",
                "runtime",
                "predictions",
                "verified",
                "retention",
                "verification",
                "energy_source",
                "energy_j_per_1000",
                "throughput_per_s",
                "quantizer",
            ]
        ),
        VALUES,
    ),
)
def test_a_run_directory_of_any_content_is_taken_in_and_shown(files, parts, fields):
    with tempfile.TemporaryDirectory() as folder:
        here = load_settings(Path(folder))
        run = here.runs_dir / template().name
        shutil.copytree(template(), run)
        result = protocol.read_json(run / "result.json")
        result["variants"][1].update(fields)
        result.update(parts)
        (run / "result.json").write_text(json.dumps(result))
        for name, content in files.items():
            (run / name).write_text(json.dumps(content))
        assert read_run(run).state in protocol.STATES
        store = Store.open(here)
        try:
            sync(store, here)
            rows = frames.derive(queries.variants(store))
            variant_table.build(rows, queries.scores(store))
            variant_table.energy_note(rows)
        finally:
            store.close()
