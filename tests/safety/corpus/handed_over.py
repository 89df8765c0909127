"""What comes with models, data sets and searches of others: studies without end, bundles, locks, pipes, pictures of nothing."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from mlpipe.runs.project import Project
from tests.safety.corpus import Hostile
from tests.safety.corpus.archives import good, png
from tests.safety.corpus.arrays import IMAGES, TARGETS, _columns, _hdf5, _npz, _parquet, npy
from tests.safety.corpus.boxes import coco, voc, yolo
from tests.safety.corpus.models import _served, model
from tests.safety.corpus.own_code import evil
from tests.safety.corpus.pictures import _chunk, _folder, _png_of
from tests.safety.corpus.projects import _database, _journal, _project, _study
from tests.safety.corpus.stored import _MODELS, _POST, _REPORT, beside_record, ensemble_file, project, record_file

Make = Callable[[Path], list[str]]
_BEST = ["train", "--dry-run", "task=digits", "use_best_params='sqlite:///s.db#s'"]
_COUNTED = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many}) INSERT INTO"


def _late(case: Callable[[], Make]) -> Make:
    """A case whose content is made only when it is tried: it is large."""
    return lambda work: case()(work)


def _storage(put: Callable[[Path], object]) -> Make:
    """A file of studies that is none."""

    def make(work: Path) -> list[str]:
        put(work / "s.db")
        return _BEST

    return make


def _grown_journal(work: Path) -> list[str]:
    """A journal of 2 GB, most of which the disk does not have."""
    words = _journal("{}\n")(work)
    os.truncate(_project().studies_dir() / "s.log", 2 << 30)
    return words


def _locked(work: Path) -> list[str]:
    """A journal that ends within a line, and a lock that leads nowhere."""
    words = _study({"optimizer.lr": 0.1})(work)
    file = _project().studies_dir() / "s.log"
    with file.open("a") as journal:
        journal.write('{"op_co')
    file.with_name("s.log.lock").symlink_to(work / "gone")
    return words


def _in_place_of(find: Callable[[Project], Path], put: Callable[[Path], object], *command: str) -> Make:
    """A project one of whose files is no file."""

    def make(work: Path) -> list[str]:
        file = find(project(ensemble=find is ensemble_file))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        put(file)
        return list(command)

    return make


def _predictions_file(made: Project) -> Path:
    return sorted(made.root.glob("tasks/*/predictions/*.parquet"))[0]


def _calibration_file(made: Project) -> Path:
    return made.calibration_file("made", record_file(made).parent.name)


def _grown_picture(name: str, head: bytes) -> Make:
    """A picture of 900 MB, nearly all of which the disk does not have."""

    def make(work: Path) -> list[str]:
        words = _folder(name, head)(work)
        os.truncate(work / "images" / name, 900 << 20)
        return words

    return make


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _grown(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 << 30)


def _sealed(**member: bytes) -> Make:
    """A bundle whose manifest fits its files."""

    def make(work: Path) -> list[str]:
        from mlpipe import files

        names = {name.replace("__", "/").replace("_json", ".json"): content for name, content in member.items()}
        digests = {name: files.digest_bytes(content) for name, content in names.items()}
        one = {"name": "x", "weight": 1.0, "records": ["one"]}
        manifest = {"format": 1, "version": "0", "task": "made", "ensemble": None, "members": [one], "files": digests}
        files.write_sealed(work / "manifest.json", manifest)
        with zipfile.ZipFile(work / "m.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(work / "manifest.json", "manifest.json")
            for name, content in names.items():
                archive.writestr(name, content)
        (work / "manifest.json").unlink()
        return ["serve", "mode.file=m.zip", "mode.port=0"]

    return make


def _in_zip(name: str, head: bytes, size: int) -> Make:
    """An archive of good pictures and of a file that is nothing but zeros after its first bytes."""

    def make(work: Path) -> list[str]:
        with zipfile.ZipFile(work / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for member, content in good().items():
                archive.writestr(member, content)
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(head)
                for _ in range(size >> 20):
                    file.write(bytes(1 << 20))
        return ["pp", "task=folder", "task.root=a.zip", "preprocessing.size=8"]

    return make


def _bmp(width: int, height: int, bits: int) -> bytes:
    size = (width * bits // 8 + 3) // 4 * 4 * height
    head = struct.pack("<IHHI", 54 + size, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, 0, size, 0, 0, 0, 0
    )
    return b"BM" + head


def _png_of_zeros(side: int) -> bytes:
    """A whole PNG in colour, every pixel of which is black."""
    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + 3 * side)) for _ in range(side)]
    return _png_of(side, side, _chunk(b"IDAT", b"".join(rows) + packer.flush()))


def _chunked(file: Any) -> None:
    """Eight samples in a chunk of 3.9 GB, which is packed."""
    more = {"maxshape": (None, None, None, 1), "chunks": (1000, 2000, 1950, 1), "compression": "gzip"}
    file.create_dataset("x", shape=(8, 8, 8, 1), dtype="u1", **more)


def _linked_labels(work: Path) -> list[str]:
    """Labels in a folder that is a link to the user's own."""
    secret = work.parent / "outside"
    (secret / "secret.txt").write_text("hunter2 is the word\n")
    for name in ("0", "1"):
        (work / "set" / "images").mkdir(parents=True, exist_ok=True)
        (work / "set" / "images" / f"{name}.png").write_bytes(png(int(name)))
    (secret / "0.txt").write_text("hunter2 is the word\n")
    (work / "set" / "labels").symlink_to(secret)
    return ["create", "task=boxes", "task.root=set", "task.without_file=nothing"]


