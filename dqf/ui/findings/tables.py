"""Rows of a study as tables; pure pandas, every value straight from `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dqf.evaluate.significance import holm
from dqf.ui import format as fmt
from dqf.ui import paper
from dqf.ui.theme import variant_title

Part = Mapping[str, Any]
TEACHER, DQF = "teacher", "student-dqf"
PARTS = {
    "smaller_student": "Smaller student",
    "distillation": "Distillation",
    "quantization": "Quantization",
    "interaction": "Interaction",
}
PARTS_HELP = {
    "smaller_student": "Teacher minus Student-FT: what the smaller model trained on labels alone loses.",
    "distillation": "Student-FT minus Student-KD: negative where distillation helps.",
    "quantization": "Student-FT minus Student-PTQ: what quantization costs without distillation.",
    "interaction": "What quantization costs the distilled student more than the plain one: negative where "
    "distillation protects.",
}
OWNERS = ("task", "teacher", "student")
METHODS = {"full": "Full fine-tuning", "lora": "LoRA"}


def bits_title(bits: Any) -> str:
    """Return `4-bit`, `FP16`, `mixed 3.5-bit` or `All bit-widths` for the name of a bit-width."""
    text = str(bits)
    if text == "all":
        return "All bit-widths"
    if text == "16":
        return "FP16"
    return f"mixed {text.removeprefix('mixed')}-bit" if text.startswith("mixed") else f"{text}-bit"


def system_title(row: Mapping[str, Any]) -> str:
    """Return `Student-DQF, 4-bit` for figures of a system."""
    title = variant_title(str(row["variant"]))
    return title if str(row["bits"]) == "16" else f"{title}, {bits_title(row['bits'])}"


def ranged(text: str, row: Mapping[str, Any], name: str, scale: float = 100.0, digits: int = 1) -> str:
    """Return a figure with its 95 % interval in brackets, without one where it is not known."""
    low, high = row.get(f"{name}_ci95_low"), row.get(f"{name}_ci95_high")
    if not (fmt.known(low) and fmt.known(high)) or low == high:
        return text
    return f"{text} [{scale * float(low):.{digits}f}, {scale * float(high):.{digits}f}]".replace("-", "\u2212")  # type: ignore[arg-type]


def percent(value: Any) -> float | None:
    """Return a share (0..1) in percent as a number, None where it is not known."""
    return 100 * float(value) if fmt.known(value) else None


def table_1(part: Part) -> pd.DataFrame:
    """Return the paper's Table 1 from measured rows, and the paper's own two rows below, labelled."""
    rows = [
        {
            "Variant": system_title(row),
            "Source": "Measured",
            "Size": fmt.size(row.get("size_bytes")),
            "× smaller": fmt.times(row["compression_ratio"]),
            "Latency": fmt.milliseconds(row.get("latency_ms_p50")),
            "× faster": ranged(fmt.times(row.get("speedup")), row, "speedup", 1.0),
            "Score": ranged(fmt.percent(row["score"]), row, "score"),
            "Retention": ranged(fmt.percent(row["retention"]), row, "retention"),
        }
        for row in part["variants"]
    ]
    rows += [
        {
            "Variant": row.model,
            "Source": paper.LABEL,
            "Size": fmt.size(row.size_bytes),
            "× smaller": fmt.times(row.smaller(paper.TEACHER)),
            "Latency": fmt.milliseconds(row.latency_ms),
            "× faster": fmt.times(row.faster(paper.TEACHER)),
            "Score": fmt.percent(row.glue),
            "Retention": fmt.percent(row.retention(paper.TEACHER)),
        }
        for row in paper.TABLE_1
    ]
    return pd.DataFrame(rows)


def task_table(part: Part, system: str) -> pd.DataFrame:
    """Return one row per task: the teacher's score beside a system's, with retention, flips and speed."""
    elsewhere, usual = timed_elsewhere(part), machine_of(part)
    rows = []
    for row in tasks_of(part, system):
        flips = row.get("flips") or {}
        rows.append(
            {
                "Task": row["task"],
                "Metric": row["metric"],
                "n": row["n"],
                "Teacher": 100 * float(row["teacher_score"]),
                "Score": 100 * float(row["score"]),
                "95 % CI": ranged("", row, "score").strip(" []").replace(", ", " to "),
                "Also": further(row),
                "Retention": ranged(fmt.percent(row["retention"]), row, "retention"),
                "× faster": row.get("speedup"),
                "Lost": flips.get("right_to_wrong"),
                "Won": flips.get("wrong_to_right"),
                "Majority": percent(row.get("majority")),
                "Published": percent(row.get("published")),
                "Seeds": len(row.get("seeds") or ()),
                "Timed on": elsewhere.get(str(row["task"]), usual),
            }
        )
    tells_more = {"Also": any(row["Also"] for row in rows), "Timed on": bool(elsewhere)}
    return pd.DataFrame(rows).drop(columns=[name for name, told in tells_more.items() if not told], errors="ignore")


def machine_of(part: Part) -> str:
    """Return the hardware and threads that speed-ups over several tasks were measured with."""
    hardware, threads = (part["baseline"].get(name) or ["unknown"] for name in ("hardware", "threads"))
    return " and ".join(f"{one}, {count} threads" for one in hardware for count in threads)


def timed_elsewhere(part: Part) -> dict[str, str]:
    """Return the tasks that speed-ups over several tasks are without, with the machine each was timed on."""
    return {str(task): str(machine) for task, machine in (part["baseline"].get("timed_elsewhere") or {}).items()}


def timed_alike(frame: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Return the rows of the tasks that figures of time over several tasks are about."""
    return frame[~frame["task"].isin(list(timed_elsewhere(part)))]


