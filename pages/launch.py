"""Launch: choose what to compress and how, see what it will take, fix what is wrong, start."""

from __future__ import annotations

import streamlit as st

from dqf import preflight
from dqf.config import RunConfig
from dqf.errors import ConfigError, FieldError
from dqf.ui import components, estimate_panel, launch_form
from dqf.ui.launching import submit_and_show

studio, _ = components.start_page("Launch", "One launch trains each student once and makes a variant per bit-width.")
launch_form.preset_picker()
form = launch_form.render_form(studio.settings)

config: RunConfig | None = None
errors: list[FieldError] = []
try:
    config = RunConfig.from_dict(form.values)
    errors = preflight.check(config, studio.settings)
except ConfigError as error:
    errors = list(error.errors)

homeless = form.show_errors(errors)
st.subheader("What it will take", anchor=False)
if config is not None:
    estimate_panel.show(config, studio.settings)
if errors:
    count = f"{len(errors)} settings need" if len(errors) > 1 else "1 setting needs"
    components.notice(
        "error",
        f"{count} your attention before this can start; each is marked beside its field.",
        "\n".join(str(error) for error in (homeless or errors)),
    )
elif config is not None:
    st.caption("All checks passed: settings, files, models and disk space.")
if st.button("Launch", type="primary", icon=":material/rocket_launch:", disabled=bool(errors), key="launch_button"):
    late = submit_and_show(studio, config) if config is not None else []
    components.notice("error", "The run cannot start yet.", "\n".join(str(error) for error in late))
