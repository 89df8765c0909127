"""Files that never end, are no files, or are small and stand for more than any machine has."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.safety.corpus import Hostile
from tests.safety.corpus.archives import good

Make = Callable[[Path], list[str]]
_DRY = ["train", "--dry-run", "task=digits"]


def _images(work: Path) -> Path:
    """A folder of good pictures."""
    for member, data in good().items():
        (work / "images" / member).parent.mkdir(parents=True, exist_ok=True)
        (work / "images" / member).write_bytes(data)
    return work / "images"


def _swapped(put: Callable[[Path], object], *command: str) -> Make:
    """A created task, one image of which becomes something else afterwards."""

    def make(work: Path) -> list[str]:
        from mlpipe import cli

        root = _images(work)
        assert cli.main(["create", "task=folder", "task.root=images"]) == 0
        file = sorted(root.rglob("*.png"))[0]
        file.unlink()
        put(file)
        return list(command or ("pp", "task=folder", "task.root=images", "preprocessing.size=8"))

    return make


def _created(put: Callable[[Path], object]) -> Make:
    """A created task named by itself, so that nothing is looked for again before its images are read."""

    def make(work: Path) -> list[str]:
        arguments = _swapped(put)(work)
        name = next(Path(os.environ["MML_DATA_PATH"]).glob("*/task.json")).parent.name
        return [*arguments[:1], f"task={name}", "preprocessing.size=8"]

    return make


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _grown(path: Path) -> None:
    """A file of which the disk has nothing and the folder says a terabyte."""
    with path.open("wb") as handle:
        handle.truncate(1 << 40)


def _no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\0")


def _named(put: Callable[[Path], object], name: str, *arguments: str) -> Make:
    """A command that names something which is no file."""

    def make(work: Path) -> list[str]:
        _images(work)
        put(work / name)
        return list(arguments)

    return make


def _option(put: Callable[[Path], object], place: str = "loss/evil.yaml", *more: str) -> Make:
    def make(work: Path) -> list[str]:
        file = work / "more" / place
        file.parent.mkdir(parents=True)
        put(file)
        return [*_DRY, "--config-dir", "more", *more]

    return make


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _recipe(text: str, name: str = "r.yaml", *more: str) -> Make:
    def make(work: Path) -> list[str]:
        (work / name).write_text(text)
        return [*_DRY, f"recipe={name}", *more]

    return make


def _nested(depth: int) -> str:
    return "defaults:\n  - loss: ce\nloss:\n  class_weights: " + "[" * depth + "]" * depth + "\n"


def _stages(depth: int) -> str:
    tree: dict[str, Any] = {"epochs": 1}
    for _ in range(depth):
        tree = {"stages": [tree]}
    return json.dumps({"architecture": "Unet", "backbone": "resnet18", "classes": 1, "shape": [8, 8, 3], **tree})


def _sequentials(depth: int) -> str:
    config: dict[str, Any] = {"class_name": "Dense", "config": {"units": 2, "name": "d"}}
    for number in range(depth):
        config = {"class_name": "Sequential", "config": {"name": f"s{number}", "layers": [config]}}
    return json.dumps({**config, "keras_version": "2.15.0", "backend": "tensorflow"})


def _layers(many: int) -> str:
    config = {"name": "n", "layers": [{"class_name": "Flatten", "config": {"name": f"f{n}"}} for n in range(many)]}
    return json.dumps({"class_name": "Sequential", "config": config})


def scans(side: int, many: int) -> bytes:
    """A progressive JPEG of `side` x `side` pixels with `many` scans, each of some bytes."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "jpeg", progressive=True)
    content = bytearray(buffer.getvalue())
    at = content.index(b"\xff\xc2")
    content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    first = content.index(b"\xff\xda")
    second = content.index(b"\xff\xda", first + 2)
    scan = bytes(content[first:second])
    return bytes(content[:first]) + scan * many + b"\xff\xd9"


