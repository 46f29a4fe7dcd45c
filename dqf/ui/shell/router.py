"""Registers the pages; the script behind every address of the app.

Pages are named by absolute path, so that the first deep link to a fresh server finds them.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from dqf.ui.shell import login, navigation  # noqa: E402


def main() -> None:
    """Set up the frame and run the page of the address."""
    st.set_page_config(page_title="DQF Studio", page_icon=str(navigation.ICON), layout="wide")
    st.logo(str(navigation.ICON), size="large", link=None)
    if not login.gate():
        return
    login.sign_out()
    pages = [
        st.Page(place.path, title=place.title, icon=place.icon, url_path=place.url_path, default=place.url_path == "")
        for place in navigation.PLACES
    ]
    st.navigation(pages, position="top").run()


if __name__ == "__main__":
    main()
