"""A trained model in memory: probabilities, classes, sets and decisions for images given as files, arrays or pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import ExifTags, Image, ImageFile, ImageOps

from mlpipe import current_folder, files, kinds
from mlpipe.config.environment import base_folder
from mlpipe.data import visible_files
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.sources.listings import array_files
from mlpipe.data.sources.listings.array_layout import Form, oriented
from mlpipe.data.task import Task
from mlpipe.errors import (
    ConfigError,
    DataError,
    ProjectError,
    counted,
    did_you_mean,
    first_line,
    listing,
    no_such_file,
    problem,
)
from mlpipe.post import threshold
from mlpipe.post.rows import in_order
from mlpipe.running import bundles, model_card, predictor
from mlpipe.running.onnx_predictor import OnnxPredictor
from mlpipe.running.predictor import Predicting, Predictor, Sample, Stored

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mlpipe.predicting.in_hand import Shown

# One image as `predict` accepts it: a path, an open file, its bytes, a Pillow picture, or an array.
Given = str | os.PathLike[str] | IO[bytes] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[Any]
_FILES = (".onnx", ".pt2", ".zip")
# Pillow modes that files store unchanged.
_IN_PNG = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_IN_FILES = (*_IN_PNG, "CMYK", "F", "I")
# Pillow formats whose large files are decoded at a reduced size.
_REDUCED = ("JPEG", "MPO")
_BYTES = bytes | bytearray | memoryview
# The numbers of channels of images in files.
_CHANNELS = (1, 3, 4)
_TYPES = "a path, an open file, bytes, a picture of Pillow, an array, or a list or column of these"


class Model:
    """A stored model, or a weighted mixture of several, that predicts new images as `mml predict` does.

    Args:
        predictor: The predictor.
        card: Returns its model card.

    Attributes:
        kind: What is predicted: classification, multilabel, regression, segmentation, images, detection.
        classes: The names of the classes, labels or numbers.
        task: The name of the task that it was trained on.
        has_arrays: Whether it predicts arrays of numbers instead of images.
    """

    def __init__(self, predictor: Predicting, card: Callable[[], Mapping[str, Any]]) -> None:
        self._predictor, self._card = predictor, card
        self.kind: str = predictor.kind
        self.classes: tuple[str, ...] = predictor.pivot.classes
        self.task: str = predictor.task
        self.has_arrays: bool = predictor.has_arrays

    def predict(
        self,
        x: Given | Iterable[Given] | pd.Series,
        *,
        deploy_prior: str | Sequence[float] | Mapping[str, float] | None = None,
        costs: npt.ArrayLike | None = None,
        alpha: float | None = None,
    ) -> pd.DataFrame:
        """Predict images; the rows have the order of the input.

        Args:
            x: A path of an image or of a folder of images, an open file or its bytes, a Pillow picture, an array of
                shape (height, width), (height, width, channels), (n, height, width) or (n, height, width, channels)
                with 1, 3 or 4 channels, or a list or column of these. For a task of arrays: arrays as in the task's
                files, or files of them.
            deploy_prior: Classes: the prevalence where the images come from, a number for each class in order or by
                name; `estimate`: estimated from the images themselves; None: probabilities stay as calibrated.
            costs: Classes: the cost of deciding for a class (columns) if another one is true (rows), shape (classes,
                classes); adds, or replaces, the column `decision`.
            alpha: The miss rate of the sets of classes or the intervals of numbers, inside (0, 1); None: the ensemble's
                own.

        Returns:
            The columns of `mml predict`'s table: of classes `prediction`, `probability`, `decision` and `set` where the
            ensemble has them, and `p(CLASS)`; of labels `labels` and `p(LABEL)`; numbers with `low` and `high`. In place of
            files it has arrays of the images' sizes: `mask` with the values that the task's masks have, `prediction` with those
            of an image. Of boxes there is a row for each, or one row for an image without any. `image` is
            the name of each, `problem` why one could not be read (its other columns are then empty). A column's index stays.

        Raises:
            ConfigError: When an argument is invalid.
            DataError: When there is no image, or none is readable.
        """
        names, index, unreadable, predictions = self._predicted(x, deploy_prior, alpha=alpha, only_values=False)
        if costs is not None:
            self._decide(predictions, costs)
        readable = [place for place in range(len(names)) if place not in unreadable]
        return _frame(names, index, unreadable, dict(zip(readable, predictions.cells, strict=True)))

    def predict_values(
        self, x: Given | Iterable[Given] | pd.Series, *, deploy_prior: str | Sequence[float] | None = None
    ) -> npt.NDArray[np.float64] | Any:
        """Return calibrated probabilities or numbers of images, shape (n, outputs); NaN for unreadable images.

        For masks and images, a list: for each image its probabilities or numbers at every pixel, shape (height, width,
        outputs), NaN at pixels that no network saw; for boxes, a list of x0, y0, x1, y1, score and class number, shape
        (k, 6). None for unreadable images.

        Args:
            x: As in `predict`.
            deploy_prior: As in `predict`.
        """
        names, _, unreadable, predictions = self._predicted(x, deploy_prior, only_values=True)
        left = iter(predictions.values)
        rows = [None if place in unreadable else next(left) for place in range(len(names))]
        if any(row is not None and row.ndim != 1 for row in rows):
            return list(rows)
        none = np.full(len(self.classes), np.nan)
        return np.stack([none if row is None else row for row in rows]).astype(np.float64)

    def explain(
        self, x: Given | Iterable[Given] | pd.Series, *, output: str | None = None, method: str = "hires_cam"
    ) -> pd.DataFrame:
        """Explain predictions by a heat map for each image; the rows have the order of the input.

        A map is the weighted mean of the networks' class activation maps. It needs the extra `explain`.

        Args:
            x: As in `predict`.
            output: The class, label or number to explain; None: the most probable one of each image, the first of
                several numbers.
            method: `hires_cam`, whose map shows regions that increased the output, or `grad_cam`.

        Returns:
            `image`, its name; `output`, the explained output; `value`, its calibrated probability, or the number (None
            if every pixel has its own); `heat_map`, an array of the image's height and width from 0 (no evidence) to 1,
            zero everywhere if nothing in the image supports the output; `problem`, why an image is unreadable (its
            other columns are then empty). A column's index is kept.

        Raises:
            ConfigError: When there is no such output or method, the extra is missing, or the networks have no maps.
            DataError: When there is no image, or none is readable.
        """
        from mlpipe.predicting import heat_maps

        how = heat_maps.check_method(method, "method")
        if output is not None and output not in self.classes:
            fix = did_you_mean(str(output), self.classes, otherwise=f"use {listing(self.classes)}")
            raise ConfigError(problem("output", "is nothing that the model predicts", got=output, fix=fix))
        names, samples, index = self._samples(x)
        output_number = None if output is None else self.classes.index(output)
        if output_number is None and predictor.is_asked_by_output(self.kind):
            raise ConfigError(problem("output", "is not given", fix=f"use one of {listing(self.classes)}"))
        explanation = self._torch_predictor.explain(samples, output_number, how)
        _refuse_all(explanation.unreadable, names)
        values = explanation.values
        cells = {
            place: [
                {
                    "output": self.classes[number],
                    "value": None if values is None else float(values[row, number]),
                    "heat_map": heat_map,
                }
            ]
            for row, (place, number, heat_map) in enumerate(
                zip(explanation.places, explanation.asked.tolist(), explanation.maps, strict=True)
            )
        }
        return _frame(names, index, explanation.unreadable, cells)

    def torch(self) -> list[nn.Module]:
        """Return the networks, one for each fold or refit, neither calibrated nor mixed.

        A network maps pixels (n, channels, height, width) from 0 to their peak to a mapping whose `target` is logits or
        numbers. Its preprocessing is in `card()`.
        """
        return self._torch_predictor.networks()

    def timm(self, fold: int | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights that a timm network loads strictly, and the arguments to create that network.

        state, how = model.timm(fold=0)
        network = timm.create_model(how["name"], **how["options"])
        network.load_state_dict(state)

        Its inputs are pixels minus `how["mean"]`, divided by `how["std"]`; its outputs are logits or numbers, not
        calibrated.

        Args:
            fold: The fold, counted from 0; None: the only model.

        Raises:
            ConfigError: When there are several models and no fold is given, or the network is not a timm network with a
                linear head.
        """
        return model_card.timm_weights(*self._torch_predictor.network(fold))

    @property
    def _torch_predictor(self) -> Predictor:
        if not isinstance(self._predictor, Predictor):
            fix = "load the project, or a file of mml export mode.format=bundle"
            raise ConfigError(problem(self.task, "an ONNX file holds no modules of PyTorch", fix=fix))
        return self._predictor

    def card(self) -> dict[str, Any]:
        """Return facts of the model as plain data: task, classes, members, scores, calibration, preprocessing."""
        return dict(self._card())

    def write_card(self, path: str | Path = "model_card.md") -> Path:
        """Write the card as text for people.

        Args:
            path: The file.
        """
        files.write_text(current_folder.expanded(path), model_card.as_markdown(self.card()))
        return Path(path)

    def _repr_html_(self) -> str:
        return model_card.as_html(self.card())

    def __repr__(self) -> str:
        suffix = f"; {_who(self._predictor.stored)}" if isinstance(self._predictor, Predictor) else ""
        return f"<Model of {self.task}: {self.kind}, {counted(len(self.classes), 'output')}{suffix}>"

    def _predicted(
        self, x: Any, deploy_prior: Any, *, alpha: float | None = None, only_values: bool
    ) -> tuple[list[str], pd.Index | None, dict[int, str], Shown]:
        """Return names, the index of a column, unreadable samples by position, and predictions of the others.

        Raises:
            DataError: When there are no samples, or none is readable.
        """
        names, samples, index = self._samples(x)
        unreadable, predictions = self._predictor.predict(
            samples, self._prior(deploy_prior), alpha=_level(alpha), only_values=only_values
        )
        _refuse_all(unreadable, names)
        return names, index, unreadable, predictions

    def _prior(self, prior: Any) -> str | list[float] | None:
        if prior is None:
            return None
        if isinstance(prior, str) and prior == "estimate":
            return prior
        if isinstance(prior, str):
            fix = "use 'estimate', or a number for each class"
            raise ConfigError(problem("deploy_prior", "is no prevalence", got=prior, fix=fix))
        try:
            return [float(value) for value in in_order(prior, self.classes, key="deploy_prior")]
        except (TypeError, ValueError) as error:
            fix = "use 'estimate', or a number for each class"
            raise ConfigError(problem("deploy_prior", "is no prevalence", got=str(prior), fix=fix)) from error

    def _decide(self, predictions: Shown, costs: npt.ArrayLike) -> None:
        """Fill in the class of least cost."""
        try:
            table = np.asarray(costs, np.float64)
        except (TypeError, ValueError):
            # Rows of different lengths, or no numbers.
            table = np.empty(0)
        rows = predictions.calibrated if kinds.of(self.kind).has_classes else None
        if rows is None:
            raise ConfigError(problem("costs", f"is for classes of images, not for {self.kind}", fix="leave it out"))
        if table.shape != (len(self.classes),) * 2 or not np.isfinite(table).all():
            wrong = f"must be a number for each pair of {counted(len(self.classes), 'class', 'classes')}"
            raise ConfigError(
                problem("costs", wrong, got=list(table.shape), fix="rows are true, columns decided classes")
            )
        for (cell,), chosen in zip(predictions.cells, threshold.decide(rows, table), strict=True):
            cell["decision"] = self.classes[int(chosen)]

    def _samples(self, x: Any) -> tuple[list[str], list[Sample], pd.Index | None]:
        """Return the names and readers of the given samples, and the index of a column."""
        index = x.index if isinstance(x, pd.Series) else None
        read = _array_samples if self._predictor.has_arrays else _image_samples
        of = self._predictor.pivot
        if isinstance(x, pd.DataFrame | Mapping):
            fix = "give one column, such as frame['path']"
            raise ConfigError(problem("x", f"must be {_TYPES}", got=type(x).__name__, fix=fix))
        x = plain_input(x)
        if isinstance(x, np.ndarray) and x.dtype.kind in "OUS":
            x = x.ravel().tolist()
        several = isinstance(x, Iterable) and not isinstance(x, str | Path | bytes | Image.Image | np.ndarray)
        pairs = [
            pair
            for place, value in enumerate(x if several else [x])
            for pair in (
                [(f"#{place}", _missing_sample)]
                if several and _is_missing(value)
                else read(plain_input(value), of, place, not several)
            )
        ]
        if index is not None and len(index) != len(pairs):
            index = None
        if not pairs:
            raise DataError(problem("x", "holds no image", fix=f"give {_TYPES}"))
        return [name for name, _ in pairs], [sample for _, sample in pairs], index


