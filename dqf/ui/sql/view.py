"""The parts of the SQL page: editor, schema, answer, chart, downloads."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow.parquet as pq
import streamlit as st

from dqf.errors import UserError
from dqf.store import sandbox, snapshot
from dqf.study.files import SUMMARY, study_folders
from dqf.ui import components
from dqf.ui import format as fmt
from dqf.ui.charts import CONFIG
from dqf.ui.sql import chart as sql_chart
from dqf.ui.sql.examples import EXAMPLES, Example
from dqf.ui.studio import Studio

EDITOR = "sql"
PICKED = "sql_example"
ANSWER = "sql_answer"
LIMITS = sandbox.Limits()


def editor(studio: Studio) -> None:
    """Render examples, the editor and the button that asks; keep the answer for the session."""
    readable = {*_snapshot(studio).tables, *_snapshot(studio).files}
    titles = {one.title: one for one in EXAMPLES if not one.needs or one.needs in readable}
    st.session_state.setdefault(EDITOR, EXAMPLES[0].sql)
    st.selectbox(
        "Examples",
        list(titles),
        index=None,
        key=PICKED,
        placeholder="Begin with a question",
        on_change=lambda: _take(titles.get(st.session_state[PICKED])),
    )
    with st.form("sql_form", border=False):
        st.text_area("Query", key=EDITOR, height=250, bind="query-params", max_chars=20_000)
        with st.container(horizontal=True, vertical_alignment="center"):
            asked = st.form_submit_button("Run the query", type="primary", icon=":material/play_arrow:")
            st.caption(
                f"Ctrl+Enter runs it too. One SELECT, read-only; {LIMITS.rows:,} rows, "
                f"{LIMITS.time_ms // 1000} s and {LIMITS.memory_mb:,} MB at most.".replace(",000", "\u202f000")
            )
    if asked:
        with st.spinner("Asking…"):
            _ask(studio, str(st.session_state[EDITOR]))


def _take(example: Example | None) -> None:
    if example is not None:
        st.session_state[EDITOR] = example.sql


def _ask(studio: Studio, sql: str) -> None:
    try:
        answer = sandbox.ask(_snapshot(studio), sql, LIMITS)
        st.session_state[ANSWER] = (sql, answer, sql_chart.to_frame(answer.table), "")
    except UserError as error:
        st.session_state[ANSWER] = (sql, None, None, str(error))
    sandbox.warm()


def _snapshot(studio: Studio) -> snapshot.Snapshot:
    folders = study_folders(studio.settings)
    stamps = tuple((str(folder), (folder / SUMMARY).stat().st_mtime_ns) for folder in folders)
    key = (str(studio.store.path), studio.store.revision, stamps)
    kept = st.session_state.get("sql_snapshot")
    if kept is None or kept[0] != key:
        kept = (key, snapshot.take(studio.store, folders))
        st.session_state["sql_snapshot"] = kept
    found: snapshot.Snapshot = kept[1]
    return found


def schema(studio: Studio) -> None:
    """Render the tables with their columns."""
    tables = snapshot.columns(_snapshot(studio))
    name = st.selectbox("Tables", list(tables), key="sql_table")
    rows = tables[name]
    st.caption(snapshot.SENTENCES[name])
    st.dataframe(
        pd.DataFrame(rows, columns=["Column", "Type", "Meaning"]),
        hide_index=True,
        height=components.table_height(len(rows), most=7),
        key=f"sql_columns_{name}",
        column_config={
            "Column": st.column_config.TextColumn(width=150),
            "Type": st.column_config.TextColumn(width=85),
            "Meaning": st.column_config.TextColumn(width=260),
        },
        alt=f"Columns of the table {name}",
    )


def answer() -> None:
    """Render what the last query gave: the refusal, or rows, chart and downloads."""
    kept = st.session_state.get(ANSWER)
    if kept is None:
        components.empty_state(":material/table_rows:", "Run a query to see its rows here.")
        return
    sql, found, frame, problem = kept
    if problem:
        sentence, _, rest = problem.partition("\n")
        with st.container(border=True, gap="small"):
            st.error("The query gave no answer.", icon=":material/block:")
            st.text(sentence)
            if rest.strip():
                st.code(rest.strip("\n"), language=None)
        return
    _facts(found, frame)
    if frame.empty:
        components.empty_state(":material/search_off:", "The query ran and found no row.")
        return
    st.dataframe(
        frame,
        hide_index=True,
        height=components.table_height(len(frame)),
        key="sql_rows",
        alt=f"{len(frame)} rows that the query gave",
    )
    _chart(sql, frame)


def _facts(found: sandbox.Answer, frame: pd.DataFrame) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        rows = "1 row" if len(frame) == 1 else f"{fmt.count(len(frame))} rows"
        text = f"{rows}, {len(frame.columns)} columns, {fmt.duration(found.seconds)}"
        more = ". **The query gave more rows; these are the first.** Downloads hold these." if found.more else "."
        st.caption(text + more, width="content")
        with st.container(horizontal=True, width="content"):
            st.download_button(
                "CSV",
                lambda: frame.to_csv(index=False).encode(),
                file_name="dqf-query.csv",
                mime="text/csv",
                icon=":material/download:",
                on_click="ignore",
                key="sql_csv",
                help="Download these rows as CSV.",
            )
            st.download_button(
                "Parquet",
                lambda: _parquet(found, frame),
                file_name="dqf-query.parquet",
                mime="application/vnd.apache.parquet",
                icon=":material/download:",
                on_click="ignore",
                key="sql_parquet",
                help="Download these rows as parquet, with their types.",
            )


def _parquet(found: sandbox.Answer, frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(found.table.rename_columns([str(name) for name in frame.columns]), buffer)
    return buffer.getvalue()


@st.fragment
def _chart(sql: str, frame: pd.DataFrame) -> None:
    """Render the columns people pick against each other."""
    across, values = sql_chart.plottable(frame), sql_chart.numeric(frame)
    if not values or len(across) < 2:
        return
    st.subheader("Chart", anchor=False)
    wanted = next((one for one in EXAMPLES if one.sql == sql and one.chart), Example("", ""))
    key = f"{abs(hash((sql, *across)))}"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Kind", sql_chart.KINDS, default=wanted.chart or "Bars", required=True, key=f"sql_kind_{key}"
        )
        y_first = wanted.y if wanted.y in values else values[-1]
        x_first = wanted.x if wanted.x in across else next(name for name in across if name != y_first)
        x = st.selectbox("Across", across, across.index(x_first), key=f"sql_x_{key}", width=210)
        y = st.selectbox("Up", values, values.index(y_first), key=f"sql_y_{key}", width=210)
        colors = ["", *across]
        at = colors.index(wanted.color) if wanted.color in colors else 0
        color = st.selectbox(
            "Color", colors, at, key=f"sql_color_{key}", width=210, format_func=lambda name: name or "one color"
        )
    st.plotly_chart(
        sql_chart.chart(frame, kind or "Bars", x, y, color),
        config=CONFIG,
        key=f"sql_chart_{key}",
        alt=f"{y} against {x} of {min(len(frame), sql_chart.MOST_ROWS)} rows; the table above holds the same figures",
    )
    if len(frame) > sql_chart.MOST_ROWS:
        st.caption(f"The chart shows the first {fmt.count(sql_chart.MOST_ROWS)} rows.")
