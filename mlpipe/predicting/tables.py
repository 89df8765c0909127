"""The table of new samples: predictions and decisions of each, and the files that could not be read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe import files
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.post.figures import rounded
from mlpipe.predicting.in_hand import Cells as Cells
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.new_samples import NewSamples

log = logging.getLogger("mlpipe")

# The names of outputs, calibrated outputs (n, outputs) and what was decided to the cells of each sample.
Columns = Callable[[Sequence[str], Array, Mapping[str, Any]], list[Cells]]


# What tables and answers of a server say of each sample beside its numbers.
_BESIDE_NUMBERS = ("image", "problem", "heat_map", "explained")


def number_columns(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """The columns of each number: its value, and the ends of its interval.

    They bear its name, as `age`, `age low` and `age high`, or `value(image)`, ... where another column has such a name.

    Args:
        names: The names of the numbers.
    """
    columns = [(name, f"{name} low", f"{name} high") for name in names]
    counts = Counter([*_BESIDE_NUMBERS, *(column for several in columns for column in several)])
    return [
        several
        if all(counts[column] == 1 for column in several)
        else (f"value({name})", f"value({name}) low", f"value({name}) high")
        for name, several in zip(names, columns, strict=True)
    ]


@dataclass(frozen=True)
class Table:
    """The table of a kind whose samples have a row each.

    Attributes:
        columns: The cells of each sample, numbers with all their digits.
        values: Calibrated outputs, shape (n, outputs), to what they mean: probabilities or numbers.
        summary: What is said of readable rows in the log.
        mixing: What the mean over models is of; None: as an ensemble says, else `probabilities`.
        of_classes: Whether outputs are classes, whose prevalence can be moved.
    """

    columns: Columns
    values: Callable[[Array], Array]
    summary: Callable[[Sequence[Cells]], str] = lambda rows: ""
    mixing: str | None = None
    of_classes: bool = False

    def made(
        self, rows: NewRows, deploy_prior: str | list[float] | None, found: dict[str, Any]
    ) -> tuple[Rows, list[Cells]]:
        """The mixture of what models predict, moved to a prevalence and decided, and its cells.

        Args:
            rows: What the models predict.
            deploy_prior: The prevalence; `estimate`: by the samples themselves; None: nothing is moved.
            found: Gets the prevalence, for machines.

        Raises:
            ConfigError: When a prevalence was asked for and outputs are no classes.
        """
        mixed, moved_to = rows.mixed(self.mixing), None
        if deploy_prior is not None:
            if not self.of_classes:
                wrong = f"is for classes, not for {rows.kind}"
                raise ConfigError(problem(rows.key("deploy_prior"), wrong, fix="leave it out"))
            mixed, moved_to = rows.moved(mixed, deploy_prior, found)
        return mixed, self.columns(rows.classes, mixed.calibrated, rows.decided(moved_to))


def shown(new: InHand, table: Table) -> Shown:
    """Mix, move to the prevalence that was asked for, and decide.

    Args:
        new: The samples and the models.
        table: What it says of each sample.

    Raises:
        ConfigError: When a prevalence was asked for and outputs are no classes.
    """
    if new.only_values and new.deploy_prior is None:
        rows = new.rows.mixed(table.mixing)
        return Shown([], list(table.values(rows.calibrated)), rows.calibrated)
    rows, cells = table.made(new.rows, new.deploy_prior, {})
    return Shown([[row_cells] for row_cells in cells], list(table.values(rows.calibrated)), rows.calibrated)


def write(new: NewSamples, table: Table) -> dict[str, Any]:
    """Mix, move to the prevalence that was asked for, decide, and write the table.

    Args:
        new: The samples and the models.
        table: What it says of each sample.

    Returns:
        What was done, for machines.

    Raises:
        ConfigError: When a prevalence was asked for and outputs are no classes.
    """
    facts: dict[str, Any] = {"source": new.source, "task": new.task.name}
    rows, cells = table.made(new.rows, new.deploy_prior, facts)
    new.rows.store(rows)
    lines = _table(new, rows.ids, cells)
    files.write_text(new.table, files.csv_text(lines))
    models = len(new.models)
    facts |= {"images": len(rows), "csv": str(new.table), "unreadable": dict(new.unreadable), "models": models}
    readable = [row for row in lines if not row["problem"]]
    failed = f"; {len(lines) - len(readable)} unreadable" if len(readable) < len(lines) else ""
    sentence = f"{counted(len(readable), 'image')} predicted by {counted(models, 'model')}"
    log.info(f"{sentence}{table.summary(readable)}{failed}")
    log.info(f"look at: {new.table}")
    return facts


def _table(new: NewSamples, ids: Sequence[str], cells: Sequence[Cells]) -> list[Cells]:
    """One row for each sample, unreadable ones with the reason, in the order of their names."""
    table = [{"image": name, **_rounded(row_cells)} for name, row_cells in zip(ids, cells, strict=True)]
    columns = list(table[0])
    table += [{"image": name, **dict.fromkeys(columns[1:], ""), "problem": why} for name, why in new.unreadable.items()]
    table = [{**row, "problem": row.get("problem", "")} for row in sorted(table, key=lambda row: str(row["image"]))]
    return [{**row, "image": new.sample_title(str(row["image"]))} for row in table]


def _rounded(cells: Cells) -> Cells:
    return {name: rounded(value) if isinstance(value, float) else value for name, value in cells.items()}
