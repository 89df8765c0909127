"""Built-in data sets of `mlpipe.data.items`: images in a folder, tables of images with classes or masks, pairs of folders.

Relative paths given by a project's code are below its `data` folder, if they exist there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlpipe import limits
from mlpipe.data import spelling, visible_files
from mlpipe.data.decoding import images
from mlpipe.data.items import PredictionItem
from mlpipe.data.items.project_folder import project_data_path
from mlpipe.errors import DataError, counted, did_you_mean, listing, problem

__all__ = [
    "BinaryClassificationDataSet",
    "BinarySegmentationDataSet",
    "CategoryClassificationDataSet",
    "DirectoryDataSet",
    "FolderClassificationDataSet",
    "FolderDataSet",
    "MultiClassClassificationDataSet",
    "MultiClassSegmentationDataSet",
    "MultiOutputClassClassificationDataSet",
    "SimplePNGMaskDataSet",
]
_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif")
# Image modes that Pillow converts to colours without loss.
_PLAIN_MODES = ("1", "L", "RGB", "P", "CMYK", "YCbCr")
_SEPARATORS = (" ", "|", "_")


class Noted:
    """A set with notes for the user about its files."""

    notes: Sequence[str] = ()


class Images(Noted):
    """Images by name, with a target for each."""

    def __init__(self, files: Sequence[Path], ids: Sequence[str], classes: Sequence[str]) -> None:
        self._files, self._ids, self.classes = list(files), list(ids), list(classes)

    # The number of items, the first ones; negative: all.
    _most = -1

    def __len__(self) -> int:
        return len(self._ids) if self._most < 0 else min(self._most, len(self._ids))

    def __getitem__(self, item: int) -> PredictionItem:
        """Return the item with this number."""
        return PredictionItem(self._ids[item], _colours(self._files[item]), self.get_target(item))

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the target of the item with this number."""
        raise NotImplementedError

    def isPositive(self, item: int) -> bool:  # noqa: N802
        """Return whether any output is positive."""
        return bool(self.get_target(item).max() > 0.5)


class _Table(Images):
    """Rows of a table with a column of images and a column of classes."""

    def __init__(self, image_path: str | list[str], csv_path: str, column: str, targets: str) -> None:
        folder_names = image_path if isinstance(image_path, list) else [image_path]
        folders = [Path(project_data_path(str(folder_name))) for folder_name in folder_names]
        rows = _with_name_parts(_rows(Path(project_data_path(str(csv_path)))))
        for name in (column, *targets.split("|")):
            if rows and name not in rows[0]:
                fix = did_you_mean(name, rows[0], otherwise=f"the columns are {listing(rows[0])}")
                raise DataError(problem(csv_path, "has no such column", got=name, fix=fix))
        self._values = [{name: spelling.plain(row[name] or "") for name in targets.split("|")} for row in rows]
        ids = [row[column] for row in rows]
        find = _finder(folders)
        super().__init__([find(name) for name in ids], ids, [])
        self.notes = [note for folder in folders for note in visible_files.notes([folder])]


class BinaryClassificationDataSet(_Table):
    """A column of two classes: y has one number, 1 for the second class in sorted order.

    Args:
        imagePath: The folder of images, or several.
        csvPath: The table.
        imColumn: The column of image names, with or without extension.
        clazzColumn: The column of classes.
        len: The number of items, the first ones; -1: all.
    """

    def __init__(
        self,
        imagePath: Any,  # noqa: N803
        csvPath: str,  # noqa: N803
        imColumn: str,  # noqa: N803
        clazzColumn: str,  # noqa: N803
        len: int = -1,
    ) -> None:
        super().__init__(imagePath, csvPath, imColumn, clazzColumn)
        self._most = len
        self.classes, self._column = [self._second_class(csvPath, clazzColumn)], clazzColumn

    def _second_class(self, path: str, column: str) -> str:
        """Return the second of two classes."""
        names = sorted({row[column] for row in self._values})
        if len(names) != 2:
            wrong = f"column {column} has {counted(len(names), 'class', 'classes')} ({listing(names)})"
            raise DataError(problem(path, wrong, fix="use CategoryClassificationDataSet"))
        return names[1]

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return one number."""
        return np.array([float(self._values[item][self._column] == self.classes[0])])


class CategoryClassificationDataSet(_Table):
    """A column of classes: y is one-hot, with classes in sorted order.

    Args:
        imagePath: The folder of images, or several.
        csvPath: The table.
        imColumn: The column of image names, with or without extension.
        clazzColumn: The column of classes.
    """

    def __init__(self, imagePath: Any, csvPath: str, imColumn: str, clazzColumn: str) -> None:  # noqa: N803
        super().__init__(imagePath, csvPath, imColumn, clazzColumn)
        self.classes, self._column = sorted({row[clazzColumn] for row in self._values}), clazzColumn

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the class as one-hot."""
        return np.array([float(name == self._values[item][self._column]) for name in self.classes])