def _is_missing(x: Any) -> bool:
    """Return whether a cell of a column is empty: None, an empty text, NaN, or NA and NaT of pandas."""
    is_nan = isinstance(x, float | np.floating) and bool(x != x)
    return x is None or x is pd.NA or x is pd.NaT or is_nan or (isinstance(x, str) and not x)


def _missing_sample(channels: int, least: int | None) -> Pixels:
    """Return the reader of an empty cell."""
    raise UnreadableImageError("is missing")


def plain_input(x: Any) -> Any:
    """Return an open file or buffer as bytes, another library's path as `Path`, and anything else unchanged.

    Args:
        x: The value given for one image, or for several.
    """
    if isinstance(x, np.ndarray):
        # Subclasses, such as matrices, have their own rules.
        return np.asarray(x)
    if isinstance(x, _BYTES):
        return bytes(x)
    if isinstance(x, os.PathLike) and not isinstance(x, Path):
        return Path(os.fsdecode(x))
    if callable(read := getattr(x, "read", None)):
        try:
            # Read from the beginning, as Pillow does.
            if callable(seekable := getattr(x, "seekable", None)) and seekable():
                x.seek(0)
            content = read()
        except (OSError, ValueError, TypeError) as error:
            wrong = f"is a file that cannot be read ({first_line(error)})"
            raise ConfigError(problem("x", wrong, fix="open it with 'rb', or give its path")) from error
        if isinstance(content, bytes):
            return content
        raise ConfigError(problem("x", "is a file that is open for text", fix="open it with 'rb', or give its path"))
    return x


