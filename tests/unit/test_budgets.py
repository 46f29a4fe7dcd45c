"""Limits on size, latency and score against their definition, and the sentences they give."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from dqf.ui import frames
from dqf.ui.axes import LATENCY, SCORE, SIZE
from dqf.ui.frontier import budgets
from dqf.ui.frontier.budgets import NONE, Budget
from dqf.ui.frontier.chart import DOMINATED, INFEASIBLE, frontier

NAN = float("nan")
NB = "\u00a0"


def variants(**changes: dict[str, float]) -> pd.DataFrame:
    """A teacher and three students; `changes` by variant."""
    rows = {
        "teacher": {"size_bytes": 270e6, "latency_ms_p50": 20.0, "score": 0.90},
        "student-kd": {"size_bytes": 45e6, "latency_ms_p50": 2.4, "score": 0.89},
        "student-ptq": {"size_bytes": 14e6, "latency_ms_p50": 2.0, "score": 0.85},
        "student-dqf": {"size_bytes": 20e6, "latency_ms_p50": 1.5, "score": 0.88},
    }
    found = []
    for name, row in rows.items():
        row |= changes.get(name.replace("-", "_"), {})
        found.append(
            {
                "run_id": "20260102-000000-starter-aaaa",
                "variant_id": name,
                "variant": name,
                "bits": 4 if name.endswith(("ptq", "dqf")) else 16,
                "quantizer": "gptq" if name.endswith(("ptq", "dqf")) else None,
                "task": "sst2",
                "n": 400,
                "verified": True,
                "reference": False,
                "compression_ratio": 270e6 / row["size_bytes"],
                "speedup": 20.0 / row["latency_ms_p50"],
                "score_ci95_low": row["score"] - 0.03,
                "score_ci95_high": row["score"] + 0.03,
                "retention_ci95_low": NAN,
                **row,
            }
        )
    return frames.derive(pd.DataFrame(found))


def chosen(frame: pd.DataFrame, budget: Budget, cost: str = "size_bytes") -> tuple[str, bool]:
    choice = budgets.choose(frame, budget, cost)
    assert choice is not None
    return choice.row["variant_id"], choice.fits


@pytest.mark.parametrize(
    ("budget", "cost", "expected"),
    [
        (Budget(), "size_bytes", ("student-ptq", True)),
        (Budget(), "latency_ms_p50", ("student-dqf", True)),
        (Budget(loss=0.02), "size_bytes", ("student-dqf", True)),
        (Budget(loss=0.01), "size_bytes", ("student-kd", True)),
        (Budget(loss=0.05, latency_ms=1.6), "size_bytes", ("student-dqf", True)),
        (Budget(size_bytes=14e6), "latency_ms_p50", ("student-ptq", True)),
        (Budget(size_bytes=10e6), "size_bytes", ("student-ptq", False)),
        (Budget(loss=0.005), "size_bytes", ("student-kd", False)),
    ],
)
def test_the_best_that_fits_or_the_closest(budget, cost, expected):
    assert chosen(variants(), budget, cost) == expected


def test_of_files_of_one_size_the_better_one_is_chosen_here_as_on_the_overview():
    twins = variants(
        student_ptq={"size_bytes": 9.366e6, "score": 0.885}, student_dqf={"size_bytes": 9.370e6, "score": 0.89}
    )
    best = frames.recommended(twins, "size_bytes", 0.02)
    assert best is not None
    assert chosen(twins, Budget(loss=0.02)) == (best["variant_id"], True) == ("student-dqf", True)


def test_choice_is_the_definition_on_random_tables():
    rng = np.random.default_rng(3)
    for _ in range(60):
        frame = pd.concat([variants()] * 4, ignore_index=True)
        frame["size_bytes"] = rng.uniform(1e6, 1e8, len(frame))
        frame["latency_ms_p50"] = rng.uniform(1, 20, len(frame))
        frame["score"] = rng.uniform(0.5, 0.9, len(frame))
        frame["verified"] = rng.random(len(frame)) < 0.8
        size, latency, loss = rng.uniform(1e6, 1e8), rng.uniform(1, 20), rng.uniform(0, 0.4)
        students = frame[(frame["variant"] != "teacher") & frame["verified"]]
        fitting = students[
            (students["size_bytes"] <= size)
            & (students["latency_ms_p50"] <= latency)
            & (students["score"] >= students["teacher_score"] - loss)
        ]
        choice = budgets.choose(frame, Budget(size, latency, loss), "size_bytes")
        assert choice is not None
        assert choice.fits == bool(len(fitting))
        if choice.fits:
            alike = fitting[fitting["size_bytes"] <= 1.01 * fitting["size_bytes"].min()]
            assert choice.row["size_bytes"] in alike["size_bytes"].to_numpy()
            assert choice.row["score"] == alike["score"].max()
        else:
            worst = np.maximum.reduce(
                [
                    students["size_bytes"] / size - 1,
                    students["latency_ms_p50"] / latency - 1,
                    10 * (students["teacher_score"] - loss - students["score"]),
                ]
            )
            weighed = [value * (10 if name == "score" else 1) for name, value in choice.misses.items()]
            assert max(weighed) == pytest.approx(worst.min())


def test_unverified_and_unknown_figures_are_never_the_answer():
    frame = variants(student_ptq={"verified": False}, student_dqf={"latency_ms_p50": NAN})
    assert chosen(frame, Budget(latency_ms=3.0)) == ("student-kd", True)
    assert chosen(frame, Budget()) == ("student-dqf", True)
    assert not Budget(latency_ms=3.0).fits(frame)[3]
    assert budgets.choose(frame[frame["variant"] == "teacher"], Budget(), "size_bytes") is None
    assert "no verified student with known figures" in budgets.sentence(None, Budget())


def test_a_limit_that_is_just_met_fits():
    assert Budget(loss=0.02).fits(variants())[3]
    assert Budget(size_bytes=20e6, latency_ms=1.5).fits(variants())[3]
    assert not Budget(size_bytes=20e6 - 1).fits(variants())[3]


def test_sentences_say_limits_and_misses():
    assert Budget().words() == ""
    words = Budget(20e6, 3.0, 0.02).words()
    assert words == f"within 2 pp of the teacher, at most 20.0{NB}MB and at most 3.00{NB}ms"
    missed = budgets.sentence(
        budgets.choose(variants(), Budget(latency_ms=1.2, loss=0.01), "size_bytes"), Budget(latency_ms=1.2, loss=0.01)
    )
    assert missed == (
        "no variant fits; the closest is Student-DQF 4-bit GPTQ · starter-aaaa: it misses latency by "
        f"25{NB}% (1.50{NB}ms against 1.20{NB}ms) and the score by 1.0{NB}pp (\u22122.0{NB}pp against the teacher)."
    )
    small = Budget(size_bytes=12.5e6)
    assert f"misses size by 12{NB}% (14.0{NB}MB against 12.5{NB}MB)." in budgets.sentence(
        budgets.choose(variants(), small, "size_bytes"), small
    )


def test_doubt_is_said_where_the_interval_reaches_below_the_limit():
    budget = Budget(loss=0.02)
    sure = variants(student_dqf={"retention_ci95_low": 0.985})
    unsure = variants(student_dqf={"retention_ci95_low": 0.95})
    assert "cannot be ruled out" not in budgets.sentence(budgets.choose(sure, budget, "size_bytes"), budget)
    assert "cannot be ruled out" in budgets.sentence(budgets.choose(unsure, budget, "size_bytes"), budget)
    loose = Budget(loss=0.1)
    assert "cannot be ruled out" not in budgets.sentence(budgets.choose(unsure, loose, "size_bytes"), loose)


def test_stops_enclose_the_values_and_keep_what_a_link_asks_for():
    found = budgets.stops(np.array([13.3, 45.4, 269.0, NAN]))
    assert found[0] == 12.0
    assert found[1:3] == [15.0, 20.0]
    assert found[-1] == 250.0
    assert budgets.stops(np.array([13.3, 269.0]), 7.7)[0] == 7.7
    assert budgets.stops(np.array([NAN])) == []
    assert budgets.stops(np.array([2.0]), math.inf) == [1.5, 2.0]
    assert budgets.limit_on(SIZE, Budget(size_bytes=20e6)) == pytest.approx(20)
    assert budgets.limit_on(LATENCY, Budget()) == NONE


def test_what_breaks_a_limit_nearly_vanishes_and_the_limit_is_drawn():
    frame = variants()
    budget = Budget(size_bytes=30e6, loss=0.03)
    figure = frontier(frame, SIZE, SCORE, fits=budget.fits(frame), limit=budgets.limit_on(SIZE, budget))
    opacity = {key: t.marker.opacity for t in figure.data if t.customdata is not None for key in t.customdata}
    by_kind = {key.split("/")[1]: value for key, value in opacity.items()}
    assert by_kind == {"teacher": INFEASIBLE, "student-kd": INFEASIBLE, "student-ptq": INFEASIBLE, "student-dqf": 0.95}
    assert figure.layout.shapes[0].x0 == 30
    assert figure.layout.annotations[0].x == pytest.approx(math.log10(30))
    assert DOMINATED > INFEASIBLE
    ring = frontier(frame, SIZE, SCORE, marked=(frame["key"][3], "Best that fits")).data[-1]
    assert (ring.name, ring.x[0], ring.y[0]) == ("Best that fits", 20.0, 88.0)
    assert not frontier(frame, SIZE, SCORE, fits=Budget().fits(frame)).layout.shapes