class MultiClassClassificationDataSet(_Table):
    """A column of several labels, separated by a blank, `|` or `_`, or several columns `A|B`: y is 0 and 1.

    Rows of one image are merged, and images are sorted by name.

    Args:
        imagePath: The folder of images, or several.
        csvPath: The table.
        imColumn: The column of image names, with or without extension.
        clazzColumn: The column of labels, or columns joined by `|`.
    """

    def __init__(self, imagePath: Any, csvPath: str, imColumn: str, clazzColumn: str) -> None:  # noqa: N803
        super().__init__(imagePath, csvPath, imColumn, clazzColumn)
        texts = [value for row in self._values for value in row.values()]
        separator = next((candidate for candidate in _SEPARATORS if any(candidate in text for text in texts)), " ")
        by_id: dict[str, set[str]] = {}
        files = dict(zip(self._ids, self._files, strict=True))
        for name, row in zip(self._ids, self._values, strict=True):
            labels = [part for value in row.values() for part in value.split(separator) if part.strip()]
            by_id.setdefault(name, set()).update(labels)
        self._ids = sorted(by_id)
        self._files = [files[name] for name in self._ids]
        self._labels = [by_id[name] for name in self._ids]
        self.classes = sorted(set().union(*self._labels)) if self._labels else []

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return 0 or 1 for each label."""
        return np.array([float(name in self._labels[item]) for name in self.classes])


class MultiOutputClassClassificationDataSet(_Table):
    """Several columns of one class each: y is a list of one-hot arrays, one per column; all zeros for empty cells.

    Args:
        imagePath: The folder of images, or several.
        csvPath: The table.
        imColumn: The column of image names, with or without extension.
        clazzColumns: The columns of classes.
    """

    def __init__(self, imagePath: Any, csvPath: str, imColumn: str, clazzColumns: list[str]) -> None:  # noqa: N803
        super().__init__(imagePath, csvPath, imColumn, "|".join(clazzColumns))
        self._columns = list(clazzColumns)
        self._class_names = [sorted({row[name] for row in self._values} - {""}) for name in self._columns]
        self.classes = [
            f"{name} {value}" for name, known in zip(self._columns, self._class_names, strict=True) for value in known
        ]

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the one-hot arrays, concatenated."""
        return np.concatenate(self._one_hot_outputs(item))

    def __getitem__(self, item: int) -> PredictionItem:
        """Return the item with this number."""
        plain_item = super().__getitem__(item)
        return PredictionItem(plain_item.id, plain_item.x, self._one_hot_outputs(item))

    def _one_hot_outputs(self, item: int) -> list[np.ndarray[Any, Any]]:
        row = self._values[item]
        pairs = zip(self._columns, self._class_names, strict=True)
        return [np.array([float(value == row[name]) for value in known]) for name, known in pairs]


class DirectoryDataSet(Noted):
    """The images of a folder sorted by name, without targets, for prediction.

    Args:
        path: The folder.
    """

    def __init__(self, path: Any) -> None:
        base = Path(project_data_path(str(path)))
        if not base.is_dir():
            raise DataError(problem("path", "there is no such folder", got=str(path), fix="name a folder of images"))
        self._files = [file for file in visible_files.entries(base) if file.suffix.lower() in _SUFFIXES]
        self.notes = visible_files.notes([base])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, item: int) -> PredictionItem:
        """Return the item with this number."""
        return PredictionItem(self._files[item].name, _colours(self._files[item]), None)


