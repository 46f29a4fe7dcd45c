"""From a config to a run in the queue, for every button that launches one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dqf import preflight
from dqf.config import RunConfig
from dqf.errors import ConfigError, FieldError, UserError
from dqf.jobs import actions
from dqf.presets import preset_config
from dqf.settings import Settings
from dqf.ui import components
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio


def check_everything(values: Mapping[str, Any], settings: Settings) -> tuple[RunConfig | None, list[FieldError]]:
    """Return the config if it may run, and everything that is wrong if not, from settings and from files.

    Files are checked even while some settings are wrong: those settings are left out, so they
    count with their defaults, and nothing is said twice about them.
    """
    try:
        config = RunConfig.from_dict(values)
    except ConfigError as error:
        errors = list(error.errors)
    else:
        found = preflight.check(config, settings)
        return (None if found else config), found
    for whole_sections in (False, True):
        faulty = {error.path.split(".")[0] if whole_sections else error.path for error in errors}
        try:
            rest = RunConfig.from_dict(_without(values, faulty))
        except ConfigError:
            continue
        known = {error.path for error in errors}
        more = [error for error in preflight.check(rest, settings) if error.path and error.path not in known]
        return None, [*errors, *(error for error in more if error.path.split(".")[0] not in faulty)]
    return None, errors


def _without(values: Mapping[str, Any], paths: set[str], path: str = "") -> dict[str, Any]:
    """Return nested values without some of them."""
    kept = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if where not in paths:
            kept[name] = _without(value, paths, where) if isinstance(value, Mapping) else value
    return kept


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
