import io
import json
import subprocess
import sys

import pytest

from dqf import cli, flags
from dqf.config import RunConfig
from dqf.errors import FieldError
from dqf.jobs import protocol
from dqf.jobs.protocol import Event
from dqf.presets import preset_config
from dqf.settings import load_settings
from dqf.terminal import ProgressPrinter, duration, table
from tests.support.example_runs import write_example_run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture(autouse=True)
def _no_preflight(monkeypatch):
    monkeypatch.setattr(cli, "_check", lambda config, settings, resumed=False: None)


@pytest.fixture
def dqf(root, capfd):
    """Run a command; returns exit code, stdout and stderr."""

    def command(*arguments):
        try:
            code = cli.main([*arguments, "--results-dir", str(root)])
        except SystemExit as stop:
            code = stop.code
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return command


def parsed(*arguments):
    return cli.config_from(cli.build_parser().parse_args(["run", *arguments]))


def test_without_flags_the_starter_is_launched():
    assert parsed() == preset_config("starter")
    assert parsed("--preset", "starter-cut") == preset_config("starter-cut")


def test_every_setting_with_a_flag_arrives_in_the_config():
    values = {bool: "yes", int: "9", float: "1.5", str: "x"}
    for flag in flags.all_flags():
        arguments = [flag.name] if flag.annotation is bool else [flag.name, values.get(flag.annotation, "2")]
        chosen = [f"--{flag.kind}", flag.methods[0]] if flag.kind else []
        made = flags.changes_of(cli.build_parser().parse_args(["run", *chosen, *arguments]), {})
        place = made
        for part in flag.path:
            place = place[part]
        assert place is True if flag.annotation is bool else place == arguments[1]


@pytest.mark.parametrize("given", [["4,2"], ["4", "2"], ["4, 2"]])
def test_bits_may_be_given_in_three_ways(given):
    assert parsed("--bits", *given).quantization.bits == (4, 2)


def test_flags_of_methods_and_booleans():
    config = parsed("--temperature", "4", "--damping", "0.1", "--no-embeddings", "--symmetric", "--group-size", "0")
    assert config.distillation.options["temperature"] == 4.0
    assert config.quantization.options["damping"] == 0.1
    assert config.quantization.symmetric
    assert not config.quantization.embeddings
    assert config.quantization.group_size == 0


def test_flag_of_a_method_that_is_not_chosen_is_refused(dqf):
    code, out, err = dqf("run", "--quantizer", "rtn", "--damping", "0.1")
    assert code == 2
    assert out == ""
    assert "--damping" in err
    assert "belongs to quantizer gptq" in err


def test_config_file_is_laid_over_and_flags_over_it(tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"seed": 3, "quantization": {"quantizer": "gptq", "options": {"damping": 0.5}}}))
    config = parsed("--config", str(file), "--seed", "4")
    assert config.seed == 4
    assert config.quantization.options["damping"] == 0.5
    assert parsed("--config", str(file), "--quantizer", "rtn").quantization.options == {}
    assert parsed("--config", str(file), "--preset", "starter-cut").student.model == "teacher-layers"


def test_config_of_a_run_can_be_launched_again(tmp_path):
    file = tmp_path / "config.json"
    config = preset_config("starter-cut", {"quantization": {"bits": [8, 2]}})
    file.write_text(json.dumps(config.to_dict()))
    assert parsed("--config", str(file)) == config


def test_all_errors_come_at_once_one_per_line(dqf, root):
    code, out, err = dqf("run", "--bits", "5", "--seed", "-1", "--task", "glue:sts2", "--alpha", "2", "--runtime", "x")
    assert code == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 5
    assert any("(--bits): must be one of 8, 4, 3, 2: got 5" in line for line in lines)
    assert any("did you mean" in line for line in lines)
    assert not (root / "runs").exists()


def test_preflight_errors_stop_before_anything_is_made(dqf, root, monkeypatch):
    from dqf.errors import ConfigError

    def refuse(config, settings):
        raise ConfigError([FieldError("quantization.group_size", "must divide 576: got 100.")])

    monkeypatch.setattr(cli, "_check", refuse)
    code, _, err = dqf("run")
    assert code == 2
    assert "(--group-size): must divide 576" in err
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("content", "message"), [("[1]", "one JSON object"), ("{", "must be JSON"), (None, "must be readable")]
)
def test_bad_config_file_is_refused(dqf, tmp_path, content, message):
    file = tmp_path / "run.json"
    if content is not None:
        file.write_text(content)
    code, _, err = dqf("run", "--config", str(file))
    assert code == 2
    assert message in err


def test_unknown_preset_and_flag_are_refused(dqf):
    code, _, err = dqf("run", "--preset", "startr")
    assert code == 2
    assert "did you mean `starter`" in err
    assert dqf("run", "--sed", "1")[0] == 2


def test_run_prints_the_result_alone_on_stdout(dqf, root, monkeypatch):
    def pipeline(config, run_dir, settings, reporter):
        print("noise of a library")
        example = write_example_run(root / "elsewhere")
        reporter.plan([{"id": "teacher", "title": "Fine-tune the teacher"}])
        reporter.stage_started("teacher")
        reporter.progress(1, 1, {"loss": 0.5})
        reporter.stage_done("teacher", "miss", 1.0)
        protocol.write_json(run_dir / "result.json", protocol.read_json(example / "result.json"))

    monkeypatch.setattr("dqf.jobs.worker._real_pipeline", lambda: pipeline)
    code, out, err = dqf("run", "--json")
    assert code == 0
    assert len(json.loads(out)["variants"]) == 5
    assert "[1/1] Fine-tune the teacher" in err
    code, out, _ = dqf("run")
    assert "student-dqf-gptq-4bit" in out
    assert "noise" not in out
    assert "Ratios are relative to" in out