class FolderClassificationDataSet(Images):
    """A folder with one sub-folder of images per class: y is one-hot.

    Args:
        imagePath: The folder.
    """

    def __init__(self, imagePath: str) -> None:  # noqa: N803
        base = Path(project_data_path(str(imagePath)))
        if not base.is_dir():
            raise DataError(problem("task.train", "there is no such folder", got=imagePath, fix="name a folder"))
        folders = visible_files.folders(base)
        files = [
            file
            for class_folder in folders
            for file in visible_files.entries(class_folder)
            if file.suffix.lower() in _SUFFIXES
        ]
        classes = sorted({spelling.plain(file.parent.name) for file in files})
        super().__init__(files, [file.relative_to(base).as_posix() for file in files], classes)
        together = spelling.same_text_problems([folder.name for folder in folders], "folders of classes")
        self.notes = [*together, *visible_files.notes([base])]

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the class as one-hot."""
        own = spelling.plain(self._files[item].parent.name)
        return np.array([float(name == own) for name in self.classes])


FolderDataSet = FolderClassificationDataSet


class _RunLengths(_Table):
    """Rows of a table with a column of run lengths; rows of one image are merged, and images are sorted by name."""

    def __init__(
        self,
        place: tuple[Any, str, str],
        run_lengths: str,
        shape: Sequence[int] | None,
        ways: tuple[bool, bool],
        most: int,
        further: Sequence[str] = (),
    ) -> None:
        super().__init__(*place, "|".join([run_lengths, *further]))
        self._most, self._shape = most, shape
        self._down, self._relative = ways
        files, by_id = dict(zip(self._ids, self._files, strict=True)), dict[str, list[tuple[str, dict[str, str]]]]()
        for name, row in zip(self._ids, self._values, strict=True):
            text = row[run_lengths].strip()
            by_id.setdefault(name, []).extend([] if text in ("", "-1", "nan") else [(text, row)])
        self._ids = sorted(by_id)
        # For each image, the run-length texts with their rows.
        self._files, self._runs = [files[name] for name in self._ids], [by_id[name] for name in self._ids]

    def __getitem__(self, item: int) -> PredictionItem:
        """Return the item with this number."""
        return PredictionItem(self._ids[item], _colours(self._files[item]), self.get_target(item))

    def _plane(self, item: int, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return the pixels of some run-length texts, shape (height, width)."""
        with images.picture(self._files[item]) as image:
            size = (image.height, image.width)
        height, width = (int(self._shape[0]), int(self._shape[1])) if self._shape is not None else size
        mask = np.zeros(height * width, bool)
        for text in texts:
            for start, end in self._ends(text, item, mask.size):
                mask[start:end] = True
        plane = mask.reshape(width, height).T if self._down else mask.reshape(height, width)
        if (height, width) != size:
            plane = np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.NEAREST))
        return plane

    def isPositive(self, item: int) -> bool:  # noqa: N802
        """Return whether the image has a run."""
        return bool(self._runs[item])

    def _ends(self, text: str, item: int, pixels: int) -> list[tuple[int, int]]:
        """Return the start and the exclusive end of each run."""
        try:
            numbers = [int(word) for word in text.split()]
        except ValueError:
            numbers = [-1]
        runs, place = [], 0
        for start, length in zip(numbers[::2], numbers[1::2], strict=False):
            begin = place + start if self._relative else start - 1
            place = begin + length
            runs.append((begin, place))
        inside = all(0 <= begin <= end <= pixels for begin, end in runs)
        if len(numbers) % 2 or not runs or not inside:
            fix = "write START LENGTH START LENGTH ..., within the image"
            raise DataError(problem(f"image {self._ids[item]}", "has no such run lengths", got=text[:80], fix=fix))
        return runs


class BinarySegmentationDataSet(_RunLengths):
    """A column of run lengths: y is the mask of an image, bool, shape (height, width, 1), empty without runs.

    Runs are `START LENGTH START LENGTH ...`, with starts counted from 1, down the columns of an image. Rows of one image are
    merged, and images are sorted by name.

    Args:
        imagePath: The folder of images, or several.
        csvPath: The table.
        imColumn: The column of image names, with or without extension.
        rleColumn: The column of run lengths; empty, nan or -1 means no run.
        maskShape: The size that runs refer to, (height, width), resized to the image's by nearest pixels; None: the image's.
        rMask: Runs go down the columns; False: along the rows.
        isRel: A start is the number of pixels after the end of the previous run, from 0.
        len: The number of items, the first ones; -1: all.
    """

    def __init__(
        self,
        imagePath: Any,  # noqa: N803
        csvPath: str,  # noqa: N803
        imColumn: str,  # noqa: N803
        rleColumn: str,  # noqa: N803
        maskShape: Sequence[int] | None = None,  # noqa: N803
        rMask: bool = True,  # noqa: N803
        isRel: bool = False,  # noqa: N803
        len: int = -1,
    ) -> None:
        super().__init__((imagePath, csvPath, imColumn), rleColumn, maskShape, (rMask, isRel), len)

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the mask."""
        return self._plane(item, [text for text, _ in self._runs[item]])[:, :, np.newaxis]


class MultiClassSegmentationDataSet(_RunLengths):
    """Run lengths with a class each: y is a mask per class, bool, shape (height, width, classes), classes in sorted order.

    A pixel may have several classes or none.

    Args:
        imagePath: The folder of images, or several.
        csvPath: The table.
        imColumn: The column of image names, with or without extension.
        rleColumn: The column of run lengths; empty, nan or -1 means no run.
        clazzColumn: The column of classes; `A:0` is the part of column A before its first `_`.
        maskShape: As for `BinarySegmentationDataSet`.
        rMask: As for `BinarySegmentationDataSet`.
        isRel: As for `BinarySegmentationDataSet`.
        len: The number of items, the first ones; -1: all.
    """

    def __init__(
        self,
        imagePath: Any,  # noqa: N803
        csvPath: str,  # noqa: N803
        imColumn: str,  # noqa: N803
        rleColumn: str,  # noqa: N803
        clazzColumn: str,  # noqa: N803
        maskShape: Sequence[int] | None = None,  # noqa: N803
        rMask: bool = True,  # noqa: N803
        isRel: bool = False,  # noqa: N803
        len: int = -1,
    ) -> None:
        self._column, self._is_part, _ = clazzColumn.partition(":")
        super().__init__((imagePath, csvPath, imColumn), rleColumn, maskShape, (rMask, isRel), len, [self._column])
        self.classes = sorted({self._class_of(row) for row in self._values})

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the masks."""
        texts: dict[str, list[str]] = {}
        for text, row in self._runs[item]:
            texts.setdefault(self._class_of(row), []).append(text)
        return np.stack([self._plane(item, texts.get(label, [])) for label in self.classes], axis=2)

    def _class_of(self, row: dict[str, str]) -> str:
        text = row[self._column]
        return text.partition("_")[0] if self._is_part else text


