"""A Llama-like decoder as an ONNX graph of ONNX Runtime's own operators, keys and values in place.

A traced graph of SmolLM2-135M has 6 600 nodes, most of them shapes, rotations and transpositions around an attention
that is taken apart: beside 210 products they take half of a decode step's time. Written by hand it has 10 per layer.

Reference: ONNX Runtime's contributed operators `MatMulNBits`, `GatherBlockQuantized`, `GroupQueryAttention`,
`SkipSimplifiedLayerNormalization`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dqf.quant.packing import pack
from dqf.quant.qparams import QuantizedWeight

CONTRIBUTED = "com.microsoft"
BITS = 4
ROUND_INPUTS = 4
"""Accuracy level of `MatMulNBits` that rounds inputs to 8 bits, block by block."""


Weight = QuantizedWeight | torch.Tensor
Quantize = Callable[[torch.Tensor], Weight]


class Decoder:
    """A decoder in ONNX Runtime, batch 1; its position moves with every call and can be set back.

    Args:
        model: Llama-like causal decoder in FP32 whose output projection is its embedding table.
        quantize: gives a (rows, columns) weight's 4-bit codes; None leaves weights in FP32.
        file: where the graph is written.
        capacity: tokens that can be kept.
        threads: for inference.
    """

    def __init__(self, model: Any, quantize: Quantize | None, file: Path, capacity: int, threads: int) -> None:
        import onnxruntime

        onnx.save_model(_Writer(model, quantize, capacity).written(), str(file))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others are timed in turns with it
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        config = model.config
        shape = (1, config.num_key_value_heads, capacity, _head_width(config))
        self._kept = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype=np.float32))
            for layer in range(config.num_hidden_layers)
            for name in (f"key.{layer}", f"value.{layer}")
        }
        self.position = 0

    def __call__(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Take tokens behind the kept ones and keep them, too; return the last one's logits, (vocabulary,)."""
        binding = self._session.io_binding()
        end = self.position + len(ids)
        binding.bind_cpu_input("input_ids", np.array([ids], dtype=np.int64))
        binding.bind_cpu_input("last_position", np.array([end - 1], dtype=np.int32))
        binding.bind_cpu_input("kept_tokens", np.array(end, dtype=np.int32))
        binding.bind_output("logits")
        for name, value in self._kept.items():
            binding.bind_ortvalue_input(f"past.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        self._session.run_with_iobinding(binding)
        self.position = end
        logits: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        return logits[0, 0]


class _Writer:
    """Writes a decoder's graph, one node after the other."""

    def __init__(self, model: Any, quantize: Quantize | None, capacity: int) -> None:
        self._model, self._quantize, self._capacity = model.model, quantize or (lambda weight: weight), capacity
        self._config = model.config
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "length"]),
            helper.make_tensor_value_info("last_position", TensorProto.INT32, [1]),
            helper.make_tensor_value_info("kept_tokens", TensorProto.INT32, []),
        ]
        self._outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, self._config.vocab_size])]

    def written(self) -> onnx.ModelProto:
        """Return the graph."""
        self._add_rotations()
        table = self._quantize(self._model.embed_tokens.weight.detach())
        states = self._embed(table)
        branch = ""
        for at, layer in enumerate(self._model.layers):
            states, normed = self._add_and_norm(f"attention_norm.{at}", layer.input_layernorm, states, branch)
            branch = self._attend(at, layer.self_attn, normed)
            states, normed = self._add_and_norm(f"mlp_norm.{at}", layer.post_attention_layernorm, states, branch)
            branch = self._transform(at, layer.mlp, normed)
        _, normed = self._add_and_norm("norm", self._model.norm, states, branch)
        last = self._node("Gather", [normed, self._add("last", np.array([-1]))], "last_state", axis=1)
        self._product("logits", last, table)
        graph = helper.make_graph(self._nodes, "decoder", self._inputs, self._outputs, self._initializers)
        versions = [helper.make_opsetid("", 20), helper.make_opsetid(CONTRIBUTED, 1)]
        return helper.make_model(graph, opset_imports=versions, ir_version=10)

    def _add_rotations(self) -> None:
        width, theta = _head_width(self._config), self._config.rope_parameters["rope_theta"]
        angles = np.arange(self._capacity)[:, None] / theta ** (np.arange(0, width, 2) / width)
        self._add("cosines", np.cos(angles).astype(np.float32))
        self._add("sines", np.sin(angles).astype(np.float32))

    def _embed(self, table: Weight) -> str:
        if isinstance(table, torch.Tensor):
            return self._node("Gather", [self._add("embedding", table.numpy()), "input_ids"], "embedded", axis=0)
        codes, *rest = self._codes("embedding", table, (len(table.codes), -1))
        block = {"bits": BITS, "block_size": _width(table), "gather_axis": 0, "quantize_axis": 1}
        return self._node("GatherBlockQuantized", [codes, "input_ids", *rest], "embedded", CONTRIBUTED, **block)

    def _add_and_norm(self, name: str, norm: Any, states: str, branch: str) -> tuple[str, str]:
        """Add what a branch gave to the states; return them and their norm."""
        weight = self._add(f"{name}.weight", norm.weight.detach().numpy())
        epsilon = norm.variance_epsilon
        if not branch:
            return states, self._node("SimplifiedLayerNormalization", [states, weight], name, axis=-1, epsilon=epsilon)
        outputs = [name, "", "", f"{name}.states"]
        kind = "SkipSimplifiedLayerNormalization"
        node = helper.make_node(kind, [states, branch, weight], outputs, domain=CONTRIBUTED, epsilon=epsilon)
        self._nodes.append(node)
        return outputs[-1], name

    def _attend(self, at: int, attention: Any, states: str) -> str:
        config = self._config
        together = torch.cat([one.weight.detach() for one in (attention.q_proj, attention.k_proj, attention.v_proj)])
        inputs = [self._product(f"qkv.{at}", states, self._quantize(together)), "", ""]
        outputs = [f"attention.{at}"]
        shape = [1, config.num_key_value_heads, self._capacity, _head_width(config)]
        for name in (f"key.{at}", f"value.{at}"):
            inputs.append(f"past.{name}")
            outputs.append(f"present.{name}")
            self._inputs.append(helper.make_tensor_value_info(inputs[-1], TensorProto.FLOAT, shape))
            self._outputs.append(helper.make_tensor_value_info(outputs[-1], TensorProto.FLOAT, shape))
        heads = {"num_heads": config.num_attention_heads, "kv_num_heads": config.num_key_value_heads, "do_rotary": 1}
        inputs += ["last_position", "kept_tokens", "cosines", "sines"]
        self._nodes.append(helper.make_node("GroupQueryAttention", inputs, outputs, domain=CONTRIBUTED, **heads))
        return self._product(f"o.{at}", outputs[0], self._quantize(attention.o_proj.weight.detach()))

    def _transform(self, at: int, mlp: Any, states: str) -> str:
        gate = self._product(f"gate.{at}", states, self._quantize(mlp.gate_proj.weight.detach()))
        up = self._product(f"up.{at}", states, self._quantize(mlp.up_proj.weight.detach()))
        opened = self._node("QuickGelu", [gate], f"silu.{at}", CONTRIBUTED, alpha=1.0)  # x sigmoid(x)
        inner = self._node("Mul", [opened, up], f"inner.{at}")
        return self._product(f"down.{at}", inner, self._quantize(mlp.down_proj.weight.detach()))

    def _product(self, name: str, states: str, weight: Weight) -> str:
        if isinstance(weight, torch.Tensor):
            return self._node("MatMul", [states, self._add(f"{name}.weight", weight.numpy().T)], name)
        rows, columns = weight.codes.shape
        facts = {"K": columns, "N": rows, "bits": BITS, "block_size": _width(weight), "accuracy_level": ROUND_INPUTS}
        codes = self._codes(name, weight, (*weight.scale.shape, -1))
        return self._node("MatMulNBits", [states, *codes], name, CONTRIBUTED, **facts)

    def _codes(self, name: str, weight: QuantizedWeight, shape: tuple[int, ...]) -> list[str]:
        """Add codes in the given shape, scales and zero points; return their names."""
        rows, groups = weight.scale.shape
        assert weight.zero_point is not None
        zero_point = np.zeros((rows, groups + groups % 2), dtype=np.uint8)
        zero_point[:, :groups] = weight.zero_point.numpy()
        return [
            self._add(f"{name}.codes", pack(weight.codes.numpy(), BITS).reshape(shape)),
            self._add(f"{name}.scales", weight.scale.float().numpy()),
            self._add(f"{name}.zero_points", pack(zero_point, BITS).reshape(rows, -1)),
        ]

    def _node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **facts: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **facts))
        return output

    def _add(self, name: str, values: NDArray[Any]) -> str:
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _head_width(config: Any) -> int:
    return int(config.hidden_size // config.num_attention_heads)


def _width(weight: QuantizedWeight) -> int:
    return int(weight.codes.shape[1] // weight.scale.shape[1])
