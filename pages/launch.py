"""Launch: choose what to compress and how, see what it will take, fix what is wrong, start."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.launch import estimate as estimate_panel
from dqf.ui.launch import everywhere
from dqf.ui.launch import form as launch_form
from dqf.ui.launch.submit import check_everything, submit_and_show

studio, _ = components.start_page("Launch", "One launch trains each student once and makes a variant per bit-width.")
launch_form.preset_picker()
form = launch_form.render_form(studio.settings)
config, errors = check_everything(form.values, studio.settings)
launch_form.show_errors(form, errors)

if config is not None:
    st.subheader("What it will take", anchor=False)
    estimate_panel.show(config, studio.settings)
    st.caption("All checks passed: settings, files, models, memory and disk space.")
else:
    count = f"{len(errors)} settings need" if len(errors) > 1 else "1 setting needs"
    components.notice(
        "error",
        f"{count} your attention before this can start; each is marked beside its field.",
        "\n".join(form.sentence(error) for error in errors),
    )
if st.button("Launch", type="primary", icon=":material/rocket_launch:", disabled=config is None, key="launch_button"):
    late = submit_and_show(studio, config) if config is not None else []
    components.notice("error", "The run cannot start yet.", "\n".join(form.sentence(error) for error in late))
everywhere.show(studio, config)
