"""`mml export`: write the trained model as one file, from pixels to calibrated probabilities, and compare both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe import current_folder, files, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data import number_targets, sources
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.errors import ConfigError, MlpipeError, counted, not_installed, problem
from mlpipe.post import kind as post_kind
from mlpipe.running import bundles, exported_facts, model_card, predictor, smaller_files, tasks
from mlpipe.running.predictor import Predictor, Sample
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.smaller_files import Images
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import references
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from mlpipe.predicting.exported import Mixture, Whole
    from mlpipe.predicting.output_tensors import Tensors
    from mlpipe.predicting.parity import Difference

log = logging.getLogger("mlpipe")

# Tolerances of values: for the same resized pixels, and if the file resizes.
_SAME, _RESIZED = 1e-5, 1e-3
# With the same resized pixels, only few boxes overlap so close to the threshold that just one of the two models drops
# one.
_MOST_ALONE = 0.01
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_ENDINGS = {"onnx": ".onnx", "pt2": ".pt2", "bundle": ".zip"}
# By these texts, and within so many bytes, a card and a runner of an earlier export are known, which a new one replaces.
_CARD_MARK, _RUNNER_MARK, _BEGINNING = b"\n\nPredicts ", b"Predict images with an exported model", 4096
Apply = Callable[[Sequence[Pixels]], list[npt.NDArray[Any]]]


@dataclass(frozen=True)
class Form:
    """The keys that determine the exported file.

    Attributes:
        format: `onnx`, `pt2` or `bundle`.
        resize: Whether the file resizes.
        dtype: The precision of the networks: `float32` or `fp16`.
        quantize: `int8`: networks compute with integers; None: they do not.
        most_loss: The loss of the headline measure that `dtype=fp16` and `quantize=int8` may cost.
        features: Whether the file also returns features.
    """

    format: Literal["onnx", "pt2", "bundle"]
    resize: bool
    dtype: Literal["float32", "fp16"]
    quantize: Literal["int8"] | None
    most_loss: float
    features: bool = False

    @property
    def precision(self) -> str:
        """The precision of the networks in the file, as a word."""
        return self.quantize or self.dtype


class ExportScheduler(Scheduler):
    """Write the file, compare its predictions of the task's images with the model's, and keep it if they agree.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        ensemble: `latest` or an ensemble's name; None: the refit of the latest training, else the mean of its folds.
        record: A record's number or name; None: all that predict.
        file: The file to write; None: in the project's reports.
        format: `onnx`, `pt2` (torch.export) or `bundle` (what the project stores, as one zip).
        resize: Whether the file resizes.
        images: The number of images to compare, and to calibrate `quantize` on.
        dtype: The precision of the networks.
        quantize: Whether networks compute with 8-bit integers.
        most_loss: How much of the headline measure `dtype=fp16` and `quantize=int8` may lose.
        judged: The number of held-out images on which that loss is measured.
        features: Whether the file also returns the inputs of its networks' heads.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        ensemble: str | None,
        record: str | int | None,
        file: str | None,
        format: Literal["onnx", "pt2", "bundle"],
        resize: bool,
        images: Annotated[int, ">= 1"],
        dtype: Literal["float32", "fp16"],
        quantize: Literal["int8"] | None,
        most_loss: Annotated[float, ">= 0"],
        judged: Annotated[int, ">= 1"],
        features: bool = False,
    ) -> None:
        super().__init__(run_config, context)
        self._ensemble, self._record, self._file = ensemble, record, file
        self._form, self._images, self._judged_count = (
            Form(format, resize, dtype, quantize, most_loss, features),
            images,
            judged,
        )

    def plan(self) -> list[Step]:
        """Plan the writing and the comparison.

        Raises:
            ConfigError: When the file cannot represent the model, or a package is missing.
            ProjectError: When there is no such model.
        """
        raise_all(self._key_conflicts())
        if self._form.format == "onnx" and any(find_spec(name) is None for name in _NEEDED):
            raise ConfigError(
                not_installed("mml export", "onnx", otherwise="use mode.format=bundle or mode.format=pt2")
            )
        config = self.run_config
        # Checked before the task is looked up, which would create it.
        project = references.project(self.context.project.name, "proj", config.out_dir)
        where = project.name if self._record is None else f"{project.name}#{self._record}"
        stored = predictor.stored_models(
            where,
            out_dir=config.out_dir,
            data_dir=config.data_dir,
            task_name=tasks.recorded_pivot(config, project).name if self._record is None else None,
            ensemble=self._ensemble,
            trust=config.tree["trust"],
            keys=predictor.OF_MODES,
        )
        self._predictor = Predictor(stored)
        if self._form.format != "bundle":
            raise_all(self._problems())
        default = project.reports_dir() / "exports" / f"{stored.task}{_ENDINGS[self._form.format]}"
        self._path = (current_folder.expanded(self._file) if self._file else default).absolute()
        return [Step("export", self._export, in_project=False)]

    def _key_conflicts(self) -> list[str]:
        """Return a sentence for each pair of conflicting keys."""
        form, problems = self._form, list[str]()
        if self._record is not None and self._ensemble is not None:
            problems.append(problem("mode.record", "mode.ensemble says what to export already", fix="leave one out"))
        ending = Path(self._file or "").suffix.lower()
        if ending in _ENDINGS.values() and ending != _ENDINGS[form.format]:
            other = next(name for name, suffix in _ENDINGS.items() if suffix == ending)
            wrong = f"ends in {ending}, files of mode.format={form.format} end in {_ENDINGS[form.format]}"
            problems.append(problem("mode.file", wrong, got=self._file, fix=f"write mode.format={other}"))
        elif self._file and ending != _ENDINGS[form.format]:
            wrong = f"does not end in {_ENDINGS[form.format]}, by which it is known for what it is"
            problems.append(
                problem("mode.file", wrong, got=self._file, fix=f"write mode.file=NAME{_ENDINGS[form.format]}")
            )
        if self._file and (fault := place_fault(current_folder.expanded(self._file).absolute())):
            problems.append(problem("mode.file", fault, got=self._file, fix="name a file in a folder"))
        if form.features and form.format == "bundle":
            fix = "write mode.format=onnx, or use mlpipe.api.load(FILE).torch()"
            problems.append(problem("mode.features", "is an output of a file of one network", fix=fix))
        if form.quantize and form.dtype != "float32":
            problems.append(problem("mode.dtype", "whole numbers are no floats of half precision", fix="leave one out"))
        if form.precision != "float32" and form.format != "onnx":
            key = "mode.quantize" if form.quantize else "mode.dtype"
            problems.append(problem(key, "is for ONNX files", got=form.precision, fix="write mode.format=onnx"))
        return problems

    def _problems(self) -> list[str]:
        """Return a sentence for everything that the file cannot represent."""
        problems = list[str]()
        used = self._predictor.stored.records
        if refusal := self._predictor.part.NOT_EXPORTED:
            problems.append(problem(f"task {self._predictor.pivot.name}", refusal, fix="use mode.format=bundle"))
        for record in used:
            recipe, before = self._predictor.config(record.id).recipe, self._predictor.preprocessing(record.id)
            if recipe.tta.name != "none":
                fix = "export a model with tta=none, or use mode.format=bundle"
                problems.append(problem(record.id, "predicts several views of an image (tta)", fix=fix))
            if before.before is not None or before.is_ragged:
                wrong = "changes images before or after they are resized (preprocessing.before, preprocessing=original)"
                problems.append(
                    problem(record.id, wrong, fix="train with preprocessing=default, or use mode.format=bundle")
                )
        if not self._predictor.sees_alike and not self._any_size():
            wrong = "the models see images of different sizes, which one file takes only where it resizes itself"
            problems.append(problem("mode.resize", wrong, fix="export one of them with mode.record=NUMBER"))
        if (
            self._predictor.has_places
            and not self._any_size()
            and any(self._predictor.preprocessing(record.id).sides is not None for record in used)
        ):
            wrong = "what is predicted for places of an image goes back to its size only where the file resizes it"
            problems.append(
                problem("mode.resize", wrong, fix="train with preprocessing.resize=squash, or use mode.format=bundle")
            )
        its_kind = kinds.of(self._predictor.kind)
        is_else = its_kind.is_dense and not its_kind.has_probabilities
        if self._form.precision != "float32" and (is_else or self._predictor.pivot.dtype != "uint8"):
            key, its = ("mode.quantize", "mode.dtype")[not self._form.quantize], self._form.precision
            wrong = "is for classes, labels, numbers, masks and boxes of images of 8 bit"
            problems.append(problem(key, wrong, got=its, fix="leave it out"))
        return list(dict.fromkeys(problems))

    def _any_size(self) -> bool:
        from mlpipe.predicting.exported import is_resizable

        before = [self._predictor.preprocessing(record.id) for record in self._predictor.stored.records]
        return self._form.resize and not self._predictor.has_arrays and all(map(is_resizable, before))

    def _export(self, run: Run | None) -> None:
        any_size = self._any_size()
        log.info(self._predictor.stored.told(predictor.LATEST if self._record is None else ""))
        temporary = _unfinished_path(self._path)
        images = self._spread_images(self._images)
        try:
            if self._form.format == "bundle":
                facts = self._write_bundle(temporary, images)
            else:
                facts = self._write_network(temporary, images, any_size)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        size = self._path.stat().st_size
        self.context.facts.update(file=str(self._path), bytes=size, any_size=any_size, **facts)
        card = self._path.with_name(f"{self._path.stem}.md")
        if _write_beside(card, model_card.as_markdown(model_card.facts(self._predictor)), _CARD_MARK):
            self.context.facts["card"] = str(card)
        log.info(f"{self._path} ({size / 1e6:.1f} MB)")
        if self._form.format == "onnx":
            self._write_runner(any_size)
        if self._form.format != "pt2":
            log.info(f"or in Python: mlpipe.api.load({str(self._path)!r})")

    def _write_runner(self, any_size: bool) -> None:
        """Write the program that applies the file without mlpipe, if it reads images as mlpipe does."""
        from mlpipe.predicting import onnx_runner

        runner = self._path.with_name(f"{self._path.stem}_run.py")
        program = Path(onnx_runner.__file__).read_text("utf-8")
        if reason := exported_facts.without_program(self._predictor, any_size):
            # A program from an earlier export would treat images differently.
            if runner.is_file() and _is_written_by_export(runner, _RUNNER_MARK):
                runner.unlink()
            log.info(f"no program lies beside it: {reason}")
            return
        if not _write_beside(runner, program, _RUNNER_MARK):
            return
        self.context.facts["runner"] = str(runner)
        log.info(f"apply it without this program: python {runner.name} {self._path.name} FOLDER > predictions.csv")

    def _write_bundle(self, path: Path, images: Images) -> dict[str, Any]:
        """Write the bundle, and compare its predictions.

        Raises:
            MlpipeError: When they differ.
        """
        bundles.write(self._predictor, path)
        bundle_predictor = Predictor(bundles.opened(path, self.run_config.tree["trust"]))
        samples = [_sample_of_pixels(pixels) for pixels in images.raw]
        difference = self._difference(
            self._predictor.values(samples), bundle_predictor.values(samples), images.raw, _SAME
        )
        _tell("bundle", difference)
        if _differs(difference, _SAME):
            raise MlpipeError(problem(str(self._path), _difference_text(difference, _SAME)))
        return {"differences": {"bundle": asdict(difference)}}

    def _write_network(self, path: Path, images: Images, any_size: bool) -> dict[str, Any]:
        """Write all networks as one, and compare the file's predictions."""
        import torch

        from mlpipe.predicting import exported

        # Networks that depend on the sample size learn it from the first sample.
        self._predictor.values([_sample_of_pixels(images.raw[0])])
        whole, facts = self._whole_network(any_size), self._facts(any_size, images.given[0], "float32")
        pixels = self._padded_image(images.given[0]) if any_size else images.given[0]
        example = torch.from_numpy(np.stack([pixels, pixels]))
        is_onnx = self._form.format == "onnx"
        (exported.save if is_onnx else exported.save_program)(whole, example, path, facts, any_size=any_size)
        apply = smaller_files.applied(path) if is_onnx else _program(path)
        outcome: dict[str, Any] = {
            "differences": {
                name: asdict(difference) for name, difference in self._differences(apply, images, any_size).items()
            }
        }
        if self._form.precision == "float32":
            return outcome
        small = _smaller_path(path)
        try:
            outcome["smaller"] = self._write_smaller(path, small, example, any_size)
            small.replace(path)
        finally:
            small.unlink(missing_ok=True)
        return outcome

    def _padded_image(self, pixels: Pixels) -> Pixels:
        """Return an image of a size that no network sees: a traced export is valid only for its traced size."""
        sides = [self._predictor.preprocessing(record.id).sides or () for record in self._predictor.stored.records]
        wide = [
            next(more for more in range(len(sides) + 1) if all(pixels.shape[axis] + more not in size for size in sides))
            for axis in (0, 1)
        ]
        return np.pad(pixels, [(0, wide[0]), (0, wide[1]), (0, 0)], mode="edge")

    def _write_smaller(self, path: Path, small: Path, example: Any, any_size: bool) -> dict[str, Any]:
        """Rewrite the file with less precision, and measure the loss on held-out images.

        Raises:
            MlpipeError: When the loss exceeds the limit.
        """
        from mlpipe.predicting import exported, quantization

        precision, (judging, others) = (
            self._form.precision,
            smaller_files.rows_of(self._predictor, self._judged_count, self._images),
        )
        facts = self._facts(any_size, example[0].numpy(), precision)
        if self._form.quantize:
            images = self._images_of(others, any_size)
            quantization.write_quantized(path, small, images.given, facts, exact_end=self._tensors.EXACT_END)
        else:
            exported.save(self._whole_network(any_size, half=True), example, small, facts, any_size=any_size)
        judged = smaller_files.compare_files(path, small, self._images_of(judging.rows, any_size), self._predictor)
        log.info(f"{precision}: {judged.sentence} ({judging.words})")
        # A loss that cannot be measured (NaN) is not accepted.
        if not judged.lost <= self._form.most_loss:
            wrong = f"{precision} loses {judged.lost:.4f} of {judged.measure}, more than mode.most_loss={self._form.most_loss:g}"
            raise MlpipeError(problem(str(self._path), wrong, fix="nothing was kept; leave it out, or allow more"))
        return {"precision": precision, **asdict(judged)}

    def _spread_images(self, count: int) -> Images:
        """Return images spread evenly over the task."""
        rows = smaller_files.spread(np.arange(len(self._predictor.pivot.samples)), count)
        images = self._images_of(rows, self._any_size())
        if not images.raw:
            raise MlpipeError(
                problem(f"task {self._predictor.pivot.name}", "none of its images can be read to compare")
            )
        return images

    def _images_of(self, rows: npt.NDArray[np.int64], any_size: bool) -> Images:
        """Return some rows of the task, as stored and as the file receives them."""
        first = self._predictor.preprocessing(self._predictor.stored.records[0].id)
        read, images = sources.reader(self._predictor.pivot, first.channels), Images([], [], [])
        for row in rows.tolist():
            try:
                raw = read(row)
            except UnreadableImageError:
                continue
            images.rows.append(row)
            images.raw.append(raw)
            images.given.append(np.ascontiguousarray(raw if any_size else first(raw)))
        return images

    def _whole_network(self, any_size: bool, *, half: bool = False) -> Whole:
        from mlpipe.predicting.exported import Whole
        from mlpipe.predicting.nearest_images import has_features

        mixture = self._mixture()
        networks = [part.network for parts in mixture.members for part in parts]
        if self._form.features and not all(map(has_features, networks)):
            wrong = "its networks have no features of a whole image that one head is given"
            raise ConfigError(problem("mode.features", wrong, fix="leave it out"))
        return Whole(mixture, self._tensors, resizes=any_size, half=half, features=self._form.features)

    def _mixture(self) -> Mixture:
        from mlpipe.predicting.exported import Mixture, Part

        stored = self._predictor.stored
        rows = self._predictor.new_rows()
        members = [
            [
                Part(
                    self._predictor.model(record.id).networks[0],
                    None if self._predictor.is_dense else rows.calibration(record),
                    self._predictor.preprocessing(record.id),
                )
                for record in several
            ]
            for _, several, _ in stored.members
        ]
        ensemble, weighted = stored.ensemble, post_kind.weighted(self._predictor.pivot.kind)
        own = ensemble.calibration if ensemble is not None else None
        table = self._predictor.part.TABLE
        return Mixture(
            members,
            [weight for _, _, weight in stored.members],
            weighted,
            (table.mixing if table is not None else None)
            or (ensemble.mixing if ensemble is not None else "probabilities"),
            own,
            own is not None and ensemble is not None and ensemble.stage == "after",
        )

    @property
    def _tensors(self) -> Tensors:
        its = self._predictor.part.TENSORS
        assert its is not None
        return its

    def _difference(
        self,
        own_values: Sequence[npt.NDArray[Any]],
        file_values: Sequence[npt.NDArray[Any]],
        images: Sequence[Pixels],
        limit: float,
    ) -> Difference:
        sides, its = [max(pixels.shape[:-1]) for pixels in images], kinds.of(self._predictor.kind)
        if not (its.has_probabilities or its.is_dense or its.columns):
            # Numbers of a small unit would lie within the limit whatever the file predicts.
            unit = number_targets.unit(self._predictor.pivot.samples.targets)[1]
            own_values, file_values = ([values / unit for values in part] for part in (own_values, file_values))
        return self._tensors.difference(
            own_values, file_values, sides, exported_facts.least_scores(self._predictor), limit
        )

    def _facts(self, any_size: bool, pixels: Pixels, precision: str) -> dict[str, Any]:
        return exported_facts.model_facts(self._predictor, any_size, pixels.shape[:-1], precision)

    def _differences(self, apply: Apply, images: Images, any_size: bool) -> dict[str, Difference]:
        """Return how far the file's values differ; a file that resizes is also given resized images.

        Raises:
            MlpipeError: When they differ too much.
        """
        limits = {"pixels": _RESIZED if any_size else _SAME, "resized": _SAME}
        values = self._predictor.values([_sample_of_pixels(sample) for sample in images.raw])
        differences = {"pixels": self._difference(values, apply(images.given), images.raw, limits["pixels"])}
        if any_size and self._predictor.sees_alike:
            first = self._predictor.preprocessing(self._predictor.stored.records[0].id)
            small = [first(pixels) for pixels in images.raw]
            values = self._predictor.values([_sample_of_pixels(sample) for sample in small])
            differences["resized"] = self._difference(values, apply(small), small, limits["resized"])
        for name, difference in differences.items():
            _tell(name, difference)
        wrong = [name for name, entry in differences.items() if _differs(entry, limits[name])]
        if "resized" in wrong or (wrong and not any_size):
            name = "resized" if "resized" in wrong else "pixels"
            reason = f"{_difference_text(differences[name], limits[name])}: its network differs"
            raise MlpipeError(problem(str(self._path), reason, fix="nothing was kept; export another network"))
        if wrong:
            reason = f"resizing inside moves values: {_difference_text(differences['pixels'], _RESIZED)}"
            fix = "export one with mode.record=NUMBER"
            if self._predictor.has_places:
                fix = "use mode.format=bundle"
            elif self._predictor.sees_alike:
                fix = "use mode.resize=false: the runner resizes then"
            raise MlpipeError(problem(str(self._path), reason, fix=fix))
        return differences


