"""A sealed file is read as it was written, or refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.errors import ProjectError
from mlpipe.predicting import onnx_files

FACTS = {"format": onnx_files.FORMAT, "version": "9.9", "classes": ["ü", '"checksum": "' + "1" * 32 + '"']}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x00weights\xff" + onnx_files.text(FACTS).encode("utf-8") + bytes(range(256)))
    onnx_files.seal(path)
    return path


def test_a_sealed_file_is_read_and_every_changed_byte_is_seen(sealed: Path) -> None:
    content = sealed.read_bytes()
    assert onnx_files.read(sealed) == content and b"0" * 32 not in content
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1
        sealed.write_bytes(changed)
        with pytest.raises(ProjectError, match="checksum does not fit|is no model that mml export wrote"):
            onnx_files.read(sealed)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "b.onnx").write_bytes(b"\x08\x07")
    with pytest.raises(ProjectError, match=r"b.onnx: is no model that mml export wrote; give a file"):
        onnx_files.read(tmp_path / "b.onnx")
    with pytest.raises(ProjectError, match="cannot be read"):
        onnx_files.read(tmp_path)


# One of each fact that a file says of itself.
WHOLE = {
    **{"format": 1, "version": "9.9", "task": "t", "kind": "classification", "classes": ["a", "b"], "is_dense": False},
    **{"has_probabilities": True, "one_is_true": True, "mask_values": [0, 1], "source": {"type": "folder", "root": ""}},
    **{"background": "white", "channels": 3, "dtype": "uint8", "size": [8, 8], "resize": "squash", "fill": 0},
    **{
        "interpolation": "bilinear",
        "least": None,
        "any_size": False,
        "ensemble": None,
        "prior": [0.5, 0.5],
        "card": {},
    },
    **{
        "columns": [],
        "numbers": [],
        "cuts": [0.5, 0.5],
        "costs": None,
        "choices": {},
        "lists": {},
        "endings": [".png"],
        "computed": "=",
    },
}


@pytest.mark.parametrize("key", ["task", "classes", "size", "prior", "cuts", "card"])
def test_facts_of_another_type_are_told(key: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=f"holds no facts of a model .*{key} is of another type"):
        onnx_files.checked(onnx_files.text({**WHOLE, key: 1}), tmp_path)


def test_facts_are_checked(tmp_path: Path) -> None:
    facts = onnx_files.checked(onnx_files.text(WHOLE), tmp_path)
    assert facts["classes"] == WHOLE["classes"]
    newer = onnx_files.text({**FACTS, "format": onnx_files.FORMAT + 1})
    with pytest.raises(ProjectError, match=r"is of a newer version \(9.9, format 2\), this one reads format 1; update"):
        onnx_files.checked(newer, tmp_path)
    for text in ("", "[]", "{}", '{"format": "x"}'):
        with pytest.raises(ProjectError, match="holds no facts of a model"):
            onnx_files.checked(text, tmp_path)


def _message(number: int, content: bytes) -> bytes:
    """A field of a message, its size below 128."""
    key = number << 3 | 2
    return bytes([key] if key < 128 else [key & 127 | 128, key >> 7]) + bytes([len(content)]) + content


def _model(graph: bytes) -> bytes:
    return _message(7, graph)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (_model(_message(5, _message(13, b"\x0a\x08location"))), "names data in other files"),
        (_model(_message(5, b"\x70\x01")), "names data in other files"),
        (_model(_message(15, _message(1, b"\x70\x01"))), "names data in other files"),
        (_model(_message(1, _message(5, _message(5, b"\x70\x01")))), "names data in other files"),
        (_model(_message(1, _message(4, b"Loop"))), "repeats parts of itself"),
        (_model(_message(1, _message(5, _message(6, _message(1, _message(4, b"Loop")))))), "repeats parts of itself"),
        (_message(25, _message(7, _message(4, b"Loop"))), "repeats parts of itself"),
        (_model(b"\x0a\x7f"), "is damaged"),
        (b"\x3b", "is damaged"),
        (b"\x80" * 20, "is damaged"),
        (_model(b"\x0a"), "is damaged"),
    ],
)
def test_models_that_read_other_files_or_loop_are_refused(content: bytes, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=f"m.onnx: {wrong}"):
        onnx_files.require_bounded(content, tmp_path / "m.onnx")


def test_other_models_are_not_refused(tmp_path: Path) -> None:
    tensor = _message(9, b"13 bytes here") + b"\x70\x00"
    onnx_files.require_bounded(_model(_message(1, _message(4, b"Conv")) + _message(5, tensor)), tmp_path / "m.onnx")


def test_the_walk_sees_what_the_library_writes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
    tensor = onnx.helper.make_tensor("w", 1, [2], bytes(8), raw=True)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [], [], [tensor])
    model = onnx.helper.make_model(graph)
    onnx_files.require_bounded(model.SerializeToString(), tmp_path / "m.onnx")
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../x")
    with pytest.raises(ProjectError, match="names data in other files"):
        onnx_files.require_bounded(model.SerializeToString(), tmp_path / "m.onnx")


@pytest.mark.parametrize("hidden", [{"overload": "z"}, {"domain": "own:a", "name": "F{}"}])
@pytest.mark.parametrize("order", [1, -1])
def test_functions_that_stand_for_a_million_operators_are_not_hidden_by_small_ones(
    hidden: dict[str, str], order: int, tmp_path: Path
) -> None:
    """onnxruntime tells functions of a name by a further one, `overload`; by the name alone one of them counted."""
    onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
    make, sets = onnx.helper.make_node, [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)]
    made = onnx.helper.make_model(onnx.helper.make_graph([make("a:F20", ["a"], ["b"], domain="own")], "g", [], []))
    for number in range(21):
        inner = [make(f"a:F{number - 1}", ["x"], [name], domain="own") for name in ("y", "z")]
        same = [make("Identity", ["x"], ["y"])]
        for nodes, named in ((inner if number else same, {}), (same, hidden))[::order]:
            function = onnx.helper.make_function("own", f"a:F{number}", ["x"], ["y"], nodes, sets)
            for key, value in named.items():
                setattr(function, key, value.format(number))
            made.functions.append(function)
    with pytest.raises(ProjectError, match="stands for more than"):
        onnx_files.require_bounded(made.SerializeToString(), tmp_path / "m.onnx")