def seeds_told(row: Mapping[str, Any]) -> str:
    """Return how many seeds the tasks of a row of figures have: `3 seeds`, or `1 to 3 seeds` where they differ."""
    counts = sorted({len(one.get("seeds") or ()) for one in row.get("tasks") or ()}) or [len(row.get("seeds") or ())]
    if counts[0] != counts[-1]:
        return f"{counts[0]} to {counts[-1]} seeds"
    return fmt.plural(counts[0], "seed")


def further(row: Mapping[str, Any]) -> str:
    """Return a task's scores in further metrics: `accuracy 81.2 [77.1, 84.8]`; nothing where there are none."""
    return ", ".join(
        ranged(f"{one['metric']} {100 * float(one['score']):.1f}", one, "score") for one in row.get("further") or ()
    )


def tasks_of(part: Part, system: str) -> list[Mapping[str, Any]]:
    """Return the task rows of a system, none if the study does not have it."""
    found = figures(part, system)
    return list(found["tasks"]) if found else []


def figures(part: Part, system: str) -> Mapping[str, Any] | None:
    """Return the figures of a system (`student-dqf@4`), None without it."""
    return next((row for row in part["variants"] if row["system"] == system), None)


def verdict_table(verdicts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the verdicts on a hypothesis, one row per bit-width and one for all."""
    return pd.DataFrame(
        {
            "Bit-width": [bits_title(row["bits"]) for row in verdicts],
            "Verdict": [str(row["verdict"]).capitalize() for row in verdicts],
            "Effect": [effect(row, "effect") for row in verdicts],
            "95 % CI": [f"{effect(row, 'low')} to {effect(row, 'high')}" for row in verdicts],
            "p": [fmt.p_value(row["p_value"]) for row in verdicts],
            "p, corrected": [fmt.p_value(row["p_holm"]) for row in verdicts],
        }
    )


def effect(row: Mapping[str, Any], name: str) -> str:
    """Return an effect or an end of its interval in its unit: points, or a ratio of latencies."""
    value = row[name]
    return fmt.times(value) if row["unit"] == "ratio" else fmt.points(value)


def decomposition_table(part: Part) -> pd.DataFrame:
    """Return the parts of the loss at every bit-width, in percentage points of macro score.

    Columns bits, part (key), name, value, low, high, p_value.
    """
    rows = [
        {
            "bits": bits,
            "part": name,
            "name": {**PARTS, "total": "Total"}[name],
            "value": 100 * float(found["value"]),
            "low": percent(found["low"]),
            "high": percent(found["high"]),
            "p_value": found["p_value"],
        }
        for bits, row in part["bits"].items()
        for name, found in (row.get("decomposition") or {}).items()
        if name in PARTS or name == "total"
    ]
    return pd.DataFrame(rows, columns=["bits", "part", "name", "value", "low", "high", "p_value"])


def varied_settings(conditions: Sequence[Part]) -> dict[str, list[Any]]:
    """Return the settings that differ between conditions, with their values in order."""
    found: dict[str, list[Any]] = {}
    for part in conditions:
        for path, value in (part.get("settings") or {}).items():
            values = found.setdefault(str(path), [])
            if value not in values:
                values.append(value)
    return {path: values for path, values in found.items() if len(values) > 1}


def setting_rows(conditions: Sequence[Part], path: str) -> pd.DataFrame:
    """Return the score of every system at each value of a setting.

    Columns value (as text), beside (of the other settings that were varied, as text), beside_title (which those are),
    order, condition, system, variant, bits, name, score, low, high, retention, n, seeds.
    """
    ranked = _ranked(conditions, path)
    others = [one for one in varied_settings(conditions) if one != path]

    def text(part: Part, name: str) -> str:
        value = part["settings"].get(name)
        return label_count(value) if name == LABELS else setting_value(value)

    rows = [
        {
            "value": text(part, path),
            "beside": ", ".join(text(part, other) for other in others),
            "beside_title": ", ".join(setting_title(other) for other in others),
            "order": ranked.index(part["settings"][path]),
            "condition": part["condition"],
            "system": row["system"],
            "variant": row["variant"],
            "bits": row["bits"],
            "name": system_title(row),
            "score": 100 * float(row["score"]),
            "low": percent(row.get("score_ci95_low")),
            "high": percent(row.get("score_ci95_high")),
            "retention": percent(row["retention"]),
            "n": row.get("n"),
            "seeds": len(row.get("seeds") or ()),
        }
        for part in conditions
        if path in (part.get("settings") or {})
        for row in part["variants"]
    ]
    return pd.DataFrame(rows).sort_values(["order", "condition"], kind="stable").reset_index(drop=True)


def _ranked(conditions: Sequence[Part], path: str) -> list[Any]:
    """Return the values of a varied setting: numbers in their order, all else as the plan has them."""
    values = varied_settings(conditions).get(path, [])
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values, key=_rows_seen if path == LABELS else None) if numeric else values


def pays_paths(conditions: Sequence[Part]) -> list[str]:
    """Return over which settings to ask where distillation pays, none if nothing was varied.

    All that were, the number of labels first: each condition then has a place of its own.
    """
    return sorted(varied_settings(conditions), key=lambda path: path != LABELS)


LABELS = "student.label_rows"
WINS, TIES, LOSES = "wins", "ties", "loses"


def pays_rows(conditions: Sequence[Part], paths: Sequence[str] = (LABELS,)) -> pd.DataFrame:
    """Return what distillation adds to the score at each value of some settings and each bit-width.

    Columns value (as text), bits, name, difference, low, high (in points), score, plain_score, p_value, outcome,
    p_holm (over all rows). It wins or loses where the 95 % interval of the paired difference leaves out 0, else it
    ties.
    """
    known = [part for part in conditions if all(path in (part.get("settings") or {}) for path in paths)]
    ranked = {path: _ranked(conditions, path) for path in paths}

    def place(part: Part) -> list[int]:
        return [ranked[path].index(part["settings"][path]) for path in paths]

    def told(part: Part) -> str:
        values = {path: part["settings"][path] for path in paths}
        return " / ".join(
            label_count(value) if path == LABELS else setting_value(value) for path, value in values.items()
        )

    rows = [
        {
            "value": told(part),
            "bits": str(row["bits"]),
            "name": bits_title(row["bits"]),
            **{
                name: 100 * float(row[key])
                for name, key in (
                    ("difference", "difference"),
                    ("low", "difference_ci95_low"),
                    ("high", "difference_ci95_high"),
                    ("score", "score"),
                    ("plain_score", "plain_score"),
                )
            },
            "p_value": row["p_value"],
            "outcome": _outcome(float(row["difference_ci95_low"]), float(row["difference_ci95_high"])),
        }
        for part in sorted(known, key=place)
        for row in part.get("distillation_pays") or ()
    ]
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return pd.DataFrame(rows)


def label_count(value: Any) -> str:
    """Return a number of labels as text; 0 stands for all of them."""
    return f"{int(value):,}".replace(",", "\u202f") if value else "all"


def _rows_seen(value: Any) -> float:
    return float(value) if value else float("inf")


def _outcome(low: float, high: float) -> str:
    if low <= 0 <= high:
        return TIES
    return WINS if low > 0 else LOSES


def setting_title(path: str) -> str:
    """Return a readable name of a setting: `distillation.options.temperature` -> `Temperature`.

    Settings that teacher, student or task have of their own kind name whose they are: `Student tuning`.
    """
    words = path.rsplit(".", 1)[-1].replace("_", " ").strip()
    section = path.partition(".")[0]
    if words and section != path and section in OWNERS:
        words = f"{section} {words}"
    return words[:1].upper() + words[1:] if words else path


def setting_value(value: Any) -> str:
    """Return a setting's value as text; `none` for an empty one."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting_value(one) for one in value) or "none"
    return METHODS.get(str(value), str(value)) or "none"
