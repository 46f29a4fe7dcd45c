"""The part of a model card that sums up a receipt."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def receipt_section(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what was done to the layers and what it cost beside round-to-nearest, as Markdown.

    Args:
        rows: at least one layer, as `LayerReceipt.to_dict` gives it; older ones may lack fields.
    """
    alike: dict[tuple[str, Any, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        alike.setdefault((row.get("method", "?"), row.get("bits"), row.get("group_size")), []).append(row)
    lines = [
        "## Receipt\n",
        "| method kept | bits | group size | layers | weights | error, median | of round-to-nearest's |",
        "|" + "---|" * 7,
    ]
    for (method, bits, group), some in sorted(alike.items(), key=str):
        count = sum(int(row.get("params", 0)) for row in some)
        error, ratio = _median(row.get("error") for row in some), _median(map(_of_rtn, some))
        lines.append(
            f"| {method} | {bits} | {group or 'row'} | {len(some)} | {count / 1e6:.2f} M | "
            f"{'-' if error is None else f'{error:.3%}'} | {'-' if ratio is None else f'{ratio:.1%}'} |"
        )
    linear = [row for row in rows if row.get("kind") == "linear"]
    fallen = sum(bool(row.get("fallback")) for row in linear)
    lost = sum((_of_rtn(row) or 0) > 1 for row in linear)
    tokens = max(int(row.get("calibration_tokens", 0)) for row in rows)
    lines.append(
        "\nErrors are squared, relative to the layer's output on the calibration texts, or to the weight where there "
        f"are none. Of {len(linear)} linear layers {fallen} hold something else than the chosen method's result and "
        f"{lost} have a larger error than round-to-nearest's; up to {tokens} calibration input vectors were seen.\n"
    )
    return "\n".join(lines)


def _of_rtn(row: Mapping[str, Any]) -> float | None:
    """Return a layer's error divided by round-to-nearest's, None where there is nothing to divide by."""
    error, rtn = row.get("error"), row.get("error_rtn")
    return float(error) / float(rtn) if isinstance(error, int | float) and rtn else None


def _median(values: Iterable[Any]) -> float | None:
    known = [float(one) for one in values if one is not None]
    return statistics.median(known) if known else None
