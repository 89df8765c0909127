"""`mml train`: train one model for each fold, with predictions, scores, and a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Literal

from mlpipe import files, kinds
from mlpipe.config import catalog
from mlpipe.config.assemble import assemble
from mlpipe.config.components import Component
from mlpipe.config.schema import Reuse, RunConfig
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError
from mlpipe.running import tasks
from mlpipe.running.folds import cross_validation
from mlpipe.running.folds.co_tasks import Request as JointRequest
from mlpipe.running.folds.cross_validation import Request
from mlpipe.running.folds.fold_training import Storage
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs import predictions, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")


class TrainingScheduler(Scheduler):
    """Train one model for each fold, predict with each, test each; without `train`, use stored models.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: Any of train, predict, test, post; the last does the same as `mml post`, for the trained recipe.
        cv: One model for each fold; False: fold 0 only.
        nested: Set each fold aside as test data and split the rest again.
        store_parameters: Store weights.
        store_best: Store the best epoch's weights.
        multitask: The number of tasks trained together, the pivot included; False: the pivot alone.
        co_tasks: The other tasks, from `task_list`; or drawn from it.
        task_weights: The weight of each task's loss, the pivot's first; `uncertainty`: learned; None: equal.
        eval_on: Tasks to predict and test instead of the pivot.
        use_blueprint: Sections of `reuse.blueprint` have replaced those of the configuration (`modes.reuse` did it).
        pipeline_keys: Sections stored as the record's pipeline.
        folds: Only these folds.
        strict_validation: Refuse a score from a fold that also chose something.
        refit: After the folds, train one more model on all of them.

    Attributes:
        looked_at: The pivot, if the caller has already scanned it; None: the plan does.
        recipe_hash: The hash that groups the folds, once they are planned.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        cv: bool,
        nested: bool,
        store_parameters: bool,
        store_best: bool,
        multitask: Literal[False] | Annotated[int, ">= 2"],
        co_tasks: Literal["random"] | list[str],
        task_weights: Literal["uncertainty"] | list[float] | None,
        eval_on: str | list[str] | None,
        use_blueprint: bool,
        pipeline_keys: list[str],
        folds: list[int] | None,
        strict_validation: bool,
        refit: bool = False,
    ) -> None:
        super().__init__(run_config, context)
        self.request = Request(
            subroutines=[name for name in ("train", "predict", "test") if name in subroutines],
            cv=cv,
            nested=nested,
            folds=folds,
            storage=Storage(store_parameters, store_best),
            joint=JointRequest(multitask, co_tasks, task_weights),
            eval_on=[eval_on] if isinstance(eval_on, str) else eval_on or (),
            refit=refit,
        )
        self.origin = ""
        self.looked_at: Task | None = None
        self.recipe_hash = ""
        self._ends_with_report = "post" in subroutines

    def plan(self) -> list[Step]:
        """Plan the cache and the network first; then every fold's training, predictions and test."""
        task = self.pivot()
        if not self.request.trains:
            return cross_validation.stored(self.run_config, self.context, task, self.request)
        # A new record is numbered after all others, which must not fail after hours of training.
        records.refuse_older(self.context.project)
        ending = self._post if self._ends_with_report else None
        plan = cross_validation.training(self.run_config, self.context, task, self.request, self.origin, ending)
        self.recipe_hash = plan.recipe_hash
        self.decided(plan.config, plan.recipe_hash)
        return plan.steps

    def pivot(self) -> Task:
        """The task that the models are or were trained on.

        Raises:
            ConfigError: When a folder is not writable, or there is no such device.
            DataError: When the task is invalid, or results would lie inside its images.
        """
        if self.looked_at is not None:
            return self.looked_at
        config = self.run_config
        raise_all(require_writable(config.out_dir, "out_dir") + require_writable(config.data_dir, "data_dir"))
        trains = self.request.trains
        if trains:
            raise_all(_network_problems(config.recipe.arch))
        task = tasks.pivot(config) if trains else tasks.recorded_pivot(config, self.context.project)
        tasks.refuse_results_inside(task, config.project_dir)
        if task.bases:
            log.info(f"task {task.name}: {tasks.describe(task)}")
        if not trains:
            from mlpipe.learn.machine import hardware

            raise_all(hardware.device_problems(config.recipe.trainer))
        return task

    def _post(self, records: Sequence[ModelRecord], run: Run) -> None:
        """Calibrate, evaluate and report the trained recipe, with the defaults of `mml post`."""
        draws = kinds.of(records[0].kind).draws
        if draws or not all(_is_held_out(self.context.project, record) for record in records):
            why = "drawn images have none" if draws else "a fold has no image that it did not learn from"
            log.info(f"no calibration and no intervals: {why}")
            # Matplotlib is slow to import; only the report needs it.
            from mlpipe.reports import html

            path = html.write(self.context.project, self.run_config.data_dir)
            self.context.facts["report"] = str(path)
            return
        config = _post_config(self.run_config, records[0].recipe)
        scheduler: Scheduler = config.scheduler.build(config, replace(self.context, is_part=True))
        for step in scheduler.plan():
            self.context.stop.check()
            step.call(run)


def _network_problems(arch: Component) -> list[str]:
    """Return problems in the layers of networks that a file describes, before any image is read."""
    problems: list[str] = []
    keys = {"keras_json": ("layers",), "gan": ("generator", "critic")}.get(arch.name, ())
    for layers in [arch.params.get(key) for key in keys]:
        if not isinstance(layers, list | Mapping) and str(layers or "").lstrip()[:1] not in ("[", "{"):
            continue
        from mlpipe.arch.keras import parsing

        try:
            parsing.describe(parsing.decoded(layers, "arch.file") if isinstance(layers, str) else layers)
        except ConfigError as error:
            problems += error.problems
    return problems


def _post_config(config: RunConfig, recipe: str) -> RunConfig:
    """Return the configuration of `mml post` for one recipe of a training's task and project."""
    section = files.read_yaml(catalog.conf_dir() / "mode" / "post.yaml")
    # `mml post` reads nothing that a training takes from other runs.
    tree = {**config.tree, "mode_name": "post", "mode": {**section, "recipes": [recipe]}, "reuse": asdict(Reuse())}
    tree["time_limit"] = None
    return replace(assemble(tree), given=config.given)


def _is_held_out(project: Project, record: ModelRecord) -> bool:
    """Return whether a record has predictions of images that it did not train on, which can evaluate it."""
    path = project.predictions_file(record.pivot, record.id)
    return path.is_file() and (record.task, record.held_out) in predictions.contents(path)
