"""ONNX files whose networks compute with 8-bit integers, by onnxruntime's static quantization."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.data.decoding.images import Pixels
from mlpipe.predicting import onnx_files

# The operators that are quantized; calibration, mixture and resize are not.
_QUANTIZED = ("Conv", "Gemm", "MatMul")


def write_quantized(
    source: Path, target: Path, images: Sequence[Pixels], facts: dict[str, Any], *, exact_end: bool = False
) -> None:
    """Write a quantized (8-bit) file, durably, with a checksum.

    Weights are quantized per channel, activations by their range over some images.

    Args:
        source: The file that computes with floats.
        target: The new file.
        images: Images in the format of the file's input.
        facts: The facts of the new file, see `onnx_files`.
        exact_end: Whether layers without a later layer stay in floating point.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Yields one image after another."""

        def __init__(self) -> None:
            self._left: Iterator[Pixels] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next image; None after the last one."""
            image = next(self._left, None)
            return None if image is None else {"pixels": np.ascontiguousarray(image[np.newaxis])}

    with TemporaryDirectory(prefix="mlpipe-int8-") as name:
        prepared, quantized_path = Path(name) / "prepared.onnx", Path(name) / "made.onnx"
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            prepared_model = onnx.load(str(prepared))
            quantize_static(
                str(prepared),
                str(quantized_path),
                Reader(),
                op_types_to_quantize=list(_QUANTIZED),
                nodes_to_exclude=[*_in_double(prepared_model), *(_last(prepared_model) if exact_end else ())],
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        finally:
            logging.getLogger().setLevel(level)
        model = onnx.load(str(quantized_path))
    properties = [entry for entry in model.metadata_props if entry.key != onnx_files.METADATA]
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    own = model.metadata_props.add()
    own.key, own.value = onnx_files.METADATA, onnx_files.text(facts)
    with files.durable(target) as temporary:
        onnx.save(model, str(temporary))
        onnx_files.seal(temporary)


def _in_double(model: Any) -> list[str]:
    """Return the names of nodes that compute in double precision, as calibrations do."""
    import onnx

    double = {
        value.name
        for value in (*model.graph.value_info, *model.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    }
    double |= {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.DOUBLE}
    return [node.name for node in model.graph.node if double & {*node.input, *node.output}]


def _last(model: Any) -> list[str]:
    """Return the names of the layers whose outputs reach no other layer."""
    double = set(_in_double(model))
    layers = [node for node in model.graph.node if node.op_type in _QUANTIZED and node.name not in double]
    # Walking back from the end, a node leads to a layer if one of its outputs does.
    leading = set[str]()
    names = []
    own = {node.name for node in layers}
    for node in reversed(model.graph.node):
        leads = bool(leading & set(node.output))
        if node.name in own and not leads:
            names.append(node.name)
        if leads or node.name in own:
            leading |= set(node.input)
    return names