def _write_beside(path: Path, text: str, mark: bytes) -> bool:
    """Write a file beside the exported one, and return whether it was written; a file of the user's own stays."""
    if path.exists() and not _is_written_by_export(path, mark):
        log.warning(f"{path} was not written by an export, and stays as it is; mode.file=FILE chooses another name")
        return False
    files.write_text(path, text)
    return True


def _is_written_by_export(path: Path, mark: bytes) -> bool:
    """Return whether a file has the mark of those of an export at its beginning."""
    with path.open("rb") as handle:
        return mark in handle.read(_BEGINNING)


def place_fault(path: Path) -> str:
    """Explain why no file can be written at a path; empty if it can.

    Args:
        path: The absolute path.
    """
    try:
        if path.is_dir():
            return "is a folder"
        nearest = files.nearest_existing(path.parent)
        if not nearest.is_dir():
            return f"lies below {nearest.name}, which is a file"
        # Permissions do not tell everything, such as a file system that is read-only; the longest name that an export writes.
        trial = nearest / files.temporary_name(_smaller_path(_unfinished_path(path)))
        trial.touch()
        trial.unlink()
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return ""


def _unfinished_path(path: Path) -> Path:
    """Return the path of a file before it is checked; the name keeps its suffix, which readers of zips require."""
    return path.with_name(f".part-{path.name}")


