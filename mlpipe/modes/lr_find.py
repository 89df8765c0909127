"""`mml lr_find`: suggest a learning rate by a range test, without training."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from mlpipe import kinds
from mlpipe.config import snapshot
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe, RunConfig
from mlpipe.data.splits import checks
from mlpipe.errors import listing, problem
from mlpipe.names import path_of
from mlpipe.running import dimension_checks, tasks
from mlpipe.running.folds.folds import Folds, tell_sizes, with_possible_nesting
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class LrFindScheduler(Scheduler):
    """Run a range test on the training images of one fold; the curve and the suggestions go to the run's folder.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        nested: Set the fold aside as test data and split the rest again, as `mml train` does.
        fold: The number of the fold.
        start: The first learning rate.
        end: The last learning rate.
        steps: The number of steps.
        smoothing: The weight of the previous running mean of the loss at each step.
        stop_factor: The test ends when the smoothed loss exceeds this multiple of its minimum.
        suggest: The suggestion to print first.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        nested: bool,
        fold: Annotated[int, ">= 0"],
        start: Annotated[float, "> 0"],
        end: Annotated[float, "> 0"],
        steps: Annotated[int, ">= 3"],
        smoothing: Annotated[float, ">= 0", "< 1"],
        stop_factor: Annotated[float, "> 1"],
        suggest: Literal["steepest", "valley"],
    ) -> None:
        super().__init__(run_config, context)
        self._nested, self._fold = nested, fold
        self._keys: dict[str, Any] = {
            "start": start,
            "end": end,
            "steps": steps,
            "smoothing": smoothing,
            "stop_factor": stop_factor,
            "suggest": suggest,
        }

    def plan(self) -> list[Step]:
        """Plan the cache and the network first, then the test."""
        config = self.run_config
        raise_all(require_writable(config.out_dir, "out_dir") + require_writable(config.data_dir, "data_dir"))
        self._task = tasks.pivot(config)
        config = tasks.with_decisions(config, self._task)
        self.decided(config)
        tasks.refuse_results_inside(self._task, config.project_dir)
        self._split = tasks.split_of(config, self._task)
        config = with_possible_nesting(config, self._split)
        self._nested = bool(config.tree["mode"]["nested"])
        raise_all(self._problems(config.recipe))
        self._folds = Folds(config, self.context, self._task, self._split, self._nested, decoding=config)
        return [
            Step(f"preprocess {self._task.name}", self._preprocess, in_project=False),
            Step("build the network", self._try_network, in_project=False),
            Step("lr_find", self._find),
        ]

    def _problems(self, recipe: Recipe) -> list[str]:
        from mlpipe.learn.machine import hardware

        task, validated = self._task, self._split.validated
        problems = hardware.device_problems(recipe.trainer)
        if kinds.of(kinds.decide(task.kind, recipe.loss)).draws:
            wrong = "is a critic's, which says nothing of the images, and so nothing of rates"
            fix = "compare several: mml train --multirun optimizer.lr=1e-4,3e-4,1e-3"
            problems.append(problem("loss", wrong, got=recipe.loss.name, fix=fix))
        problems += dimension_checks.problems(recipe, task)
        if self._keys["end"] <= self._keys["start"]:
            wrong = f"must be larger than mode.start={self._keys['start']:g}"
            problems.append(problem("mode.end", wrong, got=self._keys["end"]))
        if self._fold not in validated:
            fix = f"the folds are {listing(validated)}"
            problems.append(problem("mode.fold", "there is no such fold", got=self._fold, fix=fix))
        if self._nested and not self._split.can_nest:
            fix = "add mode.nested=false, or use split=kfold"
            problems.append(problem("mode.nested", f"the split has {len(validated)} validation part", fix=fix))
            return problems
        return problems + checks.size_problems(task.kind, task.samples, self._split, task.classes, nested=self._nested)

    def _preprocess(self, run: Run | None) -> None:
        self._folds.pack(self._task)

    def _try_network(self, run: Run | None) -> None:
        from mlpipe.learn.build.trial import try_recipe

        view = self._folds.checked(self._fold)
        tell_sizes(self.context, self._task, self._split, [view])
        try_recipe(self._folds.config.recipe, self._task, self._folds.pack(self._task), view.train)

    def _find(self, run: Run | None) -> None:
        from mlpipe.learn import tune
        from mlpipe.learn.job import FoldFiles, FoldJob, Origin, Watch

        assert run is not None
        config = self._folds.config
        destination = FoldFiles(
            project=self.context.project,
            record_id="lr_find",
            checkpoint=run.checkpoints_dir / "lr_find",
            logging=config.logging,
            logs=run.folder / "logs",
            store_best=False,
            store_parameters=False,
        )
        job = FoldJob(
            recipe=config.recipe,
            task=self._task,
            view=self._folds.checked(self._fold),
            pack=self._folds.pack(self._task),
            files=destination,
            origin=Origin(run.name, "", snapshot.stored(config.tree), self._nested, []),
        )
        test = Component("tune", path_of("tune", "lr_find"), self._keys).build()
        self.context.display.start("range test", 1)
        try:
            result = test.find(job, Watch(self.context.stop, log=log.debug))
        finally:
            self.context.display.close()
        tune.write(result, run.folder)
        lr = result.chosen["lr_found"]
        self.context.facts.update({**result.facts, "lr": lr, "file": str(run.folder / "lr_find.csv")})
        others = ", ".join(f"{name} {result.facts[name]:.3g}" for name in ("valley", "steepest"))
        log.info(f"suggested learning rate {lr:.3g} ({others}) after {result.facts['ended_after']} steps")
        log.info(f"use it with optimizer.lr={lr:.3g}; the curve: {run.folder / 'lr_find.csv'}")
