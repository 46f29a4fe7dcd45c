"""What the pages ask the store, as pandas DataFrames with documented columns.

Times are UTC without a zone, sizes bytes, latencies milliseconds. Each call uses its own cursor,
so any thread may ask.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from dqf.errors import UserError
from dqf.store.db import Store
from dqf.store.predictions import inside

FIXED_LENGTH_FIGURES = ("mb_each", "any_length_ms_p50", "fixed_length_ms_p50", "pooled_ratio")
CANDIDATE_FIGURES = ("latency_ms_p50", "pooled_latency", "relative_l2_error", "argmax_agreement")


def runs(store: Store) -> pd.DataFrame:
    """Return all runs, newest first.

    Columns: run_id, state, created, started, finished, preset, teacher, student, task, bits (text,
    `4, 2`), quantizer, seed, config_json, error (empty without one), reference (bool), run_dir.
    """
    return _frame(
        store,
        """SELECT run_id, state, created, started, finished, preset, teacher, student, task, bits, quantizer,
                  seed, config_json, error, reference, run_dir
           FROM runs ORDER BY created DESC, run_id DESC""",
    )


def variants(store: Store) -> pd.DataFrame:
    """Return one row per run and variant, newest run first, variants in the result's order.

    Columns: run_id, variant_id, every scalar of the result schema (`verification` as
    verification_relative_l2_error, _argmax_agreement, _tolerance, _n; candidates and fixed lengths are left to SQL),
    and of the run: created, teacher, student, quantizer_config (what the config asked for), seed,
    reference, run_dir, hardware (CPU), threads, baseline_runtime; of the first task: task, metric,
    n, tasks_n (how many tasks, without extra parts), score_ci95_low, score_ci95_high (both empty if there are several
    tasks, as the score is their average then).
    """
    return _frame(
        store,
        """SELECT variants.* EXCLUDE (position, runtime_candidates_json, fixed_lengths_json, first_task, first_metric,
                                     first_n),
                  runs.created, runs.teacher, runs.student, runs.quantizer AS quantizer_config, runs.seed,
                  runs.reference, runs.run_dir, runs.hardware, runs.threads, runs.baseline_runtime,
                  coalesce(first_task, runs.task) AS task, first_metric AS metric, first_n AS n
           FROM variants JOIN runs USING (run_id)
           ORDER BY runs.created DESC, run_id DESC, variants.position""",
    )


def scores(store: Store) -> pd.DataFrame:
    """Return one row per run, variant and task.

    Columns: run_id, variant_id, variant, bits, task, metric, value, n, ci95_low, ci95_high, ci_method,
    extra (true for a part that is scored beside the task and no part of the score, else false).
    """
    return _frame(
        store,
        """SELECT scores.run_id, scores.variant_id, variants.variant, variants.bits, scores.task, scores.metric,
                  scores.value, scores.n, scores.ci95_low, scores.ci95_high, scores.ci_method,
                  coalesce(scores.extra, false) AS extra
           FROM scores JOIN variants USING (run_id, variant_id) JOIN runs USING (run_id)
           ORDER BY runs.created DESC, run_id DESC, variants.position, scores.position""",
    )


def runtime_candidates(store: Store, run_id: str) -> pd.DataFrame:
    """Return what came of every runtime that was tried for the variants of a run, in order.

    Columns: variant_id, chosen (whether it serves the variant), runtime, precision, latency_ms_p50 (NaN if it was not
    timed), pooled_latency (over the network's fastest, all bit-widths together; NaN in runs of earlier versions),
    faithful (None if its logits were not compared), relative_l2_error, argmax_agreement, error (why it was not timed
    or compared; empty otherwise).
    """
    variants = _frame(
        store,
        "SELECT variant_id, runtime, runtime_candidates_json FROM variants WHERE run_id = ? ORDER BY position",
        [run_id],
    )
    rows = [
        {
            "variant_id": one["variant_id"],
            "chosen": tried.get("runtime") == one["runtime"],
            **{name: tried.get(name) for name in ("runtime", "precision", *CANDIDATE_FIGURES)},
            "faithful": None if tried.get("relative_l2_error") is None else bool(tried.get("faithful")),
            "error": str(tried.get("error") or ""),
        }
        for one in variants.to_dict("records")
        for tried in json.loads(one["runtime_candidates_json"] or "[]")
        if isinstance(tried, dict)
    ]
    names = ["variant_id", "chosen", "runtime", "precision", *CANDIDATE_FIGURES, "faithful", "error"]
    frame = pd.DataFrame(rows, columns=names)
    for name in CANDIDATE_FIGURES:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def fixed_lengths(store: Store, run_id: str) -> pd.DataFrame:
    """Return the variants of a run for which a graph of one fixed length was tried, in order.

    Columns: variant_id, lengths (list of tokens, empty if such graphs were not kept), mb_each, any_length_ms_p50 and
    fixed_length_ms_p50 (NaN if they were not timed), pooled_ratio (NaN in earlier runs).
    """
    variants = _frame(
        store, "SELECT variant_id, fixed_lengths_json FROM variants WHERE run_id = ? ORDER BY position", [run_id]
    )
    found = [(one["variant_id"], json.loads(one["fixed_lengths_json"] or "{}")) for one in variants.to_dict("records")]
    rows = [
        {
            "variant_id": variant_id,
            "lengths": [length for length in tried.get("lengths") or () if isinstance(length, int)],
            **{name: tried.get(name) for name in FIXED_LENGTH_FIGURES},
        }
        for variant_id, tried in found
        if tried.get("mb_each") is not None
    ]
    frame = pd.DataFrame(rows, columns=["variant_id", "lengths", *FIXED_LENGTH_FIGURES])
    for name in FIXED_LENGTH_FIGURES:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def predictions(store: Store, run_id: str, variant_id: str) -> pd.DataFrame:
    """Return the per-example predictions of a variant.

    Columns: idx, label, prediction, logits (list), sorted by idx.

    Raises:
        UserError: there is no such variant, or its file is missing, outside its run or not readable.
    """
    with store.cursor() as cursor:
        row = cursor.execute(
            "SELECT run_dir, predictions FROM variants JOIN runs USING (run_id) WHERE run_id = ? AND variant_id = ?",
            [run_id, variant_id],
        ).fetchone()
    if row is None or not row[1]:
        raise UserError(f"predictions need a recorded variant: {run_id} has none called {variant_id!r}.")
    path = inside(Path(row[0]), row[1])
    if path is None:
        raise UserError(f"predictions must be a file inside their run: {row[1]!r} of {run_id} is not.")
    try:
        return _frame(store, "SELECT idx, label, prediction, logits FROM read_parquet(?) ORDER BY idx", [str(path)])
    except duckdb.Error:
        raise UserError(
            f"predictions must be a readable parquet file: {row[1]!r} of {run_id} is not; run it again."
        ) from None


def _frame(store: Store, sql: str, values: list[Any] | None = None) -> pd.DataFrame:
    """Return the rows; through Arrow, which takes half as long as DuckDB's own way for a table of many texts.

    Whole numbers with gaps are floats, as everywhere in pandas; flags with gaps are True, False and None.
    """
    with store.cursor() as cursor:
        frame: pd.DataFrame = cursor.sql(sql, params=values or []).to_arrow_table().to_pandas()
    return frame
