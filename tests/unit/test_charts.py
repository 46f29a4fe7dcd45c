"""Figures, formats and tables of the pages, without streamlit's runtime."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dqf.ui import format as fmt
from dqf.ui import frames, theme
from dqf.ui.axes import COSTS, LATENCY, QUALITIES, RETENTION, SCORE, SIZE
from dqf.ui.charts import bars, loss_curves
from dqf.ui.compare.task_chart import by_task, task_bars
from dqf.ui.frontier.chart import MOST_BUBBLES, frontier, frontier_3d

NAN = float("nan")


def table(rows: int = 0) -> pd.DataFrame:
    """Two runs of the same shape as the store's table; the second lacks intervals and one size."""
    variants = [
        ("teacher", 16, None, 269e6, 22.5, 0.95),
        ("student-ft", 16, None, 45e6, 2.1, 0.91),
        ("student-dqf", 4, "gptq", 14e6, 1.5, 0.94),
        ("student-ptq", 4, "gptq", 14e6, 1.5, 0.90),
    ]
    found = []
    for run in ("20260102-000000-starter-aaaa", "20260101-000000-starter-bbbb"):
        for variant, bits, quantizer, size, latency, score in variants:
            first = run.endswith("aaaa")
            found.append(
                {
                    "run_id": run,
                    "variant_id": f"{variant}-{bits}",
                    "variant": variant,
                    "bits": bits,
                    "quantizer": quantizer,
                    "task": "bbc-headlines",
                    "size_bytes": size if first or variant != "student-ft" else NAN,
                    "latency_ms_p50": latency,
                    "score": score,
                    "score_ci95_low": score - 0.02 if first else NAN,
                    "score_ci95_high": score + 0.02 if first else NAN,
                    "retention": score / 0.95,
                    "retention_ci95_low": NAN,
                    "retention_ci95_high": NAN,
                    "verified": variant != "student-ptq",
                    "reference": False,
                    "n": 400,
                }
            )
    return frames.derive(pd.DataFrame(found))


