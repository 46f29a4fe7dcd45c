import json
import shutil

import pandas as pd
import pytest
from tokenizers import Tokenizer

from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.estimate import MEASURE, QUANTIZE, TEACHER, estimate
from dqf.preflight import check
from dqf.settings import load_settings
from tests.support.tiny import tiny_config


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path))
    return tmp_path


def errors(root, **changes):
    config = RunConfig.from_dict(tiny_config(root, **changes))
    return {error.path: error.message for error in check(config, load_settings(root / "results"))}


def test_a_good_config_has_no_errors(root):
    assert errors(root) == {}


def test_all_errors_come_at_once_and_name_their_settings(root):
    found = errors(
        root, teacher={"model": str(root / "nowhere")}, quantization={"group_size": 24}, task={"label_column": "lable"}
    )
    assert set(found) == {"teacher.model", "quantization.group_size", "task.source"}
    assert "`label`" in found["task.source"]
    assert "got 32 and 64, and 24" in found["quantization.group_size"]
    assert not any("\n" in message for message in found.values())


def test_calibration_texts_are_looked_at_before_a_run(root, monkeypatch):
    def found(texts):
        pd.DataFrame({"text": texts}).to_csv(root / "mine.csv", index=False)
        return errors(root, quantization={"calibration": f"file:{root / 'mine.csv'}"}).get(
            "quantization.calibration", ""
        )

    config = RunConfig.from_dict(tiny_config(root))
    reported = list(load_task(config, load_settings(root / "results")).evaluation.texts)
    assert found(["a text of some words", *reported]) == ""
    assert "all that the source holds are reported" in found(reported)

    shortest = Tokenizer.from_file(str(root / "student" / "tokenizer.json"))
    shortest.post_processor = None  # as a decoder's: nothing stands around the text
    shortest.save(str(root / "student" / "tokenizer.json"))
    assert "at least 2 tokens: the longest of 1 has 1" in found(["a"])

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in errors(root, quantization={"calibration": "c4"})["quantization.calibration"]
    (root / "c4-sample").mkdir()
    pd.DataFrame({"text": ["from the web, some words"]}).to_parquet(root / "c4-sample" / "train.parquet")
    assert errors(root, quantization={"calibration": "c4"}) == {}


def test_layers_and_disk(root, monkeypatch):
    assert "student.keep_layers" in errors(root, student={"model": "teacher-layers", "keep_layers": "9"})
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 0))
    assert "free some" in errors(root)[""]


def test_a_run_that_has_begun_is_not_asked_how_much_is_free(root, monkeypatch):
    config, settings = RunConfig.from_dict(tiny_config(root)), load_settings(root / "results")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 0))
    assert check(config, settings, resumed=True) == []


def test_runtimes_must_be_installed_and_texts_fit_the_models(root, monkeypatch):
    monkeypatch.setattr("dqf.preflight.installed_runtimes", lambda: ["torch-fp32"])
    found = errors(root, measurement={"runtime": "openvino-fp32", "shared_runtime": "openvino-bf16"})
    assert set(found) == {"measurement.runtime", "measurement.shared_runtime"}
    assert "openvino-bf16 is not; `pip install" in found["measurement.shared_runtime"]
    assert errors(root, measurement={"runtime": "torch-fp32"}) == {}
    assert "takes 64 tokens, got 65" in errors(root, task={"max_length": 65})["task.max_length"]


def test_blocks_of_other_than_linear_layers_are_refused_before_training(root):
    assert errors(root) == {}
    path = root / "student" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "xlnet"}))
    assert "blocks of xlnet are not linear layers" in errors(root)["student.model"]


def test_a_student_with_an_encoder_and_a_decoder_is_refused_before_training(root):
    assert errors(root) == {}
    path = root / "student" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "is_encoder_decoder": True}))
    assert "bert is an encoder and a decoder" in errors(root)["student.model"]


def feature_errors(root, student=None, **options):
    changes = {"distillation": {"method": "feature-kd", "options": options}}
    return errors(root, **changes, **({"student": student} if student else {}))


def test_layer_maps_are_checked_before_a_run(root):
    assert feature_errors(root) == {}
    assert feature_errors(root, layers="2:1,4:2") == {}
    for layers, says in (("5:2", "1 to 4"), ("4:3", "1 to 2"), ("all", "last, uniform"), ("1:2,3:2", "once")):
        assert says in feature_errors(root, layers=layers)["distillation.options.layers"]
    assert "last pair" in feature_errors(root, layers="none", attention_weight=1)["distillation.options.layers"]


def test_token_level_matching_is_refused_where_the_tokens_differ(root):
    path = "distillation.options.attention_weight"
    found = feature_errors(root, attention_weight=1)
    assert set(found) == {path}
    assert "same tokens" in found[path]
    assert found[path].count(".") == 1
    same = {"model": "teacher-layers", "keep_layers": "2"}
    assert feature_errors(root, same, attention_weight=1) == {}
    shutil.copy(root / "teacher" / "tokenizer.json", root / "student" / "tokenizer.json")
    assert "one architecture" in feature_errors(root, attention_weight=1)[path]


def test_estimated_sizes_are_those_of_the_arithmetic(root):
    config = RunConfig.from_dict(tiny_config(root, quantization={"bits": [8, 4, 3, 2]}))
    found = estimate(config, load_settings(root / "results"))
    assert len(found.variants) == 11
    packed = [row for row in found.variants if row.variant == "student-dqf"]
    assert [row.bits for row in packed] == [8, 4, 3, 2]
    assert packed[0].size_bytes > packed[1].size_bytes > packed[2].size_bytes > packed[3].size_bytes
    assert found.seconds > 0
    assert found.memory_bytes > 0