def _level(alpha: Any) -> float | None:
    """Return the miss rate of sets.

    Raises:
        ConfigError: When it is not a number inside (0, 1).
    """
    if alpha is None:
        return None
    is_number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if not is_number or not 0 < alpha < 1:
        raise ConfigError(problem("alpha", "must be inside 0 and 1", got=alpha, fix="0.1 misses one in ten"))
    return float(alpha)


def _who(stored: Stored) -> str:
    """Return the name of the model; for a whole cross-validation, with what is loaded in place of it."""
    is_one = len(stored.records) == 1 and not stored.records[0].refit
    return stored.told("" if is_one else "ensemble='latest'")


def _refuse_all(unreadable: Mapping[int, str], names: Sequence[str]) -> None:
    """Raise if no image is readable.

    Raises:
        DataError: With the reason of the first image.
    """
    if len(unreadable) == len(names):
        place, reason = next(iter(unreadable.items()))
        raise DataError(problem(names[place], reason))


def _frame(
    names: Sequence[str],
    index: pd.Index | None,
    unreadable: Mapping[int, str],
    cells: Mapping[int, Sequence[Mapping[str, Any]]],
) -> pd.DataFrame:
    """Return the rows of each image in order, with one empty row for an image without rows."""
    # An image without a row still has a position in the table.
    rows = [
        (place, {"image": name, **row_cells})
        for place, name in enumerate(names)
        for row_cells in cells.get(place) or [{}]
    ]
    frame = pd.DataFrame([row for _, row in rows])
    frame["problem"] = [unreadable.get(place, "") for place, _ in rows]
    frame.index = pd.RangeIndex(len(rows)) if index is None else index[[place for place, _ in rows]]
    return frame


