"""Labels of boxes that somebody made: COCO JSON, Pascal VOC XML, YOLO text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.safety.corpus import Hostile
from tests.safety.corpus.archives import good
from tests.safety.corpus.loops import _images

Make = Callable[[Path], list[str]]
_FIELDS = ("xmin", "ymin", "xmax", "ymax")
_NAME = "has an end of a line, a tab or a control character"


def coco(change: Callable[[dict[str, Any]], object]) -> Make:
    """A COCO file of good pictures that is changed; `change` may give the text to write instead."""

    def make(work: Path) -> list[str]:
        _images(work)
        names = list(good())
        content: dict[str, Any] = {
            "images": [{"id": n, "file_name": name, "width": 8, "height": 8} for n, name in enumerate(names)],
            "annotations": [
                {"id": n, "image_id": n, "category_id": n % 2, "bbox": [1, 1, 4, 4]} for n in range(len(names))
            ],
            "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        }
        other = change(content)
        (work / "c.json").write_text(other if isinstance(other, str) else json.dumps(content))
        return ["create", "task=boxes", "task.file=c.json", "task.root=images"]

    return make


def _first(part: str, **values: Any) -> Make:
    """A COCO file whose first image, annotation or category is another."""
    return coco(lambda content: content[part][0].update(values))


def _text(old: str, new: str) -> Make:
    return coco(lambda content: json.dumps(content).replace(old, new))


def _many(content: dict[str, Any]) -> None:
    content["annotations"] *= 1000
    for one in content["annotations"]:
        one["image_id"] = 0


def _object(name: str = "a", *sides: str) -> str:
    numbers = "".join(f"<{side}>{text}</{side}>" for side, text in zip(_FIELDS, sides or "1144", strict=True))
    return f"<object><name>{name}</name><bndbox>{numbers}</bndbox></object>"


def voc(text: str | bytes) -> Make:
    """Good pictures with labels in XML, those of the first being another text."""

    def make(work: Path) -> list[str]:
        root = _images(work)
        for name in good():
            (root / name).with_suffix(".xml").write_text(f"<annotation>{_object()}</annotation>")
        (root / "a/0.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["create", "task=boxes", "task.root=images"]

    return make


def yolo(labels: str | Callable[[Path], object], data: str = "") -> Make:
    """Good pictures with labels as text, those of the first being another text or no file, and a data.yaml."""

    def make(work: Path) -> list[str]:
        root = _images(work)
        for name in good():
            (root / name).with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
        if callable(labels):
            (root / "a/0.txt").unlink()
            labels(root / "a/0.txt")
        else:
            (root / "a/0.txt").write_text(labels)
        if data:
            (root / "data.yaml").write_text(data)
        return ["create", "task=boxes", "task.root=images"]

    return make


def linked(name: str, text: str = "hunter2 is the word\n") -> Make:
    """Good pictures and labels, one file of which is a link to a secret of the user's."""

    def make(work: Path) -> list[str]:
        (work.parent / "outside" / "secret.txt").write_text(text)
        words = yolo(_GOOD)(work)
        file = work / "images" / name
        file.unlink(missing_ok=True)
        file.symlink_to(work.parent / "outside" / "secret.txt")
        return words

    return make


