"""`mml predict mode.source=DIR`: probabilities of images or arrays that no task knows, in a table a person can open."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources, task
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, ProjectError, did_you_mean, listing, problem
from mlpipe.post import decisions, judgement
from mlpipe.post.calibration.calibrate import Calibration
from mlpipe.post.calibration.labels import LabelCalibration
from mlpipe.post.ensembling import member_mixture, members
from mlpipe.post.ensembling.members import Array, Rows
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.metrics import log_softmax
from mlpipe.post.prior import move_prior
from mlpipe.post.rows import shares
from mlpipe.running import folds, image_cache, new_arrays, new_masks, tasks
from mlpipe.running.scheduler import Step, World, raise_all
from mlpipe.runs import ensembles, maps, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

log = logging.getLogger("mlpipe")

SPLIT = "unlabelled"
_DECIDED_AT = 0.5


@dataclass(frozen=True)
class Asked:
    """What `mml predict` was asked for.

    Attributes:
        source: A folder, an archive or an image file; for a task of arrays a file or folder of these.
        ensemble: `latest`, the name of an ensemble, or None: the mean over the folds of the latest cross-validation.
        deploy_prior: The prevalence where the images are from, one number for each class; `estimate`: by the images
            themselves; None: probabilities stay as they were calibrated.
    """

    source: str
    ensemble: str | None
    deploy_prior: str | list[float] | None


@dataclass
class NewImages:
    """The plan of one such command.

    Attributes:
        config: The checked configuration.
        world: The project, the display, the wish to stop.
        pivot: The task that the models were trained on.
        asked: What was asked for.
        folds: Only these folds, where no ensemble was asked for; None: all.
    """

    config: RunConfig
    world: World
    pivot: Task
    asked: Asked
    folds: Sequence[int] | None
    _packs: dict[Path, Pack] = field(default_factory=dict)

    def plan(self) -> list[Step]:
        """Decode the images, predict them with every record, mix and write."""
        if self.pivot.kind in maps.KINDS and self.asked.deploy_prior is not None:
            raise ConfigError(
                problem("mode.deploy_prior", "is for classes of images, not of pixels", fix="leave it out")
            )
        self._ensemble = self._found_ensemble()
        self._members = self._found_members()
        if self._ensemble is not None and self.asked.deploy_prior is not None:
            decisions.require_rows(self._ensemble, self._rows_file())
        if new_arrays.are_slices(self.pivot):
            name = Located(self.world.project, self._members[0][1][0]).name(self.config.out_dir)
            raise ConfigError(new_arrays.instead(self.pivot, name, self.asked.source))
        solves = any(one.kind == "solutions" for member in self._members for one in member[1])
        if solves and not new_arrays.are_samples(self.pivot):
            fix = "use mml evaluate with mode.outputs=DIR, and the initial values as a task"
            raise ConfigError(problem("mode.source", "is for files of images, these models solve an equation", fix=fix))
        weightless = [one.id for member in self._members for one in member[1] if one.weights is None]
        fix = "train with mode.store_parameters=true"
        raise_all([problem(name, "has no weights to predict with", fix=fix) for name in weightless])
        self._new = self._described()
        steps = [
            Step(f"preprocess for {record.id}", partial(self._preprocess, record), in_project=False)
            for record in self._one_for_each_pack()
        ]
        used = {record.id: record for _, found, _ in self._members for record in found}
        steps += [Step(f"predict {record.id}", partial(self._predict, record)) for record in used.values()]
        if self.pivot.kind in maps.KINDS:
            raise_all(new_masks.moved(tasks.config_of(self.config, record).recipe for record in used.values()))
            what = "masks" if self.pivot.kind == "segmentation" else "images"
            return [*steps, Step(what, self._masks)]
        return [*steps, Step("probabilities", self._combine)]

    def _found_ensemble(self) -> EnsembleRecord | None:
        if self.asked.ensemble is None:
            return None
        found = ensembles.load_all(self.world.project, self.pivot.name)
        if not found:
            wrong = f"project {self.world.project.name} has no ensemble of {self.pivot.name}"
            raise ProjectError(problem("mode.ensemble", wrong, fix=f"mml post task={self.pivot.name}"))
        if self.asked.ensemble == "latest":
            return found[-1]
        names = {record.id: record for record in found}
        if self.asked.ensemble not in names:
            fix = did_you_mean(self.asked.ensemble, list(names), otherwise=f"there are {listing(list(names))}")
            raise ProjectError(problem("mode.ensemble", "there is none", got=self.asked.ensemble, fix=fix))
        return names[self.asked.ensemble]

    def _found_members(self) -> list[tuple[str, list[ModelRecord], float]]:
        """(name, records, weight) of each member."""
        stored = records.load_all(self.world.project, self.pivot.name)
        if self._ensemble is None:
            latest = records.latest_cross_validation(stored)
            chosen = [one for one in latest if self.folds is None or one.fold in self.folds]
            if not chosen:
                raise records.untrained(self.world.project, self.pivot.name)
            return [(chosen[0].recipe, chosen, 1.0)]
        by_id = {record.id: record for record in stored}
        wanted = [(member["name"], member["records"], float(member["weight"])) for member in self._ensemble.members]
        missing = [name for _, names, _ in wanted for name in names if name not in by_id]
        if missing:
            fix = "run mml post again"
            raise ProjectError(problem(self._ensemble.id, f"needs records that are gone: {listing(missing)}", fix=fix))
        return [(name, [by_id[one] for one in names], weight) for name, names, weight in wanted]

    def _described(self) -> Task:
        data_dir = str(self.config.data_dir)
        if new_arrays.are_samples(self.pivot):
            made = sources.new_arrays(root=self.asked.source, like=self.pivot)
        else:
            made = sources.new_images(root=self.asked.source, like=self.pivot, data_dir=data_dir)
        path = tasks.task_file(self.config.data_dir, made.name)
        if not path.is_file():
            task.save(made, path)
            log.info(
                f"{len(made.samples)} new {'samples' if new_arrays.are_samples(made) else 'images'} as {made.name}"
            )
        for note in made.notes:
            log.info(f"note on {made.name}: {note}")
        return made

    def _one_for_each_pack(self) -> list[ModelRecord]:
        found = {self._pack_folder(record): record for _, several, _ in self._members for record in several}
        return list(found.values())

    def _pack_folder(self, record: ModelRecord) -> Path:
        return tasks.pack_folder(tasks.config_of(self.config, record), self._new)

    def _preprocess(self, record: ModelRecord, run: Run | None) -> None:
        self._pack(record)

    def _pack(self, record: ModelRecord) -> Pack:
        folder = self._pack_folder(record)
        if folder not in self._packs:
            # Unreadable files are named in the table; the others are predicted all the same.
            most = len(self._new.samples) - 1
            config = tasks.config_of(self.config, record)
            self._packs[folder] = image_cache.packed(self.world, config, self._new, max_unreadable=most)
        return self._packs[folder]

    def _predict(self, record: ModelRecord, run: Run | None) -> None:
        from mlpipe.predicting import records as predict

        pack, project = self._pack(record), self.world.project
        rows = np.flatnonzero(~pack.unreadable_mask(self._new))
        self.world.display.start(f"predicting with {record.id}", 1)
        try:
            predict.predict(
                tasks.config_of(self.config, record).recipe,
                project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE,
                record.fold,
                [predict.Wanted(self._new.name, SPLIT, self._new, pack, rows)],
                project.predictions_file(record.pivot, record.id),
                num_workers=folds.num_workers(self.config),
                should_stop=self.world.stop,
            )
        finally:
            self.world.display.close()

    def _combine(self, run: Run | None) -> None:
        """Calibrate, mix, move to the prevalence asked for, and write the table."""
        mixed = self._mixed()
        found: dict[str, Any] = {"source": self.asked.source, "images": len(mixed), "task": self._new.name}
        moved_to = None
        if self.pivot.kind == "classification" and self.asked.deploy_prior is not None:
            mixed, moved_to = self._moved(mixed, found)
        elif self.asked.deploy_prior is not None:
            fix = "leave it out"
            raise ConfigError(problem("mode.deploy_prior", f"is for classes, not for {self.pivot.kind}", fix=fix))
        if self._ensemble is not None:
            with predictions.writer(self._rows_file(), {(self._new.name, SPLIT)}, self.pivot.kind) as sink:
                sink.add(self._new.name, SPLIT, -1, mixed.ids, mixed.targets, mixed.raw, mixed.calibrated)
        unreadable = {name: reason for pack in self._packs.values() for name, reason in pack.unreadable.items()}
        table = _table(self.pivot, mixed, self._decide(moved_to), unreadable)
        table = new_arrays.titled(table, self._new)
        out = self.world.project.reports_dir() / "predictions" / f"{self._new.name}.csv"
        files.write_text(out, files.csv_text(table))
        found |= {"csv": str(out), "unreadable": unreadable, "models": sum(len(one) for _, one, _ in self._members)}
        self.world.facts.update(found)
        log.info(_summary(self.pivot, table, found["models"]))
        log.info(f"look at: {out}")

    def _masks(self, run: Run | None) -> None:
        """Mix what is predicted for every pixel, and write a mask or a picture for each image."""
        used = [
            (record, weight / len(several), self._pack(record).preprocessing)
            for _, several, weight in self._members
            for record in several
        ]
        unreadable = {name: reason for pack in self._packs.values() for name, reason in pack.unreadable.items()}
        scale = new_masks.scale_of(self.pivot, [tasks.config_of(self.config, one).recipe for one, _, _ in used])
        new_masks.write(self.world, self.pivot, self._new, used, unreadable, SPLIT, self.config.data_dir, scale)

    def _mixed(self) -> Rows:
        """The rows of the mixture, in the order of their names."""
        parts = []
        for _, several, _ in self._members:
            rows = [self._rows(record) for record in several]
            mean = members.mean(rows, self.pivot.kind)
            if mean is None:
                raise ProjectError(problem(self._new.name, "the models predicted different images", fix="run it again"))
            parts.append(mean)
        weights = [weight for _, _, weight in self._members]
        mixing = self._ensemble.mixing if self._ensemble else "probabilities"
        if self.pivot.kind == "regression":
            mixing = "logits"
        raw = combine([part.raw for part in parts], weights, self.pivot.kind, mixing)
        calibrated = combine([part.calibrated for part in parts], weights, self.pivot.kind, mixing)
        if self._ensemble is not None and self._ensemble.calibration is not None:
            source = raw if self._ensemble.stage == "after" else calibrated
            calibrated = self._learned(self._ensemble.calibration)(source)
        return Rows(parts[0].ids, parts[0].targets, raw, calibrated)

    def _rows(self, record: ModelRecord) -> Rows:
        path = self.world.project.predictions_file(record.pivot, record.id)
        stored = predictions.load(path, self._new.name, SPLIT)
        raw = stored.logits.astype(np.float64)
        plain = self._calibration(record)
        return Rows(stored.sample_ids, stored.targets, raw, raw if plain is None else self._learned(plain)(raw))

    def _calibration(self, record: ModelRecord) -> Mapping[str, Any] | None:
        """What was learned from a record's validation rows; an ensemble remembers what it was made with."""
        if self._ensemble is not None:
            found: Mapping[str, Any] | None = self._ensemble.calibrations.get(record.id)
            return found
        path = self.world.project.calibration_file(record.pivot, record.id)
        if not path.is_file():
            log.warning(f"{record.id}: its probabilities are not calibrated; mml post calibrates them")
            return None
        stored: Mapping[str, Any] = files.read_json(path)["calibration"]
        return stored

    def _learned(self, plain: Mapping[str, Any]) -> Callable[[Array], Array]:
        kind = LabelCalibration if self.pivot.kind == "multilabel" else Calibration
        return kind.from_plain(plain).apply

    def _moved(self, mixed: Rows, found: dict[str, Any]) -> tuple[Rows, Array]:
        """Probabilities for the prevalence that was asked for, and that prevalence."""
        base, asked = self._base(), self.asked.deploy_prior
        if isinstance(asked, list):
            there = shares(asked, len(self.pivot.classes), key="mode.deploy_prior")
        else:
            there = self._estimated(found)
        found["deploy_prior"] = there.tolist()
        told = ", ".join(f"{name} {share:.3f}" for name, share in zip(self.pivot.classes, there, strict=True))
        log.info(f"probabilities are moved to the prevalence {told}")
        moved = Rows(mixed.ids, mixed.targets, mixed.raw, move_prior(mixed.calibrated, base, there))
        return moved, there

    def _estimated(self, found: dict[str, Any]) -> Array:
        project, pairs = self.world.project, []
        for record in (one for _, several, _ in self._members for one in several):
            val = members.rows(project, record, record.task, "val")
            if val is not None:
                pairs.append((val, self._rows(record)))
        if not pairs:
            fix = "run mml predict first, or give the prevalence as a list"
            raise DataError(problem("mode.deploy_prior", "no model has predicted its validation images", fix=fix))
        estimate = judgement.estimated_prevalence(pairs, self.config.seed)
        if estimate.shares is None:
            fix = "give the prevalence as a list, or leave it out"
            raise DataError(problem("mode.deploy_prior", estimate.note, got="estimate", fix=fix))
        named = zip(("value", "low", "high"), estimate.shares, strict=True)
        found["prevalence"] = {name: one.tolist() for name, one in named}
        ends = zip(self.pivot.classes, *estimate.shares, strict=True)
        told = ", ".join(f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, value, low, high in ends)
        log.info(f"prevalence among the new images (95 % intervals): {told}{estimate.note and '; '}{estimate.note}")
        # A share of zero would rule a class out for ever.
        floored = np.maximum(estimate.shares[0], 1 / (2 * max(1, len(self._new.samples))))
        return np.asarray(floored / floored.sum())

    def _base(self) -> Array:
        """The prevalence that the mixture's probabilities are meant for."""
        if self._ensemble is not None:
            return np.asarray(self._ensemble.prior["values"])
        several = [record for _, found, _ in self._members for record in found]
        given = members.prior_of(self.world.project, several)
        if given is not None:
            return given
        counts = [members.rows(self.world.project, record, record.task, "val") for record in several]
        known = np.concatenate([rows.targets for rows in counts if rows is not None] or [np.zeros(0, np.int64)])
        if not len(known):
            fix = "run mml predict first"
            raise DataError(problem("mode.deploy_prior", "no model has predicted its validation images", fix=fix))
        return member_mixture.own_shares(known, len(self.pivot.classes))

    def _decide(self, moved_to: Array | None) -> dict[str, Any]:
        """Cut-offs of prediction sets for these probabilities, thresholds, half-widths of intervals."""
        if self._ensemble is None:
            return {}
        decided: dict[str, Any] = dict(self._ensemble.decide)
        if moved_to is not None:
            decided = decisions.at_deployment(self._ensemble, self._rows_file(), moved_to, seed=self.config.seed)
        for told in decisions.used(decided):
            log.info(told)
        return decided

    def _rows_file(self) -> Path:
        assert self._ensemble is not None
        return self.world.project.ensembles_dir(self.pivot.name) / f"{self._ensemble.id}.parquet"