def _runs(content: dict[str, Any]) -> Make:
    """A recipe with a section of Hydra's, which would make what it names."""

    def make(work: Path) -> list[str]:
        evil(work / "evil.py")
        (work / "r.yaml").write_text(yaml.safe_dump({"defaults": [{"loss": "ce"}], **content}))
        return ["train", "--dry-run", "recipe=r.yaml", "task=digits"]

    return make


def _hydra_option(group: str, text: str) -> Make:
    """A folder of options with one of Hydra's own groups."""

    def make(work: Path) -> list[str]:
        evil(work / "evil.py")
        (work / "more" / group).mkdir(parents=True)
        (work / "more" / group / "x.yaml").write_text(text)
        return ["train", "--dry-run", "task=digits", "--config-dir", "more", f"{group}=x"]

    return make


def _plugin(work: Path) -> list[str]:
    """A package that says in the working folder to be installed, and to bring an option."""
    evil(work / "evil_plugin" / "__init__.py")
    (work / "evil_plugin" / "conf" / "loss").mkdir(parents=True)
    (work / "evil_plugin" / "conf" / "loss" / "ce.yaml").write_text("_target_: evil_plugin.run\n")
    told = work / "evil_plugin-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-plugin\nVersion: 1\n")
    (told / "entry_points.txt").write_text("[mlpipe.plugins]\nevil = evil_plugin\n")
    return ["train", "--dry-run", "task=digits", "loss=ce"]


def _frames(many: int) -> bytes:
    """A GIF of very many pictures of a pixel."""
    one = b"\x21\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + one * many + b";"


def _segments(many: int) -> bytes:
    """A JPEG with very many notes."""
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "jpeg")
    return out.getvalue()[:2] + b"\xff\xef\0\x04ab" * many + out.getvalue()[2:]


