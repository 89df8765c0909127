"""The table of new samples: predictions and decisions of each, and the files that could not be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlpipe import files
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.post.ensembling.member_rows import Array
from mlpipe.predicting.new_samples import NewSamples

log = logging.getLogger("mlpipe")

Cells = dict[str, Any]
# The names of outputs, calibrated outputs (n, outputs) and what was decided to the cells of each sample.
Columns = Callable[[Sequence[str], Array, Mapping[str, Any]], list[Cells]]


def write(
    new: NewSamples,
    columns: Columns,
    *,
    summary: Callable[[Sequence[Cells]], str] = lambda rows: "",
    mixing: str | None = None,
    of_classes: bool = False,
) -> dict[str, Any]:
    """Mix, move to the prevalence that was asked for, decide, and write the table.

    Args:
        new: The samples and the models.
        columns: What the table says of each sample.
        summary: What is said of readable rows in the log.
        mixing: What the mean over models is of; None: as the ensemble says, else `probabilities`.
        of_classes: Whether outputs are classes, whose prevalence can be moved.

    Returns:
        What was done, for machines.

    Raises:
        ConfigError: When a prevalence was asked for and outputs are no classes.
    """
    rows = new.rows.mixed(mixing)
    facts: dict[str, Any] = {"source": new.source, "images": len(rows), "task": new.task.name}
    moved_to = None
    if new.deploy_prior is not None:
        if not of_classes:
            wrong = f"is for classes, not for {new.rows.kind}"
            raise ConfigError(problem("mode.deploy_prior", wrong, fix="leave it out"))
        rows, moved_to = new.rows.moved(rows, new.deploy_prior, facts)
    new.rows.store(rows)
    cells = columns(new.pivot.classes, rows.calibrated, new.rows.decided(moved_to))
    table = _table(new, rows.ids, cells)
    files.write_text(new.table, files.csv_text(table))
    models = len(new.models)
    facts |= {"csv": str(new.table), "unreadable": dict(new.unreadable), "models": models}
    readable = [row for row in table if not row["problem"]]
    failed = f"; {len(table) - len(readable)} unreadable" if len(readable) < len(table) else ""
    told = f"{counted(len(readable), 'image')} predicted by {counted(models, 'model')}"
    log.info(f"{told}{summary(readable)}{failed}")
    log.info(f"look at: {new.table}")
    return facts


def _table(new: NewSamples, ids: Sequence[str], cells: Sequence[Cells]) -> list[Cells]:
    """One row for each sample, unreadable ones with the reason, in the order of their names."""
    table = [{"image": name, **one} for name, one in zip(ids, cells, strict=True)]
    columns = list(table[0])
    table += [{"image": name, **dict.fromkeys(columns[1:], ""), "problem": why} for name, why in new.unreadable.items()]
    table = [{**row, "problem": row.get("problem", "")} for row in sorted(table, key=lambda row: str(row["image"]))]
    return [{**row, "image": new.titled(str(row["image"]))} for row in table]
