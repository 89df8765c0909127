"""A Musket experiment in Python: train it on a data set, predict with its folds, look for a learning rate."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe.config.components import Component
from mlpipe.data import items, user_code
from mlpipe.data.derived_sets import CompositeDataSet, SubDataSet
from mlpipe.data.sources import python_items
from mlpipe.dialects import musket
from mlpipe.dialects.translation import as_text
from mlpipe.errors import DataError, ProjectError, listing, problem
from mlpipe.modes import experiment_files, launch, tasks
from mlpipe.modes.finder import Finder
from mlpipe.runs import predictions, records
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[Any]
_PART = re.compile(r"(?P<part>train|validation|holdout)(?P<fold>(?<=validation)\d+)?")


@dataclass(frozen=True)
class Map:
    """A prediction as an array of shape (1, 1, outputs).

    Attributes:
        arr: The array.
    """

    arr: Array


@dataclass(frozen=True)
class Batch:
    """Some items with what was predicted for them.

    Attributes:
        images: The images as they are.
        data: Their ids.
        results: Probabilities, shape (n, outputs).
        ground_truth: Targets, shape (n, outputs).
        predicted_maps_aug: The probabilities as maps.
    """

    images: list[Array]
    data: list[Any]
    results: Array
    ground_truth: Array
    predicted_maps_aug: list[Map]


class Experiment:
    """One experiment.

    Attributes:
        path: Its configuration file.
        overrides: Native overrides on top of it, such as `trainer.accelerator=cpu`.

    Args:
        path: The file.
        cache: Where images are cached; None: `.cache` in its project.
    """

    def __init__(self, path: str | Path, cache: Path | None = None) -> None:
        self.path = str(Path(path).expanduser().absolute())
        self.overrides: list[str] = []
        self._source = experiment_files.source_of(Path(self.path))
        home = experiment_files.home_of(Path(self.path))
        self._project = experiment_files.results_of(Path(self.path))
        self._data_dir = cache or home.project / ".cache"
        self._networks: dict[Path, tuple[nn.Module, Any, Any]] = {}

    def fit(self, dataset: Any = None, foldsToExecute: Sequence[int] | None = None) -> dict[str, Any]:  # noqa: N803
        """Train every fold, and write weights, metrics and summary.yaml beside the configuration.

        Args:
            dataset: A data set (`mlpipe.data.items`); None: the one that the configuration names.
            foldsToExecute: Only these folds.

        Returns:
            The summary.

        Raises:
            ProjectError: When the experiment is finished already.
            ConfigError: With a sentence for every mistake in the configuration.
        """
        path = Path(self.path)
        if (path.parent / "summary.yaml").exists():
            fix = "remove its summary.yaml to train again"
            raise ProjectError(problem(str(path.parent), "the experiment is already finished", fix=fix))
        folds = [f"mode.folds=[{','.join(map(str, foldsToExecute))}]"] if foldsToExecute is not None else []
        overrides = [*self._common(dataset), "mode.subroutines=[train,predict]", *folds, *self.overrides]
        prepared = launch.prepare("train", overrides)
        launch.execute(prepared)
        return experiment_files.report(path, self._project, prepared.run_config)[0]

    def get_dataset(self, name: str = "train", trust: Sequence[str] = ()) -> Any:
        """A data set of the experiment.

        Args:
            name: An entry of its `datasets`; `dataset`: all that it names; and, once it is trained, `train` (what is no
                holdout), `validation` or `validation3` (of a fold), `holdout`.
            trust: Folders outside the current one, and modules, whose code may run.

        Raises:
            ConfigError: When it names no such data set.
            ProjectError: When the experiment was not trained.
        """
        home = experiment_files.home_of(Path(self.path))
        part = _PART.fullmatch(name)
        if part is None or name in (self._source.get("datasets") or {}):
            given = musket.data_of(self._source, home, None if name == "dataset" else name)
            return CompositeDataSet(python_items.opened(trust=trust, **given))
        whole = self.get_dataset("dataset", trust)
        record = self._record(int(part["fold"] or 0))
        rows = self._rows(record, "val" if part["part"] == "validation" else "test")
        if part["part"] == "train":
            rows = sorted(set(range(len(whole))) - set(rows))
        if not rows:
            raise ProjectError(problem("holdout", "this configuration does not have one", fix="add testSplit: 0.2"))
        return SubDataSet(whole, rows)

    @property
    def data_names(self) -> list[str]:
        """What `get_dataset` knows by name."""
        return [*(self._source.get("datasets") or {}), "dataset", "train", "validation", "holdout"]

    def task_arguments(self, name: str) -> dict[str, Any]:
        """What the configuration's `tasks` says of a task: arguments by name."""
        said = self._source.get("tasks") or {}
        entries = said if isinstance(said, list) else [{key: value} for key, value in said.items()]
        found = next((one[name] for one in entries if isinstance(one, dict) and name in one), None)
        return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}

    def _rows(self, record: ModelRecord, split: str) -> list[int]:
        """The items that a record predicted, by their numbers."""
        stored = predictions.load(self._project.predictions_file(record.pivot, record.id), record.task, split)
        return [int(name.partition(":")[0]) for name in stored.sample_ids]

    def lr_find(
        self, ds: Any = None, *, start_lr: float = 1e-6, end_lr: float = 1.0, epochs: int = 5, fold: int = 0
    ) -> Finder:
        """A range test on one fold: the rate rises by the same factor at every step.

        Args:
            ds: As for `fit`.
            start_lr: The first rate.
            end_lr: The last one.
            epochs: How long the test is, in epochs of this fold.
            fold: The fold.
        """
        size = len(ds) if ds is not None else int(self._source.get("batch", 8)) * 20
        count = int(self._source.get("folds_count", 5))
        share = 1 - (1 / count if count > 1 else float(self._source.get("validationSplit", 0.2)))
        steps = max(20, round(size * share / int(self._source.get("batch", 8))) * epochs)
        keys = [f"mode.start={start_lr!r}", f"mode.end={end_lr!r}", f"mode.steps={steps}", f"mode.fold={fold}"]
        facts = launch.execute(launch.prepare("lr_find", [*self._common(ds), *keys, *self.overrides]))
        with Path(facts["file"]).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return Finder([float(row["lr"]) for row in rows], [float(row["loss"]) for row in rows])

    def load_model(self, fold: int = 0, stage: int = -1) -> nn.Module:
        """The network of a fold with its best weights: images (n, channels, size, size) to logits by target.

        Args:
            fold: The fold.
            stage: The stage whose best weights it has; -1: the last one.

        Raises:
            ProjectError: When the fold was not trained.
            DataError: When there is no such stage.
        """
        return self._loaded(self._record(fold), stage)[0]

    def predict_all_to_array(
        self,
        dataset: Any,
        fold: int | Sequence[int],
        stage: int | Sequence[int] = -1,
        limit: int = -1,
        batch_size: int = 32,
        ttflips: bool | str = False,
    ) -> Array:
        """Probabilities (numbers for a linear activation) of a data set's items, the mean over folds.

        Args:
            dataset: The data set.
            fold: A fold, or several.
            stage: A stage, or several whose predictions are averaged too; -1: the last one.
            limit: Only so many items; -1: all.
            batch_size: Images at a time.
            ttflips: True: all eight turns and mirror images; `Horizontal` or `Horizontal_and_vertical`.

        Returns:
            Shape (items, outputs).
        """
        dataset = self._prepared(dataset, "augmenter")
        count = len(dataset) if limit < 0 else min(limit, len(dataset))
        found = [dataset[index] for index in range(count)]
        folds = [fold] if isinstance(fold, int) else list(fold)
        stages = [stage] if isinstance(stage, int) else list(stage)
        predicted = [
            self._predicted(self._record(one), number, found, batch_size, ttflips) for one in folds for number in stages
        ]
        mean: Array = np.mean(predicted, axis=0)
        return mean

    def evaluateAll(  # noqa: N802
        self,
        ds: Any,
        fold: int,
        stage: int = -1,
        ttflips: bool | str = False,
        batchSize: int = 32,  # noqa: N803
    ) -> Iterator[Batch]:
        """The validation items of a fold in batches, with what its model predicts for them.

        Args:
            ds: The data set that was trained on.
            fold: The fold.
            stage: As for `load_model`.
            ttflips: As for `predict_all_to_array`.
            batchSize: Items in a batch.
        """
        record = self._record(fold)
        numbers, seen = self._rows(record, "val"), self._prepared(ds)
        for start in range(0, len(numbers), batchSize):
            found = [seen[number] for number in numbers[start : start + batchSize]]
            results = self._predicted(record, stage, found, batchSize, ttflips)
            yield Batch(
                [np.asarray(item.x) for item in found],
                [item.id for item in found],
                results,
                np.stack([items.target_of(item, str(item.id)) for item in found]),
                [Map(row.reshape(1, 1, -1)) for row in results],
            )

    def _common(self, dataset: Any) -> list[str]:
        texts = [
            f"recipe={self.path}",
            f"out_dir={as_text(str(self._project.root.parent))}",
            f"proj={as_text(self._project.name)}",
            f"data_dir={as_text(str(self._data_dir))}",
        ]
        if dataset is None:
            return texts
        targets = [f"task.{key}={as_text(value)}" for key, value in musket.targets_of(self._source).items()]
        call = f"task.train=[{{call:{user_code.hold(dataset)}}}]"
        name = f"task.name={as_text(self._project.name)}"
        added = [f"task.{key}={as_text(value)}" for key, value in self._additions().items()]
        return [*texts, "task=items", call, *targets, name, *added, "task.allow_overlap=true"]

    def _additions(self) -> dict[str, Any]:
        return musket.additions_of(self._source, experiment_files.home_of(Path(self.path)))

    def _prepared(self, dataset: Any, *leaving: str) -> Any:
        """A data set of the user's own after what the configuration does to data sets, but for some of it."""
        added = {key: value for key, value in self._additions().items() if key not in ("extra", *leaving)}
        if not {"preprocessing", "augmenter"} & set(added):
            return dataset
        return CompositeDataSet(python_items.opened([{"call": user_code.hold(dataset)}], **added))

    def _record(self, fold: int) -> ModelRecord:
        found = records.latest_cross_validation(records.load_all(self._project))
        record = next((one for one in found if one.fold == fold), None)
        if record is None:
            fix = f"trained are {listing(one.fold for one in found)}" if found else "call fit first"
            raise ProjectError(problem("fold", "was not trained", got=fold, fix=fix))
        return record

    def _weights(self, record: ModelRecord, stage: int) -> Path:
        """The file of the best weights of a stage."""
        folder = self._project.model_dir(record.pivot, record.id)
        kept = records.kept_stages(folder)
        last = kept[-1] if kept else len(self._source.get("stages") or [None]) - 1
        number = last if stage == -1 else stage
        if number != last and number not in kept:
            fix = f"use -1 or {listing(kept or [last])}"
            raise DataError(problem("stage", "there are no weights of it", got=stage, fix=fix))
        return records.stage_weights(folder, number) if kept else folder / records.WEIGHTS_FILE

    def _loaded(self, record: ModelRecord, stage: int) -> tuple[nn.Module, Any, Any]:
        """The network of a record, its recipe, and the pack of its images; loaded once."""
        file = self._weights(record, stage)
        if file not in self._networks:
            self._networks[file] = self._load(record, file)
        return self._networks[file]

    def _load(self, record: ModelRecord, file: Path) -> tuple[nn.Module, Any, Any]:
        from mlpipe.arch import weights
        from mlpipe.learn import setup

        prepared = launch.prepare("predict", [f"recipe={self.path}", *self._places(record), *self.overrides])
        config = tasks.config_of(prepared.run_config, record)
        of = tasks.named(record.pivot, self._data_dir)
        pack = tasks.pack_of(config, of, 1)
        setup.prepare_torch(config.recipe.threads)
        network = setup.build_network(config.recipe, of, pack, seed=0, pretrained=False)
        weights.load(network, weights.read(file))
        return network.eval(), config.recipe, pack

    def _places(self, record: ModelRecord) -> list[str]:
        return [*self._common(None)[1:], f"task={as_text(record.pivot)}"]

    def _predicted(
        self, record: ModelRecord, stage: int, found: Sequence[Any], batch_size: int, ttflips: bool | str
    ) -> Array:
        import torch

        from mlpipe.learn.module import TARGET
        from mlpipe.learn.tta import mean_of

        network, recipe, pack = self._loaded(record, stage)
        views = (_views(ttflips) or recipe.tta).build(pack.peak)
        parts = []
        for start in range(0, len(found), batch_size):
            pixels = [
                pack.preprocessing.fixed(items.image_of(item, str(item.id)))
                for item in found[start : start + batch_size]
            ]
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
            with torch.no_grad():
                if views is None:
                    parts.append(mean_of([network(images)[TARGET]], record.kind, "probabilities"))  # type: ignore[arg-type]
                else:
                    parts.append(views.predict(lambda batch: network(batch)[TARGET], images, record.kind))
        logits = torch.cat(parts)
        if record.kind == "regression":
            return logits.numpy()
        return (logits.softmax(1) if record.kind == "classification" else logits.sigmoid()).numpy()


def _views(ttflips: bool | str) -> Component | None:
    """The views that an argument asks for; None: those of the recipe."""
    if not ttflips:
        return None
    named = {"horizontal": False, "horizontal_and_vertical": True}
    name = str(ttflips).lower()
    if name in named:
        return Component("tta", "mlpipe.learn.tta.flips", {"vertical": named[name]})
    if name != "true":
        fix = "use True, Horizontal or Horizontal_and_vertical"
        raise DataError(problem("ttflips", "unknown test-time augmentation", got=ttflips, fix=fix))
    return Component("tta", "mlpipe.learn.tta.d4", {})
