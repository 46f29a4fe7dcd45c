"""From lists to runs: what is multiplied out, what is laid over what, and how errors are told."""

import json

import pytest

from dqf import cli
from dqf.config import RunConfig
from dqf.errors import ConfigError, FieldError, UserError
from dqf.presets import preset_config
from dqf.settings import load_settings
from dqf.study.plan import plan_of
from dqf.sweeps import command
from dqf.sweeps.directory import open_sweep, read_sweep, sweep_folder
from dqf.sweeps.plan import MOST_RUNS, Override, Plan, expand, shared_work, value_at


def runs_of(*arguments):
    expansion = expand(command.plan_from(cli.build_parser().parse_args(["sweep", *arguments])))
    expansion.raise_errors()
    return expansion.runs


def column(runs, path):
    return [value_at(run.config.to_dict(), path) for run in runs]


def write(tmp_path, data, name="sweep.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def test_without_lists_there_is_one_run():
    assert [run.config for run in runs_of()] == [preset_config("starter")]


def test_lists_are_multiplied_out():
    runs = runs_of("--seed", "0,1,2", "--temperature", "1,2,4,8", "--task", "glue:rte,glue:mrpc")
    assert len(runs) == 24
    assert len({run.config.digest() for run in runs}) == 24
    assert {run.label for run in runs} >= {"seed=2 source=glue:mrpc temperature=8.0"}
    assert runs[0].settings == {"seed": 0, "task.source": "glue:rte", "distillation.options.temperature": 1.0}


def test_settings_whose_values_hold_commas_are_separated_by_semicolons():
    assert column(runs_of("--bits", "8,4"), "quantization.bits") == [[8, 4]]
    assert column(runs_of("--bits", "8", "4"), "quantization.bits") == [[8, 4]]
    assert column(runs_of("--bits", "8,4;2"), "quantization.bits") == [[8, 4], [2]]
    cut = ("--student", "teacher-layers", "--keep-layers")
    assert column(runs_of(*cut, "0,29;0,9,29"), "student.keep_layers") == ["0,29", "0,9,29"]
    files = runs_of("--task", "file:a,b.csv;", "--text-column", "t", "--label-column", "l")
    assert column(files, "task.source") == ["file:a,b.csv"]


def test_booleans_and_presets_are_lists_too():
    assert column(runs_of("--symmetric", "true,false"), "quantization.symmetric") == [True, False]
    assert column(runs_of("--symmetric"), "quantization.symmetric") == [True]
    assert column(runs_of("--no-embeddings"), "quantization.embeddings") == [False]
    runs = runs_of("--preset", "starter,starter-cut", "--seed", "1,2")
    assert column(runs, "student.model") == ["starter:minilm-l6"] * 2 + ["teacher-layers"] * 2


def test_every_flag_of_a_run_is_one_of_a_sweep():
    from dqf import flags

    given = {bool: "true", int: "9", float: "1.5", str: "x"}
    for flag in flags.all_flags():
        parsed = cli.build_parser().parse_args(["sweep", flag.name, given.get(flag.annotation, "2")])
        assert flags.values_of(parsed) == {".".join(flag.path): [given.get(flag.annotation, "2")]}


def test_a_file_may_hold_lists_and_flags_are_laid_over_it(tmp_path):
    data = {"seed": [0, 1], "quantization": {"bits": [8, 4]}, "distillation": {"options": {"alpha": [0.5, 0.9]}}}
    path = write(tmp_path, data)
    assert len(runs_of("--config", path)) == 4
    assert column(runs_of("--config", path), "quantization.bits") == [[8, 4]] * 4
    assert column(runs_of("--config", path, "--seed", "7"), "seed") == [7, 7]
    path = write(tmp_path, {"quantization": {"bits": [[8, 4], [2]]}})
    assert column(runs_of("--config", path), "quantization.bits") == [[8, 4], [2]]
    path = write(tmp_path, "seed = [3, 4]\n[teacher]\nepochs = 1\n", "sweep.toml")
    assert column(runs_of("--config", path), "teacher.epochs") == [1.0, 1.0]


def test_a_runs_own_config_is_a_sweep_of_one(tmp_path):
    config = preset_config("starter-cut", {"quantization": {"bits": [8, 2]}})
    assert [run.config for run in runs_of("--config", write(tmp_path, config.to_dict()))] == [config]


def test_a_preset_in_a_file_is_filled_in_if_it_is_one(tmp_path):
    both = runs_of("--config", write(tmp_path, {"preset": ["starter", "starter-cut"]}))
    assert column(both, "student.model") == ["starter:minilm-l6", "teacher-layers"]
    (mine,) = runs_of("--config", write(tmp_path, {"preset": "my-own", "seed": 3}))
    assert (mine.config.preset, mine.config.seed) == ("my-own", 3)
    with pytest.raises(UserError, match="did you mean `starter`"):
        runs_of("--config", write(tmp_path, {"preset": ["startr", "starter-cut"]}))


def test_overrides_reach_the_runs_they_match_and_yield_to_the_axes():
    plan = Plan(
        {"teacher": {"epochs": 3}},
        {"task.source": ("glue:rte", "glue:qqp"), "student.epochs": (1, 2)},
        (Override({"task.source": ("glue:qqp", "glue:qnli")}, {"teacher": {"epochs": 2}, "student": {"epochs": 9}}),),
    )
    runs = expand(plan).runs
    assert column(runs, "teacher.epochs") == [3.0, 3.0, 2.0, 2.0]
    assert column(runs, "student.epochs") == [1.0, 2.0, 1.0, 2.0]


def test_an_override_for_no_setting_is_refused_and_one_for_no_run_is_told(tmp_path, capsys):
    runs = {"task": {"source": ["glue:rte", "glue:cola"]}}
    wrong = plan_of({"config": runs, "overrides": [{"when": {"task.sorce": "glue:rte"}, "set": {}}]}, "mine", False)
    with pytest.raises(UserError, match=r"must name settings: got `task\.sorce`; did you mean .*task\.source"):
        expand(wrong.plan)
    override = {"when": {"task.source": ["glue:rtee"]}, "set": {"student": {"epochs": 9.0}}}
    idle = plan_of({"config": runs, "overrides": [override]}, "mine", False).plan
    assert [one.when for one in expand(idle).idle] == [{"task.source": ("glue:rtee",)}]
    command.checked_runs(idle, load_settings(tmp_path), lambda config, settings: None)
    assert "no run matches the override for task.source = glue:rtee" in capsys.readouterr().err


def test_options_of_a_method_that_a_run_does_not_use_are_dropped_or_refused():
    runs = runs_of("--quantizer", "gptq,rtn")
    assert [bool(run.config.quantization.options) for run in runs] == [True, False]
    with pytest.raises(ConfigError, match="in 1 of 2 runs: quantizer=rtn") as refused:
        runs_of("--quantizer", "gptq,rtn", "--damping", "0.1")
    assert [error.path for error in refused.value.errors] == ["quantization.options.damping"]


def test_the_same_run_twice_is_one_run():
    assert column(runs_of("--seed", "0,0,1"), "seed") == [0, 1]


def test_all_errors_of_all_runs_come_at_once_each_once():
    with pytest.raises(ConfigError) as refused:
        runs_of("--seed", "0,-1,-1", "--task", "glue:rte,glue:rtf", "--group-size", "many")
    found = {error.path: error.message for error in refused.value.errors}
    assert found.keys() == {"seed", "task.source", "quantization.group_size"}
    assert "in 4 of 6 runs: seed=-1 source=glue:rte" in found["seed"]
    assert "runs" not in found["quantization.group_size"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"seed": []}, "at least one value: `seed`"),
        ({"seed": list(range(MOST_RUNS + 1))}, f"at most {MOST_RUNS} runs"),
        ({"overrides": [{"if": {}}]}, "`when` and `set`"),
        ({"overrides": [{"when": 1, "set": {}}]}, "`when` and `set`"),
        ("[1]", "one JSON object"),
        ("{", "must be JSON"),
    ],
)
def test_bad_files_are_refused(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        runs_of("--config", write(tmp_path, data))


def test_unknown_settings_and_presets_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean `seed`"):
        runs_of("--config", write(tmp_path, {"sed": [1, 2]}))
    with pytest.raises(UserError, match="did you mean `starter`"):
        runs_of("--preset", "startr")
    with pytest.raises(UserError, match="must be readable"):
        runs_of("--config", str(tmp_path / "none.json"))


def test_files_are_looked_at_once_per_distinct_run_and_all_errors_told(tmp_path):
    looked = []

    def check(config, settings):
        looked.append(config.task.source)
        if config.task.source == "glue:rte":
            raise ConfigError([FieldError("task.source", "must be there: it is not.")])

    plan = Plan({}, {"seed": (0, 1), "task.source": ("glue:rte", "glue:mrpc")})
    with pytest.raises(ConfigError, match=r"it is not \(in 2 of 4 runs: seed=0 source=glue:rte, \.\.\.\)"):
        command.checked_runs(plan, load_settings(tmp_path), check)
    assert looked == ["glue:rte", "glue:mrpc"]


def test_what_runs_share_is_told():
    plan = Plan({}, {"seed": (0, 1), "distillation.options.temperature": (1, 2, 4), "task.source": ("glue:rte",)})
    assert shared_work(expand(plan).runs) == {"teachers": 1, "Student-FT": 2, "Student-KD": 6}
    cut = Plan({"student": {"model": "teacher-layers"}}, {"teacher.epochs": (1, 2)})
    assert shared_work(expand(cut).runs) == {"teachers": 2, "Student-FT": 2, "Student-KD": 2}
    averaged = Plan({"distillation": {"teachers": 3}}, {"teacher.seed": (0, 1)})
    assert shared_work(expand(averaged).runs) == {"teachers": 4, "Student-FT": 1, "Student-KD": 2}


def test_a_sweep_is_found_again_by_its_runs_and_extended_by_its_name(tmp_path):
    settings = load_settings(tmp_path)
    two, three = (expand(Plan({}, {"seed": seeds})).runs for seeds in ((0, 1), (0, 1, 2)))
    assert sweep_folder(settings, two) == sweep_folder(settings, two[::-1]) != sweep_folder(settings, three)
    with open_sweep(settings, Plan({}), two, "mine") as sweep:
        run_dirs = [sweep.queue(entry) for entry in sweep.entries]
    assert RunConfig.from_dict(json.loads((run_dirs[1] / "config.json").read_text())).seed == 1
    again = read_sweep(settings, Plan({}), three, settings.results_dir / "sweeps" / "mine")
    assert [again.state(entry) for entry in again.entries] == ["queued", "queued", "planned"]
    assert [again.run_dir(entry) for entry in again.entries[:2]] == run_dirs


def test_a_run_whose_name_was_chosen_but_which_was_never_made_is_made_under_it(tmp_path):
    settings = load_settings(tmp_path)
    runs = expand(Plan({}, {"seed": (0,)})).runs
    with open_sweep(settings, Plan({}), runs) as sweep:
        sweep.entries[0].run_id = "20261122-143000-starter-1f3a"
        sweep.save()
    with open_sweep(settings, Plan({}), runs) as sweep:
        assert sweep.state(sweep.entries[0]) == "planned"
        assert sweep.queue(sweep.entries[0]).name == "20261122-143000-starter-1f3a"


@pytest.mark.parametrize("name", ["../up", "Upper", "-x", "a" * 61])
def test_a_sweeps_name_is_a_plain_folder_name(tmp_path, name):
    with pytest.raises(UserError, match="lower-case"):
        sweep_folder(load_settings(tmp_path), [], name)


def test_one_process_at_a_time_works_on_a_sweep(tmp_path):
    settings = load_settings(tmp_path)
    with (
        open_sweep(settings, Plan({}), [], "mine"),
        pytest.raises(UserError, match="another one works on mine"),
        open_sweep(settings, Plan({}), [], "mine"),
    ):
        pass