@pytest.mark.parametrize("x", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("y", QUALITIES.values(), ids=QUALITIES)
def test_every_point_is_drawn_once_and_carries_its_key(x, y):
    frame = table()
    figure = frontier(frame, x, y)
    keys = [key for trace in figure.data if trace.customdata is not None for key in trace.customdata]
    assert sorted(keys) == sorted(frame["key"])
    json.loads(figure.to_json())


def test_dominated_points_are_faded_and_efficient_ones_are_not():
    figure = frontier(table(), SIZE, SCORE)
    opacity = {key: t.marker.opacity for t in figure.data if t.customdata is not None for key in t.customdata}
    assert opacity["20260102-000000-starter-aaaa/student-dqf-4"] > 0.9
    assert opacity["20260102-000000-starter-aaaa/student-ptq-4"] < 0.5


def test_colors_and_symbols_are_the_same_in_every_figure():
    frame = table()
    for figure in (frontier(frame, SIZE, SCORE), frontier_3d(frame, SCORE)):
        colors = {trace.name: trace.marker.color for trace in figure.data if trace.mode == "markers"}
        assert colors["Student-DQF"] == theme.VARIANT_COLORS["student-dqf"]
    assert bars(frame.head(3), SIZE).data[0].marker.color[2] == theme.VARIANT_COLORS["student-dqf"]
    curve = loss_curves({"student-kd": [(0, 1.0), (1, 0.5)]}).data[0]
    assert curve.line.color == theme.VARIANT_COLORS["student-kd"]


def test_intervals_are_drawn_where_they_are_known():
    figure = frontier(table(), SIZE, SCORE)
    trace = next(t for t in figure.data if t.name == "Teacher" and t.customdata is not None)
    assert np.nanmax(trace.error_y.array) == pytest.approx(2.0)


def test_hover_text_is_escaped():
    frame = table()
    frame["task"] = '<a href="https://example.org">x</a>'
    texts = [t for trace in frontier(frame, SIZE, SCORE).data for t in (trace.text or ())]
    assert texts
    assert not any("<a " in text for text in texts)


def test_figures_survive_missing_and_single_values():
    frame = table().head(1)
    frontier(frame, SIZE, SCORE)
    empty = frame.assign(size_bytes=NAN, score=NAN, retention=NAN, latency_ms_p50=NAN)
    for axis in (SIZE, LATENCY):
        frontier(empty, axis, RETENTION)
    frontier_3d(empty, SCORE)
    bars(empty, SCORE)
    loss_curves({"teacher": []})


def test_of_many_points_the_newest_the_efficient_and_the_marked_are_bubbles_and_the_others_dots():
    frame = pd.concat([table()] * 400, ignore_index=True)
    frame["key"] = [f"{key}-{row}" for row, key in enumerate(frame["key"])]
    frame.loc[:, "score"] = 0.8 - np.arange(len(frame)) / 1e5
    frame.loc[3000, "score"] = 0.99
    frame.loc[3100, "size_bytes"] = NAN
    oldest = frame["key"].iloc[-1]
    figure = frontier(frame, SIZE, SCORE, marked=(oldest, "Closest"))
    keys = {key for trace in figure.data if trace.customdata is not None for key in trace.customdata}
    efficient = {
        key for t in figure.data if t.customdata is not None and t.marker.opacity > 0.9 for key in t.customdata
    }
    assert frame["key"].iloc[3000] in efficient
    assert keys == {*frame["key"].iloc[:MOST_BUBBLES], *efficient, oldest}
    dots = [shape for shape in figure.layout.shapes if shape.type == "path"]
    known = frame["size_bytes"].notna() & ~frame["key"].isin(keys)
    assert [shape.path.count("M") for shape in dots] == [known.sum()]
    fits = (frame["size_bytes"] < 20e6).to_numpy()
    parts = [shape for shape in frontier(frame, SIZE, SCORE, fits=fits).layout.shapes if shape.type == "path"]
    assert parts[0].opacity > parts[1].opacity
    assert not frontier(frame, SIZE, SCORE, most_bubbles=len(frame)).layout.shapes


def test_margins_of_the_frontier_are_fixed_as_plotly_draws_twice_to_find_them():
    layout = frontier(table(), SIZE, SCORE).layout
    assert layout.xaxis.automargin is False
    assert layout.yaxis.automargin is False
    assert layout.margin.l >= 50, "letters of the axis"
    assert layout.margin.t >= 60, "two rows of legend"


def test_contrast_of_every_variant_color_on_both_backgrounds():
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color in theme.VARIANT_COLORS.values():
        for background in ("#ffffff", "#0f131c"):
            bright, dark = sorted((luminance(color), luminance(background)), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 3.0


def test_recommended_is_the_smallest_verified_within_the_tolerance():
    best = frames.recommended(table(), "size_bytes", 0.02)
    assert best is not None
    assert best["variant"] == "student-dqf"
    assert frames.recommended(table(), "size_bytes", 0.001) is None
    # Of two files of one bit-width the better one stands for both, be it some bytes larger.
    twins = pd.concat([best.to_frame().T] * 2, ignore_index=True)
    twins["size_bytes"] = [1_000_000, 1_000_400]
    twins["score"] = [best["score"], best["score"] + 0.001]
    chosen = frames.recommended(twins, "size_bytes", 0.02)
    assert chosen is not None
    assert chosen["size_bytes"] == 1_000_400


def test_headline_falls_back_to_the_one_that_keeps_most():
    chosen = frames.headline_variant(table(), tolerance=0.001)
    assert chosen is not None
    assert chosen[0]["variant"] == "student-dqf"
    assert "keeps the most" in chosen[1]
    assert frames.headline_variant(table().assign(verified=False)) is None


def test_filters():
    frame = table()
    assert len(frames.Filters(kinds=("Student-DQF",), bits=("4-bit",)).apply(frame)) == 2
    assert len(frames.Filters(verified=True).apply(frame)) == 6
    assert len(frames.Filters(methods=("Not quantized",)).apply(frame)) == 4
    assert frames.Filters(task="sst2").apply(frame).empty


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (fmt.size(14_150_000), "14.2 MB"),
        (fmt.size(13.5e9), "13.5 GB"),
        (fmt.size(None), "–"),
        (fmt.milliseconds(1.4567), "1.46 ms"),
        (fmt.milliseconds(0), "0 ms"),
        (fmt.times(14.96), "15.0×"),
        (fmt.times(9.9999), "10.0×"),
        (fmt.percent(0.954), "95.4 %"),
        (fmt.percent(NAN), "–"),
        (fmt.points(-0.0123), "−1.2 pp"),
        (fmt.count(22_700_000), "22.7 M"),
        (fmt.count(2096), "2\u202f096"),
        (fmt.count(67349), "67.3 k"),
        (fmt.duration(3.21), "3.2 s"),
        (fmt.duration(75), "1 min 15 s"),
        (fmt.duration(3660), "1 h 1 min"),
        (fmt.about(14), "10 s"),
        (fmt.about(700), "12 min"),
        (fmt.bits(16), "FP16"),
        (fmt.bits(4), "4-bit"),
        (fmt.moment(pd.NaT), "–"),
        (fmt.percent_interval(0.9, 0.95), "95 % CI 90.0–95.0 %"),
        (fmt.percent_interval(None, 0.95), ""),
        (fmt.significant(1234567), "1\u202f230\u202f000"),
        (fmt.significant(0.00123456), "0.00123"),
    ],
)
def test_numbers_read_the_same_everywhere(shown, expected):
    assert shown.replace(fmt.NBSP, " ") == expected


