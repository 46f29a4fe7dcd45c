import copy
import json

import numpy as np
import pandas as pd
import pytest

from dqf.errors import UserError
from dqf.evaluate.metrics import compute_metric
from dqf.evaluate.significance import holm
from dqf.ui import format as fmt
from dqf.ui import paper
from dqf.ui.findings import averages as task_averages
from dqf.ui.findings import charts as finding_charts
from dqf.ui.findings import pays_chart, studies, tables
from tests.support.example_studies import TEMPERATURES, write_example_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_example_study(tmp_path_factory.mktemp("study") / "mine")


@pytest.fixture(scope="module")
def part(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def conditions(tmp_path_factory):
    folder = write_example_study(tmp_path_factory.mktemp("study") / "temperature", TEMPERATURES)
    return json.loads((folder / "summary.json").read_text())["conditions"]


def test_every_cell_of_table_1_is_the_summarys_and_the_papers_rows_are_labelled(part):
    table = tables.table_1(part)
    assert table["Source"].tolist() == ["Measured"] * len(part["variants"]) + [paper.LABEL] * 2
    row = table[table["Variant"] == "Student-DQF, 4-bit"].iloc[0]
    found = tables.figures(part, "student-dqf@4")
    assert row["Score"].startswith(f"{100 * found['score']:.1f}")
    assert f"[{100 * found['score_ci95_low']:.1f}, {100 * found['score_ci95_high']:.1f}]" in row["Score"]
    assert table.iloc[-1]["Size"] == "900\u00a0MB"


def test_task_rows_can_be_found_again_in_the_predictions(part, folder):
    table = tables.task_table(part, "student-dqf@4").set_index("Task")
    assert list(table.index) == part["tasks"]
    for task, row in table.iterrows():
        frame = pd.read_parquet(folder / "predictions" / f"{task}.parquet")
        mine = frame[(frame["variant"] == "student-dqf") & (frame["bits"] == "4")]
        scores = [compute_metric(row["Metric"], one["label"], one["prediction"]) for _, one in mine.groupby("seed")]
        assert row["Score"] == pytest.approx(100 * np.mean(scores))
        assert row["n"] == mine["idx"].nunique()
    assert pd.isna(table.loc["stsb", "Lost"])
    assert tables.task_table(part, "student-dqf@3").empty


def test_only_the_average_has_a_row_of_the_papers_and_it_is_labelled(part):
    table = task_averages.averages(part, "student-dqf@2").set_index("Source")
    found = tables.figures(part, "student-dqf@2")
    assert table.loc["Measured", "Teacher"] == fmt.percent(found["teacher_score"])
    assert table.loc["Measured", "Score"].startswith(f"{100 * found['score']:.1f}")
    assert table.loc[paper.LABEL, ["Teacher", "Score", "Retention"]].tolist() == [
        "85.2\u00a0%",
        "81.3\u00a0%",
        "95.4\u00a0%",
    ]
    assert task_averages.averages(part, "student-dqf@3").empty


def test_the_matrix_of_scores_averages_its_own_rows(part):
    matrix = task_averages.score_matrix(part).set_index("Variant")
    assert len(matrix) == len(part["variants"])
    assert list(matrix) == [*part["tasks"], "Average"]
    np.testing.assert_allclose(matrix[part["tasks"]].mean(axis=1), matrix["Average"])


def test_settings_of_teacher_and_student_say_whose_they_are():
    paths = ("teacher.tuning", "student.tuning", "seed", "teacher.seed", "task.seed", "distillation.options.alpha")
    titles = [tables.setting_title(path) for path in paths]
    assert titles == ["Teacher tuning", "Student tuning", "Seed", "Teacher seed", "Task seed", "Alpha"]
    assert tables.setting_title("quantization.group_size") == "Group size"


def test_parts_of_the_loss_add_up_and_are_drawn_from_teacher_to_student(part):
    table = tables.decomposition_table(part)
    assert set(table["bits"]) == {"8", "4", "2"}
    for bits, rows in table.groupby("bits"):
        values = rows.set_index("part")["value"]
        assert values.drop("total").sum() == pytest.approx(values["total"])
        teacher = 100 * tables.figures(part, "teacher")["score"]
        student = 100 * part["bits"][bits]["score"]
        assert teacher - values["total"] == pytest.approx(student)
        figure = finding_charts.decomposition(rows, teacher, student)
        last = figure.data[-1]
        assert last.base[0] + last.x[0] == pytest.approx(student)


def test_verdicts_have_a_row_per_bit_width_and_one_for_all(part):
    table = tables.verdict_table(part["verdicts"]["H2"])
    assert table["Bit-width"].tolist() == ["8-bit", "4-bit", "2-bit", "All bit-widths"]
    assert table["Effect"].str.endswith("×").all()
    assert tables.verdict_table(part["verdicts"]["H3"])["Effect"].str.endswith("pp").all()


def test_what_was_varied_becomes_a_chart_of_its_rows(conditions):
    assert tables.varied_settings(conditions) == {"distillation.options.temperature": [1, 2, 4, 8]}
    rows = tables.setting_rows(conditions, "distillation.options.temperature")
    kept = rows[rows["system"] == "student-kd"]
    assert kept["value"].tolist() == ["1", "2", "4", "8"]
    figure = finding_charts.setting(kept, tables.setting_title("distillation.options.temperature"))
    assert figure.layout.xaxis.title.text == "Temperature"
    np.testing.assert_allclose(
        figure.data[0].y, [100 * tables.figures(one, "student-kd")["score"] for one in conditions]
    )
    assert figure.data[0].mode == "lines+markers"


def test_methods_are_points_without_a_line_and_named(conditions):
    renamed = copy.deepcopy(conditions[:2])
    for one, method in zip(renamed, ("full", "lora"), strict=True):
        one["settings"] = {"student.tuning": method}
    rows = tables.setting_rows(renamed, "student.tuning")
    assert list(dict.fromkeys(rows["value"])) == ["Full fine-tuning", "LoRA"]
    assert finding_charts.setting(rows, "Tuning").data[0].mode == "markers"
    assert tables.varied_settings([{"settings": {"a": 1}}, {"settings": {"a": 1}}]) == {}


def test_settings_varied_together_stand_next_to_each_other(conditions):
    varied = copy.deepcopy(conditions)
    pairs = [(teacher, student) for teacher in ("full", "lora") for student in ("full", "lora")]
    for one, (teacher, student) in zip(varied, pairs, strict=True):
        one["settings"] = {"teacher.tuning": teacher, "student.tuning": student}
    rows = tables.setting_rows(varied, "teacher.tuning")
    kept = rows[rows["system"] == "student-kd"]
    assert list(zip(kept["value"], kept["beside"], strict=True)) == [
        (tables.setting_value(teacher), tables.setting_value(student)) for teacher, student in pairs
    ]
    figure = finding_charts.setting(kept, "Teacher tuning")
    assert len(set(figure.data[0].x)) == 4
    assert figure.data[0].mode == "markers"
    assert figure.layout.xaxis.title.text == "Student tuning, within teacher tuning"
    assert list(figure.layout.xaxis.ticktext) == 2 * ["Full fine-tuning", "LoRA"]
    assert [one.text for one in figure.layout.annotations] == ["<b>Full fine-tuning</b>", "<b>LoRA</b>"]


def test_missing_figures_are_dashes_not_errors(part):
    bare = copy.deepcopy(part)
    for row in (*bare["variants"], *bare["bits"].values()):
        for name in [key for key in row if "ci95" in key or "speed" in key or "latency" in key]:
            row[name] = None
        for task in row["tasks"]:
            task.update(flips=None, published=None, retention_ci95_low=None, retention_ci95_high=None)
    assert set(tables.table_1(bare)["× faster"][:-2]) == {"–"}
    assert tables.task_table(bare, "student-dqf@4")["Published"].isna().all()
    finding_charts.by_bits(bare)
    finding_charts.retention_by_task(tables.tasks_of(bare, "student-dqf@4"), "x", "student-dqf")


def _without(name):
    def change(summary):
        del summary[name]

    return change


def _row_without(name):
    def change(summary):
        del summary["variants"][0][name]

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_without("verdicts"), "must hold `verdicts`"),
        (_without("study"), "must hold `study`"),
        (_row_without("retention"), "must hold `variants.retention`"),
        (lambda summary: summary.update(schema_version=2), "must be of schema version 1: that of mine is of 2"),
        (lambda summary: summary["verdicts"]["H1"][0].pop("p_holm"), "must hold `verdicts.p_holm`"),
    ],
)
def test_a_summary_of_another_form_is_refused_in_one_sentence(part, change, sentence):
    broken = copy.deepcopy(part)
    change(broken)
    with pytest.raises(UserError, match=sentence):
        studies.checked(broken, "mine")
    assert studies.checked(part, "mine") is part


