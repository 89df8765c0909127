"""Predict images with an exported model: python run_model.py model.onnx PATH... > predictions.csv"""

import csv
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".jp2"}
ENDS = (("", 0), (" low", -1), (" high", 1))
COMPUTED = ("=", "+", "-", "@", "\t", "\r", "'")
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError, struct.error)


def pixels_of(path: Path, facts: dict[str, Any]) -> Any:
    """The image as the model takes it, shape (1, height, width, channels), uint8."""
    image: Image.Image = ImageOps.exif_transpose(Image.open(path))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, facts["background"]), image.convert("RGBA"))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, np.uint16) // 257).astype(np.uint8))
    image, (high, wide) = image.convert("L" if facts["channels"] == 1 else "RGB"), facts["size"]
    if not facts["any_size"] and image.size != (wide, high):
        if facts["is_dense"] or facts.get("columns"):
            raise ValueError(f"has {image.height} x {image.width} pixels, the file takes {high} x {wide}")
        share = (max if facts["resize"] == "short_side" else min)(high / image.height, wide / image.width)
        scaled = [wide, high] if facts["resize"] == "squash" else [max(round(side * share), 1) for side in image.size]
        image = image.resize((scaled[0], scaled[1]), Image.Resampling[facts["interpolation"].upper()])
        left, top = int((image.width - wide) / 2), int((image.height - high) / 2)
        image = image.crop((left, top, left + wide, top + high))
    return np.asarray(image, np.uint8).reshape(1, image.height, image.width, facts["channels"])


def cells_of(values: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What the table says of an image, shape (outputs,), or of one with values in every place, (height, width, outputs)."""
    names, halves, best = facts["classes"], facts["halfwidths"], values.argmax(-1)
    if values.ndim > 1 and not facts["has_probabilities"]:
        return {"prediction": values, "mean": values.mean(), "unseen": 0.0}
    if values.ndim > 1:
        mask = np.array(facts["mask_values"], np.min_scalar_type(max(facts["mask_values"])))[best]
        shares = {f"share({name})": (best == place).mean() for place, name in enumerate(names)}
        return {"mask": mask, "confidence": values.max(-1).mean(), **shares, "unseen": 0.0}
    named: dict[str, float] = dict(zip(names, values.tolist(), strict=True))
    if not facts["has_probabilities"]:
        ends = [(name, *one) for name in names for one in ENDS[: 3 if name in halves else 1]]
        return {name + end: named[name] + sign * halves.get(name, 0) for name, end, sign in ends}
    chances = {f"p({name})": value for name, value in named.items()}
    if not facts["one_is_true"]:
        return {"labels": " | ".join(name for name in names if named[name] > facts["cuts"].get(name, 0.5)), **chances}
    cells = {"prediction": names[best], "probability": values.max()}
    if (costs := facts["costs"]) or facts["decide_above"]:
        scores = -(values @ np.array(costs)) if costs else values / np.array(facts["decide_above"])
        cells["decision"] = names[scores.argmax()]
    if facts["set_above"]:
        cells["set"] = " | ".join(name for name in names if named[name] >= facts["set_above"][name])
    return {**cells, **chances}


def boxes_of(values: Any, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each box of an image, of those of shape (boxes, 6) that have a score."""
    found = [(*box[:5], facts["classes"][int(box[5])]) for box in values.tolist() if box[4] > 0]
    pairs = [(box, facts["cuts"].get(box[5], 0.5)) for box in found]
    return [{**dict(zip(facts["columns"], box, strict=True)), "kept": box[4] >= cut} for box, cut in pairs]


def rows_of(session: Any, facts: dict[str, Any], base: Path, path: Path) -> list[dict[str, Any]]:
    """The table's rows of an image; what is predicted for its places goes to a file."""
    name = path.relative_to(base if base.is_dir() else base.parent).as_posix()
    name = name.encode("utf-8", "backslashreplace").decode()
    try:
        values = session.run(["values"], {"pixels": pixels_of(path, facts)})[0][0].astype(np.float64)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        return [{"image": name, "problem": str(error)}]
    found = boxes_of(values, facts) if facts.get("columns") else [cells_of(values, facts)]
    for row, key in [(one, key) for one in found for key in one]:
        if np.ndim(cell := row[key]):
            file = Path("predicted", name.removesuffix(".png") + ".png" if key == "mask" else name + ".npy")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(cell).save(file) if key == "mask" else np.save(file, cell)
        row[key] = str(file) if np.ndim(cell) else cell if isinstance(cell, str | bool) else round(float(cell), 6)
    return [{"image": name, **row} for row in found or [{}]]


def is_image(path: Path) -> bool:
    """Whether it is an image by its ending, and no pipe or folder."""
    return path.suffix.lower() in ENDINGS and (path.is_file() or not path.exists())


def marked(cell: Any) -> Any:
    """A text that a spreadsheet would compute has an apostrophe in front, and so has one that begins with an apostrophe."""
    if not isinstance(cell, str) or not cell.startswith(COMPUTED):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def main(model: str, *paths: str) -> None:
    """Write a table of images, or of folders of them, to the standard output; masks and predicted images to ./predicted."""
    session = onnxruntime.InferenceSession(model)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["mlpipe"])
    there = [(base, one) for base in map(Path, paths) for one in (sorted(base.rglob("*")) if base.is_dir() else [base])]
    rows = [row for pair in there if is_image(pair[1]) for row in rows_of(session, facts, *pair)]
    columns = [*dict.fromkeys(key for row in rows for key in row if key != "problem"), "problem"]
    table = [columns, *([row.get(key, "") for key in columns] for row in rows)]
    # Its lines end with two letters, so that a text with one of them is put into quotes.
    out = csv.writer(SimpleNamespace(write=lambda line: print(line.removesuffix("\r\n"))))
    out.writerows([marked(cell) for cell in row] for row in table)


if __name__ == "__main__":
    main(*sys.argv[1:])
