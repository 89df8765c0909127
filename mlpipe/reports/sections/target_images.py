"""Images, their targets and predictions side by side: the worst, some in the middle, and the best."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe.post.figures import number
from mlpipe.post.measures import image_metrics
from mlpipe.reports import gallery, stored_maps
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, Markup, element, figure, heading, joined, paragraph
from mlpipe.reports.sections import masks
from mlpipe.reports.sections.parts import Section

_TITLE = "Predicted images"


def target_images(facts: TaskFacts) -> Section:
    """Pictures of targets and predictions.

    Args:
        facts: A task of images with images as targets.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None:
        return Section(_TITLE)
    decibels = image_metrics.decibels(image_metrics.of_images(rows.calibrated, rows.targets))
    order = np.argsort(decibels, kind="stable").tolist()
    with ExitStack() as stack:
        stored = stored_maps.of_shown(facts, subject, stack)
        if stored is None:
            return Section(_TITLE, [paragraph("No pictures: the predictions are gone; mml predict makes them.")])
        words = "Targets and predictions are drawn from 0 (black) to 1 (white)"
        parts: list[Content | None] = []
        read, lost, is_stretched = masks.reader(facts), list[str](), False
        for title, places in masks.chosen(order).items():
            figures = list[Markup]()
            for place in places:
                name = rows.ids[place]
                both = stored.values(name)
                picture = masks.picture_of(read, name, both[0].shape[1:]) if both is not None else None
                if both is None or picture is None:
                    lost.append(name)
                    continue
                low, high = _range(both)
                is_stretched = is_stretched or (low, high) != (0.0, 1.0)
                drawn = {"target": both[1], "prediction": both[0]}
                sheet = {key: None if values is None else _picture(values, low, high) for key, values in drawn.items()}
                caption = masks.caption(f"{decibels[place]:.1f} dB", name)
                figures.append(figure(masks.beside({"image": picture, **sheet}, name), caption))
            if figures:
                parts += [heading(4, title), element("div", joined(figures), class_="pictures rows")]
        more = ", or over their own range where they are not within it." if is_stretched else "."
        parts.insert(0, paragraph(words + more + masks.picture_sentence(facts)))
    if lost:
        parts.append(paragraph(masks.missing_sentence(lost)))
    return Section(_TITLE, parts, is_wide=True)


def solutions(facts: TaskFacts) -> Section:
    """Pictures of solutions, each beside the problem that it solves; initial values are the first row of their solution.

    Args:
        facts: A task of images that an equation is solved for.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None:
        return Section("Solutions")
    losses, over_time = rows.calibrated[:, 0], False
    parts: list[Content | None] = []
    with ExitStack() as stack:
        stored = stored_maps.of_shown(facts, subject, stack)
        if stored is None:
            return Section("Solutions", [paragraph("No pictures: the predictions are gone; mml predict makes them.")])
        words = "Each is drawn from its least value (black) to its largest (white)."
        for title, places in masks.chosen(np.argsort(-losses, kind="stable").tolist()).items():
            figures = list[Markup]()
            for place in places:
                name = rows.ids[place]
                both = stored.values(name)
                if both is None:
                    continue
                solution, condition = both
                over_time = over_time or (condition is not None and condition.shape != solution.shape)
                is_alike = condition is not None and condition.shape == solution.shape
                drawn = {"solved for": condition if is_alike else None, "solution": solution}
                sheet = {key: None if values is None else _whole_range(values) for key, values in drawn.items()}
                words_of = masks.caption(f"loss {number(float(losses[place]), len(rows))}", name)
                figures.append(figure(masks.beside(sheet, name), words_of))
            parts += [heading(4, title), element("div", joined(figures), class_="pictures rows")]
    more = "Places lie side by side, and time runs down. " if over_time else ""
    return Section("Solutions", [paragraph(f"{more}{words}{masks.picture_sentence(facts)}"), *parts], is_wide=True)


def _whole_range(values: npt.NDArray[Any]) -> Image.Image:
    """Return values as a picture, from the least one in black to the largest one in white."""
    low, high = float(values.min()), float(values.max())
    return _picture(values, low, max(high, low + 1e-12))


def _range(both: tuple[npt.NDArray[Any], npt.NDArray[Any] | None]) -> tuple[float, float]:
    """Return the values of black and white: 0 and 1, unless the target exceeds them."""
    true = (both[0] if both[1] is None else both[1]).astype(np.float64)
    low, high = float(true.min()), float(true.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)


def _picture(values: npt.NDArray[Any], low: float, high: float) -> Image.Image:
    """Return values of shape (channels, *spatial) as a picture; unless there are 3 channels, the first one in grey."""
    flat = gallery.plane(np.moveaxis(values, 0, -1)).astype(np.float64)
    scaled = np.clip((flat - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(scaled[:, :, :3]) if scaled.shape[2] >= 3 else Image.fromarray(scaled[:, :, 0])
    return masks.reduced(picture.convert("RGB"))
