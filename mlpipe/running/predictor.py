"""Stored models in memory, with their calibration, mixture and decisions: predictions of samples that are at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe import files, kinds
from mlpipe.config.schema import RunConfig
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
from mlpipe.runs import ensembles, records, references
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from mlpipe.predicting.batches import TaskBatches
    from mlpipe.predicting.heat_maps import Map, Method
    from mlpipe.predicting.model import Model
    from mlpipe.predicting.tables import Cells, Table

# How many channels are wanted, and the shortest side that is still of use, to the pixels of a sample, shape
# (*spatial, channels); raises `UnreadableImageError`.
Sample = Callable[[int, int | None], Pixels]
# Decoded samples that are held at a time.
_AT_ONCE = 256
_SPLIT = "unlabelled"


@dataclass(frozen=True)
class Stored:
    """What is to predict: an ensemble, a cross-validation or a single record, as a project stores it.

    Attributes:
        project: The project.
        task: The name of the pivot task.
        ensemble: The ensemble; None: what `members` say.
        members: The name, the records and the weight of each member.
        data_dir: The folder of task data.
        trust: Modules that stored configurations may name, see `mlpipe.config.snapshot.load`.
    """

    project: Project
    task: str
    ensemble: EnsembleRecord | None
    members: Sequence[tuple[str, list[ModelRecord], float]]
    data_dir: Path
    trust: tuple[str, ...] = ()

    @property
    def records(self) -> list[ModelRecord]:
        """All records that predict."""
        return [record for _, several, _ in self.members for record in several]

    def config(self, record: ModelRecord) -> RunConfig:
        """The configuration that a record was trained with, in today's folders."""
        home = self.project
        return tasks.stored_config(home, record, home.root.parent, self.data_dir, home.name, list(self.trust))


@dataclass(frozen=True)
class Explained:
    """What samples were taken for, and why.

    Attributes:
        unreadable: The reason for each sample that cannot be read, by its place.
        places: The places of the others, m of them.
        asked: The number of the class, label or number that each is explained for, shape (m,).
        values: Calibrated probabilities or numbers, shape (m, outputs); None where there is one for every place of a sample.
        maps: The heat map of each, from 0 to 1, in the sample's own height and width.
    """

    unreadable: dict[int, str]
    places: list[int]
    asked: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64] | None
    maps: list[Map]


