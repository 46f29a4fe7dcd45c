"""The charts of the findings page: where the loss went, what bits cost, what settings change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dqf.ui.findings import charts as finding_charts
from dqf.ui.findings import pays_chart, tables
from dqf.ui.findings.studies import Study
from dqf.ui.findings.view import PLAIN, rows_behind

Part = Mapping[str, Any]
READING = [f"**{tables.PARTS[name]}**: {text}" for name, text in tables.PARTS_HELP.items()]


def decomposition(part: Part, bits: str) -> None:
    """Render how much of the loss came from the smaller student, distillation and quantization."""
    rows = tables.decomposition_table(part)
    chosen = rows[rows["bits"] == bits]
    teacher, student = tables.figures(part, "teacher"), part["bits"].get(bits)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Where the score went", anchor=False, help="  \n".join(READING))
        if chosen.empty or teacher is None or student is None:
            st.caption("The parts need all five variants at this bit-width.")
        else:
            told = "; ".join(f"{row['name'].lower()} {-row['value']:+.1f}" for row in chosen.to_dict("records")[:-1])
            st.plotly_chart(
                finding_charts.decomposition(chosen, 100 * float(teacher["score"]), 100 * float(student["score"])),
                config=PLAIN,
                key="findings_decomposition",
                alt=f"From the teacher's score to Student-DQF's at {tables.bits_title(bits)}, in points: {told}",
            )
            rows_behind(rows, "decomposition", "The parts at every bit-width")
    with right:
        st.subheader("What a bit-width costs", anchor=False)
        st.plotly_chart(
            finding_charts.by_bits(part),
            config=PLAIN,
            key="findings_bits",
            alt="Macro score of the plain and the distilled student over the bit-width with 95 % intervals",
        )
        rows_behind(_by_bits(part), "bit-widths")


def _by_bits(part: Part) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Variant": tables.system_title(row),
            "Score (%)": 100 * float(row["score"]),
            "low": tables.percent(row.get("score_ci95_low")),
            "high": tables.percent(row.get("score_ci95_high")),
            "Retention (%)": tables.percent(row["retention"]),
            "n": row.get("n"),
            "Seeds": len(row.get("seeds") or ()),
            "By seed": ", ".join(f"{100 * float(one):.1f}" for one in row.get("seed_scores") or ()),
        }
        for row in part["variants"]
    )


def pays(study: Study) -> None:
    """Render where distillation wins, ties and loses, if the study hid labels or varied other settings."""
    paths = tables.pays_paths(study.conditions)
    if not paths:
        return
    rows = tables.pays_rows(study.conditions, paths)
    if rows.empty:  # analysed before this was looked at
        return
    hidden = paths == [tables.LABELS]
    title = "Training rows with labels" if hidden else " / ".join(map(tables.setting_title, paths))
    st.subheader("When distillation pays", anchor=False)
    st.plotly_chart(
        pays_chart.figure(rows, title),
        config=PLAIN,
        key="findings_pays",
        alt="; ".join(
            f"{title} {row['value']}, {row['name']}: {row['outcome']}, {row['difference']:+.1f} points"
            for row in rows.to_dict("records")
        ),
    )
    st.caption(
        "Macro score of the distilled student minus the plain one's, in points. Both take the same number of steps"
        + (
            "; the plain one sees the labelled rows alone, the distilled one also the others, scored by the teacher"
            if hidden
            else ""
        )
        + ". Wins and loses: the 95 % interval of the paired difference leaves out 0; with an asterisk also after "
        "correction (Holm) for the number of cells."
    )
    rows_behind(rows.drop(columns="bits"), "distillation-pays")


def settings(study: Study) -> None:
    """Render a chart for each setting that the study varied: temperature, feature layers, LoRA, labels."""
    varied = tables.varied_settings(study.conditions)
    if not varied:
        return
    st.subheader("What the settings change", anchor=False)
    _settings(study.conditions, list(varied))


@st.fragment
def _settings(conditions: Sequence[Part], paths: list[str]) -> None:
    """Let people choose the setting across and the systems to show."""
    key = abs(hash((*paths, len(conditions))))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        path = paths[0]
        if len(paths) > 1:
            path = st.selectbox(
                "Setting", paths, format_func=tables.setting_title, key=f"setting_path_{key}", width=280
            )
        rows = tables.setting_rows(conditions, path)
        names = dict(zip(rows["system"], rows["name"], strict=True))
        usual = [name for name in names if name.partition("@")[0] in ("student-kd", "student-dqf", "student-ft")]
        chosen = st.multiselect(
            "Variants",
            list(names),
            default=usual[:4] or list(names)[:4],
            format_func=lambda name: names.get(name, name),
            key=f"setting_systems_{key}",
        )
    shown = rows[rows["system"].isin(chosen)]
    if shown.empty:
        st.caption("Choose a variant to see its scores.")
        return
    title = tables.setting_title(path)
    st.plotly_chart(
        finding_charts.setting(shown, title),
        config=PLAIN,
        key=f"setting_chart_{key}_{path}",
        alt=f"Macro score over {title} with 95 % intervals; the rows below hold the same figures",
    )
    rows_behind(rows.drop(columns=["order", "system", "beside_title"]), f"setting-{path.rsplit('.', 1)[-1]}")