_GOOD = "0 0.5 0.5 0.2 0.2\n"
_LAUGHS = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'
_FILE = (
    '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><object><name>&a;</name></object></annotation>'
)
_SCRIPT = "path: /etc\ntrain: ../outside\nnames: [a]\ndownload: |\n  import os; os.system('touch ../proof')\n"
CASES = [
    Hostile("coco: a name with a NUL", _first("images", file_name="a\0b.png"), "there is no such image"),
    Hostile("coco: a name of 100,000 letters", _first("images", file_name="x" * 100_000), "there is no such image"),
    Hostile("coco: boxes of NaN", _text("[1, 1, 4, 4]", "[NaN, 1, 4, 4]"), "has no bbox"),
    Hostile("coco: boxes without end", _text("[1, 1, 4, 4]", "[1e400, 1, 4, 4]"), "has no bbox"),
    Hostile("coco: an id of 5,000 digits", _text('"id": 0', f'"id": {"9" * 5000}'), "cannot be read"),
    Hostile("coco: an id that is a list", _first("categories", id=[0]), "has no id or no name"),
    Hostile("coco: annotations that are texts", coco(lambda c: c.update(annotations=["x"] * 12)), "is no mapping"),
    Hostile("coco: 12,000 boxes of one image", coco(_many), "has more than 10,000 boxes"),
    Hostile("coco: an image 10^15 wide", _first("images", width=10**15), "is of 8 x 8 pixels"),
    Hostile("coco: a class that commands the terminal", _first("categories", name="\x1b]0;x\x07a"), _NAME),
    Hostile("coco: a class of ten million letters", _first("categories", name="x" * 10_000_000), "more than 1,000"),
    Hostile("coco: a class that is a formula", _first("categories", name="=cmd|' /C calc'!A0"), "12 train", code=0),
    Hostile(
        "coco: licences nested without end",
        coco(lambda c: json.dumps(c)[:-1] + ', "info": ' + "[" * 50_000 + "]" * 50_000 + "}"),
        "nested too deeply",
    ),
    Hostile("voc: entities of entities", voc(_LAUGHS), "it declares a document type"),
    Hostile("voc: an entity that is a file", voc(_FILE), "it declares a document type"),
    Hostile("voc: an encoding that is none", voc('<?xml version="1.0" encoding="evil"?><annotation/>'), "a/0.xml"),
    Hostile("voc: UTF-7", voc(b'<?xml version="1.0" encoding="utf-7"?><annotation>+ADw-</annotation>'), "a/0.xml"),
    Hostile("voc: sides of NaN", voc(f"<annotation>{_object('a', 'nan', '1', '4', '1e999')}</annotation>"), "numbers"),
    Hostile(
        "voc: an image 10^300 wide",
        voc("<annotation><size><width>1e300</width><height>1e300</height></size></annotation>"),
        "is of 8 x 8 pixels",
    ),
    Hostile("voc: a class over two lines", voc(f"<annotation>{_object(chr(10).join('ab'))}</annotation>"), _NAME),
    Hostile("voc: nested a thousand deep", voc("<annotation>" + "<a>" * 1000), "nested too deeply"),
    Hostile("yolo: class number 10^30", yolo(f"{10**30} 0.5 0.5 0.2 0.2\n"), "a class number from 0 to 999999"),
    Hostile("yolo: class number 10^308", yolo("1e308 0.5 0.5 0.2 0.2\n"), "a class number from 0 to 999999"),
    Hostile("yolo: class number without end", yolo("inf 0.5 0.5 0.2 0.2\n"), "is no box"),
    Hostile("yolo: names numbered to a billion", yolo(_GOOD, "names: {1000000000: x}\n"), "names without a number"),
    Hostile("yolo: names that are lists", yolo(_GOOD, "names: [[a], {b: c}]\n"), "has a name that is no text"),
    Hostile("yolo: a download that is a program", yolo(_GOOD, _SCRIPT), "12 train", code=0),
    Hostile("yolo: labels that are a pipe", yolo(os.mkfifo), "has no file of labels"),
    Hostile("yolo: labels that are a link to a secret", linked("a/0.txt"), "a/0.txt line 1: is no box; write"),
    Hostile("yolo: names that are a link to a secret", linked("classes.txt"), "classes.txt: is a link that leads out"),
    Hostile("yolo: data that is a link to a secret", linked("data.yaml"), "data.yaml: is a link that leads out"),
    Hostile("yolo: labels without end", yolo(lambda path: path.symlink_to("/dev/zero")), "has no file of labels"),
]
