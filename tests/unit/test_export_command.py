"""`python -m dqf export` without the work: what it finds, what it asks for, what it says."""

import argparse
import json

import pytest

from dqf import cli, flags, registry
from dqf.errors import UserError
from dqf.exporting import command
from dqf.exporting.card import Origin
from dqf.exporting.export import ExportResult
from dqf.exporting.licences import data_licence, hub_id, hub_page, model_licence
from dqf.exporting.probe import built_in_probe, probe_of_run
from dqf.exporting.receipt_section import receipt_section
from dqf.settings import load_settings
from tests.support.example_runs import write_example_run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def dqf(root, capfd):
    """Run a command; returns exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.main([*arguments, "--results-dir", str(root)])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


def test_list_names_every_format_and_its_consumer(dqf):
    code, out, _ = dqf("export", "--list")
    assert code == 0
    for entry in registry.entries("exporter"):
        assert entry.name in out
    rows = json.loads(dqf("export", "--list", "--json")[1])
    assert {row["format"] for row in rows} == set(registry.names("exporter"))


def test_what_is_missing_or_unknown_is_said_in_one_line(dqf, root):
    run_dir = write_example_run(root / "runs")
    variant = json.loads((run_dir / "result.json").read_text())["variants"][-1]["variant_id"]
    for arguments, words in (
        ((), "RUN is missing"),
        ((run_dir.name, variant), "--format is missing"),
        ((run_dir.name, variant, "--format", "ggufs"), "did you mean `gguf`"),
        (("nope", variant, "--format", "gguf"), "no run begins with 'nope'"),
        ((run_dir.name, "student-dqfx", "--format", "gguf"), "a variant must be one of the run's"),
        ((run_dir.name, variant, "--format", "gptq", "--gguf-type", "Q8_0"), "--gguf-type belongs to --format gguf"),
    ):
        code, out, err = dqf("export", *arguments)
        assert (code, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1


def test_a_variant_is_exported_beside_its_run_with_the_command_that_makes_it_again(root, monkeypatch):
    run_dir = write_example_run(root / "runs")
    row = json.loads((run_dir / "result.json").read_text())["variants"][-1]
    row_dir = run_dir / row["artifact"]
    row_dir.mkdir(parents=True, exist_ok=True)
    seen = {}

    def export(folder, name, out, options, *, probe, origin, threads, reporter):
        seen.update(folder=folder, name=name, out=out, options=options, origin=origin, probe=probe)
        return ExportResult(out, {"files": {}, "notes": [], "verification": {}})

    monkeypatch.setattr(command, "export", export)
    parsed = cli.build_parser().parse_args(
        ["export", "latest", row["variant_id"], "--format", "gguf", "--gguf-type", "Q4_1"]
    )
    command.export_variant(load_settings(root), parsed, flags.exporter_options(parsed))
    assert seen["folder"] == row_dir
    assert seen["out"] == run_dir / "exports" / f"{row['variant_id']}-gguf"
    assert seen["options"] == {"type": "Q4_1"}
    again = list(seen["origin"].command)
    assert again[:4] == ["python", "-m", "dqf", "export"]
    assert cli.build_parser().parse_args(again[3:]).format == "gguf"
    assert again[-2:] == ["--gguf-type", "Q4_1"]


def test_exporters_flags_are_their_own_and_a_runs_flags_do_not_hold_them():
    names = [flag.name for flag in flags.exporter_flags()]
    assert len(names) == len(set(names))
    assert not set(names) & {flag.name for flag in flags.all_flags()}
    with pytest.raises(UserError, match="--onnx-accuracy-level belongs to --format onnx-4bit"):
        flags.exporter_options(argparse.Namespace(format="gguf", set_onnx_accuracy_level="4"))


def test_probe_texts_are_the_runs_own_rows_where_its_data_is_here(root, tmp_path):
    from dqf.config import RunConfig
    from tests.support.tiny import write_csv

    task = {"source": f"file:{write_csv(tmp_path / 'data.csv')}", "text_column": "text", "label_column": "label"}
    config = RunConfig.from_dict({"task": task})
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.json").write_text(json.dumps(config.to_dict()))
    settings = load_settings(root)
    allowed = type(settings)(settings.results_dir, (tmp_path,), (tmp_path,), 1)
    probe = probe_of_run(run_dir, allowed)
    assert probe.source.startswith("evaluation rows of")
    assert len(probe.texts) <= 64
    (tmp_path / "data.csv").unlink()
    assert probe_of_run(run_dir, allowed) == built_in_probe()


def test_licences_and_hub_ids_are_told_only_where_they_are_known():
    assert model_licence("starter:smollm2-135m") == "Apache-2.0"
    assert model_licence("someone/model") == ""
    assert "BBC" in data_licence("starter:bbc-headlines")
    assert "gluebenchmark" in data_licence("glue:rte")
    assert data_licence("file:mine.csv") == ""
    assert (hub_page("someone/model"), hub_page("starter:x")) == ("https://huggingface.co/someone/model", "")
    assert hub_id("someone/model") == "someone/model"
    assert hub_id("someone/model layers 10") == "someone/model"  # what was cut from it
    assert model_licence("starter:smollm2-135m layers 0,3,6") == "Apache-2.0"
    assert [hub_id(one) for one in ("starter:x", "/a/b", "./a", "teacher-layers", "a/b/c")] == [""] * 5


def test_cards_do_not_show_paths_of_this_machine(tmp_path):
    from dqf.exporting.card import _learnt_from, _source, public

    config = {"teacher": {"model": "/home/someone/teacher"}, "task": {"source": "file:/home/someone/data.csv"}}
    origin = Origin("r", "v", {"config": config})
    assert _source(origin, "teacher") == "teacher"
    assert _source(origin, "task") == "file:data.csv"
    assert "home" not in json.dumps(public(config))
    learnt = _learnt_from({"transfer": "file:/home/someone/mails.csv", "transfer_rows": 10})
    assert learnt == "; up to 10 texts of file:mails.csv, without their labels"


def test_the_card_says_what_quantizing_cost_beside_round_to_nearest():
    layer = {"name": "a", "kind": "linear", "method": "gptq", "bits": 4, "group_size": 32, "params": 1_000_000}
    layer |= {"calibration_tokens": 7, "fallback": "", "error_rtn": 0.02}
    text = receipt_section([layer | {"error": error} for error in (0.01, 0.012, 0.03)])
    assert "| gptq | 4 | 32 | 3 | 3.00 M | 1.200% | 60.0% |" in text
    assert "Of 3 linear layers 0 hold something else than the chosen method's result and 1 have a larger error" in text
    assert "| - | - |" in receipt_section([{"method": "rtn", "kind": "linear"}])