def test_cached_states_are_part_of_the_estimate(root):
    def disk(**distillation):
        config = RunConfig.from_dict(tiny_config(root, distillation=distillation))
        return estimate(config, load_settings(root / "results")).disk_bytes

    rows = 128
    assert disk(method="feature-kd") - disk() == rows * 2 * 32 * 2
    assert disk(method="feature-kd", options={"layers": "last"}) - disk() == rows * 32 * 2


def test_altered_copies_are_scored_once_more_each_and_train_no_longer(root):
    def found(copies):
        config = RunConfig.from_dict(tiny_config(root, distillation={"altered_copies": copies}))
        return estimate(config, load_settings(root / "results"))

    none, two = found(0), found(2)
    stages = {name for name in none.parts if none.parts[name] != two.parts[name]}
    assert stages == {TEACHER}
    assert two.parts[TEACHER] > none.parts[TEACHER]


def test_what_a_run_leaves_out_is_not_in_the_estimate_and_what_it_repeats_is(root):
    def of(**changes):
        return estimate(RunConfig.from_dict(tiny_config(root, **changes)), load_settings(root / "results"))

    trained, never = of(teacher={"fine_tune": "always"}), of(teacher={"fine_tune": "never"})
    assert never.parts[TEACHER] < 0.5 * trained.parts[TEACHER]
    assert never.disk_bytes < trained.disk_bytes
    many = {"latency_samples": 100_000}
    once, twice = of(measurement=many), of(measurement={**many, "shared_runtime": "openvino-fp32"})
    few = of().parts[MEASURE]
    assert twice.parts[MEASURE] - few == pytest.approx(2 * (once.parts[MEASURE] - few), rel=0.01)
    uniform, mixed = of(quantization={"bits": [4, 3]}), of(quantization={"bits": [4], "average_bits": 3})
    assert mixed.parts[QUANTIZE] > 4 * uniform.parts[QUANTIZE]


def test_averaged_teachers_are_each_trained_and_kept(root):
    def found(teachers):
        config = RunConfig.from_dict(tiny_config(root, distillation={"teachers": teachers}))
        return estimate(config, load_settings(root / "results"))

    one, three = found(1), found(3)
    assert {name for name in one.parts if one.parts[name] != three.parts[name]} == {TEACHER}
    assert three.parts[TEACHER] > 2 * one.parts[TEACHER]
    assert three.disk_bytes > one.disk_bytes


def test_transfer_texts_are_scored_and_train_no_longer(root):
    def found(**distillation):
        config = RunConfig.from_dict(tiny_config(root, distillation=distillation))
        return estimate(config, load_settings(root / "results"))

    none, some = found(), found(transfer="c4", transfer_rows=1000)
    assert {name for name in none.parts if none.parts[name] != some.parts[name]} == {TEACHER}


def test_transfer_texts_are_looked_at_before_a_run(root):
    own = root / "own.csv"
    own.write_text("body\nsome text\n")
    found = errors(root, distillation={"transfer": f"file:{own}"})
    assert "the column 'text'" in found.pop("distillation.transfer")
    assert found == {}
    own.write_text("text\nsome text\n")
    assert errors(root, distillation={"transfer": f"file:{own}"}) == {}
    pairs = {"text_pair_column": "text"}
    assert "must have two" in errors(root, distillation={"transfer": "c4"}, task=pairs)["distillation.transfer"]


def test_tuning_of_outputs_takes_time_to_quantize_and_memory_as_training_does(root):
    def found(**quantization):
        config = tiny_config(root, teacher={"batch_size": 1}, quantization={"bits": [2], **quantization})
        config = RunConfig.from_dict(config)
        return estimate(config, load_settings(root / "results"))

    none, some = found(), found(output_steps=100)
    assert {name for name in none.parts if none.parts[name] != some.parts[name]} == {QUANTIZE}
    both = found(output_steps=100, average_bits=3)
    assert both.parts[QUANTIZE] - found(average_bits=3).parts[QUANTIZE] == pytest.approx(
        2 * (some.parts[QUANTIZE] - none.parts[QUANTIZE])
    )
    assert some.memory_bytes > none.memory_bytes


def test_adapters_take_less_memory_and_are_counted_exactly(root):
    from transformers import AutoModelForSequenceClassification

    from dqf.estimate import _adapter_params
    from dqf.models.catalog import read_shape
    from dqf.models.lora import add_adapters

    for name in ("teacher", "student"):
        source = str(tiny_config(root)[name]["model"])
        model = AutoModelForSequenceClassification.from_pretrained(source)
        add_adapters(model, 4, 8, 0.0, 0)
        adapters = sum(one.numel() for key, one in model.named_parameters() if "lora_" in key)
        assert _adapter_params(read_shape(source, load_settings(root)), 4) == adapters
    lora = {"tuning": "lora", "lora_rank": 4}
    config = RunConfig.from_dict(tiny_config(root, teacher=lora, student=lora))
    plain = RunConfig.from_dict(tiny_config(root))
    assert estimate(config, load_settings(root)).memory_bytes < estimate(plain, load_settings(root)).memory_bytes


def test_an_engine_from_outside_is_known_to_be_slow(root):
    """Estimates said a minute for what takes a quarter of an hour."""
    student = {"model": "teacher-layers", "keep_layers": "1"}

    def quantizing(name):
        changes = {"student": student, "quantization": {"quantizer": name, "bits": [4]}}
        return estimate(RunConfig.from_dict(tiny_config(root, **changes)), load_settings(root)).parts[QUANTIZE]

    assert quantizing("autoawq") == pytest.approx(20 * quantizing("awq"))
