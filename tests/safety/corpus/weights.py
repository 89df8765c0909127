"""Hostile files of weights: pickles that run code, headers that lie, numbers that are none."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.safety.corpus import Hostile
from tests.safety.corpus.arrays import Attack

_TRAIN = [
    "train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sys.threads=1",
    "trainer.max_epochs=1", "split.folds=2", "mode.nested=false",
]  # fmt: skip


def _file(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        (work / name).write_bytes(content(work))
        return [*_TRAIN, f"arch.weights={name}"]

    return make


def _torch(stored: Callable[[Path], Any]) -> Callable[[Path], list[str]]:
    def content(work: Path) -> bytes:
        import torch

        buffer = io.BytesIO()
        torch.save(stored(work), buffer)
        return buffer.getvalue()

    return _file("w.pt", content)


def _safetensors(header: object, data: bytes = bytes(64), length: int | None = None) -> Callable[[Path], list[str]]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return _file(
        "w.safetensors", lambda work: struct.pack("<Q", length if length is not None else len(text)) + text + data
    )


def _network(change: Callable[[Any], Any]) -> Callable[[Path], list[str]]:
    """The network's own tensors, each changed."""

    def stored(work: Path) -> Any:
        import timm

        return {name: change(value) for name, value in timm.create_model("test_resnet").state_dict().items()}

    return _torch(stored)


def _tensor(shape: list[int], end: int, kind: str = "F32", begin: int = 0) -> dict[str, Any]:
    return {"x.weight": {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}}


def _in_itself(work: Path) -> Any:
    stored: dict[str, Any] = {}
    return stored | {"state_dict": stored.setdefault("state_dict", stored)}


def _odd_names(work: Path) -> Any:
    import torch

    return {f"\x1b[2J\n{number}": torch.zeros(1) for number in range(3)}


def _packed(work: Path) -> list[str]:
    """A torch file whose members are packed, as torch never writes them: 64 MB in 70 KB."""
    import torch

    plain = io.BytesIO()
    torch.save({"x.weight": torch.zeros(1 << 26, dtype=torch.uint8)}, plain)
    with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(work / "w.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in stored.infolist():
            packed.writestr(member.filename, stored.read(member))
    return [*_TRAIN, "arch.weights=w.pt"]


def _complex(value: Any) -> Any:
    import torch

    return value.to(torch.complex64)


def _sparse(value: Any) -> Any:
    return value.to_sparse()


def _nan(value: Any) -> Any:
    return value * float("nan")


CASES = [
    Hostile(
        "safetensors: 200,000 tensors of nothing",
        _safetensors({f"w{number}": _tensor([0], 0) for number in range(200_000)}, b""),
        "holds 200,000 tensors, more than the 50,000 that are read",
        begun=True,
    ),
    Hostile("pt: a pickle that runs code", _file("w.pt", lambda work: pickle.dumps(Attack(work))), "cannot be read"),
    Hostile("pt: code among tensors", _torch(lambda work: {"x.weight": 1, "attack": Attack(work)}), "cannot be read"),
    Hostile(
        "pth: a pickle by another name",
        _file("w.pth", lambda work: pickle.dumps({"state_dict": Attack(work)})),
        "cannot be read",
    ),
    Hostile(
        "safetensors: a pickle by another name",
        _file("w.safetensors", lambda work: pickle.dumps(Attack(work))),
        "cannot be read",
    ),
    Hostile("safetensors: a header of 2^62 bytes", _safetensors({}, length=1 << 62), "cannot be read"),
    Hostile("safetensors: a header nested without end", _safetensors(b"[" * 100_000), "cannot be read"),
    Hostile("safetensors: a shape that lies", _safetensors(_tensor([1 << 40, 1 << 40], 64)), "cannot be read"),
    Hostile(
        "safetensors: tensors that overlap",
        _safetensors({**_tensor([16], 64), "y.weight": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}),
        "cannot be read",
    ),
    Hostile(
        "safetensors: offsets beyond the file",
        _safetensors(_tensor([16], 1 << 40, begin=(1 << 40) - 64)),
        "cannot be read",
    ),
    Hostile("safetensors: a type that is none", _safetensors(_tensor([16], 64, "EVIL")), "cannot be read"),
    Hostile("safetensors: tensors of another network", _safetensors(_tensor([16], 64)), "w.safetensors"),
    Hostile("pt: a mapping in itself", _torch(_in_itself), "holds no tensors"),
    Hostile("pt: names that command the terminal", _torch(_odd_names), r"\x1b[2J"),
    Hostile("pt: zeros that are packed", _packed, "more numbers than it has bytes"),
    Hostile("pt: complex numbers", _network(_complex), "arch.weights"),
    Hostile("pt: sparse tensors", _network(_sparse), "arch.weights"),
    Hostile("pt: weights that are not numbers", _network(_nan), "arch.weights"),
    Hostile(
        "pt: no file but a folder",
        lambda work: ((work / "w.pt").mkdir(), [*_TRAIN, "arch.weights=w.pt"])[1],
        "there is no such file",
    ),
]
