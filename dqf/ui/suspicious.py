"""What the sanity gate says of runs, wherever their figures are shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from dqf.jobs import protocol
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio


def of_run(run_dir: Path) -> list[str]:
    """Return the sentences on a run; none for runs of versions that had no gate."""
    path = run_dir / "result.json"
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except OSError:
        return []


def of_runs(studio: Studio, run_ids: Iterable[str]) -> list[str]:
    """Return the sentences on several runs, each with its run where there is more than one."""
    ids = list(dict.fromkeys(map(str, run_ids)))
    found = {run_id: of_run(run_dir) for run_id in ids if (run_dir := studio.run_dir(run_id)) is not None}
    return [one if len(ids) == 1 else f"{run_id}: {one}" for run_id, told in found.items() for one in told]


def headline(count: int) -> str:
    """Return how many figures look wrong."""
    return f"{f'{count} figures look' if count > 1 else 'One figure looks'} suspicious: read before quoting"


def expander(sentences: list[str]) -> None:
    """Render the sentences, one click away; nothing where there are none."""
    if sentences:
        with st.expander(headline(len(sentences)), icon=":material/warning:"):
            st.text("\n".join(sentences))


def pointer(studio: Studio, run_id: str) -> None:
    """Render a link to what is said of a run beside its figure; nothing where nothing is."""
    run_dir = studio.run_dir(run_id)
    count = len(of_run(run_dir)) if run_dir is not None else 0
    if count:
        navigation.RUNS.link(headline(count), ":material/warning:", {"run": run_id})


@st.cache_data(max_entries=256, show_spinner=False)
def _read(path: str, mtime_ns: int) -> list[str]:
    result = protocol.read_json(Path(path))
    flags = result.get("sanity") if isinstance(result, dict) else None
    return [str(one.get("sentence")) for one in flags or () if isinstance(one, dict)]
