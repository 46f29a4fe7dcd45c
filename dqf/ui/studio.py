"""The one door from pages to settings, runs and store; cached on the store's revision.

If this process cannot have the database, pages go on with an index of their own, built from the
run directories in a temporary folder, and say so.
"""

from __future__ import annotations

import atexit
import dataclasses
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.jobs.supervisor import ensure_supervisor
from dqf.settings import Settings, load_settings
from dqf.store import queries
from dqf.store.db import Store
from dqf.store.ingest import ingest_run, sync
from dqf.ui import frames


@dataclass(frozen=True)
class Studio:
    """What a page works with.

    Attributes:
        settings: of this process.
        store: the real one, or the substitute while another process holds it.
        problem: one sentence while the real store cannot be used, else empty.
    """

    settings: Settings
    store: Store
    problem: str = ""

    def runs(self) -> pd.DataFrame:
        """Return all runs, newest first (`dqf.store.queries.runs`)."""
        return _runs(str(self.store.path), self.store.revision, self.store).copy(deep=False)

    def variants(self) -> pd.DataFrame:
        """Return all variants with the derived columns of `dqf.ui.frames.derive`."""
        return _variants(str(self.store.path), self.store.revision, self.store).copy(deep=False)

    def scores(self) -> pd.DataFrame:
        """Return one row per variant and task."""
        return _scores(str(self.store.path), self.store.revision, self.store).copy(deep=False)

    def take_in(self, run_id: str) -> None:
        """Bring the store up to date with a run that was just launched or changed, ahead of the supervisor."""
        run_dir = self.run_dir(run_id)
        if run_dir is not None:
            ingest_run(self.store, run_dir)

    def run_dir(self, run_id: str) -> Path | None:
        """Return the directory of a run, None if there is none."""
        if not protocol.valid_run_id(run_id):
            return None
        for root in (self.settings.runs_dir, self.settings.reference_dir):
            if (root / run_id / "config.json").is_file():
                return root / run_id
        return None


def open_studio() -> Studio:
    """Return settings and store for a page.

    Raises:
        UserError: a setting is wrong.
    """
    settings = load_settings()
    try:
        return Studio(settings, ensure_supervisor(settings).store)
    except UserError as error:
        return Studio(settings, _substitute(settings), str(error))


_substitutes: dict[Path, Store] = {}
_substitutes_lock = threading.Lock()


def _substitute(settings: Settings) -> Store:
    """Return an index of this process's own over the run directories, brought up to date."""
    with _substitutes_lock:
        store = _substitutes.get(settings.results_dir)
        if store is None:
            folder = Path(tempfile.mkdtemp(prefix="dqf-index-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            store = Store.open(dataclasses.replace(settings, results_dir=folder))
            _substitutes[settings.results_dir] = store
        sync(store, settings)
        return store


# Resources, not data: data is pickled and read back at every access, which takes longer than the page has. Pages get
# shallow copies, and pandas copies on write, so that none can change what another sees.
@st.cache_resource(max_entries=4, show_spinner=False)
def _runs(path: str, revision: int, _store: Store) -> pd.DataFrame:
    return queries.runs(_store)


@st.cache_resource(max_entries=4, show_spinner=False)
def _variants(path: str, revision: int, _store: Store) -> pd.DataFrame:
    return frames.derive(queries.variants(_store))


@st.cache_resource(max_entries=4, show_spinner=False)
def _scores(path: str, revision: int, _store: Store) -> pd.DataFrame:
    return queries.scores(_store)
