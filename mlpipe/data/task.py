"""What to learn: a task's samples, classes and hashes, saved as one readable JSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.errors import DataError, listing, problem

FORMAT = 1
Kind = Literal["classification"]
Part = Literal["train", "val", "test", "unlabelled"]
PARTS: tuple[Part, ...] = ("train", "val", "test", "unlabelled")
NO_TARGET = -1


@dataclass(frozen=True)
class Samples:
    """The images of a task, one row each, ordered by id.

    Attributes:
        ids: Unique names; for files the path below the task's root.
        parts: The part that each came with, one of `PARTS`.
        targets: Class numbers, shape (n,); -1 where there is none.
        digests: Hashes of the source bytes or pixels.
    """

    ids: tuple[str, ...]
    parts: tuple[Part, ...]
    targets: npt.NDArray[np.int64]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def in_part(self, *parts: Part) -> npt.NDArray[np.bool_]:
        """A mask of the samples that came in one of these parts, shape (n,)."""
        return np.isin(np.array(self.parts), parts)


@dataclass(frozen=True)
class Task:
    """One learning task.

    Attributes:
        name: Its name, also its folder's below the data folder.
        kind: What is predicted.
        classes: The names of the classes; a target is an index into them.
        channels: 1 for grey images, 3 for colour.
        source: Where the images are read from, as plain data for `mlpipe.data.sources.reader`.
        samples: The images.
        notes: What a person should know about how it was made.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    channels: int
    source: Mapping[str, Any]
    samples: Samples
    notes: tuple[str, ...] = field(default=())

    @property
    def source_hash(self) -> str:
        """The hash of everything that was given: ids, parts, targets, classes and the bytes of the images."""
        samples = self.samples
        return files.digest(
            [self.kind, self.classes, samples.ids, samples.parts, samples.targets.tolist(), samples.digests]
        )

    def class_counts(self, rows: npt.NDArray[Any] | None = None) -> npt.NDArray[np.int64]:
        """How many of the given rows (all when None) each class has, shape (classes,)."""
        targets = self.samples.targets if rows is None else self.samples.targets[rows]
        return np.bincount(targets[targets >= 0], minlength=len(self.classes)).astype(np.int64)

    def part_sizes(self) -> dict[str, int]:
        """How many samples came in each part."""
        counted = Counter(self.samples.parts)
        return {part: counted[part] for part in PARTS if counted[part]}


def save(task: Task, path: Path) -> None:
    """Durably write `task` as JSON, keeping the splits that the file already holds."""
    splits = files.read_json(path).get("splits", {}) if path.exists() else {}
    samples = task.samples
    files.write_json(
        path,
        {
            "format": FORMAT,
            "name": task.name,
            "kind": task.kind,
            "classes": task.classes,
            "channels": task.channels,
            "source": dict(task.source),
            "source_hash": task.source_hash,
            "notes": task.notes,
            "samples": {
                "id": samples.ids,
                "part": samples.parts,
                "target": samples.targets.tolist(),
                "digest": samples.digests,
            },
            "splits": splits,
        },
    )


def load(path: Path) -> Task:
    """Read a task that `save` wrote.

    Raises:
        DataError: When the file is not there, is damaged, or is of a newer format.
    """
    try:
        stored = files.read_json(path)
        if stored["format"] != FORMAT:
            raise DataError(
                problem(str(path), "has another format", got=stored["format"], fix=f"this version reads {FORMAT}")
            )
        rows = stored["samples"]
        samples = Samples(
            tuple(rows["id"]), tuple(rows["part"]), np.array(rows["target"], np.int64), tuple(rows["digest"])
        )
        task = Task(
            stored["name"],
            stored["kind"],
            tuple(stored["classes"]),
            stored["channels"],
            stored["source"],
            samples,
            tuple(stored["notes"]),
        )
        source_hash = stored["source_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            problem(str(path), f"cannot be read as a task ({error})", fix="remove it and create the task again")
        ) from error
    if task.source_hash != source_hash:
        raise DataError(
            problem(str(path), "was changed by hand: its hash does not fit", fix="remove it and create the task again")
        )
    return task


def make(
    name: str,
    classes: Sequence[str],
    rows: Sequence[tuple[str, Part, int, str]],
    *,
    channels: int,
    source: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Task:
    """A classification task from rows of (id, part, target, digest), ordered by id.

    Raises:
        DataError: When ids repeat.
    """
    ordered = sorted(rows)
    ids = tuple(row[0] for row in ordered)
    if len(set(ids)) != len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise DataError(problem(name, f"sample ids are not unique: {listing(twice, most=3)}"))
    samples = Samples(
        ids,
        tuple(row[1] for row in ordered),
        np.array([row[2] for row in ordered], np.int64),
        tuple(row[3] for row in ordered),
    )
    return Task(name, "classification", tuple(classes), channels, source, samples, tuple(notes))
