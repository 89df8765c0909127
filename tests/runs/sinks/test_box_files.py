"""Tables, COCO JSON and pictures of predicted boxes, read by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlpipe import files
from mlpipe.runs.sinks.box_files import BoxFiles, Found


def test_files_of_boxes_are_read_by_others(tmp_path: Path) -> None:
    sink = BoxFiles(tmp_path / "new", tmp_path / "new.csv", ["cat", "dog"])
    own = np.array([[1, 2, 11, 22, 0.9, 1], [0, 0, 5, 5, 0.1, 0]], float)
    sink.add(Found("sub/a.jpg", 40, 30, own, np.array([True, False])), Image.new("RGB", (40, 30)))
    sink.add(Found("b.jpg", 40, 30, own[:0], np.zeros(0, bool)), Image.new("RGB", (40, 30)))
    sink.add_unreadable("c.jpg", "cannot be decoded")
    facts = sink.close()
    table = pq.read_table(facts["parquet"]).to_pylist()
    assert [row["image"] for row in table] == ["sub/a.jpg", "sub/a.jpg", "b.jpg", "c.jpg"]
    assert [row["kept"] for row in table] == [True, False, None, None]
    assert table[0]["class"] == "dog" and table[3]["problem"] == "cannot be decoded"
    assert (tmp_path / "new" / table[0]["picture"]).is_file()
    assert Path(facts["csv"]).read_text("utf-8").splitlines()[1].startswith("sub/a.jpg,1.0,2.0,11.0,22.0,0.9,dog,True")
    coco = files.read_json(Path(facts["coco"]))
    assert coco["annotations"][0]["bbox"] == [1.0, 2.0, 10.0, 20.0]
    for name in ("b.png", "b.tif", "b"):
        sink.add(Found(name, 40, 30, own[:0], np.zeros(0, bool)), Image.new("RGB", (40, 30)))
    written = sorted(path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*.png"))
    assert written == ["b.png", "b.png.png", "b.png.png.png", "b.png.png.png.png", "sub/a.png"]
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO  # type: ignore[import-untyped]

    read = COCO(facts["coco"])
    assert read.loadRes(coco["annotations"]).getAnnIds(imgIds=[1]) == [1, 2]
    assert [one["name"] for one in read.loadCats(read.getCatIds())] == ["cat", "dog"]