def load(
    where: str | Path = "default",
    *,
    task: str | None = None,
    ensemble: str | None = None,
    out_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    trust: Sequence[str] = (),
) -> Model:
    """Load a trained model, ready to predict.

    model = load("default", ensemble="latest")
    model.predict("photos/")

    Args:
        where: A project (`PROJ`, or a path of one): its latest cross-validation; one record (`PROJ#3`), one ensemble
            (`PROJ#ens-...`), or the folder of a record; `latest` for what was trained or ensembled last; or a file of
            `mml export`: `FILE.zip` (a bundle) or `FILE.onnx`, which need no project.
        task: The task, where a project has several; None: the one trained last.
        ensemble: `latest` or the name of an ensemble; None: the model of all folds (`mode.refit=true`), without one the mean
            over the folds.
        out_dir: The folder of all projects; None: MML_RESULTS_PATH, else ./results.
        data_dir: The folder of task data; None: MML_DATA_PATH, else ./mlpipe_data.
        trust: Your own modules that the stored configuration may name.

    Raises:
        ConfigError: When its samples are records, or it cannot predict single samples.
        ProjectError: When there is no such model, its weights or data are missing, or a file was changed or is of a newer
            version.
    """
    try:
        path = current_folder.expanded(where)
    except TypeError as error:
        fix = "give PROJ, PROJ#3, a folder or a file"
        raise ConfigError(problem("where", "must be a name or a path", got=where, fix=fix)) from error
    if ensemble is not None and not isinstance(ensemble, str):
        raise ConfigError(problem("ensemble", "must be a name", got=ensemble, fix="use ensemble='latest'"))
    # A text too long for a name is no file.
    if path.suffix.lower() in _FILES or os.path.isfile(path):  # noqa: PTH113
        return of_file(path, trust)
    stored = predictor.stored_models(
        str(where),
        out_dir=current_folder.expanded(base_folder("out_dir", str(out_dir or ""))),
        data_dir=current_folder.expanded(base_folder("data_dir", str(data_dir or ""))),
        task_name=task,
        ensemble=ensemble,
        trust=trust,
    )
    return of_stored(stored)