def _range(helper: Any) -> list[Any]:
    """Numbers from 0 to 10^12."""
    from onnx import TensorProto

    whole = {
        name: helper.make_tensor(name, TensorProto.INT64, [], [value])
        for name, value in (("a", 0), ("b", 10**12), ("c", 1))
    }
    return [
        *(helper.make_node("Constant", [], [name], value=value) for name, value in whole.items()),
        helper.make_node("Range", ["a", "b", "c"], ["many"]),
        helper.make_node("ReduceMax", ["many"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["mean", "number"], ["values"]),
    ]


def _foreign(helper: Any) -> list[Any]:
    return [helper.make_node("Shell", ["mean"], ["values"], domain="com.evil", command="touch ../proof")]


_PROGRAM = (
    "DROP TABLE trials; CREATE VIRTUAL TABLE trials USING fts5(trial_id, number, study_id, state, datetime_start,"
    " datetime_complete)"
)
_LISTS = (
    "INSERT INTO study_user_attributes VALUES (1, 1, 'k',"
    " '[' || replace(printf('%.*c', 12000000, 'x'), 'x', '[],') || '0]')"
)
CASES = [
    Hostile(
        "study: a text of 300 MB",
        _database("INSERT INTO study_user_attributes VALUES (1, 1, 'k', printf('\"%.*c\"', 300000000, 'x'))"),
        "holds a text of more than",
    ),
    Hostile(
        "study: a million and more trials",
        _database(f"{_COUNTED.format(many=1_100_000)} trials SELECT i, i, 1, 'COMPLETE', NULL, NULL FROM n"),
        "rows of a study, more than",
    ),
    Hostile(
        "study: a table that is a program",
        _database(_PROGRAM),
        "is a virtual table",
    ),
    Hostile(
        "study: a column that is computed",
        _database("ALTER TABLE study_user_attributes ADD COLUMN c AS (printf('%.*c', 200000000, 'x'))"),
        "is a computed column",
    ),
    Hostile(
        "study: 12 million values in a text",
        _database(_LISTS),
        "values of a study, more than",
    ),
    Hostile("study: a pipe in place of a database", _storage(os.mkfifo), "no ordinary file"),
    Hostile("study: a device in place of a database", _storage(_zero), "no ordinary file"),
    Hostile("study: a journal of 2 GB", _grown_journal, "bytes of a study, more than"),
    Hostile(
        "study: a journal of a million lines and more",
        _late(lambda: _journal('{"op_code": 9}\n' * 1_100_000)),
        "rows of a study, more than",
    ),
    Hostile(
        "study: a journal of 12 million lists",
        _late(lambda: _journal('{"op_code": 0, "x": [' + "[]," * 12_000_000 + "0]}\n")),
        "values of a study, more than",
    ),
    Hostile("study: a lock that leads nowhere", _locked, "", code=0),
    Hostile("study: parameters that command the terminal", _study({"\x1b]0;x\x07": "\x1b[2J"}), r"\x1b]0;x\x07"),
    *(
        Hostile(f"project: {what} in place of {of}", _in_place_of(find, put, *command), "", code=code)
        for of, find, command in (
            ("a record", record_file, _MODELS),
            ("curves", beside_record("metrics.csv"), _REPORT),
            ("predictions", _predictions_file, _POST),
            ("an ensemble", ensemble_file, _REPORT),
            ("a calibration", _calibration_file, _REPORT),
        )
        for what, put, code in (
            ("a pipe", os.mkfifo, 0),
            ("a device without end", _zero, 2),
            ("8 GB of nothing", _grown, 2 if of == "predictions" else 0),
            ("a folder", Path.mkdir, 0),
        )
    ),
    Hostile("a picture of 900 MB of nothing", _grown_picture("a/x.png", b""), "not an image in a known format"),
    Hostile(
        "a BMP of 8 x 8 pixels and 900 MB of nothing", _grown_picture("a/x.bmp", _bmp(8, 8, 24)), "8 x 8 pixels has"
    ),
    Hostile(
        "bundle: a task of 900 MB of nothing",
        _late(lambda: _sealed(task_json=bytes(900 << 20))),
        "times its own size",
    ),
    Hostile("bundle: a task nested without end", _sealed(task_json=b"[" * 100_000), "m.zip: task.json"),
    Hostile("zip: a picture of 900 MB of nothing", _in_zip("a/x.png", b"", 900 << 20), "times its own size"),
    Hostile(
        "zip: a BMP of 715 MB of nothing", _in_zip("a/x.bmp", _bmp(13_370, 13_370, 32), 716 << 20), "times its own size"
    ),
    Hostile(
        "a PNG of 178 million black pixels",
        _late(lambda: _folder("a/x.png", _png_of_zeros(13_370))),
        "packed 13 images",
        code=0,
    ),
    Hostile(
        "a GIF of 100,000 pictures", _late(lambda: _folder("a/x.gif", _frames(100_000))), "packed 13 images", code=0
    ),
    Hostile(
        "a JPEG with 500,000 notes", _late(lambda: _folder("a/x.jpg", _segments(500_000))), "packed 13 images", code=0
    ),
    Hostile(
        "a PNG of a million empty parts",
        _late(lambda: _folder("a/x.png", _png_of(8, 8, *([_chunk(b"juNk", b"")] * 1_000_000)))),
        "a/x.png",
    ),
    Hostile("hdf5: a chunk of 3.9 GB", _hdf5(_chunked), "a.h5"),
    Hostile(
        "npz: 70 dimensions",
        _npz({"images": npy(IMAGES, shape=f"({'1, ' * 69}512)"), "targets": npy(TARGETS)}),
        "a.npz",
    ),
    Hostile(
        "parquet: one that is encrypted", _parquet(lambda content: b"PARE" + content[4:-4] + b"PARE"), "cannot be read"
    ),
    Hostile(
        "parquet: weights that are decimals",
        _columns(lambda pa, names: {"weight": pa.array([1] * len(names), pa.decimal256(70, 3))}),
        "",
        code=0,
    ),
    Hostile(
        "yolo: labels in a folder that is a link to a secret", _linked_labels, "labels/0.txt line 1: is no box; write"
    ),
    Hostile("yolo: an outline of a million numbers", _late(lambda: yolo("0 " + "0.5 " * 1_000_000 + "\n")), "", code=0),
    Hostile(
        "coco: a mask of 10^12 pixels",
        coco(lambda c: c["annotations"][0].update(segmentation={"size": [10**6, 10**6], "counts": [10**12]})),
        "",
        code=0,
    ),
    Hostile(
        "coco: a file that is an address",
        coco(lambda c: c["images"][0].update(file_name="http://127.0.0.1:1/x.png")),
        "there is no such image",
    ),
    Hostile(
        "voc: 100,000 objects",
        voc(
            "<annotation>"
            + "<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>"
            * 100_000
            + "</annotation>"
        ),
        "boxes",
    ),
    Hostile("recipe: callbacks of Hydra", _runs({"hydra": {"callbacks": {"x": {"_target_": "evil.run"}}}}), "hydra"),
    Hostile("recipe: a launcher of its own", _runs({"hydra": {"launcher": {"_target_": "evil.run"}}}), "hydra"),
    Hostile("recipe: a folder of options outside", _runs({"hydra": {"searchpath": ["file:///tmp"]}}), "hydra"),
    Hostile(
        "option of logging that makes what it names",
        _hydra_option("hydra/job_logging", "version: 1\nhandlers:\n  x:\n    (): evil.run\nroot:\n  handlers: [x]\n"),
        "",
        code=0,
    ),
    Hostile("plugin: a package of the working folder", _plugin, "", code=0),
    Hostile(
        "network: a repository of the hub among options",
        lambda work: [
            "train",
            "--dry-run",
            "task=digits",
            "arch=timm",
            "arch.name=resnet18",
            "arch.pretrained='hf-hub:evil/model'",
        ],
        "arch.pretrained: unknown local extra",
    ),
    Hostile(
        "network: weights that are an address",
        lambda work: ["train", "--dry-run", "task=digits", "arch=resnet18", "arch.weights='https://127.0.0.1:1/w.pt'"],
        "there is no such file",
    ),
    Hostile(
        "distill: a teacher that climbs out",
        lambda work: ["distill", "mode.ensemble=../../outside/secret", "task=digits", "arch=test_resnet"],
        "",
    ),
]
if all(find_spec(name) for name in ("onnx", "onnxruntime", "fastapi", "uvicorn", "python_multipart")):
    CASES += [
        Hostile("onnx: numbers from 0 to 10^12", _served(lambda: model(_range)), "m.onnx"),
        Hostile("onnx: an operator of its own", _served(lambda: model(_foreign)), "m.onnx"),
        Hostile(
            "onnx: classes that command the terminal",
            _served(model, classes=["\x1b]0;x\x07", "b", "c"]),
            "rename the class",
        ),
    ]
