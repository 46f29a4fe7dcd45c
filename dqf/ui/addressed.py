"""A choice that the address of the page always names, so that a link or a bookmark shows the same another day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dqf.ui import components

NO_RESULTS = "The address names a run without results; showing another one."


def select(
    label: str, options: Sequence[str], default: Callable[[], str], *, parameter: str, key: str, gone: str, **box: Any
) -> str:
    """Render a box with the choice from the address, from the box, or the default; the address then names it.

    Streamlit's own binding leaves the default out of the address, and here the default is the newest of its kind, which
    is another one tomorrow; and it drops without a word what is no option.

    Args:
        label: of the box.
        options: one or more.
        default: gives one of them, where nothing is chosen.
        parameter: of the address.
        key: of the box; code may choose by setting it in the session before.
        gone: what to say if the address names none of the options.
        **box: further arguments of `st.selectbox`.
    """
    last = f"_{key}_address"
    asked = st.query_params.get(parameter, "")
    if asked and asked not in options:
        components.notice("warning", gone, asked[:80])
    elif asked and (asked != st.session_state.get(last) or key not in st.session_state):
        st.session_state[key] = asked
    if st.session_state.get(key) not in options:
        st.session_state[key] = default()
    chosen = str(st.selectbox(label, options, key=key, **box))
    st.session_state[last] = st.query_params[parameter] = chosen
    return chosen
