"""Quantization receipts: read a variant's file, put it into a table, say it in words. No streamlit.

A receipt holds one row per quantized layer (`dqf.quant.model.LayerReceipt`). Rows may lack keys and
may have more than are known here; what is missing is shown as not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.errors import UserError
from dqf.quant.scales import FP16_BITS
from dqf.ui import format as fmt
from dqf.ui.receipt.layer_names import layer_names

RTN = "rtn"
KEPT = "kept"
BY_DESIGN = "by design"
LOST = "lost"
FELL_BACK = "fell back"
PROBLEMS = (LOST, FELL_BACK)
_FIGURE = re.compile(r" \((?:[0-9.e+-]+|nan|inf)\)$")
LARGEST_BYTES = 20_000_000
TEXTS = ("kind", "method", "error_of", "fallback")
NUMBERS = (
    "bits",
    "group_size",
    "scale_bits",
    "params",
    "calibration_tokens",
    "error",
    "error_rtn",
    "block_error_before",
    "block_error",
    "output_distance_before",
    "output_distance",
    "seconds",
)


def locate(run_dir: Path, where: object) -> Path:
    """Return the file of a receipt.

    Args:
        run_dir: the run it must lie in.
        where: the variant's `receipt`, relative to the run directory.

    Raises:
        UserError: none is named, or it is not a file inside the run.
    """
    if not isinstance(where, str) or not where:
        raise UserError("a receipt is written when a variant is quantized: this variant names none.")
    root = run_dir.resolve()
    try:
        path = (root / where).resolve()
        inside = root in path.parents and path.is_file()
    except (OSError, ValueError):
        inside = False
    if not inside:
        raise UserError(f"a receipt must be a file inside its run: {where[:200]!r} of {run_dir.name} is not.")
    return path


def read(path: Path) -> pd.DataFrame:
    """Return the table of a receipt (`table`).

    Raises:
        UserError: it is not a JSON list of layers.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"a receipt must be smaller than {fmt.size(LARGEST_BYTES)}: {path.name} is not.")
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UserError(f"a receipt must be whole JSON: {path.name} cannot be read.") from None
    if not isinstance(rows, list) or not rows or not all(_is_layer(row) for row in rows):
        raise UserError(f"a receipt must be a list of layers, each with a `name`: {path.name} is something else.")
    return table(rows)


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per layer, in the order of the receipt.

    Columns: name, kind, method, error_of, fallback (text, empty if not known); bits, group_size, scale_bits, params,
    calibration_tokens, error, error_rtn, block_error_before, block_error, output_distance_before, output_distance,
    seconds (NaN if not known); symmetric (bool or None); depth (NaN outside the stack of transformer layers), role,
    label, column (depth, -1 before the stack, one more than the last after it), ratio (error / error_rtn), outcome.
    """
    frame = pd.DataFrame({"name": [_text(row["name"]) for row in rows]}, dtype=object)
    for key in TEXTS:
        frame[key] = pd.Series([_text(row.get(key)) for row in rows], dtype=object)
    for key in NUMBERS:
        frame[key] = [_number(row.get(key)) for row in rows]
    frame["symmetric"] = pd.Series(
        [row["symmetric"] if isinstance(row.get("symmetric"), bool) else None for row in rows], dtype=object
    )
    names = layer_names(frame["name"].tolist())
    frame["depth"] = [np.nan if name.depth is None else float(name.depth) for name in names]
    frame["role"] = [name.role for name in names]
    frame["label"] = [name.label for name in names]
    frame["column"] = _columns(frame["depth"].to_numpy(dtype=float))
    frame["ratio"] = frame["error"] / frame["error_rtn"].where(frame["error_rtn"] > 0)
    frame["outcome"] = [_outcome(row) for row in frame.to_dict("records")]
    return frame


def compares(frame: pd.DataFrame) -> bool:
    """Tell whether anything but plain round-to-nearest was kept or tried."""
    return bool(((frame["method"] != RTN) | (frame["outcome"] != KEPT)).any())


def mixed_bits(frame: pd.DataFrame) -> bool:
    """Tell whether layers have different bit-widths."""
    return frame["bits"].nunique() > 1


def bits_per_weight(frame: pd.DataFrame) -> float:
    """Return the mean bits of a quantized weight, scales left out; NaN if it is not known."""
    weights = float(frame["params"].sum())
    return float((frame["bits"] * frame["params"]).sum(skipna=False)) / weights if weights else float("nan")


def method_title(method: str) -> str:
    """Return the name of a quantizer as people read it."""
    return "round-to-nearest" if method == RTN else method.upper() or "an unnamed method"


def summary(frame: pd.DataFrame) -> str:
    """Return what happened in two or three sentences; they may hold words of the file."""
    fallen = frame["fallback"] != ""
    parts = [
        f"{method_title(str(name))} kept on {len(rows)}" for name, rows in frame[~fallen].groupby("method", sort=False)
    ]
    for name, rows in frame[fallen].groupby("method", sort=False):
        parts.append(f"{method_title(str(name))} kept on {len(rows)} ({'; '.join(_reasons(rows))})")
    sentences = [f"{_plural(len(frame), 'layer')}: {', '.join(parts)}."]
    worse = int(((frame["outcome"] == LOST) & ~fallen).sum())
    if worse:
        sentences.append(f"{_plural(worse, 'layer')} kept a result with a larger error than round-to-nearest's.")
    for name, rows in frame[~fallen].groupby("method", sort=False):
        sentences.append(_error_sentence(str(name), rows))
    if mixed_bits(frame):
        counts = frame["bits"].value_counts().sort_index(ascending=False)
        widths = ", ".join(f"{bits:g} on {count}" for bits, count in counts.items())
        sentences.append(f"Bits differ: {widths}; {fmt.significant(bits_per_weight(frame))} a weight on average.")
    sentences.append(_tuning_sentence(frame))
    return " ".join(sentence for sentence in sentences if sentence)


def facts(frame: pd.DataFrame) -> str:
    """Return the settings all layers share, numbers and our own words only."""
    found = []
    widths = frame["bits"].dropna().unique()
    if len(widths) == 1:
        found.append(f"{widths[0]:g}-bit")
    groups = frame["group_size"].dropna().unique()
    if len(groups) == 1:
        found.append(f"groups of {groups[0]:g} weights" if groups[0] > 0 else "one scale per row")
    scales = frame["scale_bits"].dropna().unique()
    if len(scales) == 1 and scales[0] < FP16_BITS:
        found.append(f"scales of {scales[0]:g} bits")
    symmetry = set(frame["symmetric"].dropna())
    if len(symmetry) == 1:
        found.append("symmetric" if symmetry.pop() else "asymmetric")
    tokens = frame["calibration_tokens"].max()
    if fmt.known(tokens):
        found.append(f"up to {fmt.count(tokens)} calibration tokens a layer" if tokens else "no calibration")
    return " · ".join(found)


def _tuning_sentence(frame: pd.DataFrame) -> str:
    """Return what training all layers together did to the model's answers; empty where they were not."""
    before, after = float(frame["output_distance_before"].max()), float(frame["output_distance"].max())
    if not (fmt.known(before) and fmt.known(after)):
        return ""
    if not after < before:
        return "Tuning all layers together brought the answers no nearer to full precision: undone."
    return (
        "Tuned together: the answers' distance to full precision, on texts held back, fell from "
        f"{fmt.significant(before, 2)} to {fmt.significant(after, 2)}."
    )