def test_names_from_outside_bring_no_markup_into_charts(conditions):
    evil = copy.deepcopy(conditions[:2])
    for one, value in zip(evil, ("<a href='x'>y</a>", "b"), strict=True):
        one.update(settings={"x": value}, condition=value)
    assert "<a" not in finding_charts.setting(tables.setting_rows(evil, "x"), "<a>").to_json()


@pytest.fixture(scope="module")
def hidden_labels(tmp_path_factory):
    plan = {"task": {"source": ["glue:rte"]}, "seed": [0, 1], "student": {"label_rows": [0, 100, 1000]}}
    folder = write_example_study(tmp_path_factory.mktemp("labels") / "labels", plan)
    return json.loads((folder / "summary.json").read_text())["conditions"]


def test_where_distillation_pays_is_the_difference_of_the_two_students(hidden_labels):
    rows = tables.pays_rows(hidden_labels)
    assert list(dict.fromkeys(rows["value"])) == ["100", "1\u202f000", "all"]
    assert (rows["difference"] - (rows["score"] - rows["plain_score"])).abs().max() < 1e-9
    for row in rows.to_dict("records"):
        inside = row["low"] <= 0 <= row["high"]
        assert row["outcome"] == ("ties" if inside else "wins" if row["difference"] > 0 else "loses")
    one = next(part for part in hidden_labels if part["settings"]["student.label_rows"] == 100)
    scores = {row["system"]: row["score"] for row in one["variants"]}
    first = rows[(rows["value"] == "100") & (rows["bits"] == "16")].iloc[0]
    assert first["difference"] == pytest.approx(100 * (scores["student-kd"] - scores["student-ft"]))


