"""Weights that have several names."""

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import BartConfig, BartForSequenceClassification

from dqf.artifacts import Artifact, save_weights
from dqf.models.aliases import aliases, without_aliases
from dqf.runtimes._torch import TorchRuntime


def test_a_table_of_an_encoder_decoder_is_stored_once_and_loaded_everywhere(tmp_path):
    """Stored under all of its names, a small model would look half as large again."""
    config = BartConfig(
        vocab_size=512, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_labels=3, max_position_embeddings=32,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BartForSequenceClassification(config).eval()
    assert len(aliases(model)) == 2
    save_weights(tmp_path, {name: one.numpy().astype(np.float16) for name, one in without_aliases(model).items()})
    config.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    parameters = sum(one.numel() for one in model.parameters())
    assert parameters <= sum(one.size for one in stored.values()) < 1.05 * parameters  # and a buffer
    artifact = Artifact(tmp_path, {"inputs": ["input_ids", "attention_mask"], "quantized": {}})
    ids = np.array([[5, 9, 300, 2]])
    found = TorchRuntime(artifact, 1, "cpu", "float32").logits({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    with torch.inference_mode():
        expected = model.half().float()(input_ids=torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
