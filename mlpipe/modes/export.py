"""`mml export`: the trained model as one ONNX file, from pixels to calibrated probabilities, compared with the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt

import mlpipe
from mlpipe import files, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.errors import ConfigError, MlpipeError, counted, not_installed, problem
from mlpipe.post import kind as post_kind
from mlpipe.running import model_card, predictor, tasks
from mlpipe.running.predictor import Predictor, Sample
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from mlpipe.predicting.exported import Mixture

log = logging.getLogger("mlpipe")

FORMAT = 1
# How far values may lie apart: for the same resized pixels, and where the file resizes.
_SAME, _RESIZED = 1e-5, 1e-3
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Difference:
    """How far the file's values lie from this program's.

    Attributes:
        largest: The largest difference of a probability, or of a number as a share of the spread of numbers.
        decided: Images whose likeliest class is another one, though its probability leads by more than that.
        images: How many images were compared.
    """

    largest: float
    decided: int
    images: int


class ExportScheduler(Scheduler):
    """Writes the file, asks both for the task's images, and hands it over when they agree.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        ensemble: `latest` or an ensemble's name; None: the refit of the latest training, else the mean of its folds.
        record: A record's number or name; None: all that predict.
        file: The file; None: in the project's reports.
        resize: Whether the file resizes.
        images: How many images are compared.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        ensemble: str | None,
        record: str | int | None,
        file: str | None,
        resize: bool,
        images: Annotated[int, ">= 1"],
    ) -> None:
        super().__init__(run_config, context)
        self._ensemble, self._record, self._file = ensemble, record, file
        self._resizes, self._images = resize, images

    def plan(self) -> list[Step]:
        """Write and compare.

        Raises:
            ConfigError: When what the model does cannot be said in the file, or a package is missing.
            ProjectError: When there is no such model.
        """
        if any(find_spec(name) is None for name in _NEEDED):
            raise ConfigError(not_installed("mml export", "onnx"))
        if self._record is not None and self._ensemble is not None:
            raise ConfigError(problem("mode.record", "mode.ensemble says what to export already", fix="leave one out"))
        config, project = self.run_config, self.context.project
        where = project.name if self._record is None else f"{project.name}#{self._record}"
        stored = predictor.found(
            where,
            out_dir=config.out_dir,
            data_dir=config.data_dir,
            task_name=tasks.recorded_pivot(config, project).name if self._record is None else None,
            ensemble=self._ensemble,
            trust=config.tree["trust"],
        )
        self._predictor = Predictor(stored)
        raise_all(self._problems())
        given = (
            Path(self._file).expanduser() if self._file else project.reports_dir() / "exports" / f"{stored.task}.onnx"
        )
        self._path = given.absolute()
        return [Step("export", self._export, in_project=False)]

    def _problems(self) -> list[str]:
        """What a file cannot hold."""
        found = list[str]()
        for record in self._predictor.stored.records:
            recipe, before = self._predictor.config(record.id).recipe, self._predictor.preprocessing(record.id)
            if recipe.tta.name != "none":
                found.append(
                    problem(record.id, "predicts several views of an image (tta)", fix="export a model with tta=none")
                )
            if before.before is not None or before.is_ragged:
                wrong = "changes images before or after they are resized (preprocessing.before, preprocessing=original)"
                found.append(problem(record.id, wrong, fix="train with preprocessing=default"))
        if not self._predictor.sees_alike and not self._any_size():
            wrong = "the models see images of different sizes, which one file takes only where it resizes itself"
            found.append(problem("mode.resize", wrong, fix="export one of them with mode.record=NUMBER"))
        return list(dict.fromkeys(found))

    def _any_size(self) -> bool:
        from mlpipe.predicting.exported import is_resizable

        before = [self._predictor.preprocessing(record.id) for record in self._predictor.stored.records]
        return self._resizes and not self._predictor.has_arrays and all(map(is_resizable, before))

    def _export(self, run: Run | None) -> None:
        import torch

        from mlpipe.predicting import exported, onnx_runner

        seen = self._some_images()
        any_size, pixels = self._any_size(), [one for one, _ in seen]
        self._predictor.outputs([sample for _, sample in seen[:1]])
        whole = exported.Whole(self._mixture(), self._predictor.table.tensors, resizes=any_size)
        example = np.stack([pixels[0], pixels[0]])
        temporary = self._path.with_name(f".{self._path.name}.part")
        facts = self._facts(any_size, pixels[0])
        log.info(f"writes {counted(len(self._predictor.stored.records), 'network')} as one file")
        exported.save(whole, torch.from_numpy(example), temporary, facts, any_size=any_size)
        try:
            differences = self._compared(temporary, seen, any_size)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        runner, card = self._path.with_name(f"{self._path.stem}_run.py"), self._path.with_name(f"{self._path.stem}.md")
        files.write_text(runner, Path(onnx_runner.__file__).read_text("utf-8"))
        files.write_text(card, model_card.as_markdown(model_card.facts(self._predictor)))
        size = self._path.stat().st_size
        size_of = "any size" if any_size else " x ".join(map(str, facts["size"]))
        self.context.facts.update(
            file=str(self._path),
            runner=str(runner),
            card=str(card),
            bytes=size,
            any_size=any_size,
            differences={name: vars(one) for name, one in differences.items()},
        )
        log.info(f"{self._path} ({size / 1e6:.1f} MB): pixels of {size_of} in, values out")
        log.info(f"apply it without this program: python {runner.name} {self._path.name} FOLDER > predictions.csv")

    def _some_images(self) -> list[tuple[Pixels, Sample]]:
        """Images of the task spread over it, as the file is given them and as the models are."""
        pivot = self._predictor.pivot
        first = self._predictor.preprocessing(self._predictor.stored.records[0].id)
        read, any_size = sources.reader(pivot, first.channels), self._any_size()
        rows = np.unique(np.linspace(0, len(pivot.samples) - 1, min(self._images, len(pivot.samples))).astype(int))
        found = list[tuple[Pixels, Sample]]()
        for row in rows.tolist():
            try:
                raw = read(row)
            except UnreadableImageError:
                continue
            found.append((raw if any_size else first(raw), _at_hand(raw)))
        if not found:
            raise MlpipeError(problem(f"task {pivot.name}", "none of its images can be read to compare"))
        return found

    def _mixture(self) -> Mixture:
        from mlpipe.predicting.exported import Mixture, Part

        stored = self._predictor.stored
        rows = self._predictor.new_rows()
        members = [
            [
                Part(
                    self._predictor.model(record.id).networks[0],
                    rows.calibration(record),
                    self._predictor.preprocessing(record.id),
                )
                for record in several
            ]
            for _, several, _ in stored.members
        ]
        ensemble, weighted = stored.ensemble, post_kind.weighted(self._predictor.pivot.kind)
        own = ensemble.calibration if ensemble is not None else None
        return Mixture(
            members,
            [weight for _, _, weight in stored.members],
            weighted,
            self._predictor.table.mixing or (ensemble.mixing if ensemble is not None else "probabilities"),
            own,
            own is not None and ensemble is not None and ensemble.stage == "after",
        )

    def _facts(self, any_size: bool, pixels: Pixels) -> dict[str, Any]:
        stored, pivot = self._predictor.stored, self._predictor.pivot
        first, its = self._predictor.preprocessing(stored.records[0].id), kinds.of(pivot.kind)
        decide = stored.ensemble.decide if stored.ensemble is not None else {}
        sets, thresholds = decide.get("sets", {}), decide.get("thresholds", {})
        cuts = {name: cut for name, cut in thresholds.get("cuts", {}).items() if cut is not None}
        least = thresholds.get("prevalence", [])
        return {
            "format": FORMAT,
            "version": mlpipe.__version__,
            "task": stored.task,
            "kind": pivot.kind,
            "classes": list(pivot.classes),
            "has_probabilities": its.has_probabilities,
            "one_is_true": its.has_classes,
            "channels": first.channels,
            "dtype": pivot.dtype,
            "size": list(first.sides) if first.sides else list(pixels.shape[:-1]),
            "resize": first.resize,
            "interpolation": first.interpolation,
            "any_size": any_size,
            "background": Decoding.of((pivot.bases or (pivot,))[0].source).background,
            "models": {record.id: record.weights for record in stored.records},
            "ensemble": stored.ensemble.id if stored.ensemble is not None else None,
            "prior": stored.ensemble.prior["values"] if stored.ensemble is not None else None,
            "cuts": cuts,
            "costs": decide.get("costs", {}).get("table"),
            "decide_above": [max(cuts.get(name, 0.5), share / 2) for name, share in zip(pivot.classes, least, strict=False)],
            "set_above": [1.0 - cut if cut is not None else 0.0 for cut in sets["cuts"]] if sets.get("score") == "lac" else [],
            "halfwidths": decide.get("halfwidths", {}),
        }  # fmt: skip

    def _compared(self, path: Path, seen: Sequence[tuple[Pixels, Sample]], any_size: bool) -> dict[str, Difference]:
        """How far the file's values lie apart; a file that resizes is given resized images as well.

        Raises:
            MlpipeError: When they lie too far apart.
        """
        wanted = self._predictor.values([sample for _, sample in seen])
        found = {"pixels": _difference(wanted, _run(path, [pixels for pixels, _ in seen]))}
        if any_size and self._predictor.sees_alike:
            first = self._predictor.preprocessing(self._predictor.stored.records[0].id)
            small = [first(pixels) for pixels, _ in seen]
            alike = self._predictor.values([_at_hand(one) for one in small])
            found["resized"] = _difference(alike, _run(path, small))
        for name, one in found.items():
            log.info(
                f"{name}: {counted(one.images, 'image')}, at most {one.largest:.1e} apart, {one.decided} decided otherwise"
            )
        limits = {"pixels": _RESIZED if any_size else _SAME, "resized": _SAME}
        wrong = [name for name, one in found.items() if one.largest > limits[name] or one.decided]
        if "resized" in wrong or (wrong and not any_size):
            name = "resized" if "resized" in wrong else "pixels"
            what = f"its values lie {found[name].largest:.1e} from the model's, more than {limits[name]:.0e}: its network differs"
            raise MlpipeError(problem(str(self._path), what, fix="nothing was kept; export another network"))
        if wrong:
            what = f"resizing inside moves values by {found['pixels'].largest:.1e}, more than {_RESIZED:.0e}"
            fix = (
                "use mode.resize=false: the runner resizes then"
                if self._predictor.sees_alike
                else "export one with mode.record=NUMBER"
            )
            raise MlpipeError(problem(str(self._path), what, fix=fix))
        return found


def _at_hand(pixels: Pixels) -> Sample:
    """A sample whose pixels are there."""
    return lambda channels, least: pixels


def _run(path: Path, images: Sequence[Pixels]) -> npt.NDArray[np.float64]:
    """A file's values for images, one by one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate(
        [session.run(["values"], {"pixels": np.ascontiguousarray(one[np.newaxis])})[0] for one in images]
    )


def _difference(wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> Difference:
    spread = max(1.0, float(np.abs(wanted).max()))
    apart = np.abs(wanted - found) / spread
    largest = float(apart.max())
    if wanted.shape[1] < 2:
        return Difference(largest, 0, len(wanted))
    top = np.sort(wanted, axis=1)
    leads = top[:, -1] - top[:, -2] > 2 * apart.max(axis=1) * spread
    return Difference(largest, int((leads & (wanted.argmax(1) != found.argmax(1))).sum()), len(wanted))
