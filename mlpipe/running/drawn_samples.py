"""Images drawn by trained generators (`mml predict mode.samples=64 mode.seed=1`), and their files."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpipe import files, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, counted, listing, problem
from mlpipe.running import tasks
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("mlpipe")

# The maximum number of images in the grid.
_IN_GRID = 100


@dataclass(frozen=True)
class DrawnSamples:
    """The plan of one command that draws images.

    An image depends only on the seed and its number: the first ones are the same however many are drawn.

    Attributes:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        pivot: The task whose images the models learned to draw.
        count: The number of images.
        seed: The seed of the draws.
        folds: Only models of these folds; None: the refit, or all folds in turn.
    """

    config: RunConfig
    context: RunContext
    pivot: Task
    count: int
    seed: int
    folds: Sequence[int] | None

    def plan(self) -> list[Step]:
        """Plan the cache, which defines the format of images, and one step that draws and writes.

        Raises:
            ConfigError: When the newest model predicts instead of drawing.
            ProjectError: When there is no model, or it has no weights.
        """
        used = self._drawing_records()
        raise_all(
            [
                problem(record.id, "has no weights to draw with", fix="train with mode.store_parameters=true")
                for record in used
                if record.weights is None
            ]
        )
        preprocess = [
            Step(f"preprocess for {model.id}", partial(self._preprocess, model), in_project=False) for model in used
        ]
        return [*preprocess, Step("draw", partial(self._draw, used))]

    def _drawing_records(self) -> list[ModelRecord]:
        stored = records.load_all(self.context.project, self.pivot.name)
        latest = records.latest_cross_validation(stored)
        chosen = [record for record in latest if self.folds is None or record.fold in self.folds]
        if not latest:
            raise records.untrained_error(self.context.project, self.pivot.name)
        if not chosen:
            fix = f"choose among {listing(sorted(record.fold for record in latest))}"
            wrong = f"the newest models of {self.pivot.name} are of other folds"
            raise ConfigError(problem("mode.folds", wrong, got=list(self.folds or ()), fix=fix))
        if not kinds.of(chosen[0].kind).draws:
            predicted = kinds.of(chosen[0].kind).words.predicted(len(chosen[0].classes))
            wrong = f"the newest models of {self.pivot.name} predict {predicted}, and draw nothing"
            raise ConfigError(
                problem("mode.samples", wrong, got=self.count, fix="train with loss=wasserstein arch=gan")
            )
        refit = records.newest_refit(stored, chosen) if self.folds is None else None
        return chosen if refit is None or refit.weights is None else [refit]

    def _preprocess(self, record: ModelRecord, run: Run | None) -> None:
        self._pack(record)

    def _pack(self, record: ModelRecord) -> Pack:
        return tasks.pack_of(tasks.config_of(self.config, record), self.pivot, self.context)

    def _draw(self, used: Sequence[ModelRecord], run: Run | None) -> None:
        """Draw each image with the model whose turn it is, and write all of them."""
        from mlpipe.arch import gan

        seeds, display = gan.seeds_of(self.seed, self.count), self.context.display
        display.start("drawing", len(used))
        drawn, peak = dict[int, Any](), 1.0
        try:
            for place, record in enumerate(used):
                own = range(place, self.count, len(used))
                if not own:
                    continue
                self.context.stop.check()
                pixels, peak = self._drawn_pixels(record, seeds[place :: len(used)])
                drawn |= dict(zip(own, pixels, strict=True))
                display.update(place + 1)
        finally:
            display.close()
        names = [used[number % len(used)].id for number in range(self.count)]
        self._write(np.stack([drawn[number] for number in range(self.count)]), names, peak)

    def _drawn_pixels(self, record: ModelRecord, seeds: Tensor) -> tuple[Any, float]:
        """Return the pixels that a model draws from seeds, and the value of white."""
        from mlpipe.arch.gan import Gan
        from mlpipe.predicting.model import Model

        recipe, project = tasks.config_of(self.config, record).recipe, self.context.project
        weights = project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE
        model = Model.of_record(recipe, weights, self.pivot, self._pack(record))
        (network,) = model.networks
        assert isinstance(network, Gan)
        return network.draw(seeds.to(model.device)).cpu().numpy(), network.peak

    def _write(self, pixels: Any, names: Sequence[str], peak: float) -> None:
        """Write a file for each image, a table of which model drew it, and a grid; for arrays, a single file."""
        from mlpipe.runs import grids

        folder = self.context.project.reports_dir() / "samples" / f"{self.pivot.name}-seed{self.seed}"
        rows, as_bytes = list[dict[str, Any]](), grids.as_bytes(pixels, peak)
        if peak == 1:
            with files.durable(folder / "samples.npy") as temporary, temporary.open("wb") as opened:
                np.save(opened, np.moveaxis(pixels, 1, -1).astype(np.float32))
        for number, (record, picture) in enumerate(zip(names, as_bytes, strict=True)):
            file = "samples.npy" if peak == 1 else f"{number:05d}.png"
            if peak != 1:
                grids.write_picture(grids.picture(picture), folder / file)
            rows.append({"image": number, "file": file, "seed": self.seed, "record": record})
        files.write_text(folder / "samples.csv", files.csv_text(rows, ["image", "file", "seed", "record"]))
        _remove_others(folder, {row["file"] for row in rows})
        grids.write(as_bytes[:_IN_GRID], folder / "grid.png")
        self._tell(folder, len(pixels))

    def _tell(self, folder: Path, count: int) -> None:
        self.context.facts.update(samples=count, folder=str(folder), grid=str(folder / "grid.png"))
        log.info(f"{counted(count, 'image')} drawn from seed {self.seed}: {folder / 'grid.png'}")


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Delete images of an earlier command that this one did not draw: the table does not list them any more."""
    for path in folder.iterdir():
        if re.fullmatch(r"\d{5,}\.png|samples\.npy", path.name) and path.name not in names:
            path.unlink()
