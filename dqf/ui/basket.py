"""The compare basket: variants by `run_id/variant_id`, kept for the session and in the address of Compare."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

KEY = "basket"
ADDRESS = "_basket_address"
PARAMETER = "pick"
MOST = 24


def held() -> list[str]:
    """Return what is in the basket, oldest first."""
    return list(st.session_state.get(KEY, ()))


def put(chosen: Iterable[str]) -> int:
    """Add variants, leaving out what is in it already, and return how many it holds now."""
    st.session_state[KEY] = list(dict.fromkeys((*held(), *chosen)))[:MOST]
    st.session_state.pop(ADDRESS, None)  # the address that was taken last would ask for other variants now
    return len(st.session_state[KEY])


def replace(chosen: Iterable[str]) -> None:
    """Make the basket hold exactly these."""
    st.session_state[KEY] = list(dict.fromkeys(chosen))[:MOST]


def from_address(known: Iterable[str]) -> list[str]:
    """Take the variants the address names into the basket, and return those that do not exist."""
    asked = st.query_params.get_all(PARAMETER)
    if not asked or asked == st.session_state.get(ADDRESS):
        return []
    existing = set(known)
    replace(key for key in asked if key in existing)
    return [key for key in asked if key not in existing]


def to_address() -> None:
    """Write the basket into the address, so that the page can be shared."""
    if st.query_params.get_all(PARAMETER) != held():
        st.query_params[PARAMETER] = held()
    st.session_state[ADDRESS] = held()
