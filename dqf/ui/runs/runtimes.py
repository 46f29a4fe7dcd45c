"""Which runtime serves each variant of a run, and what came of the others that were tried."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dqf.store import queries
from dqf.ui import components
from dqf.ui.studio import Studio

LEAD = (
    "Every file is loaded by the runtimes that can read it, each in a process of its own. The fastest one whose logits "
    "agree with the model in memory serves the file, a less exact one only where it is clearly faster; which is the "
    "fastest is judged over all bit-widths of the run's students, as a disturbance may decide one timing. Median ms of "
    "one example, in turns, in the graph for any length; that is prefill, as a model that classifies decodes nothing "
    "(Findings has the decoding of language models, beside other tools). A later variant of the same network and bits "
    "starts with the runtime chosen before."
)
FIXED_LEAD = (
    "Beside its graph for texts of any length, a runtime may compile graphs for single texts of the commonest lengths, "
    "to which shorter ones are padded. Where they are faster, each takes memory of its own: as many are made as the "
    "launch's memory for them allows, so small models have more. Variants of one network in one runtime are judged "
    "together: their mean (all bits) must be 5 % faster, in earlier runs each one's own just faster. A variant that is "
    "not named has none."
)
LEGEND = "● serves the variant · ▲ its logits differ · – not timed, the table below says why · empty: not tried"
CHOSEN, DIFFERS, NOT_TIMED = "●", "▲", "–"
OUTCOMES = {"chosen": "● chosen", "slower": "slower", "differs": "▲ logits differ", "untried": "– not timed"}


def show(studio: Studio, rows: pd.DataFrame) -> None:
    """Render runtimes by variants, and beneath it every candidate with its figures.

    Args:
        studio: for the store.
        rows: variants of one run, with the columns of `dqf.ui.frames.derive`.
    """
    run_id = rows["run_id"].iloc[0]
    found = queries.runtime_candidates(studio.store, run_id)
    if found.empty:
        st.caption("This run recorded no timings of runtimes.")
        return
    names = dict(zip(rows["variant_id"], rows["name"], strict=True))
    st.caption(LEAD)
    table = matrix(found, names)
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Variant": st.column_config.TextColumn(pinned=True, width=190),
            **{name: st.column_config.TextColumn(f"{name} (ms)") for name in table.columns[1:]},
        },
        key=f"runtimes_{run_id}",
        height=components.table_height(len(table)),
        alt="Variants by runtimes: median milliseconds, and which runtime serves each variant",
    )
    st.caption(LEGEND)
    each = details(found, names)
    with st.expander("Every candidate", icon=":material/table_rows:"):
        st.dataframe(
            each,
            hide_index=True,
            column_config=_columns(),
            key=f"runtime_candidates_{run_id}",
            height=components.table_height(len(each)),
            alt="Each runtime tried for each variant, with time, agreement of logits and the reason if it was left out",
        )
        st.download_button(
            "Download CSV",
            each.to_csv(index=False).encode(),
            file_name=f"{run_id}-runtimes.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key=f"runtimes_csv_{run_id}",
        )
    _show_fixed_lengths(queries.fixed_lengths(studio.store, run_id), names, run_id)


def _show_fixed_lengths(found: pd.DataFrame, names: dict[str, str], run_id: str) -> None:
    """Render which text lengths have graphs of their own, and what that gained."""
    if found.empty:
        return
    table = fixed_lengths(found, names)
    with st.expander("Graphs of fixed length", icon=":material/straighten:"):
        st.caption(FIXED_LEAD)
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "Variant": st.column_config.TextColumn(pinned=True, width=190),
                "Each (MB)": st.column_config.NumberColumn(format="%.0f"),
                **{name: st.column_config.NumberColumn(format="%.2f") for name in ("Any length (ms)", "Fixed (ms)")},
                **{name: st.column_config.NumberColumn(format="%.2f") for name in ("Times as fast", "All bits (×)")},
            },
            key=f"fixed_lengths_{run_id}",
            height=components.table_height(len(table)),
            alt="Text lengths that have graphs of their own by variant, their memory, median ms with and without them",
        )


def fixed_lengths(found: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Return a row per variant as people read it.

    Args:
        found: `dqf.store.queries.fixed_lengths`.
        names: title by variant id.
    """
    return pd.DataFrame(
        {
            "Variant": [names.get(one, one) for one in found["variant_id"]],
            "Tokens": [", ".join(map(str, one)) or "none kept" for one in found["lengths"]],
            "Each (MB)": found["mb_each"],
            "Any length (ms)": found["any_length_ms_p50"],
            "Fixed (ms)": found["fixed_length_ms_p50"],
            "Times as fast": found["any_length_ms_p50"] / found["fixed_length_ms_p50"],
            "All bits (×)": 1 / found["pooled_ratio"],
        }
    )


def matrix(found: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Return a row per variant and a column per runtime, the runtimes that serve most variants first.

    Args:
        found: `dqf.store.queries.runtime_candidates`.
        names: title by variant id.
    """
    cells = found.assign(cell=[_cell(row) for row in found.to_dict("records")])
    wide = cells.pivot_table(index="variant_id", columns="runtime", values="cell", aggfunc="first", sort=False)
    serves = found.groupby("runtime", sort=False)["chosen"].sum().sort_values(ascending=False, kind="stable")
    wide = wide.reindex(columns=serves.index).fillna("")
    wide.insert(0, "Variant", [names.get(one, one) for one in wide.index])
    return wide.reset_index(drop=True)


def details(found: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Return every candidate as people read it, in the units of the heads (arguments as for `matrix`)."""
    return pd.DataFrame(
        {
            "Variant": [names.get(one, one) for one in found["variant_id"]],
            "Runtime": found["runtime"],
            "Precision": found["precision"],
            "Outcome": [OUTCOMES[_outcome(row)] for row in found.to_dict("records")],
            "p50 (ms)": found["latency_ms_p50"],
            "All bits (×)": found["pooled_latency"],
            "Logit error (%)": 100 * found["relative_l2_error"],
            "Same prediction (%)": 100 * found["argmax_agreement"],
            "Left out because": found["error"],
        }
    )


def _outcome(row: dict[Any, Any]) -> str:
    if row["chosen"]:
        return "chosen"
    if row["faithful"] is False:
        return "differs"
    return "untried" if pd.isna(row["latency_ms_p50"]) else "slower"


def _cell(row: dict[Any, Any]) -> str:
    """Return the time with its mark; of a runtime ruled out by its first passes, theirs."""
    outcome = _outcome(row)
    if outcome == "untried":
        return NOT_TIMED
    mark = {"chosen": CHOSEN, "differs": DIFFERS}.get(outcome, "")
    known = "" if pd.isna(row["latency_ms_p50"]) else f"{row['latency_ms_p50']:.2f}"
    return f"{mark} {known}".strip()


def _columns() -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    return {
        "Variant": text(pinned=True, width=190),
        "Precision": text(help="Of the arithmetic, not of the file."),
        "p50 (ms)": number(
            format="%.2f", help="Median of one example, batch 1; of a few passes where it was ruled out."
        ),
        "All bits (×)": number(
            format="%.2f",
            help="Times as slow as the fastest that may serve the file, all bit-widths together; this decides.",
        ),
        "Logit error (%)": number(
            format="%.3g", help="Relative L2 distance of the logits to those of the model in memory."
        ),
        "Same prediction (%)": number(
            format="%.1f", help="Share of the texts on which the predicted class is the same."
        ),
        "Left out because": text(width=420),
    }
