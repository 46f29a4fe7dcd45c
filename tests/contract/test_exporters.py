"""Every exporter writes a BERT and a Llama classifier that its own consumer loads with the same logits."""

import json
import shutil

import pytest

from dqf import registry
from dqf.artifacts import open_artifact
from dqf.errors import ConfigError, UserError
from dqf.exporting.export import RECORD, export, missing_packages, open_export
from tests.support.exporting import PROBE, make_artifact, verify_in_this_process
from tests.support.extras import lacking, marks

# (architecture, bits, group size, symmetric, quantizer)
PLAIN = {kind: (kind, 16, 0, False, "rtn") for kind in ("bert", "llama")}
FOUR = {kind: (kind, 4, 32, False, "gptq") for kind in ("bert", "llama")}
SYMMETRIC = ("llama", 4, 32, True, "rtn")
SCALED = {kind: (kind, 4, 32, False, "awq") for kind in ("bert", "llama")}
EIGHT = {kind: (kind, 8, 0, True, "int8") for kind in ("bert", "llama")}
THREE = ("llama", 3, 16, False, "rtn")
# Scales of 4 bits, as a launch has them unless it says otherwise.
MULTIPLES = {kind: (kind, 4, 32, False, "gptq", 4) for kind in ("bert", "llama")}
EIGHT_MULTIPLES = {kind: (kind, 8, 32, False, "gptq", 4) for kind in ("bert", "llama")}
TWO_MULTIPLES = {kind: (kind, 2, 32, False, "gptq", 4) for kind in ("bert", "llama")}
# As mixed precision leaves them: widths in turn, layer by layer.
MIXED = {kind: (kind, (8, 4, 3, 2), 32, False, "gptq", 4) for kind in ("bert", "llama")}
SCALED_MULTIPLES = ("llama", 4, 32, False, "awq", 4)

