"""A Musket experiment in Python: train it on a data set, predict with its folds, find a learning rate."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe import current_folder
from mlpipe.config.recipe_file import as_text
from mlpipe.data import user_code
from mlpipe.data.items.derived_sets import CompositeDataSet, Derived, SubDataSet
from mlpipe.data.items.sets import DirectoryDataSet
from mlpipe.data.sources.listings import python_sets
from mlpipe.dialects import front, musket, sentences
from mlpipe.dialects.musket import experiment_files, experiment_search
from mlpipe.dialects.musket.experiment_networks import Batch as Batch
from mlpipe.dialects.musket.experiment_networks import Map as Map
from mlpipe.dialects.musket.experiment_networks import Networks, batch_of
from mlpipe.dialects.musket.finder import Finder
from mlpipe.errors import DataError, ProjectError, did_you_mean, listing, problem
from mlpipe.running import launch
from mlpipe.runs import predictions
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[Any]
# Changes that a configuration makes to data sets once, and parts of its own data that are held out.
_CHANGES = frozenset({"preprocessing", "augmenter", "holdout", "after_holdout"})
_HELD_OUT = frozenset({"validation", "test", "holdout"})
_PART = re.compile(r"(?P<part>train|validation|holdout)(?P<fold>(?<=validation)\d+)?")


@dataclass(frozen=True)
class _Note:
    """The changes that a configuration made to a data set.

    Attributes:
        path: The configuration.
        done: Keys of `additions_of`.
        is_whole: Whether it is all of the training data, with its parts.
        holds_out: Whether it has items that must not be trained on.
    """

    path: str
    done: frozenset[str]
    is_whole: bool = False
    holds_out: bool = False


class Experiment:
    """One experiment.

    Attributes:
        path: Its configuration file.
        overrides: Native overrides that take precedence over it, such as `trainer.accelerator=cpu`.

    Args:
        path: The file.
        cache: Folder of the image cache; None: `.cache` in its project.
    """

    def __init__(self, path: str | Path, cache: Path | None = None) -> None:
        self.path = str(current_folder.expanded(path).absolute())
        self.overrides: list[str] = []
        self._resumes, self._trust = False, list[str]()
        self._source = experiment_files.source_of(Path(self.path))
        home = experiment_files.home_of(Path(self.path))
        self._project = experiment_files.results_of(Path(self.path))
        self._data_dir = cache or home.project / ".cache"
        stages = len(self._source.get("stages") or [None])
        one_class = self._source.get("classes") == 1
        self._networks = Networks(
            self._project, lambda record: [f"recipe={self.path}", *self._record_overrides(record)], stages, one_class
        )

    def fit(
        self,
        dataset: Any = None,
        subsample: float = 1.0,
        foldsToExecute: Sequence[int] | int | None = None,  # noqa: N803
        start_from_stage: int = 0,
    ) -> dict[str, Any]:
        """Train every fold, and write weights, metrics and summary.yaml beside the configuration.

        Args:
            dataset: A data set (`mlpipe.data.items`), or the name of one in the configuration; None: the configuration's
                training data.
            subsample: Share of the training images per epoch, taken in turn.
            foldsToExecute: Train only these folds.
            start_from_stage: Must be 0: to continue an interrupted training, use `setAllowResume(True)`.

        Returns:
            The summary.

        Raises:
            ProjectError: When the experiment is already finished.
            ConfigError: With a sentence for every mistake in the configuration.
            DataError: When an argument is wrong.
        """
        path = Path(self.path)
        if (path.parent / "summary.yaml").exists():
            fix = "remove its summary.yaml to train again"
            raise ProjectError(problem(str(path.parent), "the experiment is already finished", fix=fix))
        if start_from_stage:
            fix = "use setAllowResume(True), or initial_weights in a stage"
            raise DataError(
                problem("start_from_stage", "training begins with the first one", got=start_from_stage, fix=fix)
            )
        if not 0 < subsample <= 1:
            raise DataError(problem("subsample", "must be above 0 and at most 1", got=subsample))
        dataset = self._training_set(dataset)
        chosen = [foldsToExecute] if isinstance(foldsToExecute, int) else foldsToExecute
        folds = [f"mode.folds=[{','.join(map(str, chosen))}]"] if chosen is not None else []
        overrides = [*self._common_overrides(dataset), "mode.subroutines=[train,predict]", *folds, *self.overrides]
        searched = experiment_files.is_searched(path)
        if subsample < 1:
            overrides += self._subsample_overrides(dataset, subsample)
        if searched:
            return experiment_search.run(path, self._project, overrides)
        prepared = front.prepared("train", overrides)
        unfinished = experiment_files.unfinished(self._project) if self._resumes else None
        if unfinished is not None and experiment_files.is_resumable_as(unfinished, prepared.run_config):
            words = launch.words_to_continue(prepared.run_config, unfinished.name)
            prepared = launch.prepare(launch.Command("train", words))
        with sentences.of_file(overrides):
            launch.execute(prepared, follower=experiment_files.follower(path, self._project))
        return experiment_files.report(path, self._project, prepared.run_config, subsample)[0]

    def setAllowResume(self, allow: bool) -> None:  # noqa: N802
        """Set whether `fit` resumes an interrupted training, exactly where it stopped.

        Args:
            allow: Whether it does.
        """
        self._resumes = allow

    def _subsample_overrides(self, dataset: Any, subsample: float) -> list[str]:
        """Return overrides for epochs with a share of the training images, in whole batches."""
        size, batch = self._train_size(dataset), int(self._source.get("batch", 8))
        count = max(1, int(size * subsample) // batch) * batch
        return ["sampling=subset", f"sampling.sample_count={count}", f"sampling.batch_size={batch}"]

    def _train_size(self, dataset: Any) -> int:
        """Return the number of training samples of a fold, as far as the configuration determines it."""
        size = len(dataset if dataset is not None else self.get_dataset("dataset"))
        size = round(size * (1 - float(self._source.get("testSplit", 0.0))))
        count = int(self._source.get("folds_count", 5))
        return int(size * (1 - (1 / count if count > 1 else float(self._source.get("validationSplit", 0.2)))))

    def get_dataset(self, name: str = "train", trust: Sequence[str] = ()) -> Any:
        """Return a data set of the experiment.

        Args:
            name: An entry of its `datasets`; `dataset`: all that it names; and after training, `train` (all but the holdout),
                `validation` or `validation3` (of a fold), `holdout`.
            trust: Modules, and folders outside the current one, whose code may run.

        Raises:
            ConfigError: When it has no such data set.
            ProjectError: When the experiment was not trained.
        """
        home = experiment_files.home_of(Path(self.path))
        part = _PART.fullmatch(name)
        if part is None or name in (self._source.get("datasets") or {}):
            arguments = musket.data_of(self._source, home, None if name == "dataset" else name)
            self._trust = list(trust) or self._trust
            is_whole = name == "dataset"
            holds_out = is_whole and bool(_HELD_OUT & set(arguments))
            note = _Note(self.path, _CHANGES & set(arguments), is_whole, holds_out)
            return self._with_note(CompositeDataSet(python_sets.opened(trust=trust, **arguments)), note)
        whole = self.get_dataset("dataset", trust)
        record = self._record(int(part["fold"] or 0))
        rows = self._rows(record, "val" if part["part"] == "validation" else "test")
        if part["part"] == "train":
            rows = sorted(set(range(len(whole))) - set(rows))
        if not rows:
            raise ProjectError(problem("holdout", "this configuration does not have one", fix="add testSplit: 0.2"))
        return self._with_note(SubDataSet(whole, rows), _Note(self.path, self._applied_additions(whole)))

    def _with_note(self, dataset: Any, note: _Note) -> Any:
        """Return a data set with a note of the changes that this configuration has made to it, so that nothing is done twice."""
        dataset.note = note
        return dataset

    def _notes(self, dataset: Any) -> list[_Note]:
        """Return this configuration's notes of a data set, or else those of the sets that it consists of."""
        note = vars(dataset).get("note") if isinstance(dataset, Derived) else None
        if note is None:
            return [inner_note for part in _inner_sets(dataset) for inner_note in self._notes(part)]
        return [note] if note.path == self.path else []

    def _applied_additions(self, dataset: Any) -> frozenset[str]:
        """Return the changes that this configuration has already made to a data set: keys of `additions_of`.

        Raises:
            DataError: When some of its items went through `preprocessing`, and others did not.
        """
        if isinstance(dataset, Derived) and "note" not in vars(dataset):
            key_sets = [self._applied_additions(part) for part in dataset.sets()]
            if len({"preprocessing" in keys for keys in key_sets}) > 1:
                fix = "join sets of get_dataset alone, or none of them"
                raise DataError(problem("dataset", "only some of its items went through preprocessing", fix=fix))
            return frozenset().union(*key_sets)
        return frozenset().union(*(note.done for note in self._notes(dataset)))

    def _training_set(self, dataset: Any) -> Any:
        """Return the data set for a training; None: the configuration's own, whose parts are known.

        Raises:
            DataError: When it consists of the configuration's own data, including held-out items.
        """
        dataset = self.get_dataset(dataset) if isinstance(dataset, str) else dataset
        notes = self._notes(dataset)
        if isinstance(dataset, Derived) and "note" in vars(dataset) and any(note.is_whole for note in notes):
            return None
        if any(note.holds_out for note in notes):
            fix = "give the one of get_dataset('dataset') itself, or one that holds nothing out"
            raise DataError(problem("dataset", "is made of one that has its validation or holdout in it", fix=fix))
        return dataset

    @property
    def data_names(self) -> list[str]:
        """Return the names for `get_dataset`."""
        return [*(self._source.get("datasets") or {}), "dataset", "train", "validation", "holdout"]

    def problems_of_data(self, key: str, name: str) -> list[str]:
        """Return a sentence if the experiment cannot provide a data set, without reading data or training.

        Args:
            key: The key that asks for it, for the error message.
            name: As for `get_dataset`.
        """
        part = _PART.fullmatch(name)
        if part is None and name not in self.data_names:
            fix = did_you_mean(name, self.data_names, otherwise=f"there are {listing(self.data_names)}")
            return [problem(key, "there is no such data set", got=name, fix=fix)]
        parts = self._source.get("dataset")
        is_there = "holdout" in self._source or (isinstance(parts, dict) and "holdout" in parts)
        is_there = is_there or bool(self._source.get("testSplit")) or name in (self._source.get("datasets") or {})
        if name == "holdout" and not is_there:
            return [problem(key, "this configuration has no holdout", got=name, fix="add testSplit: 0.2")]
        return []

    def task_arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments of a task by name, from the configuration's `tasks`."""
        section = self._source.get("tasks") or {}
        entries = section if isinstance(section, list) else [{key: value} for key, value in section.items()]
        arguments = next((entry[name] for entry in entries if isinstance(entry, dict) and name in entry), None)
        return {str(key): value for key, value in arguments.items()} if isinstance(arguments, dict) else {}

    def _rows(self, record: ModelRecord, split: str) -> list[int]:
        """Return the numbers of the items that a record predicted."""
        stored = predictions.load(self._project.predictions_file(record.pivot, record.id), record.task, split)
        return [int(name.partition(":")[0]) for name in stored.sample_ids]

    def lr_find(
        self,
        ds: Any = None,
        foldsToExecute: Sequence[int] | int | None = None,  # noqa: N803
        stage: int = 0,
        subsample: float = 1.0,
        start_lr: float = 1e-6,
        end_lr: float = 1.0,
        epochs: int = 5,
    ) -> Finder:
        """Run a learning rate range test on one fold: the rate grows by a constant factor per step, without the file's callbacks.

        Args:
            ds: As for `fit`.
            foldsToExecute: The first of them is used; None: fold 0.
            stage: Must be 0, the first one.
            subsample: Share of the training images per epoch.
            start_lr: The first rate.
            end_lr: The last rate.
            epochs: Length of the test in epochs of this fold.

        Raises:
            DataError: When another stage is requested.
        """
        if stage:
            raise DataError(problem("stage", "a range test is of the first stage", got=stage, fix="use 0"))
        ds = self._training_set(ds)
        chosen = [foldsToExecute] if isinstance(foldsToExecute, int) else list(foldsToExecute or [0])
        batches = math.ceil(self._train_size(ds) * subsample / int(self._source.get("batch", 8)))
        steps = max(3, batches * epochs)
        # The rate is multiplied by the n-th root of the range after each of n steps, so the last step starts one factor below.
        last = start_lr * (end_lr / start_lr) ** ((steps - 1) / steps)
        keys = [f"mode.start={start_lr!r}", f"mode.end={last!r}", f"mode.steps={steps}", f"mode.fold={chosen[0]}"]
        overrides = [*self._common_overrides(ds), *keys, *self.overrides]
        with sentences.of_file(overrides):
            facts = launch.execute(front.prepared("lr_find", overrides))
        with Path(facts["file"]).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return Finder([float(row["lr"]) for row in rows], [float(row["loss"]) for row in rows])

    def load_model(self, fold: int = 0, stage: int = -1) -> nn.Module:
        """Return the network of a fold with its best weights, from images (n, channels, size, size) to logits by target.

        Args:
            fold: The fold.
            stage: The stage of the weights; -1: the last one.

        Raises:
            ProjectError: When the fold was not trained.
            DataError: When there is no such stage.
        """
        return self._networks.loaded(self._record(fold), stage)[0]

    def predict_all_to_array(
        self,
        dataset: Any,
        fold: int | Sequence[int] | None = None,
        stage: int | Sequence[int] | None = -1,
        limit: int = -1,
        batch_size: int = 32,
        ttflips: bool | str = False,
    ) -> Array:
        """Return probabilities (numbers for a linear activation) of a data set's items, averaged over folds and stages.

        Masks are predicted in the size of `shape`.

        Args:
            dataset: The data set, or the name of one in the configuration.
            fold: A fold, or several; None: all.
            stage: A stage, or several; -1: the last one; None: all.
            limit: Maximum number of items; -1: all.
            batch_size: Images per batch.
            ttflips: True: all eight rotations and reflections; `Horizontal` or `Horizontal_and_vertical`.

        Returns:
            Shape (items, outputs), with several heads concatenated; for masks (items, height, width, classes).
        """
        return self._mean(self._members(fold, stage), self._items(dataset, limit), batch_size, ttflips)

    def predict_on_dataset(
        self,
        dataset: Any,
        fold: int | Sequence[int] | None = 0,
        stage: int | Sequence[int] | None = -1,
        limit: int = -1,
        batch_size: int = 32,
        ttflips: bool | str = False,
    ) -> Iterator[Batch]:
        """Yield the same predictions in batches; the batches have no truth if items have none.

        Args:
            dataset: As for `predict_all_to_array`, like the others.
            fold: A fold, or several.
            stage: A stage, or several.
            limit: Maximum number of items.
            batch_size: Items per batch.
            ttflips: Test-time augmentation.
        """
        items, members = self._items(dataset, limit), self._members(fold, stage)
        for start in range(0, len(items), batch_size):
            part = items[start : start + batch_size]
            truth = self._networks.truth(members[0][0], part)
            yield batch_of(part, self._mean(members, part, batch_size, ttflips), truth)

    def predict_on_directory(
        self, path: str | Path, fold: int | Sequence[int] | None = 0, stage: int = -1, **more: Any
    ) -> Iterator[Batch]:
        """Yield the same predictions for the images of a folder, sorted by file name, which is their id.

        Args:
            path: The folder.
            fold: A fold, or several.
            stage: A stage.
            more: `limit`, `batch_size` and `ttflips`.
        """
        return self.predict_on_dataset(DirectoryDataSet(path), fold, stage, **more)

    def evaluate_all_to_arrays(self, ds: Any, fold: int, stage: int = -1, **more: Any) -> tuple[Array, Array]:
        """Return the predictions of a fold's model for its validation items, and their truth.

        Args:
            ds: As for `evaluateAll`.
            fold: The fold.
            stage: The stage.
            more: `ttflips` and `batchSize`.
        """
        batches = list(self.evaluateAll(ds, fold, stage, **more))
        return np.concatenate([batch.results for batch in batches]), np.concatenate(
            [batch.ground_truth for batch in batches]
        )

    def find_treshold(self, ds: Any, fold: int, func: Callable[[Array, Array], float], stage: int = -1) -> float:
        """Return the threshold out of 0, 0.01, ... 0.99 that maximises a function on a fold's validation items.

        Args:
            ds: As for `evaluateAll`.
            fold: The fold.
            func: Called with the truth and with whether predictions are above the threshold.
            stage: The stage.
        """
        predicted, truth = self.evaluate_all_to_arrays(ds, fold, stage)
        scores = [float(func(truth, predicted > number / 100)) for number in range(100)]
        return int(np.argmax(scores)) / 100

    def info(self, metric: str | None = None) -> list[tuple[int, int, float, float]]:
        """Return fold, stage, best value of a metric and smallest learning rate for each trained fold and stage.

        Args:
            metric: A column of its metrics files; None: the primary metric.
        """
        primary = str(self._source.get("primary_metric", "val_binary_accuracy"))
        name = metric or primary
        mode = str(self._source.get("primary_metric_mode", "auto")) if name == primary else "auto"
        return experiment_files.best_metric_values(Path(self.path).parent, name, mode)

    def evaluateAll(  # noqa: N802
        self,
        ds: Any,
        fold: int,
        stage: int = -1,
        ttflips: bool | str = False,
        batchSize: int = 32,  # noqa: N803
    ) -> Iterator[Batch]:
        """Yield the validation items of a fold in batches with the predictions of its model.

        Args:
            ds: The data set that was trained on.
            fold: The fold.
            stage: As for `load_model`.
            ttflips: As for `predict_all_to_array`.
            batchSize: Items per batch.
        """
        record = self._record(fold)
        ds = self.get_dataset(ds) if isinstance(ds, str) else ds
        numbers, prepared_set = self._rows(record, "val"), self._prepared(ds)
        for start in range(0, len(numbers), batchSize):
            items = [prepared_set[number] for number in numbers[start : start + batchSize]]
            predicted = self._networks.predicted(record, stage, items, batchSize, ttflips)
            yield batch_of(items, predicted, self._networks.truth(record, items))

    def _items(self, dataset: Any, limit: int) -> list[Any]:
        dataset = (
            self.get_dataset(dataset)
            if isinstance(dataset, str)
            else self._prepared(dataset, "augmenter", "holdout", "after_holdout")
        )
        return [dataset[index] for index in range(len(dataset) if limit < 0 else min(limit, len(dataset)))]

    def _mean(
        self, members: Sequence[tuple[ModelRecord, int]], arrays: Sequence[Any], batch_size: int, ttflips: bool | str
    ) -> Array:
        """Return the mean prediction of stages of several records for items."""
        predicted = [self._networks.predicted(*member, arrays, batch_size, ttflips) for member in members]
        mean: Array = np.mean(predicted, axis=0)
        return mean

    def _members(
        self, folds: int | Sequence[int] | None, stages: int | Sequence[int] | None
    ) -> list[tuple[ModelRecord, int]]:
        """Return each record with each requested stage."""
        return [
            (record, number) for record in self._records_of_folds(folds) for number in self._stages_of(record, stages)
        ]

    def _records_of_folds(self, folds: int | Sequence[int] | None) -> list[ModelRecord]:
        if folds is None:
            return experiment_files.trained(Path(self.path), self._project) or [self._record(0)]
        return [self._record(fold) for fold in ([folds] if isinstance(folds, int) else folds)]

    def _stages_of(self, record: ModelRecord, stages: int | Sequence[int] | None) -> list[int]:
        if stages is None:
            return self._networks.stages_of(record)
        return [stages] if isinstance(stages, int) else list(stages)

    def _common_overrides(self, dataset: Any) -> list[str]:
        texts = [
            f"recipe={self.path}",
            f"out_dir={as_text(str(self._project.root.parent))}",
            f"proj={as_text(self._project.name)}",
            f"data_dir={as_text(str(self._data_dir))}",
            *experiment_search.values_of(Path(self.path)),
        ]
        if self._trust and not any(override.startswith("trust=") for override in self.overrides):
            texts.append(f"trust={as_text(self._trust)}")
        if dataset is None:
            return texts
        targets = [f"task.{key}={as_text(value)}" for key, value in musket.targets_of(self._source).items()]
        call = f"task.train=[{{call:{user_code.hold(dataset)}}}]"
        name = f"task.name={as_text(self._project.name)}"
        done_keys = self._applied_additions(dataset)
        added = [f"task.{key}={as_text(value)}" for key, value in self._additions().items() if key not in done_keys]
        return [*texts, "task=items", call, *targets, name, *added, "task.allow_overlap=true"]

    def _additions(self) -> dict[str, Any]:
        return musket.additions_of(self._source, experiment_files.home_of(Path(self.path)))

    def _prepared(self, dataset: Any, *leaving: str) -> Any:
        """Return a data set of the user's own with the configuration's changes, except for those in `leaving`."""
        left_out = {"extra", "strata", *leaving, *self._applied_additions(dataset)}
        added = {key: value for key, value in self._additions().items() if key not in left_out}
        if not {"preprocessing", "augmenter", "after_holdout"} & set(added):
            return dataset
        return CompositeDataSet(python_sets.opened([{"call": user_code.hold(dataset)}], **added))

    def _record(self, fold: int) -> ModelRecord:
        records = experiment_files.trained(Path(self.path), self._project)
        record = next((entry for entry in records if entry.fold == fold), None)
        if record is None:
            fix = f"trained are {listing(entry.fold for entry in records)}" if records else "call fit first"
            raise ProjectError(problem("fold", "was not trained", got=fold, fix=fix))
        return record

    def _record_overrides(self, record: ModelRecord) -> list[str]:
        return [*self._common_overrides(None)[1:], f"task={as_text(record.pivot)}", *self.overrides]


def _inner_sets(dataset: Any) -> list[Any]:
    """Return the sets that a derived set consists of, including those nested in the user's own, at any depth."""
    if isinstance(dataset, Derived):
        return list(dataset.sets())
    sets, waiting, ids = list[Any](), [dataset], set[int]()
    while waiting:
        holder = waiting.pop()
        if id(holder) in ids:
            continue
        ids.add(id(holder))
        for value in getattr(holder, "__dict__", {}).values():
            for part in value if isinstance(value, list | tuple) else [value]:
                if isinstance(part, Derived):
                    sets.append(part)
                elif hasattr(type(part), "__getitem__") and hasattr(part, "__dict__"):
                    waiting.append(part)
    return sets
