"""Apply a network slice by slice to a volume (`mml evaluate mode.slices=[...]`): predictions joined in one HDF5 file."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlpipe import current_folder
from mlpipe.config import rules
from mlpipe.config.schema import Recipe, RunConfig
from mlpipe.data.sources.listings import sliced_volumes
from mlpipe.data.sources.listings.sliced_volumes import Place
from mlpipe.data.volumes import arrays, assembly, slices
from mlpipe.data.volumes.arrays import Volume
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import ConfigError, DataError, counted, problem
from mlpipe.running import console, tasks, training_log
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs import references, stale_files
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from torch import nn

    from mlpipe.predicting import volumes
    from mlpipe.predicting.slice_scores import Judge

log = logging.getLogger("mlpipe")

_KEY, _SOURCE, _TARGETS = "mode.slices", "mode.source", "mode.targets"
# The default number of values in the slices of a batch.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Targets:
    """The class numbers with which predictions of `mml evaluate mode.slices` are compared.

    Attributes:
        source: Their file, or a folder that contains only this file.
        dataset: The name of the array in it.
        values: The value of each class; None: 0, 1, 2, ... or the values that the record was trained with.
        ignore_index: The value of voxels that are ignored.
    """

    source: str
    dataset: str | None
    values: Sequence[int] | None
    ignore_index: int | None

    def place(self) -> Place:
        """Return their path.

        Raises:
            DataError: When the file does not exist.
        """
        file = arrays.file_of(current_folder.expanded(self.source).absolute(), _TARGETS)
        return Place(file, _TARGETS, self.dataset, "mode.target_dataset")


@dataclass(frozen=True)
class SliceRequest:
    """The keys of `mml evaluate` for slices: what to cut and where to write.

    Attributes:
        sets: The slice sets as configured.
        source: The file of the volume, or a folder that contains only this file.
        dataset: The name of the array in it.
        outfile: The HDF5 file to write.
        precision: The precision of numbers, 32 or 16 bits.
        layout: The position of the channels in its datasets.
        record: `PROJ#3`: the trained network to apply; None: the configuration's own.
        batch_size: The number of slices per batch.
        targets: The class numbers to compare with; None: no comparison.
    """

    sets: Sequence[Mapping[str, Any]]
    source: str | None
    dataset: str | None
    outfile: str | None
    precision: Literal["single", "half"]
    layout: Literal["channels_last", "channels_first"]
    record: str | None
    batch_size: int | Literal["auto"]
    targets: Targets | None = None


@dataclass
class VolumeSlices:
    """The plan of a command that applies a network to slices.

    Attributes:
        config: The checked configuration.
        context: The display and the request to stop.
        request: The request of the command.
    """

    config: RunConfig
    context: RunContext
    request: SliceRequest

    def plan(self) -> list[Step]:
        """Plan one step; everything that does not need the volume's numbers is checked before it.

        Raises:
            ConfigError: With a sentence for every problem.
            DataError: When the volume is missing.
        """
        request, problems = self.request, list[str]()
        self._origin: tuple[Any, Any] = ((), ())
        for key, value, fix in (
            ("source", request.source, "volume.npy"),
            ("outfile", request.outfile, "prediction.h5"),
        ):
            if value is None:
                problems.append(problem(f"mode.{key}", "a value is needed", fix=f"add mode.{key}={fix}"))
        if request.record is None and self.config.recipe.arch.name != "keras_json":
            fix = "use arch=keras_json arch.file=net.json, or mode.record=PROJ#3"
            problems.append(problem("arch", "slices take a network of Keras, or a record that was trained", fix=fix))
        try:
            self._sets = slices.slice_sets(request.sets, _KEY, rules.slice_set_problems)
        except ConfigError as error:
            problems += error.problems
        raise_all(problems + console.problems(self.config, 1))
        assert request.source is not None and request.outfile is not None
        self._file = arrays.file_of(current_folder.expanded(request.source).absolute(), _SOURCE)
        self._outfile = current_folder.expanded(request.outfile).absolute()
        if self._outfile.is_dir() or self._outfile.resolve() == self._file.resolve():
            raise ConfigError(
                problem("mode.outfile", "cannot be written", got=request.outfile, fix="choose another name")
            )
        raise_all(require_writable(self._outfile.parent, "mode.outfile"))
        if request.targets is not None:
            request.targets.place()
        return [Step("slices", self._apply, in_project=False)]

    def _apply(self, run: Run | None) -> None:
        from mlpipe.predicting import volumes as learned

        self._outfile.parent.mkdir(parents=True, exist_ok=True)
        stale_files.sweep(self._outfile.parent, deep=False)
        with ExitStack() as stack:
            scratch = self._outfile.parent
            volume = stack.enter_context(
                arrays.opened(self._file, _SOURCE, dataset=self.request.dataset, scratch=scratch)
            )
            grids = self._grids(volume)
            channels = volume.shape[0] if len(volume.shape) > len(grids[0].shape) else 1
            networks, recipe = self._networks(channels, grids)
            size = self._batch_size(channels, grids)
            network = networks[grids[0].cut.seen]
            console.of(self.config).introduce_volume(volume.name, self._file, grids, network, self._origin)
            model = learned.model_of(recipe, networks, channels)
            change, judge = learned.change_of(recipe), self._judge(recipe, networks, grids)
            joined = stack.enter_context(
                assembly.assembled(self._outfile, grids, precision=self.request.precision, layout=self.request.layout)
            )
            self.context.display.start("slices", sum(map(len, grids)))
            stack.callback(self.context.display.close)
            learned.apply(
                model,
                volume,
                grids,
                joined,
                size=size,
                after=self._progress(grids),
                change=change,
                judge=judge,
            )
        if joined.odd:
            phrase = counted(joined.odd, "predicted value is", "predicted values are")
            log.warning(f"{phrase} NaN or infinite: look for such values in {self._file.name}, and in the weights")
        self._tell_result(volume, grids, size, {} if judge is None else judge.scores())

    def _grids(self, volume: Volume) -> list[Grid]:
        """Return the slices of every set in the volume.

        Raises:
            DataError: When the volume has other axes.
            ConfigError: When a set contains no slices or leaves gaps.
        """
        axes = len(self._sets[0].sizes)
        if len(volume.shape) not in (axes, axes + 1):
            wrong = f"has {len(volume.shape)} axes, sizes are for {axes} and one of channels in front"
            fix = f"give {_KEY} sizes for each spatial axis"
            raise DataError(problem(_SOURCE, wrong, got=list(volume.shape), fix=fix))
        grids = [Grid(cut, volume.shape[len(volume.shape) - axes :]) for cut in self._sets]
        for number, grid in enumerate(grids):
            slices.require_cuttable(grid, f"{_KEY}[{number}]")
        return grids

    def _networks(self, channels: int, grids: Sequence[Grid]) -> tuple[dict[tuple[int, ...], nn.Module], Recipe]:
        """Return the network, built for the slices of each shape, and the recipe with the trainer."""
        shapes = list(dict.fromkeys(grid.cut.seen for grid in grids))
        config = self.config
        if self.request.record is None:
            return {shape: self._keras_network(channels, shape) for shape in shapes}, config.recipe
        from mlpipe.predicting import volumes as learned

        location = self._record()
        recipe, classes = (
            tasks.config_of(config, location.record, location.project).recipe,
            len(location.record.classes),
        )
        return {
            shape: learned.of_record(recipe, location.weights, classes, channels, shape) for shape in shapes
        }, recipe

    def _record(self) -> references.Located:
        """Return the requested record.

        Raises:
            ConfigError: When it does not predict masks.
            ProjectError: When it does not exist.
        """
        assert self.request.record is not None
        location = references.record(self.request.record, "mode.record", self.config.out_dir)
        references.check_weights(location, "mode.record", self.config.out_dir)
        if location.record.kind != sliced_volumes.KIND:
            fix = "choose one that was trained on masks"
            raise ConfigError(problem("mode.record", "gives no maps", got=self.request.record, fix=fix))
        return location

    def _judge(self, recipe: Recipe, networks: dict[tuple[int, ...], nn.Module], grids: Sequence[Grid]) -> Judge | None:
        """Return the comparison with class numbers; None if there are none.

        Raises:
            ConfigError: When the network does not predict classes.
            DataError: When they do not fit.
        """
        request = self.request.targets
        if request is None:
            return None
        from mlpipe.predicting import slice_scores as scores

        if self.request.record is None:
            from mlpipe.arch.keras import classifier

            graph: Any = next(iter(networks.values()))
            activation, maps = classifier.output_and_activation(graph)[1], graph.shapes[graph.outputs[0]][-1]
            names = tuple(map(str, range(scores.classes_given(maps, activation))))
            return scores.judge(request.place(), recipe, grids, names, activation, request.values, request.ignore_index)
        location = self._record()
        params = tasks.config_of(self.config, location.record, location.project).task.params
        values = request.values or params.get("values")
        if values is None and all(name.isdecimal() for name in location.record.classes):
            values = [int(name) for name in location.record.classes]
        ignored = params.get("ignore_index") if request.ignore_index is None else request.ignore_index
        return scores.judge(request.place(), recipe, grids, location.record.classes, "softmax", values, ignored)

    def _keras_network(self, channels: int, shape: tuple[int, ...]) -> nn.Module:
        import torch

        from mlpipe.arch.keras import volumes

        torch.manual_seed(self.config.seed)
        network, self._origin = volumes.network(self.config.recipe.arch.params, channels, shape)
        return network

    def _batch_size(self, channels: int, grids: Sequence[Grid]) -> int:
        if self.request.batch_size != "auto":
            return self.request.batch_size
        largest = max(math.prod(grid.cut.seen) for grid in grids)
        return max(1, _AT_ONCE // (channels * largest))

    def _progress(self, grids: Sequence[Grid]) -> Any:
        before = [sum(map(len, grids[:number])) for number in range(len(grids))]

        def after(place: volumes.Place) -> None:
            self.context.display.update(before[place.which] + place.stop)
            self.context.stop.check()

        return after

    def _tell_result(self, volume: Volume, grids: Sequence[Grid], size: int, scores: Mapping[str, float]) -> None:
        """Report what was done, write the requested table, and collect facts."""
        row = training_log.evaluation_row(scores)
        console.of(self.config).epoch(row, 1, sum(-(-len(grid) // size) for grid in grids))
        if self.config.sys.outfile is not None:
            training_log.write(self.config.sys.outfile, [], [row])
        for grid in grids:
            log.info(
                f"{grid.cut.name}: {counted(len(grid), 'slice')} of {list(grid.cut.seen)} joined to {list(grid.extent)}"
            )
        if scores:
            log.info("targets: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        log.info(f"predictions: {self._outfile}")
        summary = {grid.cut.name: {"slices": len(grid), "extent": list(grid.extent)} for grid in grids}
        self.context.facts.update(
            volume=list(volume.shape), slices=summary, outfile=str(self._outfile), scores=dict(scores)
        )
