"""`mml evaluate`: evaluate a network with given weights on a task's images, or apply it to them or to slices."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlpipe import current_folder
from mlpipe.config.schema import RunConfig
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.errors import counted, problem
from mlpipe.running import console, dimension_checks, tasks, training_log
from mlpipe.running.folds.folds import num_workers
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.running.volume_slices import SliceRequest, Targets, VolumeSlices
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from torch import nn

    from mlpipe.predicting.evaluation import Evaluation
    from mlpipe.runs.sinks import Predicted

log = logging.getLogger("mlpipe")


class EvaluationScheduler(Scheduler):
    """Run the recipe's network on every image of a task; nothing is trained, and the project does not change.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        outputs: A folder for output_1.h5, the network's output for each image.
        slices: Slice sets of a volume to which the network is applied instead of a task's images.
        source: The file of the volume.
        dataset: The name of the array in the file.
        outfile: The HDF5 file in which the predictions of all slices are joined.
        precision: The precision of its numbers, 32 or 16 bits.
        layout: The position of the channels in its datasets.
        record: The trained network to apply, such as `PROJ#3`; None: the configuration's own.
        batch_size: The number of slices per batch.
        targets: The file of the volume's class numbers, with which predictions of slices are compared.
        target_dataset: The name of the array in that file.
        values: The value of each class in that array; None: 0, 1, 2, ... or the values that the record was trained
            with.
        ignore_index: The value of voxels that are ignored.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        outputs: str | None = None,
        slices: list[dict[str, Any]] | None = None,
        source: str | None = None,
        dataset: str | None = None,
        outfile: str | None = None,
        precision: Literal["single", "half"] = "single",
        layout: Literal["channels_last", "channels_first"] = "channels_last",
        record: str | None = None,
        batch_size: Annotated[int, ">= 1"] | Literal["auto"] = "auto",
        targets: str | None = None,
        target_dataset: str | None = None,
        values: list[Annotated[int, ">= 0", "<= 65535"]] | None = None,
        ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    ) -> None:
        super().__init__(run_config, context)
        self._outputs, self._precision = current_folder.expanded(outputs).absolute() if outputs else None, precision
        self._volume = None
        if slices is not None:
            compared = Targets(targets, target_dataset, values, ignore_index) if targets is not None else None
            request = SliceRequest(slices, source, dataset, outfile, precision, layout, record, batch_size, compared)
            self._volume = VolumeSlices(run_config, context, request)
        fix = "add mode.slices, or leave it out"
        for_slices = {"source": source, "dataset": dataset, "outfile": outfile, "record": record, "targets": targets}
        odd = [key for key, value in for_slices.items() if value is not None and slices is None]
        self._key_problems = [problem(f"mode.{key}", "is for slices", fix=fix) for key in odd]
        for_targets = {"target_dataset": target_dataset, "values": values, "ignore_index": ignore_index}
        alone = [key for key, value in for_targets.items() if value is not None and targets is None]
        self._key_problems += [problem(f"mode.{key}", "is for targets", fix="add mode.targets=FILE") for key in alone]
        if slices is not None and outputs is not None:
            self._key_problems.append(problem("mode.outputs", "is for images, not for slices", fix="use mode.outfile"))

    def plan(self) -> list[Step]:
        """Plan one step, after the images are available; slices of a volume need no task."""
        config = self.run_config
        raise_all(self._key_problems)
        devices = config.recipe.trainer.get("devices", 1)
        if isinstance(devices, int) and devices > 1:
            log.info(f"trainer.devices={devices} is for training: mml evaluate uses one device")
        if self._volume is not None:
            return self._volume.plan()
        raise_all(require_writable(config.data_dir, "data_dir") + console.problems(config, 1))
        self._task = tasks.pivot(config)
        raise_all(dimension_checks.problems(config.recipe, self._task))
        return [Step("evaluate", self._evaluate, in_project=False)]

    def _evaluate(self, run: Run | None) -> None:
        from mlpipe.learn.build.network import build_network
        from mlpipe.learn.callbacks import output_files
        from mlpipe.learn.machine.quiet import prepare_torch

        config, task = self.run_config, self._task
        pack = tasks.pack_of(config, task, self.context)
        prepare_torch(config.recipe.threads)
        network = build_network(config.recipe, task, pack, seed=config.seed)
        printer = console.of(config)
        printer.introduce(task, network, {"test": len(task.samples)})
        result = self._evaluation(task, pack, network)
        row = training_log.evaluation_row(result.scores)
        size = int(config.recipe.sampling.params.get("eval_batch_size", 256))
        printer.epoch(row, 1, -(-len(result.rows) // size))
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result.scores.items())
        log.info(f"{task.name}: {scores or counted(len(result.rows), 'image') + ', no targets'}")
        self.context.facts.update(task=task.name, images=len(result.rows), scores=result.scores)
        if config.sys.outfile is not None:
            training_log.write(config.sys.outfile, [], [row])
        if self._outputs is not None:
            path = output_files.path_of(self._outputs, 1)
            self.context.facts.update(outputs=str(path))
            log.info(f"outputs: {path}")

    def _evaluation(self, task: Task, pack: Pack, network: nn.Module) -> Evaluation:
        """Evaluate the network, and write its outputs if requested."""
        from mlpipe.learn.callbacks import output_files
        from mlpipe.predicting.evaluation import evaluate

        writer = output_files.opened(self._outputs, 1, self._precision) if self._outputs is not None else nullcontext()
        with writer as sink:

            def take(predicted: Predicted) -> None:
                if sink is not None:
                    sink.add(output_files.as_in_file(network, predicted))

            config, workers = self.run_config, num_workers(self.run_config)
            options: dict[str, Any] = {"num_workers": workers, "should_stop": self.context.stop, "take": take}
            return evaluate(config.recipe, task, pack, network, **options)
