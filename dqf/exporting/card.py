"""The model card of an export: what it is, what it scored, how to load it, how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dqf.artifacts import WEIGHTS, Artifact
from dqf.exporting.licences import data_licence, hub_id, hub_page, model_licence
from dqf.exporting.receipt_section import receipt_section
from dqf.jobs.protocol import read_json
from dqf.quant.scales import FP16_BITS
from dqf.registry import Entry

ARTIFACT_CODE = """
from pathlib import Path

import numpy as np

from dqf.artifacts import open_artifact
from dqf.data.encode import Encoder
from dqf.data.tasks import Examples
from dqf.registry import get

folder = Path(".")  # this folder
artifact = open_artifact(folder)  # compares the hashes
encode = Encoder(folder / "tokenizer.json", artifact.manifest["max_length"])
model = get("runtime", "{runtime}").target(artifact, threads=1, device="cpu")
{lengths}encoded = encode(Examples(("a text to classify",), None, np.zeros(1)))
logits = model.logits(encoded.batch([0], artifact.manifest["pad_id"]))
print(logits)
"""

FIX_LENGTHS = """model.fix_lengths({})  # texts of these padded lengths have graphs of their own, as when it was timed
"""
UNKNOWN = "not known to this program: see {}"


@dataclass(frozen=True)
class Origin:
    """How an artifact came about; everything is optional.

    Attributes:
        run_id: of its run.
        variant_id: which variant of the run it is.
        result: content of the run's `result.json`.
        command: the command that exports it.
    """

    run_id: str | None = None
    variant_id: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    @property
    def config(self) -> Mapping[str, Any]:
        """Config of the run."""
        return self.result.get("config") or {}

    def variant(self, variant_id: str | None = None) -> Mapping[str, Any]:
        """Return a variant's row of the result: by default this one's."""
        wanted = variant_id or self.variant_id
        return next((one for one in self.result.get("variants", ()) if one["variant_id"] == wanted), {})


def model_card(artifact: Artifact, entry: Entry, record: Mapping[str, Any], code: str, origin: Origin) -> str:
    """Return the card, Markdown with a metadata header as the hub reads it.

    Args:
        artifact: what was exported.
        entry: the exporter.
        record: content of `export.json`.
        code: Python source that loaded the export when it was verified.
        origin: how the artifact came about.
    """
    parts = [
        _header(artifact, entry.facts["library"], entry.name, origin),
        f"# {origin.variant_id or artifact.folder.name}, {entry.title}\n",
        _summary(artifact, entry.summary),
        _making(artifact, origin),
        _scores(origin),
        _receipt(artifact),
        _fidelity(record),
        f"## Load it\n\nThis very code loaded the files when they were verified.\n\n```python\n{code.strip()}\n```\n",
        _again(record, origin),
        _licences(origin),
    ]
    return "\n".join(part for part in parts if part)


def artifact_card(artifact: Artifact, origin: Origin) -> str:
    """Return the card of a packed artifact itself, in the same form."""
    row = origin.variant()
    lengths = (row.get("fixed_lengths") or {}).get("lengths")
    code = ARTIFACT_CODE.format(
        runtime=row.get("runtime") or "torch-fp32", lengths=FIX_LENGTHS.format(lengths) if lengths else ""
    )
    record = {
        "source": {"weights_sha256": artifact.manifest["files"].get(WEIGHTS)},
        "dqf_version": (origin.result.get("environment") or {}).get("dqf_version", ""),
    }
    seen = row.get("verification") or {}
    fidelity = (
        f"## Fidelity\n\nLoaded again in a fresh process by `{row.get('runtime')}`, its logits differed from the model "
        f"in memory by {seen['relative_l2_error']:.2e} (relative L2, {seen.get('n')} texts) and agreed in "
        f"{seen['argmax_agreement']:.1%} of the predictions.\n"
        if row.get("verified") and "relative_l2_error" in seen and "argmax_agreement" in seen
        else ""
    )
    parts = [
        _header(artifact, "dqf-studio", "dqf-artifact", origin),
        f"# {origin.variant_id or artifact.folder.name}, packed artifact\n",
        _summary(artifact, "What was measured: packed weights, tokenizer, topology and receipt."),
        _making(artifact, origin),
        _scores(origin),
        _receipt(artifact),
        fidelity,
        f"## Load it\n\nWith DQF Studio installed:\n\n```python\n{code.strip()}\n```\n",
        _again(record, origin),
        _licences(origin),
    ]
    return "\n".join(part for part in parts if part)


def _header(artifact: Artifact, library: str, name: str, origin: Origin) -> str:
    task = artifact.manifest.get("task") or {}
    method = [str(origin.variant().get("quantizer"))] if origin.variant().get("quantizer") else []
    lines: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": "text-classification",
        "tags": ["dqf-studio", "knowledge-distillation", "quantization", name, *method],
    }
    licence = model_licence(_source(origin, "student"))
    if licence:
        lines["license"] = licence.lower()
    base = hub_id(_source(origin, "student"))
    if base:
        lines["base_model"] = base
    if task.get("name"):
        lines["datasets"] = [task["name"]]
    metrics = sorted({one["metric"] for one in (origin.variant().get("tasks") or {}).values()})
    if metrics:
        lines["metrics"] = metrics
    # JSON is YAML, so no name can break the header.
    body = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in lines.items())
    return f"---\n{body}\n---\n"


def _summary(artifact: Artifact, summary: str) -> str:
    manifest = artifact.manifest
    task = manifest.get("task") or {}
    labels = ", ".join(f"`{label}` ({at})" for at, label in enumerate(task.get("labels") or ()))
    lines = [f"{summary} Made by DQF Studio from a measured artifact of {manifest['params'] / 1e6:.1f} M parameters."]
    if labels:
        lines.append(f"\nClasses, in the order of the logits: {labels}.")
    return "\n".join(lines) + "\n"


def _making(artifact: Artifact, origin: Origin) -> str:
    if not origin.config:
        return ""
    config, task, variant = origin.config, origin.result.get("task") or {}, origin.variant()
    distillation = config.get("distillation") or {}
    quantizer = variant.get("quantizer")
    kind = str(variant.get("variant"))
    distilled = kind in ("student-kd", "student-dqf")
    rows = [
        ("Teacher", _source(origin, "teacher")),
        ("This variant", f"{kind}, from {_source(origin, 'student')}"),
        ("Data", _data(task, 0 if kind == "teacher" else (config.get("student") or {}).get("label_rows") or 0)),
        (
            "Distillation",
            _settings(str(distillation.get("method")), distillation.get("options")) + _learnt_from(distillation)
            if distilled
            else "none, labels only",
        ),
        (
            "Quantization",
            f"{quantizer}, {variant.get('bits')} bits, group size {variant.get('group_size')}, scales of "
            f"{variant.get('scale_bits') or FP16_BITS} bits, "
            f"{'symmetric' if variant.get('symmetric') else 'asymmetric'}"
            if quantizer
            else "none, FP16",
        ),
        *([("Calibration", _calibration(config))] if quantizer else []),
        ("Longest input", f"{artifact.manifest['max_length']} tokens"),
    ]
    return "## How it was made\n\n| | |\n|---|---|\n" + "".join(f"| {a} | {_cell(b)} |\n" for a, b in rows)


def _data(task: Mapping[str, Any], label_rows: int) -> str:
    """Return what a variant learnt from; `label_rows` is how many labels it saw, 0 for all."""
    seen = f", the labels of {label_rows} of them" if label_rows else ""
    return f"{task.get('name')}: {task.get('train_n')} rows to learn from{seen}. {task.get('note') or ''}".strip()


def _calibration(config: Mapping[str, Any]) -> str:
    found = config.get("quantization") or {}
    source = public(str(found.get("calibration") or "training"))
    texts = "the task's training rows" if source == "training" else source
    return f"up to {found.get('calibration_samples')} texts of {texts}, seed {found.get('calibration_seed')}"


def _learnt_from(distillation: Mapping[str, Any]) -> str:
    """Return which texts besides the training rows how many teachers scored, empty if it was one teacher and none."""
    found = ""
    if distillation.get("teachers", 1) > 1:
        found += f"; the average of {distillation['teachers']} teachers"
    if distillation.get("altered_copies"):
        found += f"; {distillation['altered_copies']} altered copies of each training row"
    if distillation.get("transfer", "none") != "none":
        found += (
            f"; up to {distillation.get('transfer_rows')} texts of {public(str(distillation['transfer']))}, without "
            "their labels"
        )
    return found


def _scores(origin: Origin) -> str:
    """Return scores of this variant and of the teacher, with intervals."""
    result = origin.result
    variants = result.get("variants") or []
    if not variants or not origin.variant():
        return ""
    teacher = variants[0]
    shown = [teacher] if teacher is origin.variant() else [teacher, origin.variant()]
    lines = [
        "## Scores\n",
        "| variant | task | metric | score | 95 % interval | n | retention | file |",
        "|" + "---|" * 8,
    ]
    for one in shown:
        for name, task in one["tasks"].items():
            retention = "no part of it" if task.get("extra") else _percent(one.get("retention"))
            lines.append(
                f"| {_cell(one['variant_id'])} | {_cell(name)} | {task['metric']} | {task['value']:.3f} | "
                f"[{task['ci95_low']:.3f}, {task['ci95_high']:.3f}] | {task['n']} | {retention} | "
                f"{one['size_bytes'] / 1e6:.1f} MB |"
            )
    lines.append(
        f"\nMeasured on the artifact in {origin.variant().get('runtime')}, on rows that no choice was made on; the "
        "files here gave the same logits within the bounds below. MB = 1e6 bytes of weights.\n"
    )
    return "\n".join(lines)


def _receipt(artifact: Artifact) -> str:
    rows = read_json(artifact.folder / "receipt.json")
    return receipt_section(rows) if isinstance(rows, list) and rows else ""


def _fidelity(record: Mapping[str, Any]) -> str:
    seen = record["verification"]
    versions = ", ".join(f"{name} {version}" for name, version in seen["versions"].items())
    lines = [
        "## Fidelity\n",
        f"Loaded in a fresh process by {seen['consumer']} ({versions}), the logits of {seen['n']} texts "
        f"({seen['probe']}) differed from the artifact's own by {seen['relative_l2_error']:.2e} (relative L2; at most "
        f"{seen['tolerance']:g} is allowed) and agreed in {seen['argmax_agreement']:.1%} of the predictions.",
    ]
    lines += [f"* {note}" for note in record["notes"]] or ["* Every integer code and scale was carried over as it was."]
    return "\n".join([lines[0], lines[1], "", *lines[2:]]) + "\n"


def _again(record: Mapping[str, Any], origin: Origin) -> str:
    sha = record["source"]["weights_sha256"]
    lines = ["## Make it again\n"]
    if origin.command:
        lines.append(f"```sh\n{shlex.join(origin.command)}\n```\n")
    lines.append(f"Source: artifact with weights SHA-256 `{sha}`. DQF Studio {record['dqf_version']}.")
    if origin.config:
        lines.append(
            f"Run `{origin.run_id}`, seed {origin.config.get('seed')}; its config goes into "
            "`python -m dqf run --config FILE`:\n"
            f"\n```json\n{json.dumps(public(origin.config), indent=1)}\n```"
        )
    return "\n".join(lines) + "\n"


def _licences(origin: Origin) -> str:
    if not origin.config:
        return ""
    rows = []
    for part, section in (("Teacher", "teacher"), ("Student", "student"), ("Data", "task")):
        name = _source(origin, section)
        known = data_licence(name) if section == "task" else model_licence(name)
        rows.append((part, name, known or UNKNOWN.format(hub_page(name) or "where it comes from")))
    body = "".join(f"| {part} | {_cell(name)} | {_cell(licence)} |\n" for part, name, licence in rows)
    return f"## Licences\n\n| part | source | licence |\n|---|---|---|\n{body}"


def _source(origin: Origin, section: str) -> str:
    """Return where teacher, student or task come from; of a local path only its name."""
    part = origin.config.get(section) or {}
    source = str(part.get("model") or part.get("source") or "")
    if section == "student" and origin.variant().get("model"):
        source = str(origin.variant()["model"])
    return str(public(source))


def public(value: Any) -> Any:
    """Return settings with only the names of this machine's folders and files."""
    if isinstance(value, Mapping):
        return {key: public(one) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith("file:"):
        return f"file:{Path(value.removeprefix('file:')).name}"
    return Path(value).name if Path(value).is_absolute() else value


def _settings(name: str, options: Any) -> str:
    given = ", ".join(f"{key} {value}" for key, value in options.items()) if isinstance(options, Mapping) else ""
    return f"{name} ({given})" if given else name


def _percent(value: Any) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