def _error_sentence(method: str, rows: pd.DataFrame) -> str:
    whats = set(rows["error_of"]) - {""}
    what = f"{whats.pop()} error" if len(whats) == 1 else "error"
    column = "error" if method == RTN else "ratio"
    values = rows[column].dropna()
    if values.empty:
        return ""
    median = float(values.median())
    value = fmt.share(median) if method == RTN else f"{fmt.significant(median, 2)}× round-to-nearest's"
    title = method_title(method)
    return f"{title[0].upper()}{title[1:]}'s {what} is {value} (median of {_plural(len(values), 'layer')})."


def _reasons(rows: pd.DataFrame) -> list[str]:
    """Return the reasons of fallbacks with how often each was given."""
    found = []
    plain = rows["fallback"].map(lambda reason: _FIGURE.sub("", reason)[:120])
    for (outcome, reason), group in rows.groupby([rows["outcome"], plain], sort=False):
        if outcome == BY_DESIGN:
            found.append(f"{_plural(len(group), 'table')}, {str(reason).partition(':')[0]}")
        else:
            found.append(f"{len(group)} where {reason}")
    return found


def _outcome(row: Mapping[Any, Any]) -> str:
    if row["fallback"]:
        if "larger error" in row["fallback"]:
            return LOST
        return BY_DESIGN if row["kind"] == "embedding" else FELL_BACK
    nearer = row["block_error"] < row["block_error_before"] or row["output_distance"] < row["output_distance_before"]
    if nearer:
        return KEPT  # its block, or the model, is nearer to full precision: what the layer loses others make up for
    return LOST if row["error"] > row["error_rtn"] * (1 + 1e-9) else KEPT


def _columns(depth: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    inside = np.flatnonzero(np.isfinite(depth))
    first, after = (inside[0], int(depth[inside].max()) + 1) if len(inside) else (len(depth), 0)
    return [int(one) if np.isfinite(one) else (-1 if at < first else after) for at, one in enumerate(depth)]


def _is_layer(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("name"), str) and bool(row["name"])


def _text(value: object) -> str:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        number = float(value)
    except OverflowError:
        return float("nan")
    return number if np.isfinite(number) else float("nan")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
