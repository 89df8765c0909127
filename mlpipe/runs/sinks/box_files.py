"""Predicted boxes of images as files: a table in CSV and Parquet, COCO JSON, and a picture of each image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe import files
from mlpipe.lazy_imports import LazyModule

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa, pq = LazyModule("pyarrow"), LazyModule("pyarrow.parquet")

_CORNERS = ("x0", "y0", "x1", "y1")
_COLUMNS = ("image", *_CORNERS, "score", "class", "kept", "picture", "problem")
# The numeric columns of a box.
NUMBERS = (*_CORNERS, "score")


@dataclass(frozen=True)
class Found:
    """The boxes of an image.

    Attributes:
        name: The image's name.
        width: The width in pixels.
        height: The height in pixels.
        boxes: x0, y0, x1, y1, score and class number of each, shape (k, 6), in pixels of the image.
        kept: Whether each score is high enough, shape (k,).
    """

    name: str
    width: int
    height: int
    boxes: npt.NDArray[np.float64]
    kept: npt.NDArray[np.bool_]


class BoxFiles:
    """Collect boxes, write pictures one by one, and write the tables at the end.

    The table has one row per box, one row without a box for an image without any, and one for each unreadable image.
    Annotations in the COCO JSON have a `score`, as `loadRes` of pycocotools expects.

    Attributes:
        kept: The number of kept boxes.

    Args:
        folder: The folder of the pictures; tables are written beside it.
        table: The CSV file.
        classes: The names of the classes; a category's number is its position, counted from 1.
    """

    def __init__(self, folder: Path, table: Path, classes: list[str]) -> None:
        self._folder, self._table, self._classes = folder, table, classes
        self._rows, self._images, self._annotations = (
            list[dict[str, Any]](),
            list[dict[str, Any]](),
            list[dict[str, Any]](),
        )
        self._pictures = set[Path]()
        self.kept = 0

    def add(self, detections: Found, picture: Image.Image) -> None:
        """Add the boxes of an image, and write its picture.

        Args:
            detections: The boxes.
            picture: The picture with the boxes drawn.
        """
        place = Path(detections.name).with_suffix(".png")
        # Two images whose names differ only in their suffix get two pictures.
        while place in self._pictures:
            place = Path(f"{place}.png")
        self._pictures.add(place)
        content = io.BytesIO()
        picture.save(content, format="PNG")
        files.write_bytes(self._folder / place, content.getvalue())
        number = len(self._images) + 1
        self._images.append(
            {"id": number, "file_name": detections.name, "width": detections.width, "height": detections.height}
        )
        about = {"image": detections.name, "picture": str(place)}
        for box, is_kept in zip(detections.boxes.tolist(), detections.kept.tolist(), strict=True):
            x0, y0, x1, y1 = (round(value, 2) for value in box[:4])
            score, label = round(box[4], 6), int(box[5])
            values = dict(zip(NUMBERS, (x0, y0, x1, y1, score), strict=True))
            self._rows.append({**about, **values, "class": self._classes[label], "kept": is_kept})
            bbox = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
            of = {"id": len(self._annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0}
            self._annotations.append({**of, "bbox": bbox, "area": round(bbox[2] * bbox[3], 2), "score": score})
        if not len(detections.boxes):
            self._rows.append(about)
        self.kept += int(detections.kept.sum())

    def add_unreadable(self, name: str, reason: str) -> None:
        """Record an unreadable image.

        Args:
            name: The image's name.
            reason: The reason.
        """
        self._rows.append({"image": name, "problem": reason})

    def close(self) -> dict[str, str]:
        """Write the tables and the JSON; return their paths as plain data."""
        parquet, coco = self._table.with_suffix(".parquet"), self._table.with_suffix(".json")
        files.write_text(self._table, files.csv_text(self._rows, list(_COLUMNS)))
        types = {name: pa.float32() for name in NUMBERS} | {"kept": pa.bool_()}
        columns = {
            name: pa.array([row.get(name) for row in self._rows], types.get(name, pa.string())) for name in _COLUMNS
        }
        with files.durable(parquet) as temporary:
            pq.write_table(pa.table(columns), temporary)
        categories = [{"id": number, "name": name} for number, name in enumerate(self._classes, 1)]
        content = {"images": self._images, "categories": categories, "annotations": self._annotations}
        files.write_json(coco, content)
        return {"pictures": str(self._folder), "csv": str(self._table), "parquet": str(parquet), "coco": str(coco)}
