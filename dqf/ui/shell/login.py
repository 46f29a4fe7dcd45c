"""Optional sign-in by OpenID Connect: every page, deep link and download needs it once it is set up.

It is set up by a section `[auth]` in Streamlit's secrets (SECURITY.md tells how) and needs the
package Authlib. `DQF_USERS` names who may enter, by e-mail address; without it everybody whom the provider signs in.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.requests import Request
from streamlit.errors import StreamlitSecretNotFoundError

from dqf.ui.shell import navigation


def required() -> bool:
    """Tell whether people must sign in; they must too where secrets are there and cannot be read."""
    if os.environ.get("DQF_USERS", "").strip():
        return True
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return any(Path(one).exists() for one in st.get_option("secrets.files") or ())


def gate() -> bool:
    """Return whether the page may be shown; else show how to sign in, at whatever address was asked for."""
    if not required():
        return True
    if may_enter(st.user.to_dict()):
        return True
    pages = [
        st.Page(_sign_in, title="Sign in", url_path=place.url_path, default=place.url_path == "")
        for place in navigation.PLACES
    ]
    st.navigation(pages, position="hidden").run()
    return False


def sign_out() -> None:
    """Render the way out, where people sign in."""
    if required():
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout, key="sign_out")


def may_enter(user: Mapping[str, Any]) -> bool:
    """Tell whether somebody is signed in and, where `DQF_USERS` is set, named there with a verified address."""
    if user.get("is_logged_in") is not True:
        return False
    named = {one.strip().lower() for one in os.environ.get("DQF_USERS", "").split(",") if one.strip()}
    if not named:
        return True
    return user.get("email_verified") is not False and str(user.get("email") or "").lower() in named


def request_may_enter(request: Request) -> bool:
    """Tell the same of a request outside the pages, by the signed cookie that Streamlit keeps; no if in doubt."""
    if not required():
        return True
    try:
        from streamlit.web.server.starlette import starlette_auth_routes as routes

        value = routes._get_cookie_value_from_request(request, routes.USER_COOKIE_NAME)
        user = json.loads(value) if value else {}
    except Exception:  # the functions are Streamlit's own and may change: nobody enters then
        return False
    return isinstance(user, dict) and may_enter(user)


def _sign_in() -> None:
    st.title("DQF Studio", anchor=False)
    if st.user.to_dict().get("is_logged_in") is True:
        st.warning("This account may not enter; ask whoever runs this studio.", icon=":material/block:")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
        return
    if importlib.util.find_spec("authlib") is None:
        st.error("Signing in needs the package Authlib: `pip install Authlib` and start again.", icon=":material/key:")
        return
    st.caption("Sign in to see runs and results.")
    st.button("Sign in", icon=":material/login:", type="primary", on_click=st.login)
