"""SQL: any question to runs, variants, scores, stages and every single prediction; read-only."""

from __future__ import annotations

import streamlit as st

from dqf.store import sandbox
from dqf.ui import components
from dqf.ui.sql import view as sql_view

studio, _ = components.start_page(
    "SQL", "Ask anything of runs, variants, scores and every single prediction; read-only."
)
left, right = st.columns((3, 2), gap="medium")
with left:
    sql_view.editor(studio)
with right:
    sql_view.schema(studio)
sql_view.answer()
sandbox.warm()
