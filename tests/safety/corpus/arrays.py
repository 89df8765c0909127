"""Hostile arrays and tables: pickles, shapes and sizes that lie, cells that break readers, paths that climb."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.safety.corpus import PROOF, Hostile
from tests.safety.corpus.archives import good


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, work: Path) -> None:
        self.proof = work.parent / PROOF

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.proof),)


def npy(array: Any, *, shape: str = "") -> bytes:
    """The bytes of an .npy, with another shape in its header if asked for."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    content = buffer.getvalue()
    if not shape:
        return content
    start, end = content.index(b"'shape': (") + 9, content.index(b"), }") + 1
    header = content[10:start] + shape.encode() + content[end:128].rstrip() + b"\n"
    return content[:8] + len(header).to_bytes(2, "little") + header + content[128:]


def _npz(members: dict[str, bytes]) -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        with zipfile.ZipFile(work / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)
        return ["create", "task=arrays", "task.file=a.npz"]

    return make


def _pickled(work: Path) -> list[str]:
    members = {"images": npy(IMAGES), "targets": npy(np.array([Attack(work)] * 8, object))}
    return _npz(members)(work)


def _pickle_named_npy(work: Path) -> list[str]:
    (work / "a.npy").write_bytes(pickle.dumps(Attack(work)))
    return ["create", "task=arrays", "task.file=a.npy", "task.targets=a.npy"]


def _pickle_named_npz(work: Path) -> list[str]:
    (work / "a.npz").write_bytes(pickle.dumps(Attack(work)))
    return ["create", "task=arrays", "task.file=a.npz"]


def _mapped(work: Path) -> list[str]:
    (work / "a.npy").write_bytes(npy(IMAGES, shape="(1000000000, 8, 8)"))
    (work / "t.npy").write_bytes(npy(TARGETS))
    return ["create", "task=arrays", "task.file=a.npy", "task.targets=t.npy"]


def _table(text: str | bytes, name: str = "t.csv", *more: str) -> Callable[[Path], list[str]]:
    """A table beside good pictures."""

    def make(work: Path) -> list[str]:
        for member, data in good().items():
            (work / member).parent.mkdir(exist_ok=True)
            (work / member).write_bytes(data)
        (work / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return ["pp", "task=csv", f"task.file={name}", "preprocessing.size=8", *more]

    return make


def _parquet(change: Callable[[bytes], bytes]) -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arguments = _table("", "t.parquet")(work)
        names = list(good())
        pq.write_table(pa.table({"path": names, "label": [name[0] for name in names]}), work / "t.parquet")
        (work / "t.parquet").write_bytes(change((work / "t.parquet").read_bytes()))
        return arguments

    return make


def _columns(columns: Callable[[Any, list[str]], dict[str, Any]]) -> Callable[[Path], list[str]]:
    """A table in Parquet with columns of other types, of good pictures."""

    def make(work: Path) -> list[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arguments, names = _table("", "t.parquet")(work), list(good())
        labels = [name[0] for name in names]
        pq.write_table(pa.table({"path": names, "label": labels, **columns(pa, names)}), work / "t.parquet")
        return arguments

    return make


def _long(pa: Any, names: list[str]) -> dict[str, Any]:
    """20,000 rows that share a class of a megabyte."""
    label = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 1_000_000]))
    return {"path": [f"a/{number}.png" for number in range(20_000)], "label": label}


