"""Predict images with an exported model: python run_model.py model.onnx PATH... > predictions.csv

Needs onnxruntime, numpy and pillow alone. A path is an image or a folder of images.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".jp2"}


def pixels_of(path: Path, facts: dict[str, Any]) -> Any:
    """The image as the model takes it, shape (1, height, width, channels), uint8."""
    with Image.open(path) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, facts["background"]), image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image, np.uint16) // 257).astype(np.uint8))
        image = image.convert("L" if facts["channels"] == 1 else "RGB")
    high, wide = facts["size"]
    if not facts["any_size"] and image.size != (wide, high):
        method, shares = Image.Resampling[facts["interpolation"].upper()], (high / image.height, wide / image.width)
        share = max(shares) if facts["resize"] == "short_side" else min(shares)
        scaled = [wide, high] if facts["resize"] == "squash" else [max(round(side * share), 1) for side in image.size]
        image = image.resize((scaled[0], scaled[1]), method)
        # Cut out of the middle, or filled up with black round it.
        left, top = int((image.width - wide) / 2), int((image.height - high) / 2)
        image = image.crop((left, top, left + wide, top + high))
    return np.asarray(image, np.uint8).reshape(1, image.height, image.width, facts["channels"])


def cells_of(values: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What the table says of an image."""
    named: dict[str, float] = dict(zip(facts["classes"], values.tolist(), strict=True))
    if not facts["has_probabilities"]:
        cells: dict[str, Any] = {}
        for name, value in named.items():
            half = facts["halfwidths"].get(name)
            cells |= {name: value} | (
                {} if half is None else {f"{name} low": value - half, f"{name} high": value + half}
            )
        return cells
    chances = {f"p({name})": value for name, value in named.items()}
    if not facts["one_is_true"]:
        return {"labels": " | ".join(name for name in named if named[name] > facts["cuts"].get(name, 0.5)), **chances}
    cells = {"prediction": facts["classes"][values.argmax()], "probability": values.max()}
    if facts["costs"]:
        cells["decision"] = facts["classes"][(values @ np.array(facts["costs"])).argmin()]
    elif facts["decide_above"]:
        cells["decision"] = facts["classes"][(values / np.array(facts["decide_above"])).argmax()]
    if facts["set_above"]:
        cells["set"] = " | ".join(
            name for name, cut in zip(named, facts["set_above"], strict=True) if named[name] >= cut
        )
    return {**cells, **chances}


def main(model: str, *paths: str) -> None:
    """Write a table of all images to the standard output."""
    session, rows = onnxruntime.InferenceSession(model), list[dict[str, Any]]()
    facts = json.loads(session.get_modelmeta().custom_metadata_map["mlpipe"])
    for base in map(Path, paths):
        for path in sorted(base.rglob("*")) if base.is_dir() else [base]:
            if path.suffix.lower() in ENDINGS:
                row: dict[str, Any] = {"image": path.relative_to(base).as_posix() if base.is_dir() else path.name}
                try:
                    values = session.run(["values"], {"pixels": pixels_of(path, facts)})[0][0].astype(np.float64)
                    row |= {
                        key: one if isinstance(one, str) else round(float(one), 6)
                        for key, one in cells_of(values, facts).items()
                    }
                except (OSError, ValueError) as error:
                    row["problem"] = str(error)
                rows.append(row)
    columns = [*dict.fromkeys(key for row in rows for key in row if key != "problem"), "problem"]
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
