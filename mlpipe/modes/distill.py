"""`mml distill`: train one network on the predictions of an ensemble or of another stored predictor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from mlpipe import kinds
from mlpipe.config.assemble import assemble
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.records import outputs
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, ProjectError, counted, problem
from mlpipe.modes.train import TrainingScheduler
from mlpipe.post import comparison, teaching
from mlpipe.post.teaching import Teaching
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import continuing, ensembles, journal, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")


class DistillScheduler(TrainingScheduler):
    """Train like `mml train`, each fold on a teacher's calibrated predictions and the targets, and compare both.

    The teacher's prediction of a training image comes from models that did not train on it; images without a target are
    used too.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        ensemble: The teacher, as `mlpipe.post.comparison.contender` accepts it; `latest`: the newest ensemble that is
            not itself a student.
        temperature: The divisor of the log-probabilities of teacher and student.
        hard_weight: The share of the loss that is computed on the true targets, 0 to 1.
        training: The keys of `mml train`.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        ensemble: str | int,
        temperature: Annotated[float, "> 0"],
        hard_weight: Annotated[float, ">= 0", "<= 1"],
        **training: Any,
    ) -> None:
        super().__init__(run_config, context, **training)
        self._ensemble_id, self._temperature, self._hard_weight = str(ensemble), temperature, hard_weight
        self._teacher = ""

    def plan(self) -> list[Step]:
        """Return the plan of `mml train`, with a teacher.

        Raises:
            ConfigError: When the task or the loss does not support a student, or the temperature has no effect.
            ProjectError: When there is no such teacher, or it has no held-out predictions.
        """
        project, config = self.context.project, self.run_config
        task = self.looked_at = self.pivot()
        raise_all(self._problems(task))
        teacher_name = _newest(project, task.name) if self._ensemble_id == "latest" else self._ensemble_id
        teacher = comparison.contender(project, task.name, teacher_name, teaching.KEY)
        if (kind := kinds.decide(task.kind, config.recipe.loss)) != teacher.kind:
            wrong = f"{teacher.name} predicts {teacher.kind}, the student {kind}"
            raise ConfigError(problem("loss", wrong, fix="use a loss of the teacher's kind, such as loss=auto"))
        # Ensembles and single records are named by their ids, folds by their group.
        is_recipe = teacher.newest is not None and teacher.name != teacher.newest.id
        self._teacher = teacher.newest.recipe if is_recipe and teacher.newest is not None else teacher.name
        values = teaching.outputs(teacher, task.samples.ids, len(task.classes))
        lesson = Teaching(self._teacher, values, self._temperature, self._hard_weight)
        _tell(task, teacher.name, lesson)
        # A continued run uses the same teacher, even if newer ensembles exist.
        tree = {**config.tree, "mode": {**config.tree["mode"], "ensemble": self._teacher}}
        self.run_config = replace(assemble(tree), given=config.given)
        self.request = replace(self.request, teaching=lesson)
        return super().plan()

    def _problems(self, task: Task) -> list[str]:
        problems = []
        if outputs.names(task.source) or sources.open(task).layout is not None:
            wrong = "a student learns from images, this task's samples are rows of named arrays"
            problems.append(problem(f"task {task.name}", wrong, fix="use mml train"))
        if not kinds.of(task.kind).has_probabilities and self._temperature != 1:
            wrong = f"is for probabilities, {task.kind} tasks have none"
            problems.append(problem("mode.temperature", wrong, got=self._temperature, fix="leave it out"))
        return problems

    def _post(self, records: Sequence[ModelRecord], run: Run) -> None:
        """Run the post-processing of `mml train`, and compare student and teacher on the same rows."""
        super()._post(records, run)
        project, task = self.context.project, self.looked_at
        assert task is not None
        student, teacher = (
            comparison.contender(project, task.name, name) for name in (records[0].recipe, self._teacher)
        )
        result = comparison.compared(student, teacher, task.samples.group_of() or None, self.run_config.seed)
        self.context.facts["distilled"] = result.as_plain()
        for sentence in result.sentences():
            log.info(sentence)
        if result.split != "test":
            log.info(
                "note: the teacher's models learned from these rows' targets, and so a little of them reached the student"
            )


def _newest(project: Project, task: str) -> str:
    """Return the newest ensemble of which not all members are students.

    Raises:
        ProjectError: When there is none.
    """
    runs = {run.name for run in journal.all_runs(project) if continuing.mode_of(run) == "distill"}
    students = {record.id for record in records.load_all(project, task) if record.run in runs}
    # A later `mml post` mixes a student's folds too.
    ids = [
        ensemble.id
        for ensemble in ensembles.load_all(project, task)
        if not students.issuperset(name for member in ensemble.members for name in member["records"])
    ]
    if not ids:
        wrong = f"project {project.name} has no ensemble of {task} to learn from"
        raise ProjectError(problem(teaching.KEY, wrong, fix=f"train it with folds, then mml post task={task}"))
    return ids[-1]


def _tell(task: Task, name: str, lesson: Teaching) -> None:
    known, unlabelled = lesson.known, task.samples.in_part("unlabelled")
    more = (
        f" and {counted(int((known & unlabelled).sum()), 'image')} without a target"
        if (known & unlabelled).any()
        else ""
    )
    images = counted(int((known & ~unlabelled).sum()), "image")
    log.info(f"the teacher {name} predicts {images} by models that did not learn from them{more}")
