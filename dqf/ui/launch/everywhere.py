"""One launch on all nine GLUE tasks: what it will take, and the button."""

from __future__ import annotations

import streamlit as st

from dqf.config import RunConfig
from dqf.data.catalog import GLUE_TASKS
from dqf.errors import ConfigError, UserError
from dqf.estimate import TEACHER
from dqf.estimate_history import current_correction
from dqf.settings import Settings
from dqf.study import own
from dqf.study.plan import plan_of
from dqf.sweeps.plan import expand
from dqf.ui import components
from dqf.ui import format as fmt
from dqf.ui.launch.estimate import cached_estimate
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

KEY = "launch_everywhere"
LEAD = (
    "The settings above on each of GLUE's nine tasks, as a study: one run per task and seed, one after the other. "
    "Findings then averages the tasks, with and without WNLI, and tests the paper's three claims; for the one about "
    "latency all variants are also timed in one runtime."
)


def show(studio: Studio, config: RunConfig | None) -> None:
    """Render the launch on all tasks.

    Args:
        studio: where it goes.
        config: of the form, None while something is wrong with it.
    """
    part = st.expander("All nine GLUE tasks at once", icon=":material/checklist:", key=KEY, on_change="rerun")
    if not part.open:
        return
    with part:
        st.caption(LEAD)
        if config is None:
            st.text("The form above must be right first.")
            return
        seeds = int(
            st.number_input(
                "Seeds",
                1,
                own.MOST_SEEDS,
                1,
                key="launch_everywhere_seeds",
                width=160,
                help="Students are trained once per seed; with several, intervals cover chance in training, too.",
            )
        )
        st.text(_cost(config, seeds, studio.settings))
        count = seeds * len(GLUE_TASKS)
        if st.button(f"Launch {count} runs", icon=":material/rocket_launch:", key="launch_everywhere_button"):
            _launch(studio, config, seeds)


def _cost(config: RunConfig, seeds: int, settings: Settings) -> str:
    """Return a sentence about the time of all runs; the teacher of a task is trained once."""
    runs = expand(plan_of(own.glue_plan(config, 1), "glue", False).plan).runs
    seconds = 0.0
    unknown = []
    for run in runs:
        try:
            correction = current_correction(settings)
            found = correction.apply(cached_estimate(run.config.digest(), run.config, settings))
        except UserError:
            unknown.append(run.config.task.source.removeprefix("glue:"))
            continue
        seconds += found.parts[TEACHER] + seeds * (found.seconds - found.parts[TEACHER])
        if found.notes:
            unknown.append(run.config.task.source.removeprefix("glue:"))
    about = f"About {fmt.about(seconds)} in all, nothing cached"
    if not unknown:
        return f"{about}. Limits of rows in the advanced settings hold for each task."
    return f"{about}, without what is known only once it is fetched ({', '.join(dict.fromkeys(unknown))})."


def _launch(studio: Studio, config: RunConfig, seeds: int) -> None:
    try:
        with st.spinner("Checking the runs ..."):
            planned = own.launch(studio.settings, config, seeds)
    except ConfigError as error:
        components.notice("error", "The study cannot start yet.", "\n".join(str(one) for one in error.errors))
        return
    except (UserError, OSError) as error:
        components.notice("error", "The study cannot start yet.", str(error))
        return
    for entry in own.sweep_of(studio.settings, planned).entries:
        studio.take_in(entry.run_id)
    components.flash(f"{seeds * len(GLUE_TASKS)} runs are in the queue; Findings shows how far they are.")
    navigation.FINDINGS.go({})
