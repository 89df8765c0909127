"""Images, true masks and predicted masks side by side: the worst, some in the middle, and the best."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.cache import packs as cache
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.targets.mask_files import colour_of
from mlpipe.data.task import IGNORED, axes_of
from mlpipe.errors import DataError, listing
from mlpipe.post.measures import mask_metrics
from mlpipe.reports import gallery, stored_maps
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, Markup, element, figure, heading, image, joined, paragraph
from mlpipe.reports.sections.parts import Section

_EACH = 4
# The longer side of a picture in the page, and the longest side of one that is kept as it is.
_SIDE, _SMALL = 224, 64
_WHOLE = ("true mask", "predicted mask")
_GREY = (128, 128, 128)
_NAMED = 20

Bytes = npt.NDArray[np.uint8]


def masks(facts: TaskFacts) -> Section:
    """Pictures of predicted masks, and the meaning of the colours.

    Args:
        facts: A task of masks.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None:
        return Section("Masks")
    scores = mask_metrics.of_images(rows.calibrated, rows.targets)
    order = np.argsort(scores, kind="stable").tolist()
    with ExitStack() as stack:
        stored = stored_maps.of_shown(facts, subject, stack)
        if stored is None:
            return Section(
                "Masks", [paragraph("No pictures: the maps of the predictions are gone; mml predict makes them.")]
            )
        parts, lost, has_ignored = list[Content | None](), list[str](), False
        read = reader(facts)
        for title, places in chosen(order).items():
            figures = list[Markup]()
            for place in places:
                name = rows.ids[place]
                both = stored.of(name)
                picture = picture_of(read, name, both[0].shape) if both is not None else None
                if both is None or picture is None:
                    lost.append(name)
                    continue
                has_ignored = has_ignored or (both[1] is not None and bool((both[1] == IGNORED).any()))
                drawn = {
                    "image": picture,
                    "true mask": _mask_picture(both[1]),
                    "predicted mask": _mask_picture(both[0]),
                }
                words = f"Dice {scores[place]:.2f}"
                figures.append(figure(beside(drawn, name, whole=_WHOLE), caption(words, name)))
            if figures:
                parts += [heading(4, title), element("div", joined(figures), class_="pictures rows")]
        ignored = "Grey pixels do not count." if has_ignored else ""
        parts.insert(0, paragraph(*legend(facts.classes), ignored, picture_sentence(facts)))
    if lost:
        parts.append(paragraph(missing_sentence(lost)))
    return Section("Masks", parts, is_wide=True)


def picture_sentence(facts: TaskFacts) -> str:
    """Return a sentence about what pictures show, if samples are not images.

    Args:
        facts: The task.
    """
    axes = 2 if facts.task is None else axes_of(facts.task)
    return {
        1: " Samples have one axis: they are drawn as strips.",
        3: " Of each sample the middle plane is drawn.",
    }.get(axes, "")


def missing_sentence(lost: list[str]) -> str:
    """Return a sentence about images that are gone.

    Args:
        lost: Their names.
    """
    return f"{len(lost)} of these images cannot be shown any more: {listing(lost, most=3)}."


def chosen(order: list[int]) -> dict[str, list[int]]:
    """Return the rows to show, by their title; each row at most once.

    Args:
        order: All rows, the worst first.
    """
    if len(order) <= 3 * _EACH:
        return {"All images, the worst first": order}
    middle = (len(order) - _EACH) // 2
    return {
        "The worst": order[:_EACH],
        "In the middle": order[middle : middle + _EACH],
        "The best": order[-_EACH:],
    }


def legend(classes: Sequence[str], first: int = 0) -> list[Content]:
    """Return the colours and names of classes.

    Args:
        classes: The names.
        first: The number of the first one.
    """
    names = classes[:_NAMED]
    boxes: list[Content] = [
        joined(
            [element("span", "\u00a0\u00a0", style=f"background:rgb{colour_of(place)};border:1px solid"), f" {name}  "]
        )
        for place, name in enumerate(names, first)
    ]
    more = f" and {len(classes) - len(names)} more" if len(classes) > len(names) else ""
    return [*boxes, more]


def caption(words: str, name: str) -> Markup:
    """Return the caption of a picture: some words, and the sample's name."""
    return joined([element("span", words), element("span", name, class_="sample")])


