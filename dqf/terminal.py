"""What the command line shows: progress while a run works, and tables of results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from dqf.jobs.protocol import Event

LINE_INTERVAL_S = 5.0


class ProgressPrinter:
    """Prints events: a live line on a terminal, else a line per stage and every five seconds.

    Args:
        stream: where to, normally stderr.
        prefix: put before every stage, for example which run of a sweep this is.
        live: False for lines even on a terminal, where several print.
    """

    def __init__(self, stream: TextIO, prefix: str = "", live: bool = True) -> None:
        self._stream = stream
        self._prefix = prefix
        self._live = live and stream.isatty()
        self._stages: list[dict[str, str]] = []
        self._printed = 0.0
        self._width = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "plan":
            self._stages = list(event.data.get("stages", ()))
        elif event.kind == "stage_started":
            self._printed = time.monotonic()
            self._show(f"{self._name(event.stage)} ...", keep=not self._live)
        elif event.kind == "progress":
            now = time.monotonic()
            if self._live or now - self._printed >= LINE_INTERVAL_S:
                self._printed = now
                self._show(self._progress(event), keep=not self._live)
        elif event.kind == "stage_done":
            cached = ", from the cache" if event.metrics.get("cache") == "hit" else ""
            seconds = event.metrics.get("seconds")
            took = f" {duration(seconds)}" if isinstance(seconds, int | float) else ""
            self._show(f"{self._name(event.stage)}: done{took}{cached}", keep=True)
        elif event.kind == "message":
            self._show(f"    {event.text}", keep=True)

    def finish(self) -> None:
        """End the live line."""
        if self._width:
            self._stream.write("\n")
            self._width = 0
            self._stream.flush()

    def _name(self, stage: str) -> str:
        for number, known in enumerate(self._stages, 1):
            if known.get("id") == stage:
                return f"{self._prefix}[{number}/{len(self._stages)}] {known.get('title') or stage}"
        return self._prefix + stage

    def _progress(self, event: Event) -> str:
        parts = [self._name(event.stage)]
        if event.total:
            parts.append(f"step {event.step}/{event.total} ({100 * event.step // event.total} %)")
        elif event.step:
            parts.append(f"step {event.step}")
        parts += [f"{name} {value:.4g}" for name, value in event.metrics.items() if isinstance(value, int | float)]
        if event.eta_s is not None:
            parts.append(f"ETA {duration(event.eta_s)}")
        return "  ".join(parts)

    def _show(self, text: str, keep: bool) -> None:
        if self._live:
            if not keep:
                text = text.replace("\n", " ")[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + text.ljust(self._width))
            self._width = 0 if keep else len(text)
            self._stream.write("\n" if keep else "")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Return seconds as people say them: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return rows as aligned text; the first `left` columns to the left, the others to the right."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    shown = []
    for line in lines:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    shown.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(shown)


def result_table(result: Mapping[str, Any]) -> str:
    """Return the variants of a `result.json` as text, with what the ratios are relative to."""
    rows = [_variant_row(variant) for variant in result.get("variants", ())]
    header = (
        "variant",
        "bits",
        "runtime",
        "params",
        "MB",
        "x smaller",
        "score [95 % interval]",
        "retention",
        "p50 ms",
        "speed-up",
        "verified",
    )
    lines = [table(header, rows)]
    task, baseline = result.get("task") or {}, result.get("baseline") or {}
    if task:
        lines.append(f"Score: {task.get('metric')} on {task.get('name')}, n = {task.get('eval_n')}.")
    if baseline:
        lines.append(
            f"Ratios are relative to {baseline.get('model')}: size to its {baseline.get('precision', 'FP16 file')}, "
            f"latency to {baseline.get('runtime')} on {baseline.get('hardware')}, {baseline.get('threads')} threads. "
            "MB = 1e6 bytes of weights."
        )
    return "\n".join(lines)


def _variant_row(variant: Mapping[str, Any]) -> tuple[str, ...]:
    scores = [one for one in (variant.get("tasks") or {}).values() if not one.get("extra")]
    interval = ""
    if len(scores) == 1:
        interval = f" [{_number(scores[0].get('ci95_low'), '.3f')}, {_number(scores[0].get('ci95_high'), '.3f')}]"
    size = variant.get("size_bytes")
    params = variant.get("params")
    return (
        str(variant.get("variant_id") or variant.get("variant")),
        str(variant.get("bits")),
        str(variant.get("runtime")),
        f"{params / 1e6:.1f} M" if params else "-",
        _number(size / 1e6 if size is not None else None, ".1f"),
        _number(variant.get("compression_ratio"), ".1f"),
        _number(variant.get("score"), ".3f") + interval,
        _number(variant.get("retention"), ".1%"),
        _number(variant.get("latency_ms_p50"), ".2f"),
        _number(variant.get("speedup"), ".1f") + "x",
        "yes" if variant.get("verified") else "no",
    )


def _number(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