class SimplePNGMaskDataSet(Images):
    """A folder of images and a folder of masks of the same names with any extension: y is bool, shape (height, width, 1).

    Args:
        path: The folder of images.
        mask: The folder of grey masks; values above half of a mask's maximum are foreground.
        detect_in_ext: Not used: extensions are detected.
        in_ext: Not used.
        out_ext: Not used.
        generate: Treat a missing mask as empty.
    """

    def __init__(
        self,
        path: str,
        mask: str,
        detect_in_ext: bool = True,
        in_ext: str = "jpg",
        out_ext: str = "png",
        generate: bool = False,
    ) -> None:
        folders = [Path(project_data_path(str(argument))) for argument in (path, mask)]
        for name, folder in zip((path, mask), folders, strict=True):
            if not folder.is_dir():
                raise DataError(problem("task.train", "there is no such folder", got=name, fix="name a folder"))
        listed = [
            [file for file in visible_files.entries(place) if file.suffix.lower() in _SUFFIXES] for place in folders
        ]
        masks = {spelling.plain(file.stem): file for file in listed[1]}
        lacking = [file.name for file in listed[0] if spelling.plain(file.stem) not in masks]
        if lacking and not generate:
            wrong = f"{counted(len(lacking), 'image has', 'images have')} no mask"
            raise DataError(problem(mask, wrong, got=listing(lacking, most=5), fix="add it, or say generate=True"))
        super().__init__(listed[0], [spelling.plain(file.stem) for file in listed[0]], [])
        self._masks = [masks.get(spelling.plain(file.stem)) for file in listed[0]]
        self.notes = visible_files.notes(folders)

    def get_target(self, item: int) -> np.ndarray[Any, Any]:
        """Return the mask."""
        file = self._masks[item]
        if file is None:
            return np.zeros((*_colours(self._files[item]).shape[:2], 1), bool)
        with images.picture(file) as image:
            values = np.asarray(image.convert("L"), np.float64)
        foreground: np.ndarray[Any, Any] = values > values.max() / 2
        return foreground[:, :, np.newaxis]


def _colours(path: Path) -> np.ndarray[Any, Any]:
    """Return an image in colour, shape (height, width, 3), uint8, on a white background."""
    with images.picture(path) as image:
        if image.mode in _PLAIN_MODES and "transparency" not in image.info:
            return np.asarray(image.convert("RGB"))
    return images.decode(images.content(path), 3)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = limits.text(path, limits.STORED).removeprefix("\ufeff")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(problem(str(path), f"cannot be read ({error})", fix="name a table (.csv)")) from error


def _with_name_parts(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Split columns with `_` in their names, such as `ImageId_ClassId`, into further columns.

    Values are split at `_`; a part that some value lacks makes no column.
    """
    wide_rows = [dict(row) for row in rows]
    for name in rows[0] if rows else ():
        for place, part in enumerate(name.split("_") if "_" in name else ()):
            values = [(row[name] or "").split("_") for row in rows]
            if part and part not in wide_rows[0] and all(len(pieces) > place for pieces in values):
                for row, texts in zip(wide_rows, values, strict=True):
                    row[part] = texts[place]
    return wide_rows


def _finder(folders: list[Path]) -> Callable[[str], Path]:
    """Return a function from an image's name, with or without extension, to its file."""
    known: dict[str, Path] = {}
    for folder in folders:
        for file in visible_files.entries(folder) if folder.is_dir() else []:
            known.setdefault(spelling.plain(file.name), file)
            known.setdefault(spelling.plain(file.stem), file)

    def find(text: str) -> Path:
        name = spelling.plain(text)
        if name not in known:
            fix = did_you_mean(name, known, otherwise=f"there are {len(known) // 2} files")
            raise DataError(problem(listing(folders), "has no image of this name", got=name, fix=fix))
        return known[name]

    return find
