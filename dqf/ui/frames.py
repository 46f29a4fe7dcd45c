"""What the pages compute from the table of variants: names, filters, the answer to show. Pure pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dqf.evaluate.pareto import SAME_SIZE, cheapest_within
from dqf.ui import format as fmt
from dqf.ui.theme import VARIANT_TITLES, variant_title

NOT_QUANTIZED = "Not quantized"


def derive(variants: pd.DataFrame) -> pd.DataFrame:
    """Add what pages need to the store's table of variants.

    Args:
        variants: `dqf.store.queries.variants`.

    Returns:
        The table with key (`run_id/variant_id`), kind (title of the variant), name (kind, bits and
        quantizer), label (name and run), method (quantizer or `Not quantized`), teacher_score and
        teacher_latency_ms of the same run and task.
    """
    frame = variants.copy()
    if frame.empty:
        for column in ("key", "kind", "name", "label", "method"):
            frame[column] = pd.Series(dtype=str)
        return frame.assign(teacher_score=np.nan, teacher_latency_ms=np.nan)
    frame["verified"] = frame["verified"].fillna(False).astype(bool)
    frame["key"] = frame["run_id"] + "/" + frame["variant_id"]
    frame["variant"] = frame["variant"].fillna("?")  # a damaged result costs what is missing in it, not the page
    for column in ("hardware", "runtime"):
        if column in frame:
            frame[column] = frame[column].fillna("")
    frame["kind"] = frame["variant"].map(variant_title)
    frame["method"] = frame["quantizer"].str.upper().fillna(NOT_QUANTIZED)
    mixed = frame["variant_id"].str.contains("-mixed", regex=False)
    frame["name"] = [
        name_of(kind, bits, method, is_mixed)
        for kind, bits, method, is_mixed in zip(frame["kind"], frame["bits"], frame["method"], mixed, strict=True)
    ]
    frame["label"] = frame["name"] + " · " + frame["run_id"].map(short_run)
    teachers = frame[frame["variant"] == "teacher"].drop_duplicates("run_id").set_index("run_id")
    frame["teacher_score"] = frame["run_id"].map(teachers["score"])
    frame["teacher_latency_ms"] = frame["run_id"].map(teachers["latency_ms_p50"])
    return frame


def name_of(kind: str, bits: object, method: str, mixed: bool = False) -> str:
    """Return `Student-DQF 4-bit GPTQ` or `Student-DQF mixed 3.5-bit GPTQ`; the kind alone if not quantized."""
    return kind if method == NOT_QUANTIZED else f"{kind} {'mixed ' if mixed else ''}{fmt.bits(bits)} {method}"


def short_run(run_id: str) -> str:
    """Return the end of a run id that tells it from others: `starter-1f3a`."""
    return run_id[16:] if len(run_id) > 16 else run_id


@dataclass(frozen=True)
class Filters:
    """Which variants to show; empty means all."""

    task: str = ""
    kinds: Sequence[str] = ()
    methods: Sequence[str] = ()
    bits: Sequence[str] = ()
    verified: bool = False

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that pass."""
        keep = pd.Series(True, index=frame.index)
        if self.task:
            keep &= frame["task"] == self.task
        if self.kinds:
            keep &= frame["kind"].isin(self.kinds)
        if self.methods:
            keep &= frame["method"].isin(self.methods)
        if self.bits:
            keep &= frame["bits"].map(fmt.bits).isin(self.bits)
        if self.verified:
            keep &= frame["verified"]
        return frame[keep]


def options(frame: pd.DataFrame, column: str) -> list[str]:
    """Return the values a filter offers, in the order people expect."""
    if column == "bits":
        return [fmt.bits(value) for value in sorted(frame["bits"].dropna().unique(), reverse=True)]
    values = [str(value) for value in frame[column].dropna().unique()]
    if column == "kind":
        order = list(VARIANT_TITLES.values())
        return sorted(values, key=lambda value: (order.index(value) if value in order else len(order), value))
    return sorted(values)


def recommended(frame: pd.DataFrame, cost: str, tolerance: float) -> pd.Series[Any] | None:
    """Return the verified student variant with the lowest cost that is within `tolerance` of its own teacher.

    Costs that are the lowest but for one per cent tie with it: the higher score wins.
    """
    good = frame[(frame["variant"] != "teacher") & frame["verified"]]
    teacher = good["teacher_score"].to_numpy(dtype=float)
    found = cheapest_within(good[cost], good["score"], teacher, tolerance, SAME_SIZE)
    return None if found is None else good.iloc[found]


def headline_variant(frame: pd.DataFrame, tolerance: float = 0.02) -> tuple[pd.Series[Any], str] | None:
    """Return the variant that stands for a run, and by which rule it was chosen.

    Args:
        frame: variants of one run.
        tolerance: allowed loss of score.

    Returns:
        The smallest verified student within `tolerance` of the teacher; if none is, the verified
        student that keeps most of the score; None without a verified student.
    """
    best = recommended(frame, "size_bytes", tolerance)
    if best is not None:
        return best, f"Smallest verified variant within {100 * tolerance:g} pp of its teacher"
    rest = frame[(frame["variant"] != "teacher") & frame["verified"] & frame["score"].notna()]
    if rest.empty:
        return None
    rule = f"No verified variant is within {100 * tolerance:g} pp of its teacher; this one keeps the most"
    return rest.iloc[int(rest["score"].to_numpy(dtype=float).argmax())], rule


def newest_run_with_variants(frame: pd.DataFrame, own_first: bool = True) -> pd.DataFrame:
    """Return the variants of the newest run; committed reference runs count only if there is no other."""
    if frame.empty:
        return frame
    own = ~frame["reference"].fillna(False).to_numpy(dtype=bool)
    wanted = own if own_first and own.any() else np.ones(len(frame), dtype=bool)
    run_id = frame["run_id"].iloc[int(wanted.argmax())]
    rows = np.flatnonzero(wanted & (frame["run_id"] == run_id).to_numpy(dtype=bool))
    return frame.iloc[rows[0] : rows[-1] + 1]  # a run's variants stand together; a slice copies none of the columns
