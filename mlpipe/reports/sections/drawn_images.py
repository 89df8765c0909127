"""Images that a generator drew from the same noise, epoch by epoch, and their scores."""

from __future__ import annotations

import base64
from pathlib import Path

from mlpipe.errors import counted
from mlpipe.post.figures import number
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, element, figure, image, joined, paragraph, table
from mlpipe.reports.sections import training
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import grids

_TITLE = "Drawn images"
# The most epochs whose grids are shown side by side.
_MOST = 8
_COLUMNS = {
    "val/frechet": "Fréchet distance",
    "train/critic_gap": "critic's gap",
    "train/penalty": "penalty",
    "val/critic_gap": "gap on validation images",
}


def drawn_images(facts: TaskFacts) -> Section:
    """A row of grids over the epochs of the newest model, and a table of the same epochs.

    Args:
        facts: A task whose images are drawn.
    """
    record = facts.newest
    folder = facts.project.model_dir(record.pivot, record.id)
    stored = grids.stored(folder)
    if not stored:
        return Section(_TITLE, [paragraph("No pictures: the grids of the epochs are gone.")])
    epochs = spread(list(stored), _MOST)
    figures = [figure(image(_uri(stored[epoch]), f"drawn in epoch {epoch}"), f"epoch {epoch}") for epoch in epochs]
    details = record.details.get("val", {})
    text = "Each grid is drawn from the same noise; the weights are those that were validated."
    if details:
        text += (
            f" The Fréchet distance is that of {counted(details['features'], 'feature')} of {details['images']} validation"
            " images and of as many drawn ones: with fewer images it is larger."
        )
    parts: list[Content | None] = [paragraph(text), element("div", joined(figures), class_="pictures large")]
    return Section(_TITLE, [*parts, _table(facts, record.id, epochs)], is_wide=True)


def spread(epochs: list[int], most: int) -> list[int]:
    """Return at most this many epochs, evenly spread, including the first and the last."""
    if len(epochs) <= most:
        return epochs
    return [epochs[round(place * (len(epochs) - 1) / (most - 1))] for place in range(most)]


def _table(facts: TaskFacts, name: str, epochs: list[int]) -> Content | None:
    rows = training.rows_of(facts.project, facts.newest)
    by_epoch = {int(float(row["epoch"])) + 1: row for row in rows}
    columns = [column for column in _COLUMNS if rows and column in rows[0]]
    lines = [
        [str(epoch), *(number(float(by_epoch[epoch][column] or "nan")) for column in columns)]
        for epoch in epochs
        if epoch in by_epoch
    ]
    if not lines:
        return None
    header = ["epoch", *(_COLUMNS[column] for column in columns)]
    return table(f"The same epochs of {name}", header, lines, numbers=range(1, len(header)))


def _uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
