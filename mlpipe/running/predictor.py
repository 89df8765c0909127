"""Stored models in memory, with their calibration, mixture and decisions, that predict given samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mlpipe import current_folder, files, kinds
from mlpipe.config.schema import Recipe, RunConfig
from mlpipe.data import kind as data_kind
from mlpipe.data import sources, task
from mlpipe.data.cache import packs
from mlpipe.data.cache.packs import Pack
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.listings.array_layout import Form
from mlpipe.data.task import Row, Task
from mlpipe.errors import ConfigError, ProjectError, counted, listing, problem
from mlpipe.post.ensembling import new_rows
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.running import tasks
from mlpipe.running.steps import raise_all
from mlpipe.runs import continuing, ensembles, records, references
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from torch import nn

    from mlpipe.predicting.batches import TaskBatches
    from mlpipe.predicting.heat_maps import Map, Method
    from mlpipe.predicting.in_hand import Shown
    from mlpipe.predicting.kind import Part
    from mlpipe.predicting.model import Model

# A function from the number of channels and the shortest useful side to the pixels of a sample, shape (*spatial,
# channels); raises `UnreadableImageError`.
Sample = Callable[[int, int | None], Pixels]
# The number of decoded samples held at a time.
_AT_ONCE = 256
# Stands for the newest model or ensemble.
_LATEST = "latest"
_SPLIT = "unlabelled"


@dataclass(frozen=True)
class Stored:
    """The models to predict with: an ensemble, a cross-validation or a single record, as stored in a project.

    Attributes:
        project: The project.
        task: The name of the pivot task.
        ensemble: The ensemble; None: `members` are averaged.
        members: The name, the records and the weight of each member.
        data_dir: The folder of task data.
        trust: Modules that stored configurations may name, see `mlpipe.config.snapshot.load`.
        pivot: The task; None: read from the folder of task data.
        card: Its card; None: made from the current project.
        holds: An object kept alive as long as this one, such as a temporary folder.
    """

    project: Project
    task: str
    ensemble: EnsembleRecord | None
    members: Sequence[tuple[str, list[ModelRecord], float]]
    data_dir: Path
    trust: tuple[str, ...] = ()
    pivot: Task | None = None
    card: Mapping[str, Any] | None = None
    holds: object = None

    @property
    def records(self) -> list[ModelRecord]:
        """All records that predict."""
        return [record for _, several, _ in self.members for record in several]

    def told(self, other: str = "") -> str:
        """Describe the predictor in one sentence, see `mlpipe.post.ensembling.new_rows.told`."""
        return new_rows.told(self.project, self.task, self.ensemble, self.members, other)

    def config(self, record: ModelRecord) -> RunConfig:
        """Return the configuration of a record, with the current folders."""
        home = self.project
        return tasks.stored_config(home, record, home.root.parent, self.data_dir, home.name, list(self.trust))


@dataclass(frozen=True)
class Explained:
    """Predictions of samples with explanations.

    Attributes:
        unreadable: The reason for each unreadable sample, by its index.
        places: The indices of the others, m of them.
        asked: The number of the class, label or number that is explained for each sample, shape (m,).
        values: Calibrated probabilities or numbers, shape (m, outputs); None if every position in a sample has its own.
        maps: The heat map of each sample, from 0 to 1, at its original height and width.
    """

    unreadable: dict[int, str]
    places: list[int]
    asked: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64] | None
    maps: list[Map]


@dataclass
class Given:
    """Outputs of the records' networks for samples.

    Attributes:
        unreadable: The reason for each unreadable sample, by its index.
        sizes: The spatial shape of each of the others, if needed.
        rows: Their rows, by the record's id.
        maps: The outputs at every position of each sample, by the record's id.
    """

    unreadable: dict[int, str] = field(default_factory=dict)
    sizes: list[tuple[int, ...]] = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)
    maps: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)

    def add(self, name: str, rows: Rows) -> None:
        """Append rows of a record."""
        self.rows[name] = _joined([self.rows[name], rows]) if name in self.rows else rows


class Predicting(Protocol):
    """A predictor of given samples: stored models, or an exported file.

    Attributes:
        kind: What is predicted.
        task: The name of the task that it was trained on.
        pivot: That task, as far as it describes the format of samples.
        has_arrays: Whether samples are arrays instead of images.
    """

    kind: str
    task: str
    pivot: Task
    has_arrays: bool

    def predict(
        self,
        samples: Sequence[Sample],
        deploy_prior: str | list[float] | None = None,
        *,
        alpha: float | None = None,
        only_values: bool = False,
    ) -> tuple[dict[int, str], Shown]:
        """Predict samples, see `Predictor.predict`."""
        ...


class Predictor:
    """Predict samples with stored models, as `mml predict mode.source=...` does, without writing anything.

    Networks are loaded with the first sample, and kept.

    Args:
        stored: The models.

    Raises:
        ConfigError: When the task's samples are not single images or arrays, each in its own file.
        ProjectError: When the task's data, a record's weights or configuration are missing.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        used = stored.records
        if weightless := [model.id for model in used if model.weights is None]:
            raise ProjectError(
                problem(listing(weightless), "has no weights", fix="train with mode.store_parameters=true")
            )
        self._configs = {record.id: stored.config(record) for record in used}
        self.pivot: Task = stored.pivot or tasks.recorded_pivot(self._configs[used[0].id], stored.project)
        self.task = stored.task
        source = sources.open(self.pivot)
        self.has_arrays = source.has_arrays
        if source.layout is not None or source.cuts():
            wrong = "is made of records or slices of volumes, which are not predicted one by one"
            raise ConfigError(problem(f"task {self.pivot.name}", wrong, fix="use mml evaluate"))
        # The kind of a record is determined by its loss, which may define another kind for images.
        self.kind = used[0].kind
        if refusal := self.part.NOT_IN_HAND:
            raise ConfigError(problem(f"task {self.pivot.name}", refusal))
        self.is_dense = kinds.of(self.kind).is_dense
        if self.is_dense:
            raise_all(_step_problems([config.recipe for config in self._configs.values()]))
        self._preprocessing = {
            name: tasks.preprocessing_of(config, self.pivot) for name, config in self._configs.items()
        }
        self._keys = {name: files.digest(before.key()) for name, before in self._preprocessing.items()}
        self._by_key = {self._keys[name]: before for name, before in self._preprocessing.items()}
        self._models: dict[str, Model] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def predict(
        self,
        samples: Sequence[Sample],
        deploy_prior: str | list[float] | None = None,
        *,
        alpha: float | None = None,
        only_values: bool = False,
    ) -> tuple[dict[int, str], Shown]:
        """Return calibrated, mixed and decided predictions.

        Args:
            samples: The samples to predict.
            deploy_prior: The prevalence where they come from; `estimate`: estimated from the samples; None: unchanged.
            alpha: The miss rate of prediction sets and intervals; None: the ensemble's own.
            only_values: Return only values, otherwise only table cells.

        Returns:
            The reason for each unreadable sample, by its index; and the predictions of the others, in order.

        Raises:
            ConfigError: When a prevalence is given and outputs are no classes of whole samples; nothing is computed then.
        """
        from mlpipe.predicting.in_hand import InHand, Shown
        from mlpipe.predicting.new_samples import Used
        from mlpipe.predicting.tables import refuse_prior

        if deploy_prior is not None:
            refuse_prior(self.kind, "deploy_prior")
        outputs = self.outputs(samples)
        if len(outputs.unreadable) == len(samples):
            return outputs.unreadable, Shown([], [])
        models = [
            Used(record, weight / len(several), self.config(record.id).recipe, self.preprocessing(record.id))
            for _, several, weight in self.stored.members
            for record in several
        ]
        rows = replace(self.new_rows(outputs.rows, len(samples)), alpha=alpha)
        return outputs.unreadable, self.part.shown(
            InHand(self.pivot, models, rows, outputs.maps, outputs.sizes, deploy_prior, only_values)
        )

    @property
    def has_places(self) -> bool:
        """Whether predictions have positions in a sample, so that they are returned at its original size."""
        return self.part.TABLE is None

    @property
    def sees_alike(self) -> bool:
        """Whether all networks see the same part of a sample."""
        return len(set(self._keys.values())) == 1

    def explain(self, samples: Sequence[Sample], number: int | None, method: Method) -> Explained:
        """Return predictions of samples with heat maps, the weighted mean of the networks' maps.

        For models trained with test-time augmentation, the map is that of the unaugmented sample.

        Args:
            samples: The samples to explain.
            number: The number of the class, label or number; None: the most probable one, the first of several numbers.
            method: The method of the heat maps.

        Raises:
            ConfigError: When the networks have no heat maps, with all reasons.
        """
        from mlpipe.predicting import heat_maps

        used = self.stored.records
        recipes = [self._configs[record.id].recipe for record in used]
        axes = Form.of((self.pivot.bases or (self.pivot,))[0].source).axes if self.has_arrays else 2
        raise_all(heat_maps.problems([record.id for record in used], recipes, self.kind, axes))
        values, table = None, self.part.TABLE
        outputs = self.outputs(samples) if table is not None else None
        unreadable = outputs.unreadable if outputs is not None else _unreadable(samples, self.pivot.channels)
        places = [place for place in range(len(samples)) if place not in unreadable]
        if table is not None and outputs is not None and places:
            mixed = self.new_rows(outputs.rows, len(samples)).mixed(table.mixing)
            values = np.asarray(table.values(mixed.calibrated))
        if number is None and values is not None and kinds.of(self.kind).has_probabilities:
            chosen = values.argmax(1)
        else:
            chosen = np.full(len(places), number or 0)
        parts = [self._maps(record.id, samples, places, chosen, method) for record in used] if places else [[]]
        weights = [weight / len(several) for _, several, weight in self.stored.members for _ in several]
        return Explained(unreadable, places, chosen, values, heat_maps.mean(parts, weights) if places else [])

    def _maps(
        self, name: str, samples: Sequence[Sample], places: Sequence[int], chosen: npt.NDArray[np.int64], method: Method
    ) -> list[Map]:
        """Return one network's heat maps of readable samples."""
        from mlpipe.predicting import heat_maps

        before = self._preprocessing[name]
        image_maps: list[Map] = []
        for start in range(0, len(places), _AT_ONCE):
            chunk, numbers = places[start : start + _AT_ONCE], chosen[start : start + _AT_ONCE]
            whole = [samples[place](before.channels, None) for place in chunk]
            if before.before is not None and any(before.before(image).shape != image.shape for image in whole):
                wrong = "changes the size of images, which maps would not fit"
                raise ConfigError(problem("preprocessing.before", wrong, fix="train without it"))
            pack = self._pack_of(samples, chunk, before)
            model = self.model(name, pack)
            _, batches = self._batches(name, chunk, pack)
            maps = []
            for batch in batches:
                of_batch, numbers = numbers[: len(batch)], numbers[len(batch) :]
                inputs = batch.inputs.to(model.device)
                maps.append(heat_maps.of_images(model.networks[0], inputs, of_batch.tolist(), self.kind, method))
            image_maps += heat_maps.restored(np.concatenate(maps), before, [image.shape[:2] for image in whole])
        return image_maps

    def nearest(
        self,
        name: str,
        samples: Sequence[Sample],
        of: Task,
        pack: Pack,
        rows: npt.NDArray[np.int64],
        count: int,
        check: Callable[[], None],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """Return the cached images of a task that are most similar to some samples, according to one network.

        Args:
            name: The network's record.
            samples: Readable samples.
            of: The task.
            pack: Its cached images.
            rows: The rows of the task to search.
            count: The maximum number of images for each sample.
            check: Called regularly; raises to stop.

        Returns:
            Rows of the task and distances (1 - cosine similarity of features), (m, count) each; None if the network has
            no features of a whole image.
        """
        from mlpipe.learn import features
        from mlpipe.predicting import nearest_images
        from mlpipe.predicting.batches import TaskBatches

        places = range(len(samples))
        sample_pack = self._pack_of(samples, places, self._preprocessing[name])
        recipe, model = self._configs[name].recipe, self.model(name, sample_pack)
        if not nearest_images.has_features(model.networks[0]) or not recipe.slicing.is_none:
            return None
        queries = nearest_images.features(model, self._batches(name, places, sample_pack)[1], check)
        inputs = features.inputs(recipe, model.networks[0], pack, rows, check)
        known = nearest_images.features(model, TaskBatches(recipe, of, inputs, rows, 0), check)
        order, distances = nearest_images.nearest(queries, known, count)
        return rows[order], distances

    @property
    def part(self) -> Part:
        """Return the functions of the model's kind for predictions."""
        from mlpipe.predicting import kind

        return kind.of(self.kind)

    def network(self, fold: int | None = None) -> tuple[nn.Module, ModelRecord]:
        """Return the network of a fold, or of the only model.

        Raises:
            ConfigError: When there is no such fold, or there are several models and no fold is given.
        """
        models = self.stored.records
        matches = models if fold is None else [record for record in models if record.fold == fold]
        if len(matches) != 1:
            wrong = "says no single model" if matches else "there is no such fold"
            fix = f"use one of {sorted({record.fold for record in models})}"
            raise ConfigError(problem("fold", wrong, got=fold, fix=fix))
        return self.model(matches[0].id).networks[0], matches[0]

    def networks(self) -> list[nn.Module]:
        """Return the network of each record."""
        return [self.model(record.id).networks[0] for record in self.stored.records]

    def values(self, samples: Sequence[Sample]) -> list[npt.NDArray[Any]]:
        """Return calibrated probabilities, numbers or boxes of readable samples, without decisions."""
        _, predictions = self.predict(samples, only_values=True)
        return list(predictions.values)

    def config(self, record_id: str) -> RunConfig:
        """Return the configuration of a record."""
        return self._configs[record_id]

    def preprocessing(self, record_id: str) -> Preprocessing:
        """Return the preprocessing of a record's network."""
        return self._preprocessing[record_id]

    def outputs(self, samples: Sequence[Sample]) -> Given:
        """Return each record's network outputs for samples."""
        outputs = Given()
        for start in range(0, len(samples), _AT_ONCE):
            chunk = range(start, min(start + _AT_ONCE, len(samples)))
            places, pixels = self._seen(samples, chunk, outputs)
            if not places:
                continue
            by_key = {key: self._packed(several, self._by_key[key]) for key, several in pixels.items()}
            for name, key in self._keys.items():
                self._add_record(name, places, by_key[key], outputs)
        return outputs

    def model(self, record_id: str, pack: Pack | None = None) -> Model:
        """Return the loaded model of a record.

        Args:
            record_id: Its id.
            pack: Samples whose shape the network is built for; None: the shape of its preprocessing.

        Raises:
            ConfigError: When the shape of its samples is not known yet.
        """
        from mlpipe.predicting.model import Model

        if record_id not in self._models:
            record = next(candidate for candidate in self.stored.records if candidate.id == record_id)
            recipe = self._configs[record_id].recipe
            pack = pack or self._blank(self._preprocessing[record_id])
            of_samples = self._task(["sample"])
            weights = self.stored.project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE
            references.check_weights(
                references.Located(self.stored.project, record), "load", self.stored.project.root.parent
            )
            self._models[record_id] = Model.of_record(recipe, weights, of_samples, pack, record.co_tasks)
        return self._models[record_id]

    def _blank(self, preprocessing: Preprocessing) -> Pack:
        if preprocessing.sides is None:
            fix = "predict a sample first"
            raise ConfigError(problem("preprocessing.size", "is not given, the network's is that of samples", fix=fix))
        blank = np.zeros((*preprocessing.sides, preprocessing.channels), self.pivot.dtype)
        return packs.of_images([blank], preprocessing)

    def _seen(
        self, samples: Sequence[Sample], chunk: range, outputs: Given
    ) -> tuple[list[int], dict[str, list[Pixels]]]:
        """Return the indices of a chunk's readable samples, and these samples after each preprocessing."""
        places, pixels = list[int](), {key: list[Pixels]() for key in self._by_key}
        for place in chunk:
            try:
                size, variants = self._preprocessed_sample(samples[place])
            except UnreadableImageError as error:
                outputs.unreadable[place] = str(error)
                continue
            places.append(place)
            outputs.sizes.append(size)
            for key, variant in variants.items():
                pixels[key].append(variant)
        return places, pixels

    def _preprocessed_sample(self, sample: Sample) -> tuple[tuple[int, ...], dict[str, Pixels]]:
        """Return the spatial shape of a sample, if needed, and the sample after each preprocessing."""
        first = next(iter(self._by_key.values()))
        whole = sample(first.channels, None) if self.has_places else None
        variants = dict[str, Pixels]()
        for key, before in self._by_key.items():
            # A large image may be decoded at a reduced size, as in training.
            is_reduced = before.least is not None and whole is not None and min(whole.shape[:-1]) >= 2 * before.least
            if whole is None or is_reduced or before.channels != first.channels:
                variants[key] = before(sample(before.channels, before.least))
            else:
                variants[key] = before(whole)
        return () if whole is None else whole.shape[:-1], variants

    def _packed(self, pixels: list[Pixels], preprocessing: Preprocessing) -> Pack:
        if not preprocessing.is_ragged and len(shapes := sorted({array.shape for array in pixels})) > 1:
            wrong = f"samples have {counted(len(shapes), 'shape')}: {listing([str(list(shape)) for shape in shapes], most=3)}"
            fix = "the models were trained on samples of one shape; give such"
            raise ConfigError(problem("samples", wrong, fix=fix))
        return packs.of_images(pixels, preprocessing, self.pivot.dtype)

    def _pack_of(self, samples: Sequence[Sample], places: Sequence[int], preprocessing: Preprocessing) -> Pack:
        """Return readable samples as a pack for the networks."""
        pixels = [preprocessing(samples[place](preprocessing.channels, preprocessing.least)) for place in places]
        return self._packed(pixels, preprocessing)

    def _batches(
        self, name: str, places: Sequence[int], pack: Pack, sizes: npt.NDArray[Any] | None = None
    ) -> tuple[Task, TaskBatches]:
        """Yield batches of samples for a record's network, with each sample's width and height if the kind needs them."""
        from mlpipe.predicting.batches import TaskBatches

        if not pack.ragged and self._shapes.setdefault(name, pack.shape) != pack.shape:
            wrong, fix = f"have the shape {list(pack.shape)}", f"give samples of {list(self._shapes[name])}, as before"
            raise ConfigError(problem("samples", wrong, fix=fix))
        of_samples = self._task([f"{place:012d}" for place in places])
        batch_places = None if sizes is None else self.part.places(of_samples, pack, sizes)
        return of_samples, TaskBatches(
            self._configs[name].recipe, of_samples, pack, np.arange(len(places)), 0, batch_places
        )

    def _add_record(self, name: str, places: Sequence[int], pack: Pack, results: Given) -> None:
        """Add a record's outputs for some samples."""
        from mlpipe.predicting.through import keep_outputs, through

        recipe, model, part = self._configs[name].recipe, self.model(name, pack), self.part
        sizes = np.array([size[::-1] for size in results.sizes[-len(places) :]]) if self.has_places else None
        of_samples, batches = self._batches(name, places, pack, sizes)
        predictions = list(
            through(
                model,
                batches,
                views=recipe.tta.build(pack.peak),
                keep=keep_outputs
                if self.is_dense
                else lambda outputs, batch: part.kept(outputs, replace(batch, target=None), None),
                most=batches.most,
            )
        )
        if self.is_dense:
            results.maps.setdefault(name, []).extend(
                map_ for prediction in predictions if prediction.arrays is not None for map_ in prediction.arrays
            )
            return
        ids = [name for prediction in predictions for name in prediction.ids]
        raw = np.concatenate([prediction.outputs for prediction in predictions]).astype(np.float64)
        results.add(name, Rows(ids, of_samples.samples.targets, raw, raw))

    def _task(self, names: Sequence[str]) -> Task:
        """Return unlabelled samples with the format of the pivot."""
        like = self.pivot
        target = data_kind.of(like.kind).unknown(len(like.classes))
        source: dict[str, Any] = {"type": "folder", "root": ""}
        if self.has_arrays:
            form = Form.of((like.bases or (like,))[0].source)
            source = {"type": "samples", "layout": form.layout, "axes": form.axes}
        return task.make(
            "samples",
            like.classes,
            [Row(name, "unlabelled", target, "") for name in names],
            channels=like.channels,
            kind=like.kind,
            dtype=like.dtype,
            source=source,
            has_new_classes=False,
        )

    def new_rows(self, outputs: dict[str, Rows] | None = None, samples: int = 0) -> NewRows:
        """Mix the models' outputs.

        Args:
            outputs: Each record's outputs for samples, by its id.
            samples: The number of samples, including unreadable ones.
        """
        stored = self.stored
        seed = self._configs[stored.records[0].id].seed
        return NewRows(
            stored.project,
            self.pivot.kind,
            self.pivot.classes,
            stored.ensemble,
            stored.members,
            "samples",
            samples,
            _SPLIT,
            seed,
            outputs,
            groups=self.pivot.samples.group_of() or None,
        )


def is_asked_by_output(kind: str) -> bool:
    """Return whether a heat map explains a single output, because a sample has several answers: masks, boxes.

    Args:
        kind: What is predicted.
    """
    its = kinds.of(kind)
    return its.is_dense or bool(its.columns)


def _joined(parts: Sequence[Rows]) -> Rows:
    raw = np.concatenate([part.raw for part in parts])
    ids = [name for part in parts for name in part.ids]
    return Rows(ids, np.concatenate([part.targets for part in parts]), raw, raw)


def _unreadable(samples: Sequence[Sample], channels: int) -> dict[int, str]:
    """Return the reason for each unreadable sample, by its index."""
    reasons = dict[int, str]()
    for place, sample in enumerate(samples):
        try:
            sample(channels, None)
        except UnreadableImageError as error:
            reasons[place] = str(error)
    return reasons


def _step_problems(recipes: Sequence[Recipe]) -> list[str]:
    from mlpipe.predicting import pictures

    return pictures.step_problems(recipes)


class Keys(NamedTuple):
    """The names of keys for a model, for messages: its project or file, one record, an ensemble."""

    where: str = "where"
    record: str = "where"
    ensemble: str = "ensemble"


OF_MODES = Keys("proj", "mode.record", "mode.ensemble")
# The override that takes the newest ensemble.
LATEST = f"{OF_MODES.ensemble}={_LATEST}"


def stored_models(
    where: str,
    *,
    out_dir: Path,
    data_dir: Path,
    task_name: str | None,
    ensemble: str | None,
    trust: Sequence[str] = (),
    keys: Keys = Keys(),  # noqa: B008
) -> Stored:
    """Return the models that `where` names.

    Args:
        where: A project's name or path; `PROJ#3` or `PROJ#ID` for one record, `PROJ#ens-...` for an ensemble; or the
            folder of a record. `latest`, unless a project has that name: the project used last, with its newest
            ensemble if nothing was trained after it.
        out_dir: The folder of all projects.
        data_dir: The folder of task data.
        task_name: The task, if the project has several; None: the one trained last.
        ensemble: `latest` or an ensemble's name; None: the refit of the latest cross-validation, else the mean over folds.
        trust: As in `Stored`.
        keys: The names of the keys.

    Raises:
        ProjectError: When it does not exist; the sentence lists what exists.
    """
    path = current_folder.expanded(where)
    # A text too long for a name is no folder.
    if os.path.isfile(path / records.RECORD_FILE):  # noqa: PTH113
        record, project = records.load(path), Project(path.absolute().parents[3])
        return Stored(project, record.pivot, None, [(record.recipe, [record], 1.0)], data_dir, tuple(trust))
    name, _, reference = where.partition("#")
    is_latest = where == _LATEST and not (out_dir / _LATEST).is_dir()
    if is_latest and (last := continuing.last_project(out_dir)) is not None:
        name = last.name
    if reference and not reference.startswith("ens-"):
        location = references.record(where, keys.record, out_dir)
        members = [(location.record.recipe, [location.record], 1.0)]
        return Stored(location.project, location.record.pivot, None, members, data_dir, tuple(trust))
    project = references.project(name, keys.where, out_dir)
    trained = records.load_all(project)
    if not trained:
        raise ProjectError(problem(keys.where, "nothing is trained in this project", got=name, fix="mml train"))
    pivots = list(dict.fromkeys(model.pivot for model in sorted(trained, key=lambda model: -model.number)))
    if task_name is not None and task_name not in pivots:
        raise ProjectError(
            problem("task", "nothing is trained on it here", got=task_name, fix=f"use {listing(pivots)}")
        )
    pivot, wanted_ensemble = task_name or pivots[0], reference or ensemble
    if is_latest and wanted_ensemble is None and new_rows.newest_of_all(project, pivot) is not None:
        wanted_ensemble = _LATEST
    chosen = None
    if wanted_ensemble is not None:
        chosen = ensembles.named(project, pivot, wanted_ensemble, keys.ensemble)
    return Stored(project, pivot, chosen, new_rows.members_of(project, pivot, chosen), data_dir, tuple(trust))