def _twice_named(work: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arguments = _table("", "t.parquet")(work)
    pq.write_table(pa.Table.from_arrays([pa.array(["a/0.png"])] * 2, names=["path", "path"]), work / "t.parquet")
    return arguments


def _far_fold(work: Path) -> list[str]:
    rows = "".join(f"{name},{name[0]},{10**15}\n" for name in good())
    return ["create", *_table(f"path,label,fold\n{rows}")(work)[1:], "split=given"]


def _hdf5(fill: Callable[[Any], object]) -> Callable[[Path], list[str]]:
    """A file of arrays in HDF5."""

    def make(work: Path) -> list[str]:
        import h5py  # type: ignore[import-untyped]

        with h5py.File(work / "a.h5", "w") as file:
            fill(file)
        return ["create", "task=samples", "task.train=a.h5", "task.train_targets=a.h5"]

    return make


def _external(file: Any) -> None:
    file.create_dataset("x", (8, 8, 8, 1), "u1", external=[("../outside/secret.txt", 0, 512)])


def _virtual(file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout((8, 8, 8, 1), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8, 8, 8, 1))
    file.create_virtual_dataset("x", layout)


def _linked(file: Any) -> None:
    import h5py

    file["x"] = h5py.ExternalLink("/etc/passwd", "/x")


def _ring(file: Any) -> None:
    import h5py

    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("/x")


def _references(file: Any) -> None:
    import h5py

    file.create_dataset("x", data=np.array([file.ref] * 8, h5py.ref_dtype))


def _pickled_type(work: Path) -> list[str]:
    """A column whose type says that it is one of Python's, stored as a pickle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arguments = _table("", "t.parquet")(work)
    told = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Attack(work))}
    schema = pa.schema([pa.field("path", pa.string()), pa.field("label", pa.string(), metadata=told)])
    names = list(good())
    pq.write_table(pa.table([names, [name[0] for name in names]], schema=schema), work / "t.parquet")
    return arguments


IMAGES, TARGETS = np.arange(512, dtype=np.uint8).reshape(8, 8, 8), np.arange(8) % 2
_ROWS = "".join(f"{name},{name[0]}\n" for name in good())
CASES = [
    Hostile("npz: objects that run code", _pickled, "cannot be read"),
    Hostile("npy: a pickle that runs code", _pickle_named_npy, "cannot be read"),
    Hostile("npz: a pickle that runs code", _pickle_named_npz, "cannot be read"),
    Hostile(
        "npz: truths in a shape",
        _npz({"images": npy(IMAGES, shape="(True, 8, 8)"), "targets": npy(TARGETS)}),
        "cannot be read",
    ),
    Hostile(
        "npz: a shape of a petabyte",
        _npz({"images": npy(IMAGES, shape="(1000000000000, 32, 32)"), "targets": npy(TARGETS)}),
        "a.npz",
    ),
    Hostile(
        "npz: a shape of 100 GB",
        _npz({"images": npy(IMAGES, shape="(100000000, 32, 32)"), "targets": npy(TARGETS)}),
        "a.npz",
    ),
    Hostile(
        "npz: a shape beyond 64 bits",
        _npz({"images": npy(IMAGES, shape="(99999999999999999999, 8, 8)"), "targets": npy(TARGETS)}),
        "a.npz",
    ),
    Hostile(
        "npz: a negative shape", _npz({"images": npy(IMAGES, shape="(-8, 8, 8)"), "targets": npy(TARGETS)}), "a.npz"
    ),
    Hostile("npy: a memory map beyond the file", _mapped, "a.npy"),
    Hostile(
        "npz: a header that is a program",
        _npz({"images": npy(IMAGES, shape="__import__('os').system('touch ../proof')"), "targets": npy(TARGETS)}),
        "a.npz",
    ),
    Hostile(
        "npz: numbers that are complex",
        _npz({"images": npy(IMAGES.astype(complex)), "targets": npy(TARGETS)}),
        "images of another type",
    ),
    Hostile(
        "npz: rows with several fields",
        _npz({"images": npy(np.zeros((8, 8, 8), "u1,u1")), "targets": npy(TARGETS)}),
        "images of another type",
    ),
    Hostile(
        "npz: images that are not numbers",
        _npz({"images": npy(np.full((8, 8, 8), np.nan, np.float32)), "targets": npy(TARGETS)}),
        "NaN",
    ),
    Hostile(
        "npz: a class number beyond all classes",
        _npz({"images": npy(IMAGES), "targets": npy(np.full(8, 2**62))}),
        "needs two classes",
    ),
    Hostile(
        "npz: a negative class number", _npz({"images": npy(IMAGES), "targets": npy(TARGETS - 5)}), "class number -5"
    ),
    Hostile(
        "npz: names of classes that repeat",
        _npz({"images": npy(IMAGES), "targets": npy(TARGETS), "classes": npy(np.array(["a", "a"]))}),
        "classes",
    ),
    Hostile(
        "npz: a header nested without end",
        _npz({"images": b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000, "targets": npy(TARGETS)}),
        "a.npz",
    ),
    Hostile("csv: a NUL", _table(f"path,label\n{_ROWS}a\0b.png,a\n"), "t.csv"),
    Hostile("csv: a cell of ten megabytes", _table(f"path,label\n{_ROWS}{'x' * 10_000_000},a\n"), "cannot be read"),
    Hostile("csv: a path of 5,000 letters", _table(f"path,label\n{_ROWS}{'x' * 5000},a\n"), "there is no such file"),
    Hostile("csv: a quote that never ends", _table(f'path,label\n"{_ROWS}'), "cannot be read"),
    Hostile("csv: no text", _table(b"\x89PNG\r\n\x1a\n\xff\xfe"), "is not UTF-8"),
    Hostile("csv: UTF-16", _table("path,label\n".encode("utf-16")), "has no rows"),
    Hostile("csv: nothing", _table(""), "t.csv"),
    Hostile(
        "csv: a path to the user's own text",
        _table(f"path,label\n{_ROWS}../outside/secret.txt,a\n"),
        "not an image in a known format",
    ),
    Hostile(
        "csv: a path to a system's file",
        _table(f"path,label\n{_ROWS}/etc/passwd,b\n"),
        "not an image in a known format",
    ),
    Hostile("csv: a path to a folder", _table(f"path,label\n{_ROWS}../outside,b\n"), "there is no such file"),
    Hostile(
        "csv: a weight that is infinite",
        _table("path,label,weight\n" + "".join(f"{name},{name[0]},inf\n" for name in good())),
        "t.csv line 2, column weight",
    ),
    Hostile(
        "csv: a fold that is not a number",
        _table("path,label,fold\n" + "".join(f"{name},{name[0]},nan\n" for name in good())),
        "t.csv line 2, column fold",
    ),
    Hostile("csv: a fold beyond all folds", _far_fold, "fold"),
    Hostile(
        "csv: a mark of byte order",
        _table(b"\xef\xbb\xbf" + f"path,label\n{_ROWS}".encode()),
        "packed 12 images",
        code=0,
    ),
    Hostile(
        "csv: classes that are formulas",
        _table("path,label\n" + "".join(f"{name},\"=cmd|' /C calc'!{name[0]}\"\n" for name in good())),
        "packed 12 images",
        code=0,
    ),
    Hostile(
        "csv: a path that is an address", _table(f"path,label\n{_ROWS}http://127.0.0.1:1/x.png,a\n"), "no such file"
    ),
    Hostile("csv: a path in /proc", _table(f"path,label\n{_ROWS}/proc/self/environ,a\n"), "the file is empty"),
    Hostile("csv: a path that is standard input", _table(f"path,label\n{_ROWS}/dev/stdin,a\n"), "/dev/stdin"),
    Hostile(
        "csv: classes that command the terminal",
        _table("path,label\n" + "".join(f"{name},\x1b[2J{name[0]}\n" for name in good())),
        "has an end of a line, a tab or a control character",
    ),
    Hostile("npz: dates", _npz({"images": npy(IMAGES.astype("M8[ns]")), "targets": npy(TARGETS)}), "of another type"),
    Hostile(
        "npz: classes over two lines",
        _npz({"images": npy(IMAGES), "targets": npy(TARGETS), "classes": npy(np.array(["a\nb", "c"]))}),
        "has an end of a line",
    ),
    Hostile("hdf5: numbers of a file outside", _hdf5(_external), "is no plain array"),
    Hostile("hdf5: a view of another file", _hdf5(_virtual), "is no plain array"),
    Hostile("hdf5: a link to another file", _hdf5(_linked), "x is a link"),
    Hostile("hdf5: links in a ring", _hdf5(_ring), "is a link"),
    Hostile("hdf5: references", _hdf5(_references), "holds objects"),
    Hostile("parquet: a type that is a pickle", _pickled_type, "packed 12 images", code=0),
    Hostile("parquet: its end cut off", _parquet(lambda content: content[:-20]), "cannot be read"),
    Hostile(
        "parquet: noise in its middle",
        _parquet(lambda content: content[:20] + b"\xff" * 40 + content[60:]),
        "t.parquet",
    ),
    Hostile(
        "parquet: a footer longer than the file",
        _parquet(lambda content: content[:-8] + b"\xff\xff\xff\x7fPAR1"),
        "cannot be read",
    ),
    Hostile("parquet: two columns of one name", _twice_named, "several columns of one name"),
    Hostile(
        "parquet: classes that are mappings",
        _columns(lambda pa, names: {"label": [{"a": name[0]} for name in names]}),
        "label is none, its cells are struct<a: string>",
    ),
    Hostile(
        "parquet: classes that are bytes",
        _columns(lambda pa, names: {"label": [name[0].encode() for name in names]}),
        "label is none, its cells are binary",
    ),
    Hostile(
        "parquet: a zone that is none",
        _columns(lambda pa, names: {"at": pa.array([0] * len(names), pa.timestamp("s", tz="Evil/Zone"))}),
        "cannot be read",
    ),
    Hostile(
        "parquet: text that is no UTF-8",
        _columns(lambda pa, names: {"label": pa.array([b"\xff\xfe"] * len(names), pa.binary()).view(pa.string())}),
        "cannot be read",
    ),
    Hostile("parquet: a text of a megabyte in each of 20,000 rows", _columns(_long), "would have 20,000,"),
    Hostile(
        "hdf5: 2,000 groups that hold nothing",
        _hdf5(lambda file: [file.create_group(str(number)) for number in range(2000)]),
        "more than 1,000 of its groups hold nothing",
    ),
]
