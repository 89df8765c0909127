"""Task creation in Python, for data that no source reads: add samples, choose folds, get the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mlpipe import current_folder
from mlpipe.data import kind as kind_data
from mlpipe.data import spelling, task
from mlpipe.data.decoding.value_rules import Background
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.source import finished
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, counted, did_you_mean, listing, problem


class TaskCreator:
    """Collects the samples of a task.

    A function that returns `TaskCreator(...).task()` is a source: `mml train task=import task._target_=my_tasks.birds`,
    with `my_tasks.py` in the current folder.

    Args:
        name: The task's name before the hash.
        root: The folder of the images.
        classes: The names of the classes, of the labels, or of the numbers to predict.
        kind: What is predicted.
        channels: 1 grey, 3 colour, 4 with transparency; None: 1 if all images are grey, else 3.
        value_range: The values that become black and white in every image; needed for floating-point, signed and 32-bit TIFF.
        background: The colour behind transparent pixels, unless `channels` is 4.
    """

    def __init__(
        self,
        name: str,
        root: str | Path,
        classes: Sequence[str],
        *,
        kind: str = kind_data.DEFAULT,
        channels: Literal[1, 3, 4] | None = None,
        value_range: tuple[float, float] | None = None,
        background: Background = "white",
    ) -> None:
        self._name, self._root = name, current_folder.expanded(root).absolute()
        self._classes = [spelling.plain(label) for label in classes]
        self._numbers = {label: number for number, label in reversed(list(enumerate(self._classes)))}
        self._kind, self._pixels = kind, PixelSettings(channels, None, value_range, background)
        self._find = spelling.finder()
        self._rows: list[Row] = []
        self._has_existing_folds = False

    def add(
        self,
        path: str,
        target: str | Sequence[float] | None,
        *,
        part: Part = "train",
        group: str = "",
        weight: float = 1.0,
        fold: int = -1,
    ) -> None:
        """Add an image.

        Args:
            path: The path below the root.
            target: The name of its class; a number for each label or output; or None if unknown.
            part: `train`, `val`, `test` or `unlabelled`.
            group: Images of one group (a patient, a site) are never split between parts.
            weight: Its weight in the loss.
            fold: Its fold, counted from 0, for `use_existing_folds`.

        Raises:
            DataError: If the file does not exist, or the target does not fit the task.
        """
        file = self._find(self._root, path)
        if not file.is_file():
            raise DataError(problem(path, "there is no such file", got=str(self._root / path)))
        known = part if target is not None else "unlabelled"
        name = path if file == self._root / path else file.relative_to(self._root).as_posix()
        self._rows.append(Row(name, known, self._target_value(path, target), "", spelling.plain(group), weight, fold))

    def split_folds(self) -> None:
        """Let the configuration split the training images, which is the default.

        `split.folds` and `split.stratify` decide; `mml create` takes them from `mode.n_folds` and
        `mode.ensure_balancing`.
        """
        self._has_existing_folds = False

    def use_existing_folds(self) -> None:
        """Use the folds that were given to `add`; `mode.n_folds` and `mode.ensure_balancing` then have no effect."""
        self._has_existing_folds = True

    def task(self) -> Task:
        """Return the task, under a name that ends in a hash of its contents.

        Raises:
            DataError: If there are no samples, or existing folds were requested and an image has none.
        """
        if not self._rows:
            raise DataError(problem(self._name, "has no samples", fix="add them with TaskCreator.add"))
        without = [row.id for row in self._rows if row.part in ("train", "val") and row.fold < 0]
        if self._has_existing_folds and without:
            wrong = f"{counted(len(without), 'training image has', 'training images have')} no fold ({listing(without, most=3)})"
            raise DataError(problem(self._name, wrong, fix="give add(..., fold=N), or call split_folds()"))
        paths = [self._root / row.id for row in self._rows]
        looks = file_headers.look(paths)
        pixels = pixel_rules.format_of(paths, looks, self._pixels)
        rows = [
            row._replace(digest=header.digest, fold=row.fold if self._has_existing_folds else -1)
            for row, header in zip(self._rows, looks, strict=True)
        ]
        new_task = task.make(
            self._name,
            self._classes,
            rows,
            kind=self._kind,
            channels=pixels.channels,
            dtype=pixels.dtype,
            source={"type": "import", "root": str(self._root), **pixels.source},
            notes=pixels.notes,
        )
        return finished(new_task, allow_overlap=False)

    def _target_value(self, path: str, target: str | Sequence[float] | None) -> int | tuple[float, ...]:
        width, of_kind = len(self._classes), kind_data.of(self._kind)
        if target is None:
            return of_kind.unknown(width)
        if of_kind.IS_CLASS_NUMBER:
            target = spelling.plain(target) if isinstance(target, str) else target
            if not isinstance(target, str) or target not in self._numbers:
                fix = did_you_mean(str(target), self._classes, otherwise=f"the classes are {listing(self._classes)}")
                raise DataError(problem(path, "unknown class", got=target, fix=fix))
            return self._numbers[target]
        if isinstance(target, str) or len(target) != width:
            raise DataError(problem(path, f"needs {width} numbers as target", got=target))
        return tuple(float(value) for value in target)