def _smaller_path(path: Path) -> Path:
    """Return the path of a file of less precision, before it replaces the original one."""
    return path.with_name(f".small-{path.name}")


def _tell(name: str, difference: Difference) -> None:
    alone = f", {difference.alone:.1%} of boxes in one alone" if difference.alone else ""
    log.info(
        f"{name}: {counted(difference.images, 'image')}, at most {difference.largest:.1e} apart, "
        f"{difference.decided} decided otherwise{alone}"
    )


def _differs(difference: Difference, limit: float) -> bool:
    """Return whether a file is rejected; NaN is never an acceptable difference."""
    return (
        not difference.largest <= limit or difference.decided > 0 or (limit <= _SAME and difference.alone > _MOST_ALONE)
    )


def _difference_text(difference: Difference, limit: float) -> str:
    """Describe what differs."""
    if not difference.largest <= limit:
        return f"its values lie {difference.largest:.1e} from the model's, more than {limit:.0e}"
    return f"{difference.decided} are decided otherwise, {difference.alone:.1%} of boxes are in one alone"


def _sample_of_pixels(pixels: Pixels) -> Sample:
    """A sample whose pixels are already loaded."""
    return lambda channels, least: pixels


def _program(path: Path) -> Apply:
    """Return a torch.export program as a function of single images."""
    import torch

    from mlpipe.predicting import exported

    call = exported.loaded(path)

    def apply(images: Sequence[Pixels]) -> list[npt.NDArray[Any]]:
        return [call(torch.from_numpy(np.ascontiguousarray(image[np.newaxis])))[0][0].numpy() for image in images]

    return apply
