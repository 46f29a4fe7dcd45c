"""Advice by scenario: the best measured row, and where the textbook is right, wrong or untested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dqf.ui.scenario import advice as scenarios
from tests.unit.test_budgets import variants

CLOUD, EDGE, REAL_TIME, MOBILE = range(4)


def measured(**changes: dict[str, float]) -> pd.DataFrame:
    frame = variants()
    frame["peak_rss_bytes"] = [1100e6, 270e6, 230e6, 220e6]
    frame["latency_ms_p90"] = frame["latency_ms_p50"] * 1.2
    frame["throughput_per_s"] = [60.0, 500.0, 600.0, 900.0]
    for name, row in changes.items():
        for column, value in row.items():
            frame.loc[frame["variant"] == name.replace("_", "-"), column] = value
    return frame


def advice(frame: pd.DataFrame, which: int, loss: float = 0.02) -> scenarios.Advice:
    return scenarios.advise(frame, scenarios.scenarios(scenarios.has_throughput(frame))[which], loss)


def test_each_scenario_takes_the_row_that_is_best_at_what_counts():
    frame = measured()
    assert [advice(frame, at).best["variant_id"] for at in range(4)] == ["student-dqf"] * 4
    assert [advice(frame, at, 0.05).best["variant_id"] for at in range(4)] == ["student-dqf"] * 3 + ["student-ptq"]
    slow = measured(student_dqf={"latency_ms_p90": 9.0, "throughput_per_s": 10.0})
    assert advice(slow, REAL_TIME).best["variant_id"] == "student-kd"
    assert advice(slow, CLOUD).best["variant_id"] == "student-kd"
    assert advice(slow, CLOUD, 0.05).best["variant_id"] == "student-ptq"
    assert advice(slow, EDGE).best["variant_id"] == "student-dqf"


def test_the_textbook_is_right_wrong_even_or_untested():
    frame = measured()
    edge = advice(frame, EDGE)
    assert (edge.verdict, edge.sentence) == (scenarios.AGREES, "It is quantized to 4 bits or fewer, as advised.")
    cloud = advice(frame, CLOUD)
    assert (cloud.verdict, cloud.sentence) == (scenarios.UNTESTED, "None of these rows is 8-bit.")
    real = advice(frame, REAL_TIME)
    assert real.verdict == scenarios.DISAGREES
    assert real.sentence == "The textbook's choice is Student-KD at 2.88\u00a0ms, 60\u00a0% worse."
    even = advice(measured(student_kd={"latency_ms_p90": 1.8 * 1.04}), REAL_TIME)
    assert even.verdict == scenarios.TIE
    assert "no more than measurements vary" in even.sentence


def test_a_textbook_choice_that_loses_too_much_is_said_so():
    frame = measured(student_kd={"score": 0.5})
    found = advice(frame, REAL_TIME)
    assert found.verdict == scenarios.DISAGREES
    assert (
        found.sentence
        == "The textbook's choice, Student-KD, costs too much score: \u221240.0\u00a0pp against its teacher."
    )
    nothing = advice(frame, EDGE, 0.001)
    assert (nothing.verdict, nothing.best) == (scenarios.NOTHING, None)


def test_unverified_rows_and_the_teacher_are_no_advice():
    frame = measured(teacher={"peak_rss_bytes": 1.0}, student_dqf={"verified": False})
    assert advice(frame, EDGE).best["variant_id"] == "student-kd"


def test_throughput_is_measured_or_derived_and_says_which():
    frame = measured()
    found = advice(frame, CLOUD)
    assert found.scenario.counts == "Throughput in batches of 8"
    assert found.scenario.text(found.best) == "900\u00a0texts/s"
    assert found.gain == pytest.approx(15)
    derived = measured(student_kd={"throughput_per_s": np.nan})
    found = advice(derived, CLOUD)
    assert "as no batches were timed" in found.scenario.counts
    assert found.scenario.text(found.best) == "667\u00a0texts/s, one by one"
    assert scenarios.table(derived, scenarios.scenarios(False), 0.02)["Texts/s"].iloc[-1] == pytest.approx(1000 / 1.5)


def test_table_gives_multiples_of_the_teacher():
    frame = measured()
    table = scenarios.table(frame, scenarios.scenarios(True), 0.02)
    assert table["Cloud"].tolist() == pytest.approx([1, 500 / 60, 10, 15])
    assert table["Edge"].tolist()[-1] == pytest.approx(5)
    assert table["Mobile"].iloc[-1] == pytest.approx((270 / 20 * 5 * 20 / 1.5) ** (1 / 3))
    assert table["Holds the loss"].tolist() == [True, True, False, True]
    # Of two runs each row is held against its own teacher.
    fast = measured(teacher={"throughput_per_s": 300.0}).assign(run_id="20260102-000000-starter-bbbb")
    both = pd.concat([frame, fast], ignore_index=True)
    assert scenarios.table(both, scenarios.scenarios(True), 0.02)["Cloud"].tolist() == pytest.approx(
        [1, 500 / 60, 10, 15, 1, 500 / 300, 2, 3]
    )
    assert advice(both.iloc[[0, 3, 4]].reset_index(drop=True), CLOUD).gain == pytest.approx(15)
    alone = scenarios.table(frame[frame["variant"] != "teacher"], scenarios.scenarios(True), 0.02)
    assert alone["Cloud"].isna().all()
