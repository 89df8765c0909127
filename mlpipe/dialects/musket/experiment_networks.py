"""Networks of a trained Musket experiment: each fold and stage is loaded once, to predict items in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe.config.components import Component
from mlpipe.data import items
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.task import Task
from mlpipe.dialects import front
from mlpipe.errors import DataError, listing, problem
from mlpipe.names import path_of
from mlpipe.running import tasks
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mlpipe.runs.sinks import Predicted

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Map:
    """A prediction as an array of shape (1, 1, outputs), for a mask (height, width, classes).

    Attributes:
        arr: The array.
    """

    arr: Array


@dataclass(frozen=True)
class Batch:
    """Some items with their predictions.

    Attributes:
        images: The unchanged images.
        data: Their ids.
        results: Probabilities, shape (n, outputs); for masks (n, height, width, classes), in the network's input size.
        ground_truth: Targets of the same shape, for masks one-hot; (n, 0) if items have none.
        predicted_maps_aug: The probabilities as maps.
    """

    images: list[Array]
    data: list[Any]
    results: Array
    ground_truth: Array
    predicted_maps_aug: list[Map]


class Networks:
    """The networks of one experiment.

    Args:
        project: The project with its records.
        overrides: Returns the overrides of a run that predicts with a record.
        stages: Number of stages of the experiment.
        one_class: Whether the experiment has a single class, so that only the foreground of masks is returned.
    """

    def __init__(
        self, project: Project, overrides: Callable[[ModelRecord], list[str]], stages: int, one_class: bool = False
    ) -> None:
        self._project, self._overrides, self._stages = project, overrides, stages
        self._first_class = 1 if one_class else 0
        self._networks: dict[Path, tuple[nn.Module, Any, Any]] = {}
        self._tasks: dict[str, Task] = {}

    def stages_of(self, record: ModelRecord) -> list[int]:
        """Return the stages of a record whose weights are stored."""
        return records.kept_stages(self._project.model_dir(record.pivot, record.id)) or [self._stages - 1]

    def _weights(self, record: ModelRecord, stage: int) -> Path:
        """Return the file with the best weights of a stage."""
        folder = self._project.model_dir(record.pivot, record.id)
        stages = records.kept_stages(folder)
        last = stages[-1] if stages else self._stages - 1
        number = last if stage == -1 else stage
        if number != last and number not in stages:
            fix = f"use -1 or {listing(stages or [last])}"
            raise DataError(problem("stage", "there are no weights of it", got=stage, fix=fix))
        return records.stage_weights(folder, number) if stages else folder / records.WEIGHTS_FILE

    def loaded(self, record: ModelRecord, stage: int) -> tuple[nn.Module, Any, Any]:
        """Return the network of a record with the weights of a stage, its recipe, and its image pack; loaded once.

        Args:
            record: The record.
            stage: The stage; -1: the last one.

        Raises:
            DataError: When there is no such stage.
        """
        file = self._weights(record, stage)
        if file not in self._networks:
            self._networks[file] = self._load(record, file)
        return self._networks[file]

    def _load(self, record: ModelRecord, file: Path) -> tuple[nn.Module, Any, Any]:
        from mlpipe.learn.build.network import build_network
        from mlpipe.learn.machine.quiet import prepare_torch
        from mlpipe.predicting import model as models

        prepared = front.prepared("predict", self._overrides(record))
        config = tasks.config_of(prepared.run_config, record)
        of = self._tasks[record.pivot] = tasks.named(record.pivot, prepared.run_config.data_dir)
        pack = tasks.pack_of(config, of, workers=1)
        prepare_torch(config.recipe.threads)
        network = build_network(config.recipe, of, pack, seed=0, pretrained=False)
        models.load(network, file)
        return network.eval(), config.recipe, pack

    def predicted(
        self, record: ModelRecord, stage: int, samples: Sequence[Any], batch_size: int, ttflips: bool | str
    ) -> Array:
        """Return probabilities (numbers for regression) of items, shape (n, outputs), for masks (n, height, width, classes).

        Args:
            record: The record of the fold.
            stage: The stage; -1: the last one.
            samples: The items.
            batch_size: Images per batch.
            ttflips: Test-time augmentation, see `views_of`; False: that of the recipe.
        """
        import torch

        from mlpipe.learn.losses.means import probabilities
        from mlpipe.learn.module import TARGET
        from mlpipe.learn.tta import mean_of
        from mlpipe.predicting.batches import Batch as Samples
        from mlpipe.predicting.model import Inputs, Model
        from mlpipe.predicting.through import keep_outputs, through

        network, recipe, pack = self.loaded(record, stage)
        views = (views_of(ttflips, is_square=pack.shape[0] == pack.shape[1]) or recipe.tta).build(pack.peak)
        inputs = Inputs(pack.channels, tuple(pack.shape), pack.peak)
        model = Model.of_network(network, {TARGET: record.kind}, {TARGET: record.classes}, inputs)

        def batches() -> Iterator[Samples]:
            for start in range(0, len(samples), batch_size):
                some = samples[start : start + batch_size]
                pixels = [pack.preprocessing.fixed(items.image_of(item, str(item.id))) for item in some]
                images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
                yield Samples([str(item.id) for item in some], images)

        def keep(outputs: Tensor, batch: Samples) -> Predicted:
            return keep_outputs(outputs if views is not None else mean_of([outputs], record.kind), batch)

        results = through(model, batches(), views=views, keep=keep, most=batch_size, where="items")
        parts = [torch.from_numpy(result.outputs if result.arrays is None else result.arrays) for result in results]
        chances: Array = probabilities(torch.cat(parts), record.kind).numpy()
        return np.moveaxis(chances, 1, 3)[..., self._first_class :] if record.kind == "segmentation" else chances

    def truth(self, record: ModelRecord, samples: Sequence[Any]) -> Array | None:
        """Return the masks of items in the network's input size, one-hot, shape (n, height, width, classes).

        Ignored pixels are zero. None if the record predicts no masks, or an item has none.

        Args:
            record: The record of the fold.
            samples: The items.
        """
        if record.kind != "segmentation" or any(getattr(item, "y", None) is None for item in samples):
            return None
        _, _, pack = self.loaded(record, -1)
        values = mask_files.stored_values(self._tasks[record.pivot].source["masks"])
        alike = mask_files.preprocessing_of(pack.preprocessing)
        masks = [
            alike.fixed(values.classes(items.mask_of(item, str(item.id))[0])[:, :, np.newaxis])[:, :, 0]
            for item in samples
        ]
        classes = np.arange(self._first_class, len(values.names))
        one_hot: Array = (np.stack(masks)[..., np.newaxis] == classes).astype(np.float32)
        return one_hot


def views_of(ttflips: bool | str, *, is_square: bool = True) -> Component | None:
    """Return the views for test-time augmentation; None: those of the recipe.

    Args:
        ttflips: True: all eight rotations and reflections; `Horizontal` or `Horizontal_and_vertical`; False: None.
        is_square: Whether images are square; others have no quarter turns.

    Raises:
        DataError: When it has another value.
    """
    if not ttflips:
        return None
    options = {"horizontal": False, "horizontal_and_vertical": True, **({} if is_square else {"true": True})}
    name = str(ttflips).lower()
    if name in options:
        return Component("tta", path_of("tta", "flips"), {"vertical": options[name]})
    if name != "true":
        fix = "use True, Horizontal or Horizontal_and_vertical"
        raise DataError(problem("ttflips", "unknown test-time augmentation", got=ttflips, fix=fix))
    return Component("tta", path_of("tta", "d4"), {})


def batch_of(samples: Sequence[Any], results: Array, truth: Array | None = None) -> Batch:
    """Return items with their predictions.

    Args:
        samples: The items; if one has no target, the batch has no truth.
        results: Shape (n, outputs), or (n, height, width, classes).
        truth: Their targets; None: the items' own, if these are numbers.
    """
    if truth is None and results.ndim == 2 and all(getattr(item, "y", None) is not None for item in samples):
        truth = np.stack([items.target_of(item, str(item.id)) for item in samples])
    return Batch(
        [items.image_of(item, str(item.id)) if items.inputs_of(item) else np.asarray(item.x) for item in samples],
        [item.id for item in samples],
        results,
        np.empty((len(samples), 0)) if truth is None else truth,
        [Map(row.reshape(1, 1, -1) if row.ndim == 1 else row) for row in results],
    )