def of_file(path: Path, trust: Sequence[str] = (), key: str = "where") -> Model:
    """Return the model of a file that `mml export` wrote.

    Args:
        path: The file.
        trust: As in `load`.
        key: The name of the file's key, for messages.

    Raises:
        ConfigError: When the file is only for other programs, or the package that runs it is not installed.
        ProjectError: When there is no such file, or it was changed, is of a newer version or is not a model.
    """
    ending = path.suffix.lower()
    if not path.is_file():
        raise ProjectError(no_such_file(key, path, otherwise="name a file that mml export wrote"))
    if ending not in _FILES:
        fix = "give FILE.onnx or FILE.zip of mml export, or the folder of a record"
        raise ProjectError(problem(key, "is no exported model by its ending", got=str(path), fix=fix))
    if ending == ".onnx":
        file = OnnxPredictor(path, key)
        return Model(file, file.card)
    if ending == ".pt2":
        fix = "export it with mode.format=onnx or mode.format=bundle"
        raise ConfigError(problem(key, "is for torch.export.load alone", got=str(path), fix=fix))
    return of_stored(bundles.opened(path, trust))


def of_stored(stored: Stored) -> Model:
    """Return the model stored in a project or a bundle."""
    models = Predictor(stored)
    return Model(models, partial(model_card.facts, models))


