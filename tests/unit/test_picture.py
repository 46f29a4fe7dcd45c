"""The first page's picture of a run."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from dqf.ui.axes import COSTS, LATENCY, QUALITIES, SCORE, SIZE
from dqf.ui.frontier.picture import SHAPES, picture
from dqf.ui.scales import Scale
from dqf.ui.theme import BITS_SYMBOLS, MIXED_SYMBOL, variant_color
from tests.unit.test_charts import NAN, table

MARK = re.compile(r'<div title="([^"]*)" style="position:absolute;left:([\d.]+)%;top:([\d.]+)px;([^"]*)"')


def marks(frame: pd.DataFrame, x=SIZE, y=SCORE) -> dict[str, tuple[float, float, str]]:
    found = MARK.findall(picture(frame, x, y, "a").replace("\u00a0", " "))
    return {words: (float(left), float(top), style) for words, left, top, style in found}


@pytest.mark.parametrize("x", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("y", QUALITIES.values(), ids=QUALITIES)
def test_every_known_variant_is_a_mark_inside_the_area(x, y):
    frame = table().head(4)
    found = marks(frame, x, y)
    assert len(found) == 4
    assert all(0 < left < 100 and 0 < top < 240 for left, top, _ in found.values())


def test_marks_stand_where_their_figures_are_and_look_like_their_kind():
    found = marks(table().head(4))
    teacher, dqf, ptq = (
        next(one for words, one in found.items() if words.startswith(name))
        for name in ("Teacher:", "Student-DQF 4-bit GPTQ: size 14.0 MB, score 94.0 %", "Student-PTQ")
    )
    assert dqf[0] == ptq[0] < teacher[0]
    assert teacher[1] < dqf[1] < ptq[1]
    assert SHAPES["circle"] in teacher[2]
    assert SHAPES["diamond"] in dqf[2]
    assert variant_color("student-dqf") in dqf[2]
    assert "opacity:0.95" in dqf[2]
    assert "opacity:0.4" in ptq[2]


def test_every_bit_width_has_a_shape():
    assert {*BITS_SYMBOLS.values(), MIXED_SYMBOL} <= set(SHAPES)


def test_what_others_wrote_is_escaped():
    frame = table().head(4)
    evil = '"><img src=x onerror=alert(1)>'
    frame["name"] = frame["variant"] = evil
    text = picture(frame, SIZE, SCORE, evil)
    assert "<img" not in text
    assert text.count("&lt;img") == 6  # four marks, the legend, the text alternative


def test_pictures_survive_missing_and_single_values():
    frame = table().head(1)
    assert len(marks(frame)) == 1
    assert len(marks(table().tail(4))) == 3  # one size is not known
    assert "No variant has both latency and score" in picture(frame.assign(latency_ms_p50=NAN), LATENCY, SCORE, "a")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (82.1, 97.3), (-0.02, 0.01), (3.0, 3.0)])
def test_ticks_are_round_and_inside(low, high):
    scale = Scale(pd.Series([low, high]).to_numpy(dtype=float), 0, 10, 0.06)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 7
    assert all(scale.low <= tick <= scale.high for tick in ticks)
    assert scale(scale.low) == 0
    assert scale(scale.high) == pytest.approx(10)
