"""Reports: complete, self-contained, escaped, and enough to make the rows again."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import pandas as pd
import pypdf
import pytest

from dqf import cli
from dqf.config import RunConfig
from dqf.redact import HIDDEN
from dqf.settings import Settings, load_settings
from dqf.store import queries
from dqf.store.db import Store
from dqf.store.ingest import sync
from dqf.ui import frames
from dqf.ui.compare import comparisons
from dqf.ui.report import content as report_content
from dqf.ui.report import files
from dqf.ui.report import html as report_html
from dqf.ui.report import pdf as report_pdf
from tests.support.example_runs import write_example_run

EVIL = "<img src=https://example.org/x.png onerror=alert(1)>"
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def report_of(tmp_path, *runs, change=None) -> report_content.Report:
    for run in runs:
        if change:
            result = json.loads((run / "result.json").read_text())
            change(result)
            (run / "result.json").write_text(json.dumps(result))
    store = Store.open(Settings(tmp_path, (), (), 1))
    try:
        sync(store, Settings(tmp_path, (), (), 1))
        rows = frames.derive(queries.variants(store))
        scored = [
            comparisons.from_frame(
                f"{row['run_id']}/{row['variant_id']}",
                row["task"],
                row["metric"],
                queries.predictions(store, row["run_id"], row["variant_id"]),
            )
            for row in rows.to_dict("records")
        ]
    finally:
        store.close()
    pairs, resampled = [], {}
    for group in comparisons.groups(scored):
        teacher = next(one.key for one in group if one.key.endswith("/teacher"))
        own = [one for one in group if one.key.split("/")[0] == teacher.split("/")[0]]
        pairs += comparisons.pairs([own], teacher)
        resampled |= dict.fromkeys((one.key for one in own), comparisons.resample(own, 200))
    results = {run.name: json.loads((run / "result.json").read_text()) for run in runs}
    return report_content.build(rows, results, comparisons.compare_pairs(pairs, resampled), now=NOW)


@pytest.fixture
def run(tmp_path):
    return write_example_run(tmp_path / "runs", bits=(8, 4))


def test_it_states_everything_that_a_figure_needs(tmp_path, run):
    report = report_of(tmp_path, run)
    text = report_html.render(report).decode()
    facts = dict(report.runs[0].facts)
    assert facts["Hardware"].startswith("Example CPU, 2 cores, 16.0\u00a0GB memory, 2 threads")
    assert facts["Versions"].startswith("DQF Studio 0.1.0, torch 2.13.0, ")
    assert "a" * 64 in facts["Data"]
    assert facts["Seeds"].startswith("students 0")
    for value in (
        *facts,
        "Example CPU",
        "torch 2.13.0",
        "0" * 40,
        "a" * 64,
        f"{run.name}-config.json",
        "95 % interval",
    ):
        assert value in text
    assert len(report.table) == 7
    assert report.table["Score"].str.contains(r"\[.+, .+\]").all()
    assert report.table["n"].eq("400").all()
    assert len(report.differences) == 6
    assert len(report.advice) == 4


def test_its_config_makes_the_same_run_again(tmp_path, run):
    report = report_of(tmp_path, run)
    kept = RunConfig.from_dict(json.loads(report.runs[0].config))
    assert kept == RunConfig.from_dict(json.loads((run / "config.json").read_text()))
    assert report.runs[0].command == f"python -m dqf run --config {run.name}-config.json"


def test_paths_of_this_machine_stay_here(tmp_path, run):
    def change(result):
        result["config"]["teacher"]["model"] = "/home/somebody/secret/teacher-model"
        result["config"]["task"]["source"] = "file:/home/somebody/secret/reviews.csv"
        result["baseline"]["model"] = result["variants"][0]["model"] = "/home/somebody/secret/teacher-model"
        (run / "config.json").write_text(json.dumps(result["config"]))

    report = report_of(tmp_path, run, change=change)
    rows = report_content.machine_rows(report).to_csv(index=False)
    for text in (report_html.render(report).decode(), rows):
        assert "somebody" not in text
        assert "teacher-model" in text
        assert "file:reviews.csv" in text


def test_the_html_file_asks_nobody_for_anything(tmp_path, run):
    text = report_html.render(report_of(tmp_path, run)).decode()
    head = text[: text.index("<script")]
    assert "default-src 'none'" in head
    assert "connect-src" not in head
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href|url)\s*[=(]", outside)
    assert text.count("Plotly.newPlot(") >= 4
    assert "sendDataToCloud" not in outside


def test_outside_names_are_escaped(tmp_path, run):
    def change(result):
        for row in result["variants"][1:]:
            row["variant"] = EVIL
        result["environment"]["cpu"] = EVIL
        result["task"]["note"] = EVIL

    report = report_of(tmp_path, run, change=change)
    text = report_html.render(report).decode()
    assert "<img" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    drawn = re.findall(r"Plotly\.newPlot\(.*?</script>", text, flags=re.DOTALL)
    assert drawn
    assert not any("<img" in one for one in drawn)
    assert report_pdf.render(report).startswith(b"%PDF-")


def test_the_pdf_holds_the_same_words(tmp_path, run):
    report = report_of(tmp_path, run)
    document = pypdf.PdfReader(io.BytesIO(report_pdf.render(report)))
    text = " ".join(" ".join(page.extract_text().split()) for page in document.pages)
    for value in (
        "Student-DQF 4-bit GPTQ",
        "Example CPU",
        "torch 2.13.0",
        f"{run.name}-config.json",
        "no difference shown",
    ):
        assert value in text
    assert '"group_size": ' in text
    assert document.metadata is not None
    assert document.metadata.title == f"DQF Studio report: {report.title}"
    assert not any("/Annots" in page for page in document.pages)


def test_long_and_foreign_names_do_not_break_the_pdf(tmp_path, run):
    def change(result):
        result["environment"]["cpu"] = "Проц" * 200
        result["variants"][2]["variant"] = "x" * 300
        result["task"]["note"] = "漢字 🎉 \u202e"

    assert report_pdf.render(report_of(tmp_path, run, change=change)).startswith(b"%PDF-")


def test_rows_for_machines_hold_base_units_and_provenance(tmp_path, run):
    report = report_of(tmp_path, run)
    frame = pd.read_parquet(io.BytesIO(files._parquet(report)))
    assert len(frame) == 7
    result = json.loads((run / "result.json").read_text())
    assert frame["size_bytes"].tolist() == [row["size_bytes"] for row in result["variants"]]
    assert frame["weights_sha256"].tolist() == [row["weights_sha256"] for row in result["variants"]]
    assert set(frame["data_sha256"]) == {"a" * 64}
    assert set(frame["packages"]) == {"torch 2.13.0, transformers 5.23.0, openvino 2026.4.1"}
    assert json.loads(frame["config_json"].iloc[0]) == result["config"]
    assert "run_dir" not in frame
    again = pd.read_csv(io.StringIO(report_content.machine_rows(report).to_csv(index=False)))
    assert again["latency_ms_p50"].tolist() == frame["latency_ms_p50"].tolist()


def test_no_secret_reaches_a_report(tmp_path, run, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "correct-horse-battery")
    monkeypatch.setenv("MY_PASSWORD", "12345678")
    token = "hf_" + "a1B2" * 8

    def change(result):
        result["environment"]["memory_bytes"] = 1234567890  # a number that holds the password's digits stays one
        result["task"]["note"] = f"read with {token}"
        result["config"]["task"]["source"] = "https://me:pass1234@host/x?k=correct-horse-battery"
        result["variants"][1]["model"] = f"org/{token}"

    report = report_of(tmp_path, run, change=change)
    document = pypdf.PdfReader(io.BytesIO(report_pdf.render(report)))
    written = [
        report_html.render(report).decode(),
        " ".join(page.extract_text() for page in document.pages),
        report_content.machine_rows(report).to_csv(),
    ]
    for text in written:
        assert HIDDEN in text
        for secret in (token, "pass1234", "correct-horse-battery"):
            assert secret not in text.replace("\n", "")


def test_several_runs_are_told_apart_and_warned_of(tmp_path, run):
    other = write_example_run(tmp_path / "runs", task="sst2", bits=(2,), seed=3, age_seconds=50)
    report = report_of(tmp_path, run, other)
    assert report.file_stem.endswith("-and-1-more")
    assert len(report.runs) == 2
    assert any("different runs" in note for note in report.notes)
    assert any("different tasks" in note for note in report.notes)
    assert report.advice.empty
    assert report.table["Variant"].is_unique
    assert len(report.differences) == 10
    assert report_pdf.render(report).startswith(b"%PDF-")
    assert f"Run {other.name}: rows 1, 2, 3, 4, 5" in report_html.render(report).decode()


def test_a_run_without_its_result_still_gives_a_report(tmp_path, run):
    report = report_of(tmp_path, run)
    bare = report_content.build(report.variants, {}, pd.DataFrame(), now=NOW)
    assert report_html.render(bare)
    assert report_pdf.render(bare).startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("suffix", "begins"), [("html", b"<!doctype html>"), ("PDF", b"%PDF-"), ("csv", b"run_id,"), ("parquet", b"PAR1")]
)
def test_the_command_line_writes_the_same_report_beside_a_running_app(tmp_path, run, capsys, suffix, begins):
    store = Store.open(load_settings(tmp_path))  # as an app holds it
    out = tmp_path / f"report.{suffix}"
    try:
        assert cli.main(["report", "latest", "--out", str(out), "--json", "--results-dir", str(tmp_path)]) == 0
    finally:
        store.close()
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "size_bytes": out.stat().st_size}
    assert out.read_bytes()[:40].lower().startswith(begins.lower())


def test_the_command_line_refuses_in_a_sentence(tmp_path, run, capsys):
    write_example_run(tmp_path / "runs", state="queued", age_seconds=1)
    for arguments, said in (
        (["latest"], "a report needs measured variants"),
        ([run.name, "--out", "a.doc"], "`--out` must end in .html, .pdf, .csv, .parquet: a.doc does not."),
        ([run.name, "--out", str(tmp_path)], "must end in"),
        ([run.name, "--out", str(tmp_path / "no" / "a.csv")], "must be a file that can be written"),
        ([run.name, "--loss", "2"], "`--loss` must be a share from 0 to below 1: 2 is not"),
        (["nope"], "no run begins with 'nope'"),
    ):
        assert cli.main(["report", *arguments, "--results-dir", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err
    (run / "result.json").write_text("{}")  # damaged since
    assert cli.main(["report", run.name, "--results-dir", str(tmp_path)]) == 2
    assert f"a report needs measured variants: the result of {run.name} has none." in capsys.readouterr().err