def _image_samples(x: Any, of: Task, place: int, alone: bool) -> list[tuple[str, Sample]]:
    """Return (name, reader) of each given image."""
    rule = Decoding.of((of.bases or (of,))[0].source)
    deep = of.dtype == "uint16"

    def decoded(content: bytes) -> Sample:
        return lambda channels, least: images.decode(content, channels, 16 if deep else 8, least, rule)

    if of.dtype == "float32" and isinstance(x, str | Path | bytes | Image.Image):
        wrong = f"must be an array: the images of {of.name} are arrays of numbers, which no file of an image holds"
        raise ConfigError(problem("x", wrong, got=type(x).__name__, fix="give arrays as the task's files hold them"))
    if isinstance(x, str | Path):
        path = current_folder.expanded(x)
        # An empty text, such as an empty cell, is not the current folder; a text too long for a name is not a path.
        if x != "" and os.path.isdir(path):  # noqa: PTH112
            base = path.absolute()
            below = visible_files.images_below(base)
            if not below:
                raise DataError(problem("x", "holds no image", got=str(path)))
            return [
                (image_path.relative_to(base).as_posix(), _file_sample(image_path, decoded)) for image_path in below
            ]
        if alone and not os.path.isfile(path):  # noqa: PTH113
            raise DataError(problem("x", "there is no such file or folder", got=str(x)))
        return [(str(x), _file_sample(path, decoded))]
    name = f"#{place}"
    if isinstance(x, bytes):
        return [(name, decoded(x))]
    if isinstance(x, Image.Image):
        return [(str(getattr(x, "filename", "") or name), _picture_sample(x, decoded))]
    if isinstance(x, np.ndarray):
        # No image has so many channels: these are several grey images.
        is_stack = x.ndim == 4 or (x.ndim == 3 and x.shape[2] not in (*_CHANNELS, of.channels))
        arrays = list(x) if is_stack else [x]
        names = [name] if len(arrays) == 1 else [f"#{place + number}" for number in range(len(arrays))]
        return [
            (array_name, _array_sample(value, of, decoded)) for array_name, value in zip(names, arrays, strict=True)
        ]
    raise ConfigError(problem("x", f"must be {_TYPES}", got=type(x).__name__))


def _file_sample(path: Path, decoded: Callable[[bytes], Sample]) -> Sample:
    def read(channels: int, least: int | None) -> Pixels:
        try:
            content = images.content(path)
        except OSError as error:
            raise UnreadableImageError(f"cannot be opened ({error.strerror})") from error
        return decoded(content)(channels, least)

    return read


def _picture_sample(picture: Image.Image, decoded: Callable[[bytes], Sample]) -> Sample:
    """Treat a picture like a file that contains it, so that grey, colour, palettes and transparency are handled alike."""

    def read(channels: int, least: int | None) -> Pixels:
        try:
            content = _file_of(picture) or encoded(picture)[0]
        except images.damage_errors() as error:
            raise UnreadableImageError(f"cannot be decoded ({error})") from error
        return decoded(content)(channels, least)

    return read


def _file_of(picture: Image.Image) -> bytes | None:
    """Return the file of a JPEG that is not decoded yet, so that it can be decoded at a reduced size; None otherwise."""
    if not isinstance(picture, ImageFile.ImageFile) or picture.format not in _REDUCED or picture.fp is None:
        return None
    # A decoded picture may have been changed; one for which another size was requested, or a later frame, is not the
    # file.
    if not picture.tile or picture.decoderconfig or picture.tell():
        return None
    place = picture.fp.tell()
    try:
        picture.fp.seek(0)
        content = bytes(picture.fp.read())
    finally:
        picture.fp.seek(place)
    # The orientation may have been changed too.
    turns = [image.getexif().get(ExifTags.Base.Orientation, 1) for image in (images.picture(content), picture)]
    return content if turns[0] == turns[1] else None


def encoded(picture: Image.Image) -> tuple[bytes, str]:
    """Encode a picture losslessly as a file, upright; return the bytes and the suffix.

    Args:
        picture: The picture; of several frames, the current one.

    Raises:
        OSError: When Pillow cannot read its pixels.
    """
    upright = ImageOps.exif_transpose(picture)
    if upright.mode not in _IN_FILES:
        upright = upright.convert("RGBA" if upright.mode.endswith(("A", "a")) else "RGB")
    is_png = upright.mode in _IN_PNG
    out = io.BytesIO()
    upright.save(out, "PNG" if is_png else "TIFF")
    return out.getvalue(), ".png" if is_png else ".tif"


