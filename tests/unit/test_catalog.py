import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from dqf.errors import UserError
from dqf.models.catalog import (
    STARTERS,
    check_model_source,
    chosen_layers,
    parse_keep_layers,
    read_shape,
    shape_from_config,
    starter_path,
)
from dqf.settings import load_settings


def test_counts_are_spread_evenly_from_first_to_last():
    assert chosen_layers("10", 30) == (0, 3, 6, 10, 13, 16, 19, 23, 26, 29)
    assert chosen_layers("1", 30) == (0,)
    assert chosen_layers("30", 30) == tuple(range(30))
    assert chosen_layers("0, 4,7", 8) == (0, 4, 7)


@pytest.mark.parametrize("text", ["", "x", "3,1", "2,2", "0", "-1"])
def test_bad_layer_lists_are_explained(text):
    assert isinstance(parse_keep_layers(text), str)


@pytest.mark.parametrize(("text", "of"), [("31", 30), ("0,30", 30)])
def test_layers_the_teacher_lacks_are_refused(text, of):
    with pytest.raises(UserError, match="30"):
        chosen_layers(text, of)


@pytest.mark.parametrize("source", ["starter:minilm-l6", "bert-base-uncased", "org/name", "./here", "/there/model"])
def test_good_sources(source):
    assert check_model_source(source, teacher_layers=False) == ""


@pytest.mark.parametrize("source", ["starter:minlm-l6", "", "bad name", "teacher-layers"])
def test_bad_sources(source):
    assert check_model_source(source, teacher_layers=False)


def folder_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    return load_settings(tmp_path / "results")


def test_pickle_weights_and_remote_code_are_refused(tmp_path, monkeypatch):
    settings = folder_settings(tmp_path, monkeypatch)
    pickle, code = tmp_path / "pickle", tmp_path / "code"
    for folder, config in ((pickle, {"model_type": "bert"}), (code, {"auto_map": {"AutoModel": "x.py"}})):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
    (pickle / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="pickle"):
        read_shape(str(pickle), settings)
    with pytest.raises(UserError, match="code of its own"):
        read_shape(str(code), settings)
    with pytest.raises(UserError, match="must exist"):
        read_shape(str(tmp_path / "nowhere"), settings)
    with pytest.raises(UserError, match="allowed folder"):
        read_shape("/etc", settings)


@pytest.mark.parametrize(
    ("config", "layers", "hidden"),
    [
        ({"model_type": "flaubert", "emb_dim": 32, "n_layers": 2, "n_heads": 2, "vocab_size": 64}, 2, 32),
        ({"model_type": "gpt_neo", "hidden_size": 32, "num_layers": 4, "num_heads": 2, "vocab_size": 64}, 4, 32),
        ({"model_type": "gemma3", "text_config": {"hidden_size": 32, "num_hidden_layers": 3}}, 3, 32),
    ],
)
def test_sizes_are_found_by_the_names_that_configs_have_for_them(config, layers, hidden):
    shape = shape_from_config(config)
    assert (shape.layers, shape.hidden, shape.architecture) == (layers, hidden, config["model_type"])


def test_a_folder_whose_sizes_have_unknown_names_is_known_once_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "other", "breadth": 32}')
    save_file({"weight": np.zeros(1, dtype=np.float32)}, tmp_path / "model.safetensors")
    assert read_shape(str(tmp_path), load_settings(tmp_path / "results")) is None


def test_starter_shapes_are_those_of_their_files():
    for one in STARTERS:
        try:
            path = starter_path(one.name)
        except UserError:
            pytest.skip("the starter wheels are not installed")
        if path.suffix == ".gguf":
            from gguf import GGUFReader

            fields = GGUFReader(path).fields
            found = {
                key: int(fields[f"llama.{name}"].parts[fields[f"llama.{name}"].data[0]][0])
                for key, name in (
                    ("layers", "block_count"),
                    ("hidden", "embedding_length"),
                    ("intermediate", "feed_forward_length"),
                    ("vocab", "vocab_size"),
                    ("kv_heads", "attention.head_count_kv"),
                )
            }
            assert {key: getattr(one.shape, key) for key in found} == found
        else:
            # Its config.json does not name a trained classifier head.
            assert shape_from_config(json.loads((path / "config.json").read_text())) == one.shape