def _table(
    pivot: Task, rows: Rows, decided: Mapping[str, Any], unreadable: Mapping[str, str]
) -> list[dict[str, str | float]]:
    """One row for each image, unreadable ones with the reason."""
    make = {"classification": _of_classes, "multilabel": _of_labels, "regression": _of_numbers}[pivot.kind]
    table = [{"image": name, **cells} for name, cells in zip(rows.ids, make(pivot, rows, decided), strict=True)]
    columns = list(table[0])
    table += [{"image": name, **dict.fromkeys(columns[1:], ""), "problem": why} for name, why in unreadable.items()]
    return [{**row, "problem": row.get("problem", "")} for row in sorted(table, key=lambda row: str(row["image"]))]


def _of_classes(pivot: Task, rows: Rows, decided: Mapping[str, Any]) -> list[dict[str, Any]]:
    chances, table = np.exp(log_softmax(rows.calibrated)), []
    inside, chosen = decisions.sets_of(rows.calibrated, decided), decisions.classes_of(rows.calibrated, decided)
    for number, chance in enumerate(chances):
        best = int(chance.argmax())
        cells: dict[str, Any] = {"prediction": pivot.classes[best], "probability": round(float(chance[best]), 6)}
        if chosen is not None:
            cells["decision"] = pivot.classes[int(chosen[number])]
        if inside is not None:
            named = [name for name, is_in in zip(pivot.classes, inside[number], strict=True) if is_in]
            cells["set"] = " | ".join(named)
        shown = zip(pivot.classes, chance.tolist(), strict=True)
        table.append(cells | {f"p({name})": round(value, 6) for name, value in shown})
    return table


