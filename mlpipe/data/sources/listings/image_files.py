"""Image files below a folder or part folders, and the files of their masks or target images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.source import Pixels, Places, Read, Source
from mlpipe.data.sources.targets import boxes, mask_files
from mlpipe.data.task import Task
from mlpipe.errors import DataError, problem

_PARTS = ("train", "test")


class ImageFiles(Source):
    """Images below one folder; an id is the path relative to it."""

    anywhere = False

    @property
    def inputs_in(self) -> Places:
        """Return the folder."""
        return Places(_bases(self.task.source, {"": "root"}), self.anywhere)

    @property
    def targets_in(self) -> Places:
        """Return the folder of masks or of target images."""
        description = self.task.source.get("masks") or self.task.source.get("targets") or {}
        return Places(_bases(description, {"": "root"}), self.anywhere)

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the decoded image."""
        of, places = self.task, self.inputs_in
        if not places.bases:
            fix = "remove its task.json and create the task again"
            raise DataError(problem(f"task {of.name}", "does not say where its images lie (task.json)", fix=fix))
        rule, bits, samples = Decoding.of(of.source), _bits(of.dtype), of.samples
        return lambda row: _decoded(
            places.file(samples.ids[row]), samples.digests[row], of, (channels, bits, least, rule)
        )

    def targets(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the class numbers of a mask, boxes, or the decoded target image."""
        of, source = self.task, self.task.source
        if "masks" in source:
            return mask_files.rows_of(of)
        if "boxes" in source:
            return boxes.rows_of(of)
        places, rule = self.targets_in, Decoding.of(source["targets"])
        bits = _bits(source["targets"]["dtype"])

        def read(row: int) -> Pixels:
            name, digest = of.samples.masks[row]
            if not name:
                raise UnreadableImageError("has no target")
            return _decoded(places.file(name), digest, of, (channels, bits, least, rule))

        return read

    def files(self) -> list[Path] | None:
        """Return the file of each sample."""
        places = self.inputs_in
        return [places.file(name) for name in self.task.samples.ids] if places.bases else None


class FolderFiles(ImageFiles):
    """Images found by searching a folder."""

    @property
    def searched(self) -> Path | None:
        """Return the folder."""
        return self.inputs_in.bases.get("")


class NamedFiles(ImageFiles):
    """Images that a table, or the user's own program, named one by one; an id is a relative or an absolute path."""

    anywhere = True


class PartFiles(ImageFiles):
    """Images below one folder per part; an id is the part and the path relative to that folder."""

    @property
    def inputs_in(self) -> Places:
        """Return the folders of parts."""
        return Places(_bases(self.task.source, {part: part for part in _PARTS}))


def _bases(source: Any, keys: Mapping[str, str]) -> dict[str, Path]:
    """Return the folders in a stored source."""
    return {part: Path(source[key]) for part, key in keys.items() if isinstance(source.get(key), str)}


def _bits(dtype: str) -> Literal[8, 16]:
    return 16 if dtype == "uint16" else 8


def _decoded(path: Path, digest: str, task: Task, how: tuple[int, Literal[8, 16], int | None, Decoding]) -> Pixels:
    """Return the pixels of a file; `how`: channels, bits, the minimum of its shorter side, and the rule for its values."""
    try:
        content = file_headers.unchanged(path, digest, task.name)
    except OSError as error:
        raise UnreadableImageError(f"cannot be opened ({error.strerror})") from error
    return images.decode(content, *how)