def test_every_varied_setting_is_asked_where_distillation_pays(hidden_labels):
    def vary(**settings):
        count = max(len(values) for values in settings.values())
        return [
            {**hidden_labels[at % 3], "settings": {path: values[at % len(values)] for path, values in settings.items()}}
            for at in range(count)
        ]

    def columns(conditions):
        return list(dict.fromkeys(tables.pays_rows(conditions, tables.pays_paths(conditions))["value"]))

    assert tables.pays_paths(hidden_labels) == [tables.LABELS]
    hot = vary(**{"distillation.options.temperature": [8.0, 1.0, 2.0]})
    assert tables.pays_paths(hot) == ["distillation.options.temperature"]
    assert columns(hot) == ["1", "2", "8"]
    assert columns(vary(**{"distillation.options.layers": ["none", "last", "10:2"]})) == ["none", "last", "10:2"]
    both = vary(**{"teacher.tuning": ["full", "lora", "lora"], "distillation.options.alpha": [0.9, 0.1, 0.5]})
    assert columns(both) == ["Full fine-tuning / 0.9", "LoRA / 0.1", "LoRA / 0.5"]
    labels_too = vary(**{"distillation.options.alpha": [0.1, 0.1, 0.5, 0.5], tables.LABELS: [100, 300, 100, 300]})
    assert tables.pays_paths(labels_too) == [tables.LABELS, "distillation.options.alpha"]
    rows = tables.pays_rows(labels_too, tables.pays_paths(labels_too))
    assert not rows.duplicated(["name", "value"]).any()  # a cell of the chart shows one condition
    assert not tables.pays_paths(hot[:1])


def test_every_cell_of_the_chart_says_its_outcome(hidden_labels):
    rows = tables.pays_rows(hidden_labels)
    figure = pays_chart.figure(rows, "Training rows with labels")
    assert len(figure.layout.annotations) == len(rows)
    assert rows["p_holm"].tolist() == holm(rows["p_value"].tolist())
    rows.loc[1, "p_holm"] = 0.01
    figure = pays_chart.figure(rows, "Training rows with labels")
    said = [one.text.split("</b>")[0].removeprefix("<b>") for one in figure.layout.annotations]
    marks = ["*" if p < 0.05 else "" for p in rows["p_holm"]]
    assert said == [f"{outcome} {mark}".strip() for outcome, mark in zip(rows["outcome"], marks, strict=True)]
    z = np.array(figure.data[0].z, dtype=float)
    assert z.shape == (rows["name"].nunique(), 3)
    assert z[0, 0] == pytest.approx(rows["difference"].iloc[0])
