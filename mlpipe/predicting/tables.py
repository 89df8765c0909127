"""The table of new samples: predictions and decisions of each, and the files that could not be read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe import files, kinds
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.post.figures import rounded
from mlpipe.predicting.in_hand import Cells as Cells
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.new_samples import NewSamples

log = logging.getLogger("mlpipe")

# From names of outputs, calibrated outputs (n, outputs) and decisions to the cells of each sample.
Columns = Callable[[Sequence[str], Array, Mapping[str, Any]], list[Cells]]


# The columns of each sample beside its numbers, in tables and in answers of a server.
_BESIDE_NUMBERS = ("image", "problem", "heat_map", "explained")


def number_columns(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the columns of each number: its value, and the ends of its interval.

    They are named `age`, `age low` and `age high`, or `value(image)`, ... if another column has such a name.

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
    """The table of a kind with one row per sample.

    Attributes:
        columns: The cells of each sample, numbers with all their digits.
        values: From calibrated outputs, shape (n, outputs), to probabilities or numbers.
        summary: A summary of readable rows for the log.
        mixing: What is averaged over models; None: as an ensemble says, else `probabilities`.
    """

    columns: Columns
    values: Callable[[Array], Array]
    summary: Callable[[Sequence[Cells]], str] = lambda rows: ""
    mixing: str | None = None

    def made(
        self, rows: NewRows, deploy_prior: str | list[float] | None, found: dict[str, Any]
    ) -> tuple[Rows, list[Cells]]:
        """Mix the models' predictions, move them to a prevalence and decide; return the rows and their cells.

        Args:
            rows: The models' predictions.
            deploy_prior: The prevalence; `estimate`: estimated from the samples; None: nothing is moved.
            found: Gets the prevalence, for machine-readable output.

        Raises:
            ConfigError: When a prevalence was requested and outputs are no classes.
        """
        mixed, moved_to = rows.mixed(self.mixing), None
        if deploy_prior is not None:
            refuse_prior(rows.kind, rows.key("deploy_prior"))
            mixed, moved_to = rows.moved(mixed, deploy_prior, found)
        return mixed, self.columns(rows.classes, mixed.calibrated, rows.decided(moved_to))


def refuse_prior(kind: str, key: str) -> None:
    """Refuse a prevalence for a kind whose outputs are no classes of whole samples.

    Args:
        kind: The name of the kind.
        key: The key of the prevalence, for the sentence.

    Raises:
        ConfigError: When it is such a kind.
    """
    its = kinds.of(kind)
    if its.is_dense or not its.has_classes:
        wrong = f"is for classes of images, not for {its.words.TARGETS}"
        raise ConfigError(problem(key, wrong, fix="leave it out"))


def shown(new: InHand, table: Table) -> Shown:
    """Mix, move to the requested prevalence, and decide.

    Args:
        new: The samples and the models.
        table: The table of the kind.

    Raises:
        ConfigError: When a prevalence was requested and outputs are no classes.
    """
    if new.only_values and new.deploy_prior is None:
        rows = new.rows.mixed(table.mixing)
        return Shown([], list(table.values(rows.calibrated)), rows.calibrated)
    rows, cells = table.made(new.rows, new.deploy_prior, {})
    return Shown([[row_cells] for row_cells in cells], list(table.values(rows.calibrated)), rows.calibrated)


def write(new: NewSamples, table: Table) -> dict[str, Any]:
    """Mix, move to the requested prevalence, decide, and write the table.

    Args:
        new: The samples and the models.
        table: The table of the kind.

    Returns:
        The facts for machine-readable output.

    Raises:
        ConfigError: When a prevalence was requested and outputs are no classes.
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
    """Return one row per sample, unreadable ones with the reason, in the order of their names."""
    table = [{"image": name, **_rounded(row_cells)} for name, row_cells in zip(ids, cells, strict=True)]
    columns = list(table[0])
    table += [{"image": name, **dict.fromkeys(columns[1:], ""), "problem": why} for name, why in new.unreadable.items()]
    table = [{**row, "problem": row.get("problem", "")} for row in sorted(table, key=lambda row: str(row["image"]))]
    return [{**row, "image": new.sample_title(str(row["image"]))} for row in table]


def _rounded(cells: Cells) -> Cells:
    return {name: rounded(value) if isinstance(value, float) else value for name, value in cells.items()}