def reader(facts: TaskFacts) -> Callable[[str, tuple[int, ...]], npt.NDArray[Any] | None]:
    """Return a function from a sample's name and map size to pixels: the network's view if that is cached.

    Args:
        facts: The task.
    """
    task = facts.task
    if task is None:
        return lambda sample, shape: None
    row_of = {name: row for row, name in enumerate(task.samples.ids)}
    packs = []
    for folder in sorted((facts.data_dir / task.name / "cache").glob("*")):
        path = folder / cache.FIXED_FILE
        if (
            cache.is_complete(folder)
            and path.is_file()
            and not any(part in folder.name for part in ("-masks-", "-targets-"))
        ):
            packs.append(np.load(path, mmap_mode="r"))
    read = sources.reader(task, task.channels)

    def pixels(sample: str, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
        row = row_of.get(sample)
        if row is None:
            return None
        for pack in packs:
            if pack.shape[1:-1] == shape and len(pack) == len(row_of):
                return np.asarray(pack[row])
        try:
            return read(row)
        except (UnreadableImageError, DataError, OSError, ValueError):
            return None

    return pixels


def picture_of(
    read: Callable[[str, tuple[int, ...]], npt.NDArray[Any] | None], sample: str, shape: tuple[int, ...]
) -> Image.Image | None:
    """Return a sample's image in the size that it has in the page; None if it is gone.

    Args:
        read: What `reader` returned.
        sample: Its name.
        shape: The spatial shape of its map.
    """
    values = read(sample, shape)
    if values is None:
        return None
    values = gallery.plane(values)
    if values.dtype != np.uint8:
        peak = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1.0
        values = np.clip(np.nan_to_num(values / peak) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(values[:, :, :3] if values.shape[2] >= 3 else values[:, :, 0]).convert("RGB")
    return reduced(
        picture.resize(gallery.plane(np.broadcast_to(0, (*shape, 1))).shape[1::-1], Image.Resampling.BILINEAR)
    )


def _mask_picture(mask: Bytes | None) -> Image.Image | None:
    if mask is None:
        return None
    flat = gallery.plane(mask[..., np.newaxis])[:, :, 0]
    return reduced(Image.fromarray(coloured(flat)), Image.Resampling.NEAREST)


def beside(pictures: Mapping[str, Image.Image | None], name: str, *, whole: Collection[str] = ()) -> Markup:
    """Return pictures in a row, each under its title.

    Args:
        pictures: By title; None leaves it out.
        name: The sample's.
        whole: Titles of pictures with few colours, whose edges stay sharp.
    """
    cells = [
        joined([element("span", title), image(_uri(picture, is_whole=title in whole), f"{name}: {title}")])
        for title, picture in pictures.items()
        if picture is not None
    ]
    return element("div", joined(element("div", cell) for cell in cells), class_="beside")


def _uri(picture: Image.Image, *, is_whole: bool) -> str:
    out = io.BytesIO()
    # The page enlarges small pictures without smoothing.
    is_whole = is_whole or max(picture.size) <= _SMALL
    if is_whole:
        picture.save(out, format="PNG", optimize=True)
    else:
        picture.save(out, format="JPEG", quality=85, optimize=True)
    return f"data:image/{'png' if is_whole else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def coloured(mask: Bytes) -> Bytes:
    """Return a mask in colours, shape (height, width, 3).

    Args:
        mask: Class numbers, shape (height, width), `IGNORED` in grey.
    """
    table = np.array([colour_of(place) for place in range(256)], np.uint8)
    table[IGNORED] = _GREY
    return np.asarray(table[mask], np.uint8)


def image_with_mask(pixels: npt.NDArray[Any], mask: Bytes) -> Bytes:
    """Return an image under the colours of its pixels' classes, shape (height, width, 3); the first class has no colour.

    Args:
        pixels: Shape (*spatial, channels), 8 or 16 bit, or from 0 to 1.
        mask: Class numbers, shape (*spatial, 1), maybe in another resolution; `IGNORED` in grey.
    """
    under = gallery.picture(pixels)
    numbers = Image.fromarray(gallery.plane(mask)[:, :, 0]).resize(under.size, Image.Resampling.NEAREST)
    classes, plain = np.asarray(numbers), np.asarray(under)
    blended = (plain.astype(np.uint16) + coloured(classes)) // 2
    return np.where(classes[:, :, np.newaxis] > 0, blended, plain).astype(np.uint8)


def reduced(picture: Image.Image, method: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
    """Reduce a picture to the size in the page; a smaller one is unchanged, because the page enlarges it.

    Args:
        picture: The picture.
        method: The resampling method.
    """
    share = min(1.0, _SIDE / max(picture.size))
    width, height = (max(1, round(side * share)) for side in picture.size)
    return picture if share == 1 else picture.resize((width, height), method)
