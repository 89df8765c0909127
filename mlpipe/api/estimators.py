"""Image models as scikit-learn estimators: `fit`, `predict`, `score`, cross-validation and grid search of whole pipelines.

from mlpipe.api import ImageClassifier

classifier = ImageClassifier(arch="resnet18").fit(paths, labels)
classifier.predict_proba("photos/")
"""

from __future__ import annotations

import html
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, jaccard_score, r2_score

from mlpipe import current_folder, files, limits
from mlpipe.api.commands import run
from mlpipe.config.overrides import quoted
from mlpipe.data import task as tasks
from mlpipe.data import visible_files
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.csv import PATHS
from mlpipe.data.sources.targets import mask_files
from mlpipe.errors import ConfigError, DataError, counted, problem
from mlpipe.running.loaded_model import Model, encoded, load, plain_input

log = logging.getLogger("mlpipe")

# Columns that the table of images takes over from a frame, see `mlpipe.data.sources.csv`.
_BESIDE = ("split", "fold", "group", "weight")
_ALONE = (bytes, Image.Image)
_ITEMS = "a folder, a list or column of paths, an array of shape (n, height, width[, channels]), or a list of pictures"


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """Base class of the estimators: each has its own project, trains with one call of the program, and keeps a stored model."""

    def __init__(
        self,
        preset: str | None = None,
        *,
        arch: str | None = None,
        time_limit: str | None = None,
        overrides: Sequence[str] = (),
        out_dir: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.preset = preset
        self.arch = arch
        self.time_limit = time_limit
        self.overrides = overrides
        self.out_dir = out_dir
        self.verbose = verbose

    def save(self, file: str | Path) -> Path:
        """Write the trained model as one file, as `mml export` does, and check the file on training images.

        Args:
            file: The file's name; its ending selects the format: `.onnx`, or `.zip` for a bundle.

        Raises:
            ConfigError: When there is no such format, or the model cannot be expressed in it.
            NotFittedError: Before `fit`.
        """
        path = current_folder.expanded(file).absolute()
        model, home = self._fitted_model(), self._where
        if (ending := path.suffix.lower()) not in _FORMATS:
            fix = f"use a name that ends with {' or '.join(_FORMATS)}"
            raise ConfigError(problem("file", "its ending names no format", got=path.name, fix=fix))
        with _log_output(self.verbose):
            run(
                "export",
                f"task={model.task}",
                f"mode.file={quoted(str(path))}",
                *_FORMATS[ending],
                *_folder_words(home),
                f"mode.ensemble={self.ensemble_ or 'null'}",
                *self._project_words(),
            )
        return path

    @property
    def home_(self) -> Path:
        """The folder with the project (`results`), the packed images (`data`) and the pictures that were given in memory."""
        self._require_fit()
        return self._where

    def _train(self, words: Sequence[str], home: Path, *, mixes: bool = True) -> Self:
        """Train what the words ask for, calibrate it if `mixes`, and load the model."""
        choices = [word for key in ("preset", "arch", "time_limit") if (word := self._word(key)) is not None]
        if isinstance(self.overrides, str):
            fix = 'write overrides=["trainer.max_epochs=3"]'
            raise ConfigError(problem("overrides", "must be a list of texts", got=self.overrides, fix=fix))
        where = _folder_words(home)
        whole = ["mode.nested=false", "mode.subroutines=[train,predict]"]
        with _log_output(self.verbose):
            run("train", *words, *where, *whole, *choices, *self.overrides)
            facts = run("post", "mode.report=false", *where, *self._project_words()) if mixes else {}
            self.ensemble_ = facts.get("ensemble")
            name = dict(override.split("=", 1) for override in self._project_words()).get("proj", "default")
            self.model_ = load(name, ensemble=self.ensemble_, out_dir=home / "results", data_dir=home / "data")
        self._where = home
        return self

    def _word(self, key: str) -> str | None:
        value = getattr(self, key)
        if value is not None and not isinstance(value, str):
            raise ConfigError(problem(key, "must be a text", got=value))
        return None if value is None else f"{key}={value}"

    def _project_words(self) -> list[str]:
        return [override for override in self.overrides if override.startswith("proj=")]

    def _make_home(self) -> Path:
        """Return the folder for all files of this fit; a temporary folder is deleted with the object."""
        self._forget()
        if self.out_dir is not None:
            home = current_folder.expanded(self.out_dir).absolute()
            home.mkdir(parents=True, exist_ok=True)
            return home
        self._temporary = tempfile.TemporaryDirectory(prefix="mlpipe-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    def _forget(self) -> None:
        for name in ("model_", "ensemble_", "_where", "_temporary", "classes_", "_order", "_single"):
            self.__dict__.pop(name, None)

    def _require_fit(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"{type(self).__name__}: is not fitted yet; call fit first")

    def _fitted_model(self) -> Model:
        self._require_fit()
        return self.model_

    def _values(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the probabilities or numbers predicted for images, shape (n, outputs)."""
        model, items = self._fitted_model(), images_of(X)
        with _log_output(self.verbose):
            values = model.predict_values(items)
        if missing := np.flatnonzero(np.isnan(values).any(axis=1)).tolist():
            why = model.predict([items[missing[0]], items[0 if missing[0] else -1]])["problem"].iloc[0]
            wrong = f"{counted(len(missing), 'image')} of {len(items)} cannot be predicted, such as number {missing[0]}"
            raise DataError(problem("X", f"{wrong}: {why}", fix="leave it out"))
        return values

    def _repr_html_(self) -> str:
        """Return the parameters as HTML, with the model's card after `fit`."""
        markup = f"<pre>{html.escape(repr(self))}</pre>"
        return markup + (self.model_._repr_html_() if hasattr(self, "model_") else "")

    def __getstate__(self) -> dict[str, Any]:
        if self.__sklearn_is_fitted__():
            fix = "use save(FILE), or out_dir=DIR and mlpipe.api.load"
            raise ConfigError(problem(type(self).__name__, "a trained model is not pickled", fix=fix))
        state: dict[str, Any] = super().__getstate__()
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_where")


class ImageClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Image classifier: networks of a cross-validation, calibrated and mixed.

    Args:
        preset: `fast`, `good` or `best`; None: no preset (docs/presets.md).
        arch: Any network of timm by name; None: that of the preset, else the program's default.
        time_limit: The time limit of the whole training, such as `90s` or `30m`; None: no limit.
        overrides: More words of the command line, such as `trainer.max_epochs=3`.
        out_dir: The folder in which the project is kept; None: a temporary folder, which is deleted with the object.
        verbose: Show what the command line shows.

    Attributes:
        classes_: The classes in their order, shape (classes,).
        model_: The trained model, see `mlpipe.api.Model`.
        ensemble_: The name of the ensemble in the project.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train on images and their classes.

        Args:
            X: A folder that holds one folder of images per class; a list, array or column of paths; a frame with a column of
                paths (and optionally `split`, `fold`, `group`, `weight`); an array of uint8 or uint16 of shape
                (n, height, width) or (n, height, width, channels); or a list of arrays or Pillow images.
            y: The class of each image, shape (n,): texts, numbers or booleans; the name of a column of the frame; None for
                a folder.
            sample_weight: The weight of each image in the loss, shape (n,); None: the frame's column `weight`, or equal weights
                without such a column.

        Raises:
            ConfigError: When a parameter is wrong.
            DataError: When images or classes are wrong.
        """
        if isinstance(X, str | Path) and current_folder.expanded(X).is_dir():
            _refuse_targets(y, sample_weight)
            home = self._make_home()
            self._train(["task=folder", f"task.root={quoted(str(current_folder.expanded(X).absolute()))}"], home)
            self.classes_ = np.array(self.model_.classes)
            return self
        table, targets = table_of(X, y)
        _add_weights(table, sample_weight)
        try:
            classes, place = np.unique(targets, return_inverse=True)
        except TypeError as error:
            types = sorted({type(value).__name__ for value in targets.tolist()})
            fix = "make all of them texts, or numbers"
            raise DataError(problem("y", "has classes of several types", got=types, fix=fix)) from error
        names = [str(value).strip() for value in classes.tolist()]
        if len(set(names)) < len(names) or not all(names):
            raise DataError(problem("y", "has classes that are empty or look the same as text", got=names[:8]))
        home = self._make_home()
        table["target"] = [names[index] for index in place]
        self._train([*_task_words(table, home), "task.kind=classification", "task.missing=false"], home)
        self.classes_ = classes
        self._order = [self.model_.classes.index(name) for name in names if name in self.model_.classes]
        if len(self._order) < len(names):
            self._forget()
            raise DataError(problem("y", "names classes that a table does not keep apart", got=names[:8]))
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return calibrated probabilities, shape (n, classes), in the order of `classes_`.

        Args:
            X: As for `fit`, or a folder of images (in the order of their paths).

        Raises:
            DataError: When an image cannot be read.
            NotFittedError: Before `fit`.
        """
        values = self._values(X)
        return values[:, getattr(self, "_order", range(values.shape[1]))]

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """Return the most probable class of each image, shape (n,).

        Args:
            X: As for `predict_proba`.
        """
        chances = self.predict_proba(X)
        return np.asarray(self.classes_[chances.argmax(axis=1)])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy: the share of images whose predicted class is right.

        Args:
            X: As for `fit`.
            y: The true classes; None where each image lies in a folder named after its class.
            sample_weight: The weight of each image, shape (n,); None: equal weights.
        """
        items, targets = images_of(X), y
        if isinstance(X, pd.DataFrame) and isinstance(y, str):
            targets = X[y]
        if targets is None:
            targets = [Path(item).parent.name for item in items if isinstance(item, str | Path)]
        true = targets_of(items, targets)
        return float(accuracy_score(*_alike(true, self.predict(items)), sample_weight=sample_weight))


class ImageRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """Regressor for one or several numbers per image: networks of a cross-validation, mixed.

    Args:
        preset: As for `ImageClassifier`, like all other parameters.
        arch: A network.
        time_limit: The time limit of the whole training.
        overrides: More words of the command line.
        out_dir: The folder in which the project is kept.
        verbose: Show what the command line shows.

    Attributes:
        model_: The trained model, see `mlpipe.api.Model`.
        ensemble_: The name of the ensemble in the project.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train on images and their numbers.

        Args:
            X: As for `ImageClassifier.fit`, except folders of classes.
            y: Numbers, shape (n,) or (n, outputs); or the name of a column of the frame.
            sample_weight: As for `ImageClassifier.fit`.

        Raises:
            ConfigError: When a parameter is wrong.
            DataError: When images or numbers are wrong.
        """
        table, targets = table_of(X, y, several=True)
        _add_weights(table, sample_weight)
        try:
            numbers = np.asarray(targets, np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(problem("y", "must be numbers", got=str(np.ravel(targets)[0]))) from error
        if not np.isfinite(numbers).all():
            raise DataError(problem("y", "has values that are NaN or infinite", fix="leave these images out"))
        home, self._single = self._make_home(), numbers.ndim == 1
        names = [f"y{number}" for number in range(1 if self._single else numbers.shape[1])]
        table[names] = numbers.reshape(len(table), -1)
        self._train([*_task_words(table, home, f"[{','.join(names)}]"), "task.kind=regression"], home)
        return self

    def predict(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return predicted numbers, shape (n,) or (n, outputs) like `y` in `fit`.

        Args:
            X: As for `fit`, or a folder of images (in the order of their paths).

        Raises:
            DataError: When an image cannot be read.
            NotFittedError: Before `fit`.
        """
        values = self._values(X)
        return values[:, 0] if self._single else values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the coefficient of determination, 1 for perfect predictions.

        Args:
            X: As for `fit`.
            y: The true numbers.
            sample_weight: The weight of each image, shape (n,); None: equal weights.
        """
        targets = X[y] if isinstance(X, pd.DataFrame) and isinstance(y, str) else y
        items = images_of(X)
        true = targets_of(items, targets, several=True)
        return float(r2_score(true, self.predict(items), sample_weight=sample_weight))


class ImageSegmenter(_Estimator):
    """Semantic segmentation: networks of a cross-validation whose probabilities are averaged (docs/segmentation.md).

    Args:
        preset: As for `ImageClassifier`, like all other parameters.
        arch: A network for masks, such as `unet`; None: `unet`.
        time_limit: The time limit of the whole training.
        overrides: More words of the command line.
        out_dir: The folder in which the project is kept.
        verbose: Show what the command line shows.

    Attributes:
        model_: The trained model, see `mlpipe.api.Model`.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on images and their masks.

        Args:
            X: As for `ImageClassifier.fit`; or a folder that holds the folders `images` and `masks`.
            y: A mask for each image: paths, arrays of shape (height, width), or pictures, in which the value of a pixel
                stands for a class, 0 to 255 (False and True are 0 and 1); the name of a column of the frame; None for a
                folder.

        Raises:
            ConfigError: When a parameter is wrong.
            DataError: When images or masks are wrong.
        """
        if isinstance(X, str | Path) and current_folder.expanded(X).is_dir():
            _refuse_targets(y, None)
            home, words = self._make_home(), [f"task.root={quoted(str(current_folder.expanded(X).absolute()))}"]
        else:
            masks = X[y].tolist() if isinstance(X, pd.DataFrame) and isinstance(y, str) and y in X else y
            masks = [] if masks is None or isinstance(masks, str) else [_as_mask(mask) for mask in masks]
            # A missing column and missing masks are reported as mistakes in `y`.
            table, _ = table_of(X, list(range(len(masks))) if masks else y)
            home = self._make_home()
            words = [_table_word(table, home, {"mask": masks}), "task.images=path", "task.masks=mask"]
        arch = [] if self.arch is not None or self.preset is not None else ["arch=unet"]
        return self._train(["task=masks", *words, *arch], home, mixes=False)

    def predict(self, X: Any) -> list[npt.NDArray[np.uint8]]:  # noqa: N803
        """Return the mask of each image in the image's size, shape (height, width), with the values of the training masks.

        Args:
            X: As for `ImageClassifier.predict`.

        Raises:
            DataError: When an image cannot be read.
            NotFittedError: Before `fit`.
        """
        model, items = self._fitted_model(), images_of(X)
        with _log_output(self.verbose):
            frame = model.predict(items)
        if (torn := np.flatnonzero(frame["problem"] != "")).size:
            place = int(torn[0])
            raise DataError(problem(f"X[{place}]", str(frame["problem"].iloc[place]), fix="leave it out"))
        return list(frame["mask"])

    def score(self, X: Any, y: Any) -> float:  # noqa: N803
        """Return the mean intersection over union of the classes, over the pixels of all images except `task.ignore_index`.

        Args:
            X: As for `predict`.
            y: The true masks, as for `fit`.
        """
        masks = X[y].tolist() if isinstance(X, pd.DataFrame) and isinstance(y, str) else y
        items = images_of(X)
        _require_same_length(items, masks)
        true = [_values_of(_as_mask(mask)) for mask in masks]
        pairs = list(zip(true, self.predict(items), strict=True))
        flat = [np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1)]
        ignored = self._ignored_value()
        counting = np.ones(len(flat[0]), bool) if ignored is None else flat[0] != ignored
        present = sorted({*np.unique(flat[0][counting]).tolist(), *np.unique(flat[1][counting]).tolist()} - {ignored})
        return float(jaccard_score(*(side[counting] for side in flat), labels=present, average="macro"))

    def _ignored_value(self) -> int | None:
        """Return the mask value of ignored pixels in the training masks; None: all pixels count."""
        of = tasks.load(self._where / "data" / self.model_.task / "task.json")
        return mask_files.stored_values((of.bases or (of,))[0].source["masks"]).ignored


def _folder_words(home: Path) -> list[str]:
    """Return the words for a project and its data below a folder."""
    return [f"out_dir={quoted(str(home / 'results'))}", f"data_dir={quoted(str(home / 'data'))}"]


def _as_mask(mask: Any) -> Any:
    """Return a mask whose values fit 8 bits as uint8, anything else unchanged."""
    is_other = isinstance(mask, np.ndarray) and mask.dtype.kind in "biu" and mask.dtype != np.uint8 and mask.size
    return mask.astype(np.uint8) if is_other and mask.min() >= 0 and mask.max() <= 255 else mask


def _values_of(mask: Any) -> npt.NDArray[Any]:
    """Return the values of a mask, shape (height, width), as segmentation tasks read them."""
    if isinstance(mask, str | Path):
        return images.stored_values(limits.content(current_folder.expanded(mask), limits.IMAGE))
    return np.asarray(mask)


_FORMATS: dict[str, list[str]] = {".onnx": [], ".zip": ["mode.format=bundle"]}


def images_of(x: Any) -> list[Any]:
    """Return a list of single images: paths, arrays, bytes or pictures.

    Args:
        x: A folder, a path, a list, array or column of these, or a frame with a column of paths.

    Raises:
        DataError: When it is something else, or empty.
    """
    x = plain_input(x)
    if isinstance(x, str | Path):
        path = current_folder.expanded(x)
        items: list[Any] = list(visible_files.images_below(path.absolute())) if path.is_dir() else [path]
    elif isinstance(x, pd.DataFrame):
        items = x[_path_column(x)].tolist()
    elif isinstance(x, np.ndarray) and x.dtype.kind in "OUS" and x.ndim <= 2:
        items = x.ravel().tolist()
    elif x.ndim in (3, 4) if isinstance(x, np.ndarray) else isinstance(x, Iterable) and not isinstance(x, _ALONE):
        items = list(x)
    else:
        got = f"an array of shape {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise DataError(problem("X", "is no list of images", got=got, fix=f"give {_ITEMS}"))
    if not items:
        raise DataError(problem("X", "holds no image", got=str(x) if isinstance(x, str | Path) else None))
    return [plain_input(item) for item in items]


def table_of(x: Any, y: Any, *, several: bool = False) -> tuple[pd.DataFrame, Any]:
    """Return a table with the column `image` and other known columns, and the targets of the images.

    Args:
        x: As for `images_of`.
        y: A target for each image, or the name of a column.
        several: Whether an image may have several targets.

    Raises:
        DataError: When images and targets do not match.
    """
    items = images_of(x)
    beside = {}
    if isinstance(x, pd.DataFrame):
        beside = {name: x[name].tolist() for name in _BESIDE if name in x.columns and name != y}
        if isinstance(y, str):
            if y not in x.columns:
                fix = f"use one of {[str(name) for name in x.columns]}"
                raise DataError(problem("y", "the frame has no such column", got=y, fix=fix))
            y = x[y]
    elif isinstance(x, str | Path):
        raise DataError(problem("X", "there is no such folder", got=str(x), fix=f"give {_ITEMS}"))
    targets = targets_of(items, y, several=several)
    return pd.DataFrame({"image": items, **beside}, index=range(len(items)), dtype=object), targets


def targets_of(items: Sequence[Any], y: Any, *, several: bool = False) -> npt.NDArray[Any]:
    """Return the target of each image, shape (n,) or (n, outputs).

    Args:
        items: The images.
        y: Their targets: a list, an array or a column; a table with one column counts as a column.
        several: Whether an image may have several targets.

    Raises:
        DataError: When the numbers of targets and images differ, or a target is missing.
    """
    if y is None or isinstance(y, str):
        raise DataError(problem("y", "is missing", got=y, fix="give a target for each image"))
    _require_same_length(items, y)
    try:
        targets = np.asarray(y)
    except ValueError as error:
        raise DataError(problem("y", "must be one target for each image", got="lists of several lengths")) from error
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1 and not (several and targets.ndim == 2):
        raise DataError(problem("y", "must be one target for each image", got=f"shape {list(targets.shape)}"))
    if pd.isna(targets).any():
        raise DataError(problem("y", "has missing values", fix="leave these images out"))
    # At this point, nullable pandas columns (Int64, boolean) are arrays of objects.
    dtype = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return targets if dtype is None else targets.astype(dtype)


def _add_weights(table: pd.DataFrame, sample_weight: Any) -> None:
    """Add the weight of each image in the loss to the table.

    Raises:
        DataError: When the weights are invalid, or the table has weights already.
    """
    if sample_weight is None:
        return
    if "weight" in table:
        fix = "leave one of the two out"
        raise DataError(problem("sample_weight", "the frame's column weight says it already", fix=fix))
    try:
        weights = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        weights = np.empty(0)
    if weights.shape != (len(table),) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        fix = "0 leaves an image out of the loss"
        wrong = f"must be {counted(len(table), 'number')} of at least 0, not all of them 0"
        raise DataError(problem("sample_weight", wrong, got=f"shape {list(np.shape(weights))}", fix=fix))
    table["weight"] = weights


def _path_column(frame: pd.DataFrame) -> Any:
    """Return the column of paths."""
    for name in frame.columns:
        if str(name).lower() in PATHS:
            return name
    if len(frame.columns) == 1:
        return frame.columns[0]
    raise DataError(
        problem("X", "has no column of paths", got=[str(name) for name in frame.columns], fix=f"name one {PATHS[0]}")
    )


def _alike(targets: Any, known: npt.NDArray[Any]) -> tuple[list[str], list[str]]:
    """Return true and predicted classes as texts that are equal where the classes are: 1, 1.0 and True are one number."""
    both = [np.asarray(targets), known]
    if both[0].dtype != both[1].dtype and all(array.dtype.kind in "biuf" for array in both):
        both = [array.astype(np.float64) for array in both]
    first, second = ([str(value) for value in array.tolist()] for array in both)
    return first, second


def _require_same_length(items: Sequence[Any], y: Any) -> None:
    if not hasattr(y, "__len__") or isinstance(y, str):
        raise DataError(problem("y", "must be a list, array or column", got=type(y).__name__))
    if len(y) != len(items):
        wrong = f"has {counted(len(y), 'target')} for {counted(len(items), 'image')}"
        raise DataError(problem("y", wrong, fix="give one for each"))


def _refuse_targets(y: Any, sample_weight: Any) -> None:
    if y is not None:
        fix = "leave y out, or give a list of paths"
        raise DataError(problem("y", "a folder's own folders say the classes", fix=fix))
    if sample_weight is not None:
        fix = "give a list of paths"
        raise DataError(problem("sample_weight", "the images of a folder have no order", fix=fix))


def _task_words(table: pd.DataFrame, home: Path, target: str = "target") -> list[str]:
    """Write the table and the pictures that are not files, and return the task as words of the command line."""
    return ["task=csv", _table_word(table, home), "task.path=path", f"task.target={target}"]


def _table_word(table: pd.DataFrame, home: Path, beside: Mapping[str, Sequence[Any]] | None = None) -> str:
    """Write the table with the paths of its images and of further columns of pictures; return the word that names it."""
    folder = Path(tempfile.mkdtemp(prefix="images-", dir=home))
    for name, several in {"path": table.pop("image").tolist(), **(beside or {})}.items():
        (folder / name).mkdir()
        key = "X" if name == "path" else "y"
        table[name] = [_image_path(image, folder / name, place, key) for place, image in enumerate(several)]
    table.to_csv(folder / "images.csv", index=False)
    return f"task.file={quoted(str(folder / 'images.csv'))}"


def _image_path(image: Any, folder: Path, place: int, key: str = "X") -> str:
    """Return the path of an image; an image in memory is written to a file first."""
    if isinstance(image, str | Path):
        return str(current_folder.expanded(image).absolute())
    path = folder / f"{place:06d}.png"
    try:
        if isinstance(image, bytes):
            path = path.with_suffix("." + (images.picture(image).format or "png").lower())
            files.write_bytes(path, image)
        elif isinstance(image, Image.Image):
            content, ending = encoded(image)
            path = path.with_suffix(ending)
            files.write_bytes(path, content)
        else:
            _write_array(image, path, f"{key}[{place}]")
    except (OSError, SyntaxError, UnreadableImageError) as error:
        raise DataError(problem(f"{key}[{place}]", f"cannot be decoded ({error})", fix="leave it out")) from error
    return str(path)


def _write_array(array: Any, path: Path, key: str) -> None:
    """Write an array of pixels as PNG: grey (8 or 16 bits), or colour (8 bits)."""
    if isinstance(array, np.ndarray) and array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if isinstance(array, np.ndarray) and array.size:
        is_deep, channels = array.dtype == np.uint16, array.shape[2] if array.ndim == 3 else 1
        if (
            (array.dtype == np.uint8 or is_deep)
            and array.ndim in (2, 3)
            and channels in ((1,) if is_deep else (1, 3, 4))
        ):
            Image.fromarray(array).save(path)
            return
    got = f"{array.dtype} of shape {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
    fix = "give arrays of uint8 (grey or colour) or uint16 (grey), 0 for black"
    raise DataError(problem(key, "is no image", got=got, fix=fix))


@contextmanager
def _log_output(verbose: bool) -> Iterator[None]:
    """Log the program's messages to the terminal, or nowhere."""
    handler: logging.Handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setLevel(logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
