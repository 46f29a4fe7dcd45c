"""What the Playground makes of answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dqf.errors import UserError
from dqf.serving.manager import Answer
from dqf.ui.playground import answers as playground
from dqf.ui.playground import batch as playground_batch
from dqf.ui.playground import chart as playground_chart
from dqf.ui.playground.answers import Said

NAMES = ("sports", "tech", "politics")


def said(name: str, variant: str, logits: list[list[float]], answer: Answer | None = None) -> Said:
    return Said(name.lower(), name, variant, np.array(logits, np.float32), answer)


TEACHER = said("Teacher", "teacher", [[4, 0, 0], [0, 3, 0], [0, 0, 2]])
KD = said("Student-KD", "student-kd", [[3, 0, 0], [0, 2, 0], [1, 0, 0]])
PTQ = said("Student-PTQ", "student-ptq", [[0, 1, 0], [0, 1, 0], [2, 0, 0]])


def first(one: Said, at: int = 0) -> Said:
    return Said(one.variant_id, one.name, one.variant, one.logits[at : at + 1], one.answer)


def test_probabilities_are_the_softmax_even_of_large_logits():
    one = said("A", "student-kd", [[1000.0, 999.0]])
    np.testing.assert_allclose(one.probabilities, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]])
    np.testing.assert_allclose(KD.probabilities.sum(axis=1), 1)
    assert KD.words(NAMES) == ["sports", "tech", "sports"]
    assert playground.name_of(7, NAMES) == "class 7"


def test_sentences_say_who_agrees():
    assert playground.sentence([first(TEACHER, 1), first(KD, 1), first(PTQ, 1)], NAMES) == (
        "All 3 say tech, with 58 to 91 % confidence."
    )
    assert playground.sentence([first(TEACHER), first(KD), first(PTQ)], NAMES) == (
        "The teacher says sports (96\u00a0%); 1 of 2 others agree, but Student-PTQ says tech (58\u00a0%)."
    )
    assert playground.sentence([first(TEACHER), first(PTQ)], NAMES) == (
        "The teacher says sports (96\u00a0%); Student-PTQ says tech (58\u00a0%)."
    )
    assert playground.sentence([first(KD), first(PTQ)], NAMES) == "They differ: 1 says sports, 1 says tech."
    assert playground.sentence([first(KD)], NAMES).startswith("Student-KD says sports (90.9")


def test_numbers_have_a_distance_instead_of_a_confidence():
    teacher, kd = said("Teacher", "teacher", [[3.5]]), said("Student-KD", "student-kd", [[-0.25]])
    assert playground.sentence([teacher, kd], ()) == "The teacher gives 3.50; the others -0.25, at most 3.75 off."
    assert playground.agreement(kd, teacher) is None
    assert kd.words(()) == ["\u22120.25"]
    recorded = {one: {"latency_ms_p50": 2.0, "peak_rss_bytes": 1e8} for one in ("teacher", "student-kd")}
    frame = playground.table([teacher, kd], (), recorded)
    assert frame["Off the teacher"].tolist() == [0.0, -3.75]
    assert "Confidence (%)" not in frame
    assert playground_chart.numbers([teacher, kd]).data[0].x == (3.5, -0.25)


def test_table_tells_stored_answers_from_asked_ones():
    answer = Answer(KD.logits[:1], (9,), 128, 0.5, 3.0, (2.0, 1.0, 4.0), 200_000_000, 0.0)
    recorded = {one: {"latency_ms_p50": 2.5, "peak_rss_bytes": 3e8} for one in ("teacher", "student-kd")}
    stored = playground.table([first(TEACHER), first(KD)], NAMES, recorded)
    assert stored["As the teacher"].tolist() == ["–", "✓ yes"]
    assert stored["Recorded memory (MB)"].tolist() == [300, 300]
    assert "This call (ms)" not in stored
    asked = playground.table([said("Student-KD", "student-kd", [[3, 0, 0]], answer)], NAMES, recorded).iloc[0]
    assert asked["This call (ms)"] == 3.5
    assert asked["Repeated (ms)"] == 2.0
    assert asked["Memory now (MB)"] == 200


def test_many_texts_are_counted_by_agreement():
    frame = playground.many([TEACHER, KD, PTQ], NAMES, ["a", "b", "c"], None)
    assert frame["All agree"].tolist() == [False, True, False]
    assert frame["Student-PTQ"].tolist() == ["tech", "tech", "sports"]
    counted = playground.summary([TEACHER, KD, PTQ], {"teacher": 1.0, "student-kd": 0.5, "student-ptq": 0.25})
    np.testing.assert_allclose(counted["As the teacher (%)"][1:], [100 * 2 / 3, 100 / 3])
    assert np.isnan(counted["As the teacher (%)"][0])
    assert counted["Texts per second"].tolist() == [3, 6, 12]
    assert "Second text" in playground.many([TEACHER], NAMES, ["a", "b", "c"], ["x", "y", "z"])


def test_rare_classes_share_a_color():
    logits = np.zeros((1, 40), np.float32)
    logits[0, 25], logits[0, 3] = 6, 5
    figure = playground_chart.confidence_bars([Said("a", "A", "teacher", logits)], [f"<b>{i}" for i in range(40)])
    assert [bar.name for bar in figure.data][-1] == playground.OTHER
    assert "&lt;b&gt;25" in [bar.name for bar in figure.data]
    assert sum(bar.x[0] for bar in figure.data) == pytest.approx(100)


def test_pairs_follow_from_the_config():
    def takes(**task):
        return playground.takes_pairs({"task": task})

    assert takes(source="glue:mrpc")
    assert not takes(source="glue:sst2")
    assert not takes(source="starter:bbc-headlines", text_pair_column="")
    assert takes(source="file:a.csv", text_pair_column="b")
    assert not playground.takes_pairs({})


def test_examples_that_divide():
    assert playground.disagreeing([np.array([0, 1, 2]), np.array([0, 1, 1]), np.array([0, 0, 2])]) == [1, 2]
    assert playground.disagreeing([np.array([0, 1])]) == []


def test_uploads_are_refused_in_one_sentence():
    frame = playground_batch.read_upload("a.csv", b"text,n\nhello,1\n,2\n")
    assert playground_batch.texts_of(frame, "text") == ["hello", ""]
    long = b"text\n" + b"x\n" * (playground_batch.MOST_ROWS + 1)
    for name, content, words in (
        ("a.csv", long, "may have 2000 rows: 'a.csv' has 2001"),
        ("a.exe", b"x", "must be one of .csv"),
        ("a.csv", b"", "must be a readable csv table"),
        ("a.csv", b"text\n", "must hold rows"),
        ("a.csv", b"\xff\xfe\x00bad", "must be UTF-8"),
        ("a.parquet", b"PAR1", "must be a readable parquet table"),
    ):
        with pytest.raises(UserError, match=words):
            playground_batch.read_upload(name, content)
    with pytest.raises(UserError, match="is there 2 times"):
        playground_batch.texts_of(pd.DataFrame([["a", "b"]], columns=["text", "text"]), "text")
