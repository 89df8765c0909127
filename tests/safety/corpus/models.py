"""Exported models that somebody made: other files, loops, bombs, facts that fit no model."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.safety.corpus import Hostile

Make = Callable[[Path], list[str]]
_CARD: dict[str, Any] = {
    "task": "made",
    "kind": "classification",
    "classes": ["a", "b", "c"],
    "images": {"channels": 3, "type": "uint8"},
    "trained_on": {"train": 1},
    "models": [
        {
            "id": "one", "fold": 0, "is_refit": False, "weight": 1.0, "arch": "mean", "parameters": 1, "images": {},
            "scores": {}, "preprocessing": {}, "environment": {},
        }
    ],
}  # fmt: skip


def facts() -> dict[str, Any]:
    """Facts of the model that `model` makes, as `mml export` writes them."""
    return {
        "format": 1, "version": "0.1", "task": "made", "kind": "classification", "classes": ["a", "b", "c"],
        "is_dense": False, "has_probabilities": True, "one_is_true": True, "mask_values": [], "background": "white",
        "source": {"type": "folder", "root": ""}, "channels": 3, "dtype": "uint8", "size": [8, 8], "resize": "squash",
        "interpolation": "bilinear", "fill": 0, "least": None, "any_size": True, "ensemble": None, "prior": None,
        "card": _CARD, "columns": [], "numbers": [], "cuts": [0.5, 0.5, 0.5], "costs": None, "choices": {}, "lists": {},
        "endings": [".png"], "computed": "=",
    }  # fmt: skip


def model(last: Callable[[Any], list[Any]] | None = None) -> Any:
    """A model of ONNX whose probabilities are mean colours; `last` gives the nodes from `mean` to `values` instead."""
    from onnx import TensorProto, helper

    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", "h", "w", 3])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "c"]) for name in ("values", "logits")]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["mean"], keepdims=0),
        helper.make_node("LogSoftmax", ["mean"], ["logits"]),
        *(last(helper) if last else [helper.make_node("Softmax", ["mean"], ["values"])]),
    ]
    sizes = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("large", TensorProto.INT64, [2], [100_000, 100_000]),
        helper.make_tensor("forever", TensorProto.INT64, [], [2**62]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    graph = helper.make_graph(nodes, "mean", [pixels], outputs, sizes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _served(made: Callable[[], Any], **changed: Any) -> Make:
    """A sealed file that a server is to answer with."""

    def make(work: Path) -> list[str]:
        from mlpipe.predicting import onnx_files

        (work / "w.bin").write_bytes(bytes(1 << 16))
        found = made()
        entry = found.metadata_props.add()
        entry.key, entry.value = onnx_files.METADATA, onnx_files.text({**facts(), **changed})
        (work / "m.onnx").write_bytes(found.SerializeToString())
        onnx_files.seal(work / "m.onnx")
        return ["serve", "mode.file=m.onnx", "mode.port=0"]

    return make


def _elsewhere(place: str) -> Callable[[], Any]:
    def made() -> Any:
        found = model()
        tensor = found.graph.initializer[0]
        tensor.ClearField("int64_data")
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", place
        return found

    return made


def _loop(helper: Any) -> list[Any]:
    from onnx import TensorProto

    inside = [helper.make_tensor_value_info(name, kind, None) for name, kind in (("i", 7), ("go", 9), ("x", 1))]
    after = [helper.make_tensor_value_info(name, kind, None) for name, kind in (("on", 9), ("y", TensorProto.FLOAT))]
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["x"], ["y"])]
    body = helper.make_graph(nodes, "body", inside, after)
    return [helper.make_node("Loop", ["forever", "yes", "mean"], ["values"], body=body)]


def _bomb(helper: Any) -> list[Any]:
    return [
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["mean", "zero"], ["values"]),
    ]


def _functions(many: int) -> Any:
    """A model of functions each of which calls the one before twice; of none the first calls itself."""
    from onnx import helper

    found = model(lambda made: [made.make_node(f"F{many}", ["mean"], ["values"], domain="own")])
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for number in range(many + 1):
        inner = f"F{max(number - 1, 0)}"
        nodes = [
            helper.make_node(inner, ["x"], ["z"], domain="own"),
            helper.make_node(inner, ["z"], ["y"], domain="own"),
        ]
        if many and not number:
            nodes = [helper.make_node("Identity", ["x"], ["y"])]
        found.functions.append(helper.make_function("own", f"F{number}", ["x"], ["y"], nodes, sets))
    found.opset_import.append(helper.make_opsetid("own", 1))
    return found


def _twice(helper: Any) -> list[Any]:
    return [helper.make_node("Concat", ["mean", "mean"], ["values"], axis=1)]


def _zipped(name: str, members: dict[str, str]) -> Make:
    def make(work: Path) -> list[str]:
        with zipfile.ZipFile(work / name, "w") as archive:
            for member, text in members.items():
                archive.writestr(member, text)
        return ["serve", f"mode.file={name}", "mode.port=0"]

    return make


def _bundle(**member: Any) -> Make:
    """A sealed bundle whose names climb."""

    def make(work: Path) -> list[str]:
        from mlpipe import files

        one = {"name": "x", "weight": 1.0, "records": ["../../../outside"], **member}
        manifest = {
            "format": 1,
            "version": "0",
            "task": "../../outside",
            "ensemble": None,
            "members": [one],
            "files": {},
        }
        files.write_sealed(work / "manifest.json", manifest)
        text = (work / "manifest.json").read_text("utf-8")
        (work / "manifest.json").unlink()
        return _zipped("m.zip", {"manifest.json": text})(work)

    return make


def _raw(work: Path, content: bytes) -> list[str]:
    (work / "m.onnx").write_bytes(content)
    return ["serve", "mode.file=m.onnx", "mode.port=0"]


_FACTS: dict[str, dict[str, Any]] = {
    "no classes": {"classes": []},
    "a size of a million": {"size": [10**6, 10**6], "any_size": False},
    "a filter that is none": {"interpolation": "evil"},
    "a type that is none": {"dtype": "evil"},
    "decoding that is a list": {"source": {"type": "folder", "root": "", "decoding": [1]}},
    "costs of other classes": {"costs": [[1.0]]},
    "decisions of other classes": {"cuts": [0.5]},
    "a card without a name": {"card": {}},
}
CASES = [
    Hostile("onnx: numbers in another file", _served(_elsewhere("w.bin")), "names data in other files"),
    Hostile(
        "onnx: numbers in a file outside", _served(_elsewhere("../outside/secret.txt")), "names data in other files"
    ),
    Hostile("onnx: a loop without end", _served(lambda: model(_loop)), "repeats parts of itself"),
    Hostile("onnx: 40 GB of zeros", _served(lambda: model(_bomb)), "m.onnx"),
    Hostile(
        "onnx: functions that stand for a million operators", _served(lambda: _functions(20)), "stands for more than"
    ),
    Hostile("onnx: a function that calls itself", _served(lambda: _functions(0)), "is damaged"),
    Hostile("onnx: more numbers than classes", _served(lambda: model(_twice)), "where its classes are"),
    *(Hostile(f"onnx: {name}", _served(model, **changed), "m.onnx") for name, changed in _FACTS.items()),
]
CASES += [
    Hostile(
        "pt2: a pickle", _zipped("m.pt2", {"m/data.pkl": "cos\nsystem\n(S'touch ../proof'\ntR."}), "torch.export.load"
    ),
    Hostile("bundle: a manifest that is a list", _zipped("m.zip", {"manifest.json": "[1]"}), "is no bundle"),
    Hostile("bundle: a manifest without end", _zipped("m.zip", {"manifest.json": "[" * 100_000}), "nested too deeply"),
    Hostile("bundle: a member that climbs", _zipped("m.zip", {"../../outside/x": ""}), "has a path out of the folder"),
    Hostile(
        "bundle: a version of 400 digits", _zipped("m.zip", {"manifest.json": f'{{"format": {10**400}}}'}), "m.zip"
    ),
    Hostile("bundle: records outside", _bundle(), "m.zip: task.json"),
    Hostile("bundle: weights of NaN", _bundle(weight=float("nan")), "is no bundle"),
    Hostile("onnx: noise", lambda work: _raw(work, bytes(range(256)) * 20), "is no model that mml export wrote"),
    Hostile("onnx: messages in messages", lambda work: _raw(work, b"\x3a\xff\xff\xff\xff\x07" * 2000), "is no model"),
]
if not all(find_spec(name) for name in ("onnx", "onnxruntime", "fastapi", "uvicorn", "python_multipart")):
    # Nothing reads such a file without the extras `export` and `serve`.
    CASES = []