def test_failed_run_says_why_and_how_to_resume(dqf, root, monkeypatch):
    def pipeline(config, run_dir, settings, reporter):
        raise ValueError("weights are all zero")

    monkeypatch.setattr("dqf.jobs.worker._real_pipeline", lambda: pipeline)
    code, out, err = dqf("run")
    assert code == 1
    assert out == ""
    assert "ValueError: weights are all zero" in err
    assert "python -m dqf resume" in err
    assert "Traceback" not in err
    assert "Traceback" in (protocol.list_runs(root / "runs")[0] / "worker.log").read_text()


def test_detached_run_is_only_queued(dqf, root):
    code, out, _ = dqf("run", "--detach", "--json", "--seed", "5")
    answer = json.loads(out)
    assert code == 0
    assert protocol.run_state(root / "runs" / answer["run_id"]) == "queued"
    assert RunConfig.from_dict(protocol.read_json(root / "runs" / answer["run_id"] / "config.json")).seed == 5


def test_what_cannot_be_written_is_one_sentence(dqf, root):
    root.parent.mkdir(parents=True, exist_ok=True)
    root.write_text("a file")
    code, out, err = dqf("run", "--detach")
    assert (code, out) == (1, "")
    assert err.startswith("files must be there and of the right kind")
    assert "Traceback" not in err


def test_list_and_show(dqf, root):
    code, out, err = dqf("list")
    assert (code, out) == (0, "")
    assert "no runs yet" in err
    done = write_example_run(root / "runs", label="starter-cut")
    failed = write_example_run(root / "runs", state="failed")
    write_example_run(root / "reference", age_seconds=10_000)
    code, out, _ = dqf("list")
    assert out.count("\n") == 5
    assert {row["state"] for row in json.loads(dqf("list", "--json")[1])} == {"succeeded", "failed"}
    code, out, _ = dqf("show", done.name)
    assert "Student-KD" in out
    assert "student-dqf" in out
    assert json.loads(dqf("show", done.name, "--json")[1])["run_id"] == done.name
    code, out, _ = dqf("show", failed.name)
    assert "halve `student.batch_size`" in out
    code, _, err = dqf("show", failed.name, "--json")
    assert code == 2
    assert "is failed" in err
    code, _, err = dqf("show", "2099")
    assert code == 2
    assert "no run begins with '2099'" in err


def test_cancel_and_resume_of_runs_that_cannot(dqf, root):
    queued = write_example_run(root / "runs", state="queued")
    assert dqf("cancel", queued.name)[:2] == (0, f"{queued.name}: cancelled\n")
    assert dqf("cancel", queued.name)[0] == 0
    done = write_example_run(root / "runs")
    assert dqf("cancel", done.name)[1] == f"{done.name}: succeeded\n"
    code, _, err = dqf("resume", done.name)
    assert code == 2
    assert "can be resumed" in err


def test_ingest_rebuilds_the_store(dqf, root):
    write_example_run(root / "runs")
    assert dqf("ingest")[:2] == (0, "1 runs are in the store.\n")


def test_ingest_names_the_process_that_holds_the_store(dqf, root):
    code = "import sys; from dqf.settings import load_settings; from dqf.store.db import Store\n"
    code += "store = Store.open(load_settings(sys.argv[1])); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        code, _, err = dqf("ingest")
        holder.stdin.write(b"\n")
    assert code == 2
    assert f"held by process {holder.pid}" in err
    assert err.count("\n") == 1


def test_command_line_starts_without_torch(root):
    code = "import sys; from dqf import cli; cli.main(sys.argv[1:]);"
    code += "cli.config_from(cli.build_parser().parse_args(['run']));"
    code += "print([m for m in ('torch', 'transformers', 'streamlit', 'duckdb') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "--results-dir", str(root)], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_progress_is_a_line_per_stage_without_a_terminal():
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    printer(Event(0, 0, "plan", data={"stages": [{"id": "a", "title": "First"}, {"id": "b", "title": "Second"}]}))
    printer(Event(1, 0, "stage_started", "b"))
    for step in range(50):
        printer(Event(2, 0, "progress", "b", step, 50, 3.0, {"loss": 0.5}))
    printer(Event(3, 0, "stage_done", "b", metrics={"seconds": 65, "cache": "hit"}))
    assert stream.getvalue().splitlines() == ["[2/2] Second ...", "[2/2] Second: done 1 min 5 s, from the cache"]


def test_progress_is_one_live_line_on_a_terminal():
    stream = io.StringIO()
    stream.isatty = lambda: True
    printer = ProgressPrinter(stream)
    printer(Event(0, 0, "plan", data={"stages": [{"id": "a", "title": "First"}]}))
    for step in range(1, 4):
        printer(Event(2, 0, "progress", "a", step, 50, 30.0, {"loss": 0.5}))
    printer.finish()
    assert stream.getvalue().count("\n") == 1
    assert "step 3/50 (6 %)  loss 0.5  ETA 30 s" in stream.getvalue()


def test_durations_and_tables():
    assert [duration(s) for s in (0.44, 12.3, 185, 7800)] == ["0.4 s", "12 s", "3 min 5 s", "2 h 10 min"]
    assert table(("name", "n"), [("a", "10"), ("bcdef", "2")]).splitlines()[2:] == ["a      10", "bcdef   2"]


def test_own_run_is_never_seen_as_queued(root, monkeypatch):
    from dqf.jobs import actions

    settings = load_settings(root)
    run_dir = actions.create_own(settings, preset_config("starter"))
    assert protocol.run_state(run_dir) == "running"
