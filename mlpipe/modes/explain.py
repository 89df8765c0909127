"""`mml explain`: heat maps of the evidence for predictions, and the most similar training images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe import files, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.task import Task, has_target
from mlpipe.errors import ConfigError, DataError, counted, did_you_mean, listing, not_installed, problem
from mlpipe.post import figures
from mlpipe.post.ensembling import new_rows
from mlpipe.reports import drawn_maps, facts
from mlpipe.reports import kind as report_kind
from mlpipe.reports.sections import heat_maps as section
from mlpipe.running import tasks
from mlpipe.running.predictor import LATEST, Explained, Predictor, Sample, Stored, is_asked_by_output
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

# The name, the records and the weight of each member of the predictor.
Members = list[tuple[str, list[ModelRecord], float]]


@dataclass(frozen=True)
class Image:
    """An image to explain.

    Attributes:
        name: Its name in its task.
        task: The task, or the new images as one.
        row: Its row in that task.
        words: Further words for its caption.
        members: The models that predict it: for an image of the task, those that did not train on it.
    """

    name: str
    task: Task
    row: int
    words: str
    members: Members


class ExplainScheduler(Scheduler):
    """Draw each image, its heat map and its most similar training images, with a JSON index.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        source: New images; None: the task's own.
        samples: Names of the task's images; None: the worst mistakes.
        count: The maximum number of images.
        ensemble: `latest` or an ensemble's name; None: the refit of the latest training, else the mean of its folds.
        output: The class, label or number to explain; None: the predicted one.
        method: The method of the heat maps.
        neighbours: The number of training images shown beside each image.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        source: str | None,
        samples: list[str | int] | None,
        count: Annotated[int, ">= 1"],
        ensemble: str | None,
        output: str | int | None,
        method: Literal["hires_cam", "grad_cam"],
        neighbours: Annotated[int, ">= 0", "<= 20"],
    ) -> None:
        super().__init__(run_config, context)
        self._source, self._samples = source, None if samples is None else [str(sample) for sample in samples]
        self._count, self._ensemble_name, self._output = count, ensemble, None if output is None else str(output)
        self._method: Literal["hires_cam", "grad_cam"] = method
        self._neighbours = neighbours

    def plan(self) -> list[Step]:
        """One step for all images.

        Raises:
            ConfigError: When the models have no heat maps, or a requested item does not exist.
            ProjectError: When there is no trained model, or records are missing.
        """
        if find_spec("pytorch_grad_cam") is None:
            raise ConfigError(not_installed("mml explain", "pytorch_grad_cam"))
        from mlpipe.predicting import heat_maps

        if self._source is not None and self._samples is not None:
            fix = "leave one out"
            raise ConfigError(problem("mode.samples", "mode.source says what to explain already", fix=fix))
        if self._samples == []:
            fix = "leave it out: the worst mistakes are explained"
            raise ConfigError(problem("mode.samples", "names no image", got=self._samples, fix=fix))
        config, project = self.run_config, self.context.project
        self._pivot = tasks.recorded_pivot(config, project)
        name, ensemble_name = self._pivot.name, self._ensemble_name
        self._ensemble = (
            None if ensemble_name is None else ensembles.named(project, name, ensemble_name, "mode.ensemble")
        )
        self._members: Members = new_rows.members_of(project, name, self._ensemble)
        if self._source is not None:
            log.info(new_rows.told(project, name, self._ensemble, self._members, LATEST))
        self._folds: Members = self._fold_models()
        used = [record for _, several, _ in self._members for record in several]
        recipes = [tasks.config_of(config, record).recipe for record in used]
        axes = len(self._shape()) if sources.open(self._pivot).has_arrays else 2
        raise_all(heat_maps.problems([record.id for record in used], recipes, used[0].kind, axes))
        self._output_number = self._number_of_output(used[0].kind)
        self._images = self._new_images() if self._source is not None else self._own_images()
        return [Step("explain", self._explain, in_project=False)] if self._images else []

    def _shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = sources.reader(self._pivot, self._pivot.channels)(0).shape[:-1]
        return shape

    def _fold_models(self) -> Members:
        """Return the models of folds, each of which did not train on the images that it held out."""
        project, name = self.context.project, self._pivot.name
        stored = records.load_all(project, name)
        if self._ensemble is None:
            latest = records.latest_cross_validation(stored)
            return [(latest[0].recipe, latest, 1.0)]
        by_id = {record.id: record for record in stored}
        return [
            (str(member["name"]), [by_id[record] for record in member["records"]], float(member["weight"]))
            for member in self._ensemble.members
        ]

    def _number_of_output(self, kind: str) -> int | None:
        classes, words = self._pivot.classes, kinds.of(kind).words
        if self._output is None:
            if is_asked_by_output(kind):
                fix = f"say which, for example mode.output={classes[-1]}"
                raise ConfigError(problem("mode.output", f"a map is of one {words.OUTPUT}", fix=fix))
            return None
        if self._output not in classes:
            fix = did_you_mean(self._output, classes, otherwise=f"use {listing(classes)}")
            raise ConfigError(problem("mode.output", f"is no {words.OUTPUT} of the task", got=self._output, fix=fix))
        return classes.index(self._output)

    def _new_images(self) -> list[Image]:
        like, source = self._pivot, str(self._source)
        if sources.open(like).has_arrays:
            task = sources.new_arrays(root=source, like=like)
        else:
            task = sources.new_images(root=source, like=like, data_dir=str(self.run_config.data_dir))
        names = task.samples.ids[: self._count]
        if len(names) < len(task.samples):
            log.info(f"explains the first {len(names)} of {len(task.samples)} images; mode.count=N takes more")
        return [Image(name, task, row, "", self._members) for row, name in enumerate(names)]

    def _own_images(self) -> list[Image]:
        """Return images of the task with the models that did not train on them."""
        row_of = {name: row for row, name in enumerate(self._pivot.samples.ids)}
        worst = self._mistakes() if self._samples is None else [(name, "") for name in self._samples]
        missing = [name for name, _ in worst if name not in row_of]
        if missing:
            fix = did_you_mean(missing[0], row_of, otherwise="use names as mml info and the report have them")
            raise ConfigError(problem("mode.samples", "the task has no such image", got=missing[0], fix=fix))
        held_out, unseen = self._held_out()
        images, learned = [], list[str]()
        for name, words in worst[: self._count]:
            row = row_of[name]
            members = [
                (member, [record for record in several if name in held_out[record.id]], weight)
                for member, several, weight in self._folds
            ]
            if not all(several for _, several, _ in members):
                members = self._members
                if name not in unseen and has_target(self._pivot.samples.targets[[row]])[0]:
                    learned.append(name)
            images.append(Image(name, self._pivot, row, words, members))
        if learned:
            log.warning(f"the models that explain them have learned from {listing(learned, most=3)}")
        return images

    def _held_out(self) -> tuple[dict[str, set[str]], set[str]]:
        """Return the images that each fold's model held out, and those that some model has predicted."""
        held_out, unseen = dict[str, set[str]](), set[str]()
        for record in (model for _, several, _ in self._folds for model in several):
            path = self.context.project.predictions_file(record.pivot, record.id)
            own: set[str] = set()
            if path.is_file():
                own = set(predictions.load(path, record.task, record.held_out).sample_ids)
                unseen |= predictions.sample_ids(path, {record.task, record.pivot})
            held_out[record.id] = own
        return held_out, unseen

    def _mistakes(self) -> list[tuple[str, str]]:
        """Return the worst mistakes with a caption for each, without images that are only just correct."""
        project, kind = self.context.project, self._folds[0][1][0].kind
        choose = report_kind.of(kind).MISTAKES
        if choose is None:
            fix = "name images (mode.samples=[NAME]) or a folder (mode.source=DIR)"
            wrong = (
                f"{kinds.of(kind).words.TARGETS} are not right or wrong as a whole, so that there are no worst mistakes"
            )
            raise ConfigError(problem("mode.samples", wrong, fix=fix))
        if self._ensemble is not None:
            held_out, test = facts.of_ensemble(project, self._ensemble)
        else:
            folds, whole = self._folds[0][1], self._members[0][1]
            held_out, test = facts.recipe_rows(project, folds, whole[0] if whole[0].refit else None)
        rows, where = (test, "test") if test is not None else (held_out, "out-of-fold")
        if rows is None:
            wrong = f"no test or out-of-fold predictions of {self._pivot.name} are stored"
            fix = "run mml predict, or name images (mode.samples=[NAME]) or a folder (mode.source=DIR)"
            raise ConfigError(problem("mode.samples", wrong, fix=fix))
        wrong_ones, near = choose(rows, self._pivot.classes, self._count)
        if not wrong_ones:
            log.info(f"there is no mistake among the {counted(len(rows), f'{where} image')}; explains near misses")
        return [(example.sample, example.words) for example in wrong_ones or near]

    def _explain(self, run: Run | None) -> None:
        project, name = self.context.project, self._pivot.name
        folder = section.folder_of(project, name)
        old, facts_by_place = section.index_of(project, name), dict[int, dict[str, Any]]()
        self.context.display.start("explaining", len(self._images))
        try:
            for group in _groups_by_models(self._images):
                for place, facts_of in self._explain_group([(place, self._images[place]) for place in group]):
                    facts_by_place[place] = facts_of
                    self.context.display.update(len(facts_by_place))
        finally:
            self.context.display.close()
        listed = [facts_by_place[place] for place in sorted(facts_by_place)]
        index = {"task": name, "method": self._method, "images": listed}
        files.write_json(folder / section.INDEX, index)
        file_names = {str(entry.get("file")) for entry in listed}
        for old_entry in old["images"] if old else []:
            if (left := files.safe_name(str(old_entry.get("file")))) not in file_names:
                (folder / left).unlink(missing_ok=True)
        drawn = sum("file" in entry for entry in listed)
        failed = f"; {counted(len(listed) - drawn, 'image')} unreadable" if drawn < len(listed) else ""
        log.info(f"{counted(drawn, 'image')} explained{failed}; look at: {folder}")
        self.context.facts.update(folder=str(folder), index=str(folder / section.INDEX), **index)

    def _explain_group(self, group: Sequence[tuple[int, Image]]) -> list[tuple[int, dict[str, Any]]]:
        """Explain and draw images of one task that the same models predict; return facts by the image's index."""
        self.context.stop.check()
        first, config = group[0][1], self.run_config
        trust = tuple(config.tree["trust"])
        stored = Stored(self.context.project, self._pivot.name, self._ensemble, first.members, config.data_dir, trust)
        predictor = Predictor(stored)
        reader = lru_cache(maxsize=None)(partial(sources.reader, first.task))
        samples = [_sample(reader, image.row) for _, image in group]
        explanation = predictor.explain(samples, self._output_number, self._method)
        if len(explanation.unreadable) == len(samples):
            place, reason = next(iter(explanation.unreadable.items()))
            raise DataError(problem(group[place][1].name, reason))
        names = [group[place][1].name if first.task is self._pivot else None for place in explanation.places]
        alike = self._nearest(predictor, [samples[place] for place in explanation.places], names)
        entries = [
            (group[place][0], {"image": group[place][1].name, "problem": why})
            for place, why in explanation.unreadable.items()
        ]
        for number, place in enumerate(explanation.places):
            at, image = group[place]
            image_facts = {
                **self._facts(image, explanation, number),
                "models": [record.id for record in stored.records],
            }
            image_facts["neighbours"] = [facts_of for facts_of, _ in alike[number]]
            image_facts["file"] = f"{at + 1:03d}_{files.safe_name(image.name)}.png"
            pixels = samples[place](self._pivot.channels, None)
            pictures = [(values, str(facts_of["said"])) for facts_of, values in alike[number]]
            path = section.folder_of(self.context.project, self._pivot.name) / image_facts["file"]
            drawn_maps.write(path, pixels, explanation.maps[number], [image.name, *image_facts["words"]], pictures)
            entries.append((at, image_facts))
        return entries

    def _facts(self, image: Image, explanation: Explained, number: int) -> dict[str, Any]:
        """Return the facts of an image as plain data."""
        classes, its = self._pivot.classes, kinds.of(self._pivot.kind)
        output = int(explanation.asked[number])
        image_facts: dict[str, Any] = {"image": image.name, "output": classes[output]}
        reason = f"why {classes[output]}"
        if explanation.values is not None:
            row = explanation.values[number]
            image_facts |= {"value": float(row[output]), "predicted": dict(zip(classes, map(float, row), strict=True))}
            figure = (
                figures.percent(float(row[output])) if its.has_probabilities else figures.number(float(row[output]))
            )
            reason = f"{reason}: {figure}"
        target = image.task.samples.targets[image.row]
        is_known = bool(has_target(image.task.samples.targets[[image.row]])[0])
        true = its.words.told(target, classes) if is_known else None
        image_facts["true"] = true
        image_facts["is_empty"] = not explanation.maps[number].any()
        lines = (
            [image.words]
            if image.words and self._output_number is None
            else [*([f"true: {true}"] if true else []), reason]
        )
        image_facts["words"] = [*lines, *["nothing in the image speaks for it"] * image_facts["is_empty"]]
        return image_facts

    def _nearest(
        self, predictor: Predictor, samples: Sequence[Sample], names: Sequence[str | None]
    ) -> list[list[tuple[dict[str, Any], npt.NDArray[Any]]]]:
        """Return other training images most similar to each image for the first model, with their pixels."""
        record, of = predictor.stored.records[0], self._pivot
        rows = self._training_rows(record)
        if not self._neighbours or not len(rows):
            return [[] for _ in samples]
        pack = tasks.pack_of(predictor.config(record.id), of, self.context)
        rows = rows[~pack.unreadable_mask(of)[rows]]
        neighbours = predictor.nearest(
            record.id, samples, of, pack, rows, self._neighbours + 1, self.context.stop.check
        )
        if neighbours is None:
            log.info(f"{record.id} has no features of whole images, by which training images could be alike")
            return [[] for _ in samples]
        read, words = sources.reader(of, of.channels), kinds.of(of.kind).words
        lines = []
        for own, near, distances in zip(names, *neighbours, strict=True):
            line: list[tuple[dict[str, Any], npt.NDArray[Any]]] = []
            for row, distance in zip(near.tolist(), distances.tolist(), strict=True):
                if of.samples.ids[row] == own or len(line) == self._neighbours:
                    continue
                label = words.told(of.samples.targets[row], of.classes)
                about = {"image": of.samples.ids[row], "label": label, "distance": distance}
                line.append(({**about, "said": f"{label or of.samples.ids[row]} ({distance:.2g})"}, read(row)))
            lines.append(line)
        return lines

    def _training_rows(self, record: ModelRecord) -> npt.NDArray[np.int64]:
        """Return the rows that a model trained on: rows with a target that were neither validation nor test rows."""
        samples = self._pivot.samples
        path = self.context.project.predictions_file(record.pivot, record.id)
        apart = predictions.sample_ids(path, {record.task, record.pivot}) if path.is_file() else set()
        is_apart = np.array([name in apart for name in samples.ids], np.bool_)
        return np.flatnonzero(has_target(samples.targets) & ~is_apart & ~samples.in_part("test"))


def _sample(reader: Any, row: int) -> Sample:
    return lambda channels, least: reader(channels, least)(row)


def _groups_by_models(images: Sequence[Image]) -> list[list[int]]:
    """Group the indices of images that the same models explain."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, image in enumerate(images):
        names = tuple(record.id for _, several, _ in image.members for record in several)
        groups.setdefault(names, []).append(place)
    return list(groups.values())
