"""Which layers of a network come last, and so stay floats where others compute with whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra export")

import onnx

from mlpipe.predicting import quantization


def model(*edges: tuple[str, str, list[str], str]) -> Any:
    """A graph of nodes: operator, name, inputs, output."""
    nodes = [onnx.helper.make_node(kind, before, [after], name=name) for kind, name, before, after in edges]
    weights = [
        onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1), kind), name)
        for name, kind in (("w", np.float32), ("d", np.float64))
    ]
    first = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 4, 4])
    last = onnx.helper.make_tensor_value_info(edges[-1][3], onnx.TensorProto.FLOAT, None)
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [first], [last], weights))


def test_last_layers_are_those_that_no_other_layer_follows() -> None:
    made = model(
        ("Conv", "body", ["x", "w"], "a"), ("Relu", "act", ["a"], "b"), ("Conv", "coarse", ["b", "w"], "c"),
        ("Conv", "side", ["b", "w"], "s"), ("Sigmoid", "sig", ["s"], "t"), ("Conv", "fine", ["t", "w"], "e"),
        ("Concat", "both", ["c", "e"], "y"),
    )  # fmt: skip
    assert sorted(quantization._last(made)) == ["coarse", "fine"]


def test_what_computes_in_double_precision_is_no_layer() -> None:
    made = model(("Conv", "only", ["x", "w"], "a"), ("MatMul", "mix", ["a", "d"], "y"))
    assert quantization._last(made) == ["only"]
