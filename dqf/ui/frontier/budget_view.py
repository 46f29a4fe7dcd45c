"""Limits as sliders whose state is in the address, and the answer as a sentence."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dqf.ui.axes import LATENCY, SIZE, Axis
from dqf.ui.frontier import budgets
from dqf.ui.frontier.budgets import NONE, Budget, Choice

NO_LIMIT = "No limit"
TOLERANCES = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, NONE)


def sliders(variants: pd.DataFrame) -> Budget:
    """Render the limits.

    Args:
        variants: all of them, so that the sliders do not move when a filter changes.
    """
    with st.container(border=True):
        size = _slider("Largest file (MB)", SIZE, variants, "max_mb")
        latency = _slider("Slowest answer, p50 (ms)", LATENCY, variants, "max_ms")
        loss = loss_slider()
    return Budget(size / SIZE.scale, latency / LATENCY.scale, loss)


def loss_slider() -> float:
    """Render the limit on the score and return it as a share."""
    loss = st.select_slider(
        "Allowed loss (percentage points)",
        TOLERANCES,
        value=2.0,
        format_func=lambda value: NO_LIMIT if value == NONE else str(value),
        key="within",
        bind="query-params",
        help="Of score, below the teacher of the same run and task.",
    )
    return float(loss) / 100


def answer(shown: pd.DataFrame, x: Axis, budget: Budget) -> Choice | None:
    """Say in one sentence what a decision-maker asks: what is the smallest (fastest) that fits? Return the answer."""
    choice = budgets.choose(shown, budget, x.column)
    color = "green" if choice is not None and choice.fits else "orange"
    heading = " ".join(filter(None, ("Smallest" if x is SIZE else "Fastest", budget.words())))
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f":{color}[:material/lightbulb:] **{heading}:**", width="content")
        st.text(budgets.sentence(choice, budget))
    return choice


def _slider(label: str, axis: Axis, variants: pd.DataFrame, key: str) -> float:
    """Render the limit on a cost; the number of a link stays, even if the data has moved on."""
    asked = st.session_state.get(key) or _number(st.query_params.get(key, ""))
    options = [*budgets.stops(axis.values(variants), asked), NONE]
    chosen = st.select_slider(
        label,
        options,
        value=NONE,
        format_func=lambda value: NO_LIMIT if value == NONE else f"{value:g}",
        key=key,
        bind="query-params",
    )
    return float(chosen)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e9 else None
