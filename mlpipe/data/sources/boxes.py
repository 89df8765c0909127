"""Images with boxes around objects (detection)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from mlpipe.data.archives import opened
from mlpipe.data.sources.listings import box_files
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets import boxed_images
from mlpipe.data.task import Task


def boxes(
    *,
    root: str | None = None,
    file: str,
    name: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images and the boxes of their objects, as a COCO JSON file lists them.

    Args:
        root: The folder of images, or an archive of it; None: the folder of the file.
        file: The COCO JSON file.
        name: The task's name before the hash; None takes the file's.
        channels: As for `folder`.
        bits: As for `folder`.
        value_range: As for `folder`.
        background: As for `folder`.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With a sentence for each image, box and class that is wrong, naming its place in the file.
    """
    where = Path(file).expanduser().absolute()
    base = opened(root, data_dir, "task.root") if root is not None else where.parent
    found = box_files.coco(where, base, "train")
    made = boxed_images.task_of(
        found,
        base,
        name or where.stem,
        {"type": "boxes", "root": str(base)},
        PixelSettings(channels, bits, value_range, background),
        data_dir=data_dir,
    )
    return finished(made, allow_overlap)