def _picture(content: bytes, name: str = "a/x.jpg") -> Make:
    def make(work: Path) -> list[str]:
        (_images(work) / name).write_bytes(content)
        return ["pp", "task=folder", "task.root=images", "preprocessing.size=8"]

    return make


def _hdf5(fill: Callable[[Any], object], damage: Callable[[bytes], bytes] = bytes) -> Make:
    """A folder of volumes in HDF5."""

    def make(work: Path) -> list[str]:
        import h5py

        with h5py.File(work / "a.h5", "w") as file:
            fill(file)
        (work / "a.h5").write_bytes(damage((work / "a.h5").read_bytes()))
        return ["create", "task=samples", "task.train=a.h5", "task.train_targets=a.h5"]

    return make


def _declared(file: Any) -> None:
    file.create_dataset("x", shape=(45_000, 45_000), dtype="f4", chunks=(1000, 1000))


def _plain_sets(file: Any) -> None:
    for number in range(8):
        file.create_dataset(f"x{number}", data=np.zeros((8, 8, 1), np.float32))


def _noise(seed: int, many: int = 20) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        rng = np.random.default_rng(seed)
        changed = bytearray(content)
        for place in rng.integers(8, len(changed), many):
            changed[place] = int(rng.integers(0, 256))
        return bytes(changed)

    return damage


def _wide(work: Path) -> list[str]:
    _images(work)
    many = 100_000
    head = "path,label," + ",".join(f"c{n}" for n in range(many))
    rows = "".join(f"images/{name},{name[0]}{',1' * many}\n" for name in good())
    (work / "t.csv").write_text(f"{head}\n{rows}")
    return ["pp", "task=csv", "task.file=t.csv", "preprocessing.size=8"]


