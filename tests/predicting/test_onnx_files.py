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
    **{"cuts": {}, "costs": None, "decide_above": [], "set_above": {}, "halfwidths": {}},
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
