"""From a config to a run in the queue, for every button that launches one."""

from __future__ import annotations

from dqf import preflight
from dqf.config import RunConfig
from dqf.errors import ConfigError, FieldError, UserError
from dqf.jobs import actions
from dqf.presets import preset_config
from dqf.ui import components, navigation
from dqf.ui.studio import Studio


def submit_and_show(studio: Studio, config: RunConfig) -> list[FieldError]:
    """Check a config, queue it and go to its run; return what is wrong if it may not start."""
    try:
        errors = preflight.check(config, studio.settings)
        if errors:
            return errors
        run_id = actions.submit(studio.settings, config)
    except ConfigError as error:
        return list(error.errors)
    except (UserError, OSError) as error:
        return [FieldError("", str(error))]
    studio.take_in(run_id)
    components.flash("The run is in the queue.")
    navigation.RUNS.go({"run": run_id})


def launch_preset(studio: Studio, name: str) -> None:
    """Launch a preset as it is, or say why that is not possible."""
    errors = submit_and_show(studio, preset_config(name))
    components.notice("error", "The run cannot start yet.", "\n".join(str(error) for error in errors))