def test_mixed_precision_is_told_from_uniform_bits_by_name():
    from dqf.ui.frames import name_of

    assert name_of("Student-DQF", 3.0, "GPTQ") == "Student-DQF 3-bit GPTQ"
    assert name_of("Student-DQF", 3.0, "GPTQ", mixed=True) == "Student-DQF mixed 3-bit GPTQ"


def test_bars_below_zero_lie_inside_the_axis():
    frame = pd.DataFrame(
        {
            "key": ["r/a", "r/b"], "name": ["A", "B"], "label": ["A", "B"], "variant": ["student-ft", "student-kd"],
            "score": [-0.04, -0.02], "score_ci95_low": [-0.1, np.nan], "score_ci95_high": [0.02, np.nan],
        }
    )  # fmt: skip
    low, high = bars(frame, SCORE).layout.xaxis.range
    assert low <= -10
    assert high > 2
    low, high = bars(frame.assign(score_ci95_high=np.nan), SCORE).layout.xaxis.range
    assert low <= -10 < 0 < high


def test_bars_of_equal_names_are_told_apart_by_their_run():
    names = list(bars(table(), SIZE).layout.yaxis.ticktext)
    assert names[0] == "Teacher · aaaa"
    assert len(set(names)) == len(names)
    assert list(bars(table().head(2), SIZE).layout.yaxis.ticktext) == ["Teacher", "Student-FT"]


def test_bars_by_task_hold_every_score_and_name_task_metric_and_n():
    rows = table().head(3)
    scores = pd.DataFrame(
        [
            {
                "run_id": row["run_id"],
                "variant_id": row["variant_id"],
                "variant": row["variant"],
                "bits": row["bits"],
                "task": task,
                "metric": "accuracy",
                "value": row["score"] - less,
                "n": 400,
                "ci95_low": NAN if task == "b" else row["score"] - 0.05,
                "ci95_high": NAN if task == "b" else row["score"] + 0.05,
            }
            for task, less in (("<b>a</b>", 0.0), ("b", 1.2))
            for row in rows.to_dict("records")
        ]
    )
    frame = by_task(rows, scores)
    figure = task_bars(frame)
    np.testing.assert_allclose(figure.data[0].x, 100 * frame["value"])
    assert len(set(figure.data[0].y)) == 6
    assert [note.text for note in figure.layout.annotations] == [
        "<b>&lt;b&gt;a&lt;/b&gt;</b> · accuracy, n 400",
        "<b>b</b> · accuracy, n 400",
    ]
    assert figure.layout.xaxis.range[0] < -20