# form, exporter, options, largest relative L2 error: rounding of a format, or BF16 in GPTQModel's kernels
CASES = [
    (PLAIN["bert"], "fp16-safetensors", {}, 1e-6),
    (SCALED["llama"], "fp16-safetensors", {}, 2e-3),
    (SCALED["bert"], "onnx-4bit", {}, 1e-5),
    (THREE, "onnx-4bit", {}, 1e-5),
    (FOUR["bert"], "onnx-4bit", {"accuracy_level": 4}, 0.03),
    (PLAIN["bert"], "onnx-8bit", {}, 0.02),
    (EIGHT["llama"], "onnx-8bit", {}, 1e-5),
    (FOUR["bert"], "gptq", {}, 0.02),
    (SCALED["llama"], "gptq", {}, 0.02),
    (THREE, "gptq", {}, 0.02),
    (FOUR["bert"], "autoawq", {}, 0.02),
    (MULTIPLES["bert"], "onnx-4bit", {}, 1e-5),
    (MULTIPLES["llama"], "gguf", {}, 0.02),
    (MULTIPLES["llama"], "gptq", {}, 0.02),
    (MULTIPLES["llama"], "autoawq", {}, 0.02),
    (MULTIPLES["bert"], "fp16-safetensors", {}, 2e-3),
    (EIGHT_MULTIPLES["bert"], "onnx-8bit", {}, 0.02),
    (EIGHT_MULTIPLES["llama"], "gptq", {}, 0.02),
    (EIGHT_MULTIPLES["llama"], "gguf", {"type": "Q8_0"}, 0.02),
    (TWO_MULTIPLES["bert"], "onnx-4bit", {}, 1e-5),
    (TWO_MULTIPLES["llama"], "gptq", {}, 0.02),
    (MIXED["bert"], "fp16-safetensors", {}, 2e-3),
    (MIXED["llama"], "fp16-safetensors", {}, 2e-3),
    (MIXED["bert"], "onnx-4bit", {}, 1e-5),
    (MIXED["llama"], "onnx-4bit", {}, 1e-5),
    (MIXED["llama"], "gguf", {}, 0.02),
    (SCALED_MULTIPLES, "gptq", {}, 0.02),
    (SCALED_MULTIPLES, "autoawq", {}, 0.02),
    (SCALED_MULTIPLES, "gguf", {}, 0.02),
    (SCALED_MULTIPLES, "onnx-4bit", {}, 1e-5),
    (SCALED["llama"], "autoawq", {}, 0.02),
    (SYMMETRIC, "gguf", {"type": "Q4_0"}, 2e-3),
    (SCALED["llama"], "gguf", {}, 0.02),
    (EIGHT["llama"], "gguf", {"type": "Q8_0"}, 2e-3),
]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Return artifact folders by form, each made once."""
    made = {}

    def folder(form):
        if form not in made:
            made[form] = make_artifact(tmp_path_factory.mktemp("form"), *form)
        return made[form]

    return folder


def _name(value):
    return "-".join(str(one) for one in value) if isinstance(value, tuple) else None


def need(name):
    missing = missing_packages(registry.get("exporter", name))
    if missing:
        lacking(f"{name} needs {', '.join(missing)}: pip install -r requirements-export.txt")


@pytest.mark.parametrize(
    ("form", "name", "options", "bound"),
    [pytest.param(*case, marks=marks(registry.get("exporter", case[1]).facts["needs"])) for case in CASES],
    ids=_name,
)
def test_the_consumer_gives_the_same_logits(artifacts, tmp_path, monkeypatch, form, name, options, bound):
    need(name)
    if form is not next(case[0] for case in CASES if (case[0][0], case[1]) == (form[0], name)):
        verify_in_this_process(monkeypatch)  # the first of an architecture has fresh processes
    made = export(artifacts(form), name, tmp_path / "out", options, probe=PROBE)
    seen = made.record["verification"]
    assert seen["relative_l2_error"] <= bound
    assert seen["argmax_agreement"] >= 1 - 1 / len(PROBE.texts)
    assert seen["n"] == len(PROBE.texts)
    assert seen["versions"]
    assert open_export(tmp_path / "out").record == made.record
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing else is left behind"


def test_every_exporter_states_its_facts_and_has_a_case():
    tried = {name for _, name, *_ in CASES}
    for entry in registry.entries("exporter"):
        assert entry.name in tried, f"{entry.name} has no case"
        assert set(entry.facts) >= {"needs", "consumer", "library", "tolerance", "refuse"}


REFUSALS = [
    (FOUR["bert"], "gguf", {}, "decoder"),
    (SYMMETRIC, "gguf", {"type": "Q4_0"}, ""),
    (FOUR["llama"], "gguf", {"type": "Q4_0"}, "zero points"),
    (PLAIN["llama"], "gguf", {"type": "Q4_1"}, "4 bits"),
    (THREE, "gguf", {}, "groups of 16"),
    (PLAIN["bert"], "onnx-4bit", {}, "FP16"),
    (EIGHT["llama"], "onnx-4bit", {}, "onnx-8bit"),
    (FOUR["bert"], "onnx-8bit", {}, "onnx-4bit"),
    (PLAIN["bert"], "gptq", {}, "FP16"),
    (SCALED["bert"], "gptq", {}, "fold"),
    (SCALED["bert"], "autoawq", {}, "fold"),
    (THREE, "autoawq", {}, "3"),
    (EIGHT["llama"], "autoawq", {}, "8"),
]


@pytest.mark.parametrize(("form", "name", "options", "words"), REFUSALS, ids=_name)
def test_refusals_are_one_sentence_and_come_before_any_work(artifacts, form, name, options, words):
    entry = registry.get("exporter", name)
    message = entry.facts["refuse"](open_artifact(artifacts(form)), entry.options(options, "", []))
    assert bool(message) == bool(words)
    if words:
        assert words in message
        assert message.endswith(".")
        assert "\n" not in message
        assert ": " in message or "; " in message


@pytest.mark.parametrize("name", ["gptq", "autoawq", "onnx-8bit"])
def test_mixed_bits_are_refused_where_the_format_has_one_width(artifacts, name):
    entry = registry.get("exporter", name)
    message = entry.facts["refuse"](open_artifact(artifacts(MIXED["llama"])), entry.config())
    assert message.endswith("export as onnx-4bit.")


def test_an_altered_artifact_or_export_is_noticed(artifacts, tmp_path, monkeypatch):
    verify_in_this_process(monkeypatch)
    out = tmp_path / "out"
    export(artifacts(PLAIN["bert"]), "fp16-safetensors", out, probe=PROBE)
    weights = out / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"out/model\.safetensors has SHA-256"):
        open_export(out)
    (out / RECORD).unlink()
    with pytest.raises(UserError, match="must hold a readable"):
        open_export(out)
    with pytest.raises(UserError, match="holds something else"):
        export(artifacts(PLAIN["bert"]), "fp16-safetensors", out, probe=PROBE)
    broken = make_artifact(tmp_path / "made", *PLAIN["bert"])
    with (broken / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(UserError, match="must be as it was exported"):
        export(broken, "fp16-safetensors", tmp_path / "never", probe=PROBE)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: model.replace(".eval()", ".eval()\nmodel.classifier.weight.data *= 1.5"), "must reproduce"),
        (lambda model: model.replace("return model", "raise MemoryError('no room') or model"), "no room"),
        (lambda model: model.replace(".tolist()", "[:2].tolist()"), "3 finite logits"),
    ],
    ids=["other logits", "does not load", "a class is missing"],
)
def test_a_failed_verification_keeps_nothing_and_says_why(artifacts, tmp_path, monkeypatch, spoil, words):
    import dataclasses

    if words != "no room":  # which ends the process
        verify_in_this_process(monkeypatch)
    entry = registry.get("exporter", "fp16-safetensors")

    def write(artifact, folder, options):
        written = entry.target(artifact, folder, options)
        return dataclasses.replace(written, loading=spoil(written.loading))

    monkeypatch.setitem(
        registry._entries, ("exporter", entry.name), dataclasses.replace(entry, target=write, facts=entry.facts)
    )
    with pytest.raises(UserError, match=words) as caught:
        export(artifacts(PLAIN["bert"]), entry.name, tmp_path / "out", probe=PROBE)
    assert "nothing was kept" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_and_a_wrong_option_are_said(artifacts, tmp_path, monkeypatch):
    import dataclasses

    entry = registry.get("exporter", "fp16-safetensors")
    wanting = dataclasses.replace(entry, facts={**entry.facts, "needs": ("torch", "no_such_package")})
    monkeypatch.setitem(registry._entries, ("exporter", entry.name), wanting)
    with pytest.raises(UserError, match=r"no_such_package is not installed; `pip install -r requirements-export\.txt`"):
        export(artifacts(PLAIN["bert"]), entry.name, tmp_path / "out")
    with pytest.raises(ConfigError, match="known value"):
        export(artifacts(PLAIN["llama"]), "gguf", tmp_path / "out", {"type": "Q9_9"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.extras
def test_onnx_gives_a_padded_batch_the_same_logits(artifacts, tmp_path):
    need("onnx-4bit")
    import numpy as np
    import onnxruntime

    from dqf.data.encode import Encoder
    from dqf.data.tasks import Examples

    made = export(artifacts(SCALED["llama"]), "onnx-4bit", tmp_path / "out", probe=PROBE)
    session = onnxruntime.InferenceSession(str(made.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    encoded = Encoder(made.folder / "tokenizer.json", 32)(Examples(PROBE.texts, None, np.zeros(len(PROBE.texts))))
    names = [one.name for one in session.get_inputs()]

    def logits(rows):
        batch = encoded.batch(rows, 0)
        return session.run(None, {name: batch[name] for name in names})[0]

    rows = list(range(len(PROBE.texts)))
    assert len({len(encoded.ids[row]) for row in rows}) > 1
    np.testing.assert_allclose(logits(rows), np.concatenate([logits([row]) for row in rows]), atol=1e-4)


def test_the_command_exports_a_variant_with_a_card(artifacts, tmp_path, capfd, monkeypatch):
    from dqf import cli
    from tests.support.example_runs import write_example_run

    verify_in_this_process(monkeypatch)
    monkeypatch.setenv("DQF_THREADS", "1")
    run_dir = write_example_run(tmp_path / "results" / "runs")
    row = json.loads((run_dir / "result.json").read_text())["variants"][-1]
    shutil.rmtree(run_dir / row["artifact"], ignore_errors=True)
    shutil.copytree(artifacts(FOUR["bert"]), run_dir / row["artifact"])
    given = ["export", run_dir.name, row["variant_id"], "--format", "fp16-safetensors"]
    assert cli.main([*given, "--json", "--results-dir", str(tmp_path / "results")]) == 0
    record = json.loads(capfd.readouterr().out)
    folder = run_dir / "exports" / f"{row['variant_id']}-fp16-safetensors"
    assert record["folder"] == str(folder)
    assert open_export(folder).size_bytes == record["size_bytes"]
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nlibrary_name: "transformers"\n')
    for heading in ("How it was made", "Scores", "Fidelity", "Load it", "Make it again", "Licences"):
        assert f"\n## {heading}\n" in card
    assert f'folder = "{folder.name}"' in card
    assert " ".join(["python -m dqf", *given]) in card
    assert "95 % interval" in card
    assert f"{row['score']:.3f}" in card
    assert record["source"]["weights_sha256"] in card
    assert str(tmp_path) not in card
