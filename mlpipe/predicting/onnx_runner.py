"""Predict images with an exported model: python run_model.py model.onnx PATH... > predictions.csv"""

import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def pixels_of(path: Path, facts: dict[str, Any]) -> Any:
    """The image as the model takes it, shape (1, height, width, channels), uint8."""
    image: Image.Image = Image.open(path, formats=["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000"])
    mode, (high, wide), least = "L" if facts["channels"] == 1 else "RGB", facts["size"], facts["least"] or 1 << 30
    by = max((by for by in (2, 4, 8) if all(side % by == 0 and side >= by * least for side in image.size)), default=1)
    if image.format == "JPEG" and image.mode != "CMYK":
        image.draft(mode, (image.width // by, image.height // by))
    if image.mode in ("F", "I") and image.format != "PNG":
        raise ValueError("has values that do not say which of them are black and white")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, facts["background"]), image.convert("RGBA"))
    image = Image.fromarray(np.uint8((np.asarray(image, np.uint32) + 128) // 257)) if image.mode[0] == "I" else image
    image = image.convert(mode)
    if not facts["any_size"] and image.size != (wide, high):
        if facts["is_dense"] or facts["columns"]:
            raise ValueError(f"has {image.height} x {image.width} pixels, the file takes {high} x {wide}")
        share = (max if facts["resize"] == "short_side" else min)(high / image.height, wide / image.width)
        scaled = [wide, high] if facts["resize"] == "squash" else [max(round(side * share), 1) for side in image.size]
        image = image.resize((scaled[0], scaled[1]), Image.Resampling[facts["interpolation"].upper()])
        left, top = int((image.width - wide) / 2), int((image.height - high) / 2)
        image = image.crop((left, top, left + wide, top + high))
    return np.asarray(image, np.uint8).reshape(1, image.height, image.width, facts["channels"])


def cells_of(values: Any, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table for an image: its outputs, those of each place (height, width, outputs), or boxes (boxes, 6)."""
    names, best = np.array(facts["classes"], object), values.argmax(-1)
    if facts["columns"]:
        boxes = [(*b[:5], names[int(b[5])], b[4] >= facts["cuts"][int(b[5])]) for b in values.tolist() if b[4] > 0]
        return [dict(zip([*facts["columns"], "kept"], box, strict=True)) for box in boxes]
    if values.ndim > 1 and not facts["has_probabilities"]:
        return [{"prediction": values, "mean": values.mean(), "unseen": 0.0}]
    row = values if values.ndim == 1 else np.bincount(best.flat, minlength=len(names)) / best.size
    cells = {column: row[place] + shift for column, place, shift in facts["numbers"]}
    if values.ndim > 1:
        mask = np.array(facts["mask_values"], np.min_scalar_type(max(facts["mask_values"])))[best]
        return [{"mask": mask, "confidence": values.max(-1).mean(), **cells, "unseen": 0.0}]
    first = {"prediction": names[best], "probability": values.max()} if facts["one_is_true"] else {}
    first |= {column: names[(values @ np.array(table)).argmax()] for column, table in facts["choices"].items()}
    return [first | {column: " | ".join(names[values >= least]) for column, least in facts["lists"].items()} | cells]


def rows_of(session: Any, facts: dict[str, Any], top: Path, path: Path) -> list[dict[str, Any]]:
    """The table's rows of an image; what is predicted for its places goes to a file. Pipes and folders have none."""
    if path.suffix.lower() not in facts["endings"] or (path.exists() and not path.is_file()):
        return []
    name = path.relative_to(top if top.is_dir() else top.parent).as_posix().encode(errors="backslashreplace").decode()
    try:
        values = session.run(["values"], {"pixels": pixels_of(path, facts)})[0][0].astype(np.float64)
    except Exception as error:
        return [{"image": name, "problem": str(error)}]
    rows = cells_of(values, facts)
    for row, key in [(cells, key) for cells in rows for key in cells]:
        if np.ndim(cell := row[key]):
            file = Path("predicted", name.removesuffix(".png") + ".png" if key == "mask" else name + ".npy")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(cell).save(file) if key == "mask" else np.save(file, cell)
        value = str(file) if np.ndim(cell) else cell
        row[key] = value if isinstance(value, str | bool) else float(f"{value:.6{'g' if abs(value) < 0.1 else 'f'}}")
    return [{"image": name, **row} for row in rows or [{}]]


def main(model: str, *paths: str) -> None:
    """Write a table of images, or of folders of them, to the standard output; masks and predicted images to ./predicted."""
    facts = json.loads((session := onnxruntime.InferenceSession(model)).get_modelmeta().custom_metadata_map["mlpipe"])
    pairs = [(top, path) for top in map(Path, paths) for path in (sorted(top.rglob("*")) if top.is_dir() else [top])]
    rows = [row for pair in pairs for row in rows_of(session, facts, *pair)]
    columns = [*dict.fromkeys(key for row in rows for key in row if key != "problem"), "problem"]
    # Its lines end with two letters, so that a text with one of them is put into quotes.
    out = csv.writer(SimpleNamespace(write=lambda line: print(line.removesuffix("\r\n"))))
    for row in ({key: key for key in columns}, *rows):
        out.writerow([re.sub(facts["computed"], "'", str(row.get(key, ""))) for key in columns])


if __name__ == "__main__":
    main(*sys.argv[1:])