def _long_parquet(work: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _images(work)
    one = pa.table({"path": ["images/a/0.png"] * 1_000_000, "label": ["a"] * 1_000_000})
    with pq.ParquetWriter(work / "t.parquet", one.schema) as writer:
        for _ in range(30):
            writer.write_table(one)
    return ["pp", "task=csv", "task.file=t.parquet", "preprocessing.size=8"]


def _strided(work: Path) -> list[str]:
    import torch

    state = {"head.fc.weight": torch.zeros(1).expand(1_000_000, 1_000_000)}
    torch.save(state, work / "w.pt")
    return ["train", "task=digits", "arch=test_resnet", "arch.weights=w.pt", "preprocessing.size=16", "sys.threads=1"]


_MANY_KEYS = "defaults:\n  - loss: ce\ngiven:\n" + "".join(f"  k{n}: {n}\n" for n in range(99_000))
_KEYS_AT_TOP = "defaults:\n  - loss: ce\n" + "".join(f"k{n}: {n}\n" for n in range(99_000))
CASES = [
    Hostile("option file that is a pipe", _option(os.mkfifo), "it is no ordinary file"),
    Hostile("option file that is a device without end", _option(_zero), "it is no ordinary file"),
    Hostile("option file of a terabyte", _option(_grown), "bytes"),
    Hostile(
        "launcher: a list", _option(_text("[1, 2]\n"), "hydra/launcher/x.yaml", "hydra/launcher=x"), "hydra/launcher"
    ),
    Hostile(
        "launcher: no YAML",
        _option(_text("a: !!python/object:os.x {}\n"), "hydra/launcher/x.yaml", "hydra/launcher=x"),
        "cannot be read",
    ),
    Hostile("settings of Matplotlib that are a pipe", _named(os.mkfifo, "matplotlibrc", *_DRY), "matplotlibrc"),
    Hostile("settings of Matplotlib that are no text", _named(_no_text, "matplotlibrc", *_DRY), "matplotlibrc"),
    Hostile("recipe: a pipe", _named(os.mkfifo, "r.yaml", *_DRY, "recipe=r.yaml"), "recipe"),
    Hostile("recipe: a device without end", _named(_zero, "r.yaml", *_DRY, "recipe=r.yaml"), "recipe"),
    Hostile("recipe: a terabyte", _named(_grown, "r.yaml", *_DRY, "recipe=r.yaml"), "recipe"),
    Hostile("recipe: 99,000 keys below one", _recipe(_MANY_KEYS), "recipe"),
    Hostile("recipe: 99,000 keys", _recipe(_KEYS_AT_TOP), "recipe"),
    Hostile("recipe: a list nested 140 deep", _recipe(_nested(140)), "class_weights"),
    Hostile("recipe: stages nested 200 deep", _recipe(_stages(200)), "nested too deeply"),
    Hostile("recipe: stages nested 70 deep", _recipe(_stages(70)), "stages"),
    Hostile(
        "recipe: a hexadecimal number of 5,000 digits", _recipe(f"seed: 0x{'f' * 5000}\ndefaults:\n  - loss: ce\n"), ""
    ),
    Hostile(
        "recipe: a sexagesimal number of 5,000 digits",
        _recipe(f"seed: 1{':59' * 2500}\ndefaults:\n  - loss: ce\n"),
        "",
    ),
    Hostile("recipe: an octal number of 6,000 digits", _recipe(f"seed: 0{'7' * 6000}\ndefaults:\n  - loss: ce\n"), ""),
    Hostile(
        "recipe: Barrage parameters nested 500 deep",
        _recipe(
            json.dumps({"loader": {}, "transformer": {}, "network": {}})[:-1]
            + ', "loss": {"import": "x", "params": '
            + '{"a": ' * 480
            + "1"
            + "}" * 480
            + "}}",
            "r.json",
        ),
        "",
    ),
    Hostile(
        "keras: 200 Sequentials in each other",
        lambda work: [
            *_recipe(_sequentials(200), "n.json")(work)[:-1],
            "arch=keras_json",
            "arch.file=n.json",
        ],
        "nested",
    ),
    Hostile(
        "keras: 20,000 layers",
        lambda work: [*_recipe(_layers(20_000), "n.json")(work)[:-1], "arch=keras_json", "arch.file=n.json"],
        "there are 20,000 layers; at most 5,000 are built",
    ),
    Hostile("image that becomes a device", _created(_zero), "no ordinary file"),
    Hostile("image that becomes a pipe", _created(os.mkfifo), "no ordinary file"),
    Hostile("image that becomes a terabyte", _created(_grown), "bytes"),
    Hostile("image that becomes a folder", _created(Path.mkdir), ""),
    Hostile("a JPEG of 3,000 scans", _picture(scans(13_000, 3000)), "scans"),
    Hostile("csv: 100,000 columns", _wide, "columns"),
    Hostile("parquet: 30 million rows in a few kilobytes", _long_parquet, "rows"),
    Hostile(
        "csv: a pipe",
        _named(os.mkfifo, "t.csv", "pp", "task=csv", "task.file=t.csv", "preprocessing.size=8"),
        "t.csv",
    ),
    Hostile(
        "csv: a device without end",
        _named(_zero, "t.csv", "pp", "task=csv", "task.file=t.csv", "preprocessing.size=8"),
        "t.csv",
    ),
    Hostile("npz: a pipe", _named(os.mkfifo, "a.npz", "create", "task=arrays", "task.file=a.npz"), "a.npz"),
    Hostile("hdf5: a number without content", _hdf5(_declared), "a.h5"),
    *(Hostile(f"hdf5: noise {seed}", _hdf5(_plain_sets, _noise(seed)), "a.h5") for seed in range(6)),
    Hostile(
        "weights: a pipe",
        _named(os.mkfifo, "w.pt", "train", "task=digits", "arch=test_resnet", "arch.weights=w.pt"),
        "w.pt",
    ),
    Hostile(
        "weights: a device without end",
        _named(_zero, "w.safetensors", "train", "task=digits", "arch=test_resnet", "arch.weights=w.safetensors"),
        "w.safetensors",
    ),
    Hostile("weights: a tensor of 10^12 numbers in one", _strided, "more numbers than it has bytes", begun=True),
]
