"""The parts of the compare page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dqf.ui import basket, frames, paper, suspicious, variant_table
from dqf.ui import format as fmt
from dqf.ui.axes import LATENCY, RETENTION, SCORE, SIZE
from dqf.ui.charts import CONFIG, bars
from dqf.ui.compare import task_chart
from dqf.ui.report import view as report_view
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

OFFERED = 200
PICKER = "compare_picker"


def picker(variants: pd.DataFrame) -> None:
    """Render the basket as a list that can be changed, and keep the address in step."""
    if variants.empty:
        return
    labels = dict(zip(variants["key"], variants["label"], strict=True))
    kept = [key for key in basket.held() if key in labels]
    offered = list(dict.fromkeys((*kept, *variants["key"].head(OFFERED))))
    st.session_state[PICKER] = kept
    st.multiselect(
        "Variants",
        offered,
        format_func=lambda key: labels.get(key, key),
        key=PICKER,
        max_selections=basket.MOST,
        on_change=lambda: basket.replace(st.session_state[PICKER]),
        placeholder="Choose variants to compare",
    )
    basket.to_address()


def chosen(variants: pd.DataFrame) -> pd.DataFrame:
    """Return the variants in the basket, in its order."""
    order = {key: at for at, key in enumerate(basket.held())}
    rows = variants[variants["key"].isin(order)]
    return rows.sort_values("key", key=lambda column: column.map(order)) if len(rows) else rows


def take_newest(variants: pd.DataFrame) -> None:
    """Render the button that fills the basket with the newest run."""
    if st.button("Compare the newest run", icon=":material/history:", key="compare_newest"):
        basket.replace(frames.newest_run_with_variants(variants)["key"])
        st.rerun()


def show(studio: Studio, rows: pd.DataFrame) -> None:
    """Render the chosen variants as table and bars, with a download."""
    scores = studio.scores()
    table = variant_table.build(rows, scores, with_run=True)
    variant_table.show(rows, scores, key="compare_table", with_run=True)
    suspicious.expander(suspicious.of_runs(studio, rows["run_id"]))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download CSV",
            table.to_csv(index=False).encode(),
            file_name="dqf-compare.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        navigation.REPORTS.link(
            "Make a report", query={"of": report_view.BASKET, basket.PARAMETER: rows["key"].tolist()}
        )
        if rows["run_id"].nunique() == 1:
            navigation.RUNS.link("Take one elsewhere", ":material/ios_share:", {"run": str(rows["run_id"].iloc[0])})
        st.caption(
            "× smaller is against the teacher's FP16 weight file; × faster is against the same run's teacher in its "
            "fastest faithful runtime, p50 of one example at a time."
        )
    variant_table.energy_caption(rows)
    if rows["run_id"].nunique() > 1:
        st.caption(
            ":material/warning: These variants come from different runs: latencies were not timed in turns with each "
            "other, and each ratio refers to its own run's teacher."
        )
    st.subheader("Side by side", anchor=False)
    quality = SCORE if rows["task"].nunique() == 1 else RETENTION
    for column, axis in zip(st.columns(3, gap="medium"), (SIZE, LATENCY, quality), strict=True):
        with column:
            st.markdown(f"##### {axis.title}")
            st.plotly_chart(
                bars(rows, axis),
                config=CONFIG,
                key=f"compare_{axis.column}",
                alt=f"{axis.title} of {len(rows)} variants as bars; the table above holds the same figures",
            )


def tasks(studio: Studio, rows: pd.DataFrame) -> None:
    """Render the scores task by task, where the chosen variants have several."""
    frame = task_chart.by_task(rows, studio.scores())
    if frame["task"].nunique() < 2:
        return
    st.subheader("Task by task", anchor=False)
    st.plotly_chart(
        task_chart.task_bars(frame),
        config=CONFIG,
        key="compare_tasks",
        alt="Scores of the chosen variants by task with 95 % intervals; the table above holds the same figures",
    )


def published() -> None:
    """Render the paper's Table 1, labelled as what it is."""
    st.subheader("The paper's Table 1", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(paper.LABEL, icon=":material/menu_book:", color="orange")
        st.caption("Not measured here, and not on these models: for orientation only.")
    teacher = paper.TEACHER
    st.dataframe(
        pd.DataFrame(
            {
                "Variant": [row.model for row in paper.TABLE_1],
                "Size": [f"{row.size_bytes / 1e9:.1f} GB" for row in paper.TABLE_1],
                "× smaller": [fmt.times(row.smaller(teacher)) for row in paper.TABLE_1],
                "Latency": [fmt.milliseconds(row.latency_ms) for row in paper.TABLE_1],
                "× faster": [fmt.times(row.faster(teacher)) for row in paper.TABLE_1],
                "GLUE": [f"{100 * row.glue:.1f}" for row in paper.TABLE_1],
                "Retention": [fmt.percent(row.retention(teacher)) for row in paper.TABLE_1],
            }
        ),
        hide_index=True,
        alt="The paper's published, simulated figures",
    )