def _of_labels(pivot: Task, rows: Rows, decided: Mapping[str, Any]) -> list[dict[str, Any]]:
    chances = 1 / (1 + np.exp(-rows.calibrated))
    cuts = decided.get("thresholds", {}).get("cuts", {})
    least = [_DECIDED_AT if cuts.get(name) is None else cuts[name] for name in pivot.classes]
    table = []
    for chance in chances:
        holds = [name for name, value, cut in zip(pivot.classes, chance, least, strict=True) if value > cut]
        shown = zip(pivot.classes, chance.tolist(), strict=True)
        table.append({"labels": " | ".join(holds), **{f"p({name})": round(value, 6) for name, value in shown}})
    return table


def _of_numbers(pivot: Task, rows: Rows, decided: Mapping[str, Any]) -> list[dict[str, Any]]:
    halves, table = decided.get("halfwidths", {}), []
    for values in rows.calibrated.tolist():
        cells: dict[str, Any] = {}
        for name, value in zip(pivot.classes, values, strict=True):
            cells[name] = round(value, 6)
            if halves.get(name) is not None:
                cells |= {f"{name} low": round(value - halves[name], 6), f"{name} high": round(value + halves[name], 6)}
        table.append(cells)
    return table


def _summary(pivot: Task, table: Sequence[Mapping[str, Any]], models: int) -> str:
    there = [row for row in table if not row["problem"]]
    told = f"{len(there)} images predicted by {models} model{'s' * (models > 1)}"
    if pivot.kind == "classification":
        what = "decision" if any("decision" in row for row in there) else "prediction"
        counted = Counter(str(row[what]) for row in there)
        told += f" ({what}s): " * (what == "decision") or ": "
        told += ", ".join(f"{name} {count}" for name, count in counted.most_common(12))
    if len(there) < len(table):
        told += f"; {len(table) - len(there)} unreadable"
    return told
