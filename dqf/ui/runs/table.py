"""The list of runs and the choice of one; the choice is in the address (`?run=...`)."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dqf.jobs import protocol
from dqf.ui import addressed, components
from dqf.ui import format as fmt
from dqf.ui.studio import Studio, open_studio
from dqf.ui.theme import STATE_MARKS

PARAMETER = "run"
KEY = "chosen_run"
TABLE_KEY = "run_table"
REFRESH_S = 2.0
TABLE_ROWS = 200


def choose(runs: pd.DataFrame) -> str:
    """Return the chosen run: from the address, from the table, or the newest; the address always names it."""
    options = runs["run_id"].tolist()
    gone = "The address names a run that does not exist; showing another one."
    return addressed.select(
        "Run", options, lambda: options[0], parameter=PARAMETER, key=KEY, gone=gone, help="Type to search by id."
    )


def table(studio: Studio) -> None:
    """Render the newest runs; selecting a row chooses the run. Refreshes itself while any run lives."""
    live = bool(studio.runs()["state"].isin(protocol.LIVE_STATES).any())
    st.fragment(_table, run_every=REFRESH_S if live else None)()


def _table() -> None:
    if st.session_state.pop("_run_chosen", False):
        st.rerun()
    every = open_studio().runs()
    runs = every.head(TABLE_ROWS)
    st.session_state["_listed_runs"] = runs["run_id"].tolist()
    counts = every["state"].value_counts()
    facts = [f"{counts[state]} {state}" for state in protocol.STATES if counts.get(state, 0)]
    if len(every) > TABLE_ROWS:
        facts.append(f"the newest {TABLE_ROWS} are listed, the box above finds the others")
    st.caption(" · ".join(facts))
    st.dataframe(
        pd.DataFrame(
            {
                "State": runs["state"].map(lambda state: STATE_MARKS.get(state, state)),
                "Run": runs["run_id"],
                "Launched (UTC)": runs["created"],
                "Took": [_took(start, end) for start, end in zip(runs["started"], runs["finished"], strict=True)],
                "Task": runs["task"],
                "Student": runs["student"],
                "Bits": runs["bits"],
                "Quantizer": runs["quantizer"],
                "Seed": runs["seed"],
            }
        ),
        hide_index=True,
        height=components.table_height(len(runs), most=7),
        column_config={
            "State": st.column_config.TextColumn(width=115, pinned=True),
            "Run": st.column_config.TextColumn(width="medium"),
            "Launched (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width="small"),
            "Seed": st.column_config.NumberColumn(format="%d", width="small"),
        },
        key=TABLE_KEY,
        on_select=_take_row,
        selection_mode="single-row",
        alt="Runs with their state, newest first",
    )


def _take_row() -> None:
    """Make the selected row the chosen run; the fragment then reruns the whole page."""
    rows = st.session_state[TABLE_KEY]["selection"]["rows"]
    listed = st.session_state.get("_listed_runs", [])
    if rows and rows[0] < len(listed):
        st.session_state[KEY] = listed[rows[0]]
        st.session_state["_run_chosen"] = True


def _took(start: object, end: object) -> str:
    if not isinstance(start, pd.Timestamp) or not isinstance(end, pd.Timestamp):
        return ""
    return fmt.duration((end - start).total_seconds())
