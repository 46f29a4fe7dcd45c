"""Predictions and texts of variants for the pages, cached, with every problem as a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dqf.data.texts import evaluation_texts
from dqf.errors import UserError
from dqf.evaluate.statistics import TaskResamples
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.store import queries
from dqf.store.db import Store
from dqf.ui.compare import comparisons
from dqf.ui.compare.comparisons import Scored
from dqf.ui.studio import Studio


def load(studio: Studio, rows: pd.DataFrame) -> tuple[list[Scored], list[str]]:
    """Return the predictions of variants, and a sentence for each that has none."""
    found, problems = [], []
    for row in rows.to_dict("records"):
        try:
            found.append(
                _scored(
                    str(studio.store.path),
                    studio.store.revision,
                    studio.store,
                    str(row["run_id"]),
                    str(row["variant_id"]),
                    str(row["task"]),
                    str(row["metric"]),
                )
            )
        except UserError as error:
            problems.append(f"{row['label']}: {error}")
    return found, problems


@st.cache_data(max_entries=200, show_spinner=False)
def _scored(path: str, revision: int, _store: Store, run_id: str, variant_id: str, task: str, metric: str) -> Scored:
    frame = queries.predictions(_store, run_id, variant_id)
    return comparisons.from_frame(f"{run_id}/{variant_id}", task, metric, frame)


def resampled(studio: Studio, groups: list[list[Scored]]) -> dict[str, TaskResamples]:
    """Return the resamples of each group of variants, by the key of each variant in it."""
    found = {}
    for group in groups:
        keys = tuple(one.key for one in group)
        whole = _resampled(str(studio.store.path), studio.store.revision, keys, group)
        found.update(dict.fromkeys(keys, whole))
    return found


@st.cache_data(max_entries=50, show_spinner="Resampling the examples…")
def _resampled(path: str, revision: int, keys: tuple[str, ...], _group: list[Scored]) -> TaskResamples:
    return comparisons.resample(_group)


def task_facts(studio: Studio, run_id: str) -> Mapping[str, Any]:
    """Return what a run's result says of its task (`labels`, `data_sha256`, ...), empty without one."""
    run_dir = studio.run_dir(run_id)
    result = protocol.read_json(run_dir / "result.json") if run_dir is not None else None
    task = result.get("task") if isinstance(result, Mapping) else None
    return task if isinstance(task, Mapping) else {}


def texts(studio: Studio, run_id: str) -> pd.DataFrame:
    """Return the texts that a run was evaluated on (`dqf.data.texts.evaluation_texts`).

    Raises:
        UserError: they are not to be had on this machine, or are not those of the run.
    """
    run_dir = studio.run_dir(run_id)
    config = protocol.read_json(run_dir / "config.json") if run_dir is not None else None
    if not isinstance(config, Mapping):
        raise UserError(f"texts are found by the run's config: {run_id} has none that can be read.")
    sha = str(task_facts(studio, run_id).get("data_sha256") or "")
    return _texts(run_id, sha, dict(config), studio.settings)


@st.cache_data(max_entries=16, show_spinner="Reading the texts…", hash_funcs={Settings: repr})
def _texts(run_id: str, data_sha256: str, _config: dict[str, Any], settings: Settings) -> pd.DataFrame:
    return evaluation_texts(_config, data_sha256, settings)