def _array_sample(value: npt.NDArray[Any], of: Task, decoded: Callable[[bytes], Sample]) -> Sample:
    """Return the sample of a pixel array; one whose channels differ from the model's is treated like a file."""
    known = sorted({*_CHANNELS, of.channels})
    if value.ndim not in (2, 3) or 0 in value.shape or (value.ndim == 3 and value.shape[2] not in known):
        wrong = f"is no image: an array of shape {list(value.shape)}"
        channels = " or ".join([", ".join(map(str, known[:-1])), str(known[-1])])
        raise ConfigError(
            problem("x", wrong, fix=f"give (height, width) or (height, width, channels), {channels} of them")
        )
    pixels = _numbers_as_pixels(value, of) if of.dtype == "float32" else _whole_pixels(value, of)
    pixels = pixels[..., np.newaxis] if value.ndim == 2 else pixels

    def read(channels: int, least: int | None) -> Pixels:
        if channels == pixels.shape[2]:
            return np.ascontiguousarray(pixels)
        if channels == 3 and pixels.shape[2] == 1:
            return np.repeat(pixels, 3, 2)
        if pixels.dtype != np.uint8 or pixels.shape[2] not in _CHANNELS:
            raise UnreadableImageError(f"has {counted(pixels.shape[2], 'channel')}, the model's images have {channels}")
        return _picture_sample(Image.fromarray(np.squeeze(pixels, 2) if pixels.shape[2] == 1 else pixels), decoded)(
            channels, least
        )

    return read


def _whole_pixels(value: npt.NDArray[Any], of: Task) -> Pixels:
    """Return an array of 8 or 16 bits, as the task's images have.

    Raises:
        ConfigError: When it has another type.
    """
    if value.dtype.name not in ("uint8", "uint16") or (value.dtype.name == "uint16") != (of.dtype == "uint16"):
        fix = f"scale it to {of.dtype}, 0 for black and {np.iinfo(of.dtype).max} for white"
        raise ConfigError(
            problem("x", "is an array of another type than the task's images", got=value.dtype.name, fix=fix)
        )
    # From another machine, the byte order may differ.
    return value.astype(of.dtype, copy=False)


def _numbers_as_pixels(value: npt.NDArray[Any], of: Task) -> Pixels:
    """Convert an array as in the files of a numeric task, mapping its black to 0 and its white to 1.

    Raises:
        ConfigError: When it contains no numbers.
        DataError: When some are NaN, or outside the task's black and white.
    """
    source = (of.bases or (of,))[0].source
    if value.dtype.kind not in "iuf":
        raise ConfigError(
            problem("x", "is no array of numbers", got=value.dtype.name, fix="give what the task's files hold")
        )
    least, most = float(value.min()), float(value.max())
    if not np.isfinite([least, most]).all():
        raise DataError(problem("x", "has values that are NaN or infinite", fix="replace them"))
    if "range" not in source:
        return value.astype(np.float32)
    low, high = source["range"] or (0.0, 1.0)
    if not (low <= least and most <= high):
        wrong = f"has values from {least:g} to {most:g}, outside {low:g} to {high:g}"
        raise DataError(problem("x", wrong, fix="give what the task's files hold (task.value_range)"))
    return np.asarray((value.astype(np.float32) - low) / (high - low), np.float32)


def _array_samples(x: Any, of: Task, place: int, alone: bool) -> list[tuple[str, Sample]]:
    """Return (name, reader) of each given array, for a task of arrays."""
    form = Form.of((of.bases or (of,))[0].source)
    if isinstance(x, str | Path):
        pairs = array_files.arrays_below(current_folder.expanded(x).absolute(), "x", form)
        return [(name, _value_sample(value, of)) for name, value in pairs]
    if not isinstance(x, np.ndarray):
        raise ConfigError(problem("x", "must be an array, a file of arrays, or a list of these", got=type(x).__name__))
    arrays = list(x) if x.ndim == form.axes + 2 else [x]
    names = [f"#{place + number}" for number in range(len(arrays))]
    return [(name, _value_sample(oriented(value, form, name), of)) for name, value in zip(names, arrays, strict=True)]


def _value_sample(value: npt.NDArray[Any], of: Task) -> Sample:
    if value.shape[-1] != of.channels or not np.isfinite(value).all():
        wrong = "has values that are NaN or infinite"
        if value.shape[-1] != of.channels:
            wrong = f"has {counted(value.shape[-1], 'channel')}, the samples of {of.name} have {of.channels}"
        raise DataError(problem("x", wrong))
    return lambda channels, least: value