class Predictor:
    """Predicts samples with stored models, as `mml predict mode.source=...` does, without writing anything.

    Networks are loaded when the first sample is predicted, and kept.

    Args:
        stored: The models.
        needs_table: Refuse kinds whose predictions are a file for each sample.

    Raises:
        ConfigError: When the task's samples are no single images or arrays, there is a file for each, or models draw images.
        ProjectError: When the task's data, a record's weights or configuration are missing.
    """

    def __init__(self, stored: Stored, *, needs_table: bool = True) -> None:
        self.stored = stored
        used = stored.records
        if weightless := [one.id for one in used if one.weights is None]:
            raise ProjectError(
                problem(listing(weightless), "has no weights", fix="train with mode.store_parameters=true")
            )
        self._configs = {record.id: stored.config(record) for record in used}
        self.pivot: Task = tasks.recorded_pivot(self._configs[used[0].id], stored.project)
        source = sources.open(self.pivot)
        self.has_arrays = source.has_arrays
        if source.layout is not None or source.cuts():
            wrong = "is made of records or slices of volumes, which are not predicted one by one"
            raise ConfigError(problem(f"task {self.pivot.name}", wrong, fix="use mml evaluate"))
        if any(kinds.of(record.kind).draws for record in used):
            wrong = "its models draw images, and predict nothing of one"
            raise ConfigError(problem(f"task {self.pivot.name}", wrong, fix="use mml predict mode.samples=64"))
        if needs_table and self._table() is None:
            wrong = f"is of {self.pivot.kind}, whose predictions are a file for each sample"
            raise ConfigError(problem(f"task {self.pivot.name}", wrong, fix="use mml predict mode.source=FOLDER"))
        self._preprocessing = {
            name: tasks.preprocessing_of(config, self.pivot) for name, config in self._configs.items()
        }
        self._keys = {name: files.digest(before.key()) for name, before in self._preprocessing.items()}
        self._models: dict[str, Model] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def predict(
        self, samples: Sequence[Sample], deploy_prior: str | list[float] | None = None
    ) -> tuple[dict[int, str], Rows, list[Cells], dict[str, Any]]:
        """Calibrated, mixed and decided predictions.

        Args:
            samples: What is to be predicted.
            deploy_prior: The prevalence where they are from; `estimate`: by themselves; None: nothing is moved.

        Returns:
            The reason for each sample that cannot be read, by its place; rows of the others in their order; the cells of a
            table of them; and the facts of the prevalence.
        """
        unreadable, outputs = self.outputs(samples)
        if len(unreadable) == len(samples):
            return unreadable, Rows([], np.empty(0), np.empty((0, 0)), np.empty((0, 0))), [], {}
        facts = dict[str, Any]()
        rows, cells = self.table.made(self.new_rows(outputs, len(samples)), deploy_prior, facts)
        return unreadable, rows, cells, facts

    @property
    def sees_alike(self) -> bool:
        """Whether all networks see the same of a sample."""
        return len(set(self._keys.values())) == 1

    def values(self, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, or numbers, of samples that can be read, shape (n, outputs); nothing is decided."""
        _, outputs = self.outputs(samples)
        mixed = self.new_rows(outputs, len(samples)).mixed(self.table.mixing)
        return np.asarray(self.table.values(mixed.calibrated))

    def explain(self, samples: Sequence[Sample], asked: int | None, method: Method) -> Explained:
        """What is predicted of samples, with heat maps: the mean of the networks' maps by their weights.

        Of what was trained with test-time augmentation, the map is of the sample as it is.

        Args:
            samples: What is to be predicted.
            asked: The number of the class, label or number; None: what is most probable, the first of several numbers.
            method: How maps are made.

        Raises:
            ConfigError: When the networks have no heat maps, with all reasons.
        """
        from mlpipe.predicting import heat_maps

        used = self.stored.records
        recipes = [self._configs[record.id].recipe for record in used]
        axes = Form.of((self.pivot.bases or (self.pivot,))[0].source).axes if self.has_arrays else 2
        raise_all(heat_maps.problems([record.id for record in used], recipes, used[0].kind, axes))
        unreadable, values, places = dict[int, str](), None, list(range(len(samples)))
        if self._table() is not None:
            unreadable, outputs = self.outputs(samples)
            places = [place for place in places if place not in unreadable]
            if places:
                mixed = self.new_rows(outputs, len(samples)).mixed(self.table.mixing)
                values = np.asarray(self.table.values(mixed.calibrated))
        if asked is None and values is not None and kinds.of(self.pivot.kind).has_probabilities:
            chosen = values.argmax(1)
        else:
            chosen = np.full(len(places), asked or 0)
        parts = [self._maps(record.id, samples, places, chosen, method) for record in used] if places else [[]]
        weights = [weight / len(several) for _, several, weight in self.stored.members for _ in several]
        return Explained(unreadable, places, chosen, values, heat_maps.mean(parts, weights) if places else [])

    def _maps(
        self, name: str, samples: Sequence[Sample], places: Sequence[int], chosen: npt.NDArray[np.int64], method: Method
    ) -> list[Map]:
        """One network's maps of samples that can be read."""
        from mlpipe.predicting import heat_maps

        before = self._preprocessing[name]
        found: list[Map] = []
        for start in range(0, len(places), _AT_ONCE):
            chunk, asked = places[start : start + _AT_ONCE], chosen[start : start + _AT_ONCE]
            whole = [samples[place](before.channels, None) for place in chunk]
            if before.before is not None and any(before.before(one).shape != one.shape for one in whole):
                wrong = "changes the size of images, which maps would not fit"
                raise ConfigError(problem("preprocessing.before", wrong, fix="train without it"))
            _, pack = self._decoded(samples, chunk, before, {})
            model = self.model(name, pack)
            _, batches = self._batches(name, chunk, pack)
            maps = []
            for batch in batches:
                of_batch, asked = asked[: len(batch)], asked[len(batch) :]
                inputs = batch.inputs.to(model.device)
                maps.append(heat_maps.of_images(model.networks[0], inputs, of_batch.tolist(), self.pivot.kind, method))
            found += heat_maps.restored(np.concatenate(maps), before, [one.shape[:2] for one in whole])
        return found

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
        """The cached images of a task that one network takes for most like some samples.

        Args:
            name: The network's record.
            samples: What can be read.
            of: The task.
            pack: Its cached images.
            rows: The rows of the task to choose from.
            count: How many for each sample at most.
            check: Called now and then; raises to stop.

        Returns:
            Rows of the task and distances (one less the cosine of features), (m, count) each; None where the network has no
            features of a whole image.
        """
        from mlpipe.learn import features
        from mlpipe.predicting import nearest_images
        from mlpipe.predicting.batches import TaskBatches

        places = range(len(samples))
        _, seen = self._decoded(samples, places, self._preprocessing[name], {})
        recipe, model = self._configs[name].recipe, self.model(name, seen)
        if not nearest_images.has_features(model.networks[0]) or not recipe.slicing.is_none:
            return None
        queries = nearest_images.features(model, self._batches(name, places, seen)[1], check)
        inputs = features.inputs(recipe, model.networks[0], pack, rows, check)
        known = nearest_images.features(model, TaskBatches(recipe, of, inputs, rows, 0), check)
        order, distances = nearest_images.nearest(queries, known, count)
        return rows[order], distances

    @property
    def table(self) -> Table:
        """What a table of the kind says of samples."""
        table = self._table()
        assert table is not None, self.pivot.kind
        return table

    def _table(self) -> Table | None:
        from mlpipe.predicting import kind

        return kind.of(self.pivot.kind).TABLE

    def config(self, record_id: str) -> RunConfig:
        """The configuration that a record was trained with."""
        return self._configs[record_id]

    def preprocessing(self, record_id: str) -> Preprocessing:
        """What happens to samples before a record's network sees them."""
        return self._preprocessing[record_id]

    def outputs(self, samples: Sequence[Sample]) -> tuple[dict[int, str], dict[str, Rows]]:
        """What each record's network gives, by its id, and the reason for each sample that cannot be read, by its place."""
        unreadable: dict[int, str] = {}
        parts: dict[str, list[Rows]] = {name: [] for name in self._configs}
        for start in range(0, len(samples), _AT_ONCE):
            chunk = range(start, min(start + _AT_ONCE, len(samples)))
            by_key: dict[str, tuple[list[int], Pack]] = {}
            for name, preprocessing in self._preprocessing.items():
                key = self._keys[name]
                if key not in by_key:
                    by_key[key] = self._decoded(samples, chunk, preprocessing, unreadable)
                places, pack = by_key[key]
                if places:
                    parts[name].append(self._one(name, places, pack))
        return unreadable, {name: _joined(rows) for name, rows in parts.items() if rows}

    def model(self, record_id: str, pack: Pack | None = None) -> Model:
        """The loaded model of a record.

        Args:
            record_id: Its id.
            pack: Samples of the shape that its network is made for; None: of the shape of its preprocessing.

        Raises:
            ConfigError: When the shape of its samples is not known yet.
        """
        from mlpipe.predicting.model import Model

        if record_id not in self._models:
            record = next(one for one in self.stored.records if one.id == record_id)
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

    def _decoded(
        self, samples: Sequence[Sample], chunk: Sequence[int], preprocessing: Preprocessing, unreadable: dict[int, str]
    ) -> tuple[list[int], Pack]:
        """The places of samples of a chunk that can be read, and these as the networks see them."""
        pixels, places = list[Pixels](), list[int]()
        for place in chunk:
            if place in unreadable:
                continue
            try:
                pixels.append(preprocessing(samples[place](preprocessing.channels, preprocessing.least)))
                places.append(place)
            except UnreadableImageError as error:
                unreadable[place] = str(error)
        if not preprocessing.is_ragged and len(shapes := sorted({one.shape for one in pixels})) > 1:
            wrong = (
                f"samples have {counted(len(shapes), 'shape')}: {listing([str(list(one)) for one in shapes], most=3)}"
            )
            fix = "the models were trained on samples of one shape; give such"
            raise ConfigError(problem("samples", wrong, fix=fix))
        return places, packs.of_images(pixels, preprocessing, self.pivot.dtype)

    def _batches(self, name: str, places: Sequence[int], pack: Pack) -> tuple[Task, TaskBatches]:
        """Samples as a record's network is given them."""
        from mlpipe.predicting.batches import TaskBatches

        if not pack.ragged and self._shapes.setdefault(name, pack.shape) != pack.shape:
            wrong, fix = f"have the shape {list(pack.shape)}", f"give samples of {list(self._shapes[name])}, as before"
            raise ConfigError(problem("samples", wrong, fix=fix))
        of_samples = self._task([f"{place:012d}" for place in places])
        return of_samples, TaskBatches(self._configs[name].recipe, of_samples, pack, np.arange(len(places)), 0)

    def _one(self, name: str, places: Sequence[int], pack: Pack) -> Rows:
        from mlpipe.predicting import kind
        from mlpipe.predicting.through import through

        recipe, model = self._configs[name].recipe, self.model(name, pack)
        of_samples, batches = self._batches(name, places, pack)
        part = kind.of(self.pivot.kind)
        found = list(
            through(
                model,
                batches,
                views=recipe.tta.build(pack.peak),
                keep=lambda outputs, batch: part.kept(outputs, replace(batch, target=None), None),
                most=batches.most,
            )
        )
        ids = [name for one in found for name in one.ids]
        raw = np.concatenate([one.outputs for one in found]).astype(np.float64)
        return Rows(ids, of_samples.samples.targets, raw, raw)

    def _task(self, names: Sequence[str]) -> Task:
        """Unlabelled samples like those of the pivot."""
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
        )

    def new_rows(self, outputs: dict[str, Rows] | None = None, samples: int = 0) -> NewRows:
        """What is mixed of the models.

        Args:
            outputs: What each record gives for samples, by its id.
            samples: How many there are, unreadable ones included.
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
        )


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    raw = np.concatenate([part.raw for part in parts])
    ids = [name for part in parts for name in part.ids]
    return Rows(ids, np.concatenate([part.targets for part in parts]), raw, raw)


def found(
    where: str, *, out_dir: Path, data_dir: Path, task_name: str | None, ensemble: str | None, trust: Sequence[str] = ()
) -> Stored:
    """What `where` means.

    Args:
        where: A project's name or path; `PROJ#3` or `PROJ#ID` for one record, `PROJ#ens-...` for an ensemble; or the folder
            of a record.
        out_dir: The folder of all projects.
        data_dir: The folder of task data.
        task_name: The task, where the project has several; None: the one that was trained last.
        ensemble: `latest` or an ensemble's name; None: the refit of the latest cross-validation, else the mean over folds.
        trust: As of `Stored`.

    Raises:
        ProjectError: When there is no such thing; the sentence lists what is there.
    """
    path = Path(where).expanduser()
    if (path / records.RECORD_FILE).is_file():
        record, project = records.load(path), Project(path.absolute().parents[3])
        return Stored(project, record.pivot, None, [(record.recipe, [record], 1.0)], data_dir, tuple(trust))
    name, _, wanted = where.partition("#")
    if wanted and not wanted.startswith("ens-"):
        one = references.record(where, "where", out_dir)
        members = [(one.record.recipe, [one.record], 1.0)]
        return Stored(one.project, one.record.pivot, None, members, data_dir, tuple(trust))
    project = references.project(name, "where", out_dir)
    trained = records.load_all(project)
    if not trained:
        raise ProjectError(problem("where", "nothing is trained in this project", got=name, fix="mml train"))
    pivots = list(dict.fromkeys(one.pivot for one in sorted(trained, key=lambda one: -one.number)))
    if task_name is not None and task_name not in pivots:
        raise ProjectError(
            problem("task", "nothing is trained on it here", got=task_name, fix=f"use {listing(pivots)}")
        )
    pivot, wanted_ensemble = task_name or pivots[0], wanted or ensemble
    chosen = None
    if wanted_ensemble is not None:
        chosen = ensembles.named(project, pivot, wanted_ensemble, "ensemble")
    return Stored(project, pivot, chosen, new_rows.members_of(project, pivot, chosen), data_dir, tuple(trust))
