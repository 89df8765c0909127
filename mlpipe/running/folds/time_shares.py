"""A time limit divided among the folds of a training (`mml train time_limit=5m`): as many epochs as fit, the same of each fold.

How long an epoch takes is what the first batches of the first fold show; then that fold begins anew with the epochs that fit,
so that the schedule of the learning rate ends where the training does. What was decided is stored with the run.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe import files
from mlpipe.config import presets
from mlpipe.config.schema import Recipe, RunConfig
from mlpipe.errors import counted
from mlpipe.running.steps import RunContext
from mlpipe.running.time_plan import PlannedAnew, clock
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from mlpipe.learn.callbacks.progress import Tick

log = logging.getLogger("mlpipe")

_FOLDER = "time_limit"
# Kept for the leaderboard and the process's own end, and for what follows where predictions are asked for: seconds, a share
# of the limit, and seconds for each thousand images.
_RESERVE_SECONDS, _RESERVE, _RESERVE_PER_THOUSAND = 1.5, 0.02, 1.0
# Seconds of one fold's predictions besides the network's own work, and of writing a record.
_PREDICTION, _RECORD = 1.0, 0.5
# The share of a fold's time, and the least and the most seconds, after which its pace is known.
_ENOUGH, _LEAST, _MOST = 0.03, 0.5, 10.0
# Epochs that are planned take this share of the time: another one would fit at least half.
_USED = 0.96
# An image is evaluated in a third of the time that it takes to learn from it: no backward pass.
_EVALUATION = 1 / 3


@dataclass(frozen=True)
class Rows:
    """How many images a fold has: those that learn, that validate, and that it predicts afterwards, once for each view."""

    train: int
    val: int
    predicted: int


@dataclass(frozen=True)
class Tempo:
    """How fast a fold learns.

    Attributes:
        begin: Seconds from the fold's begin to its first batch.
        learn: Seconds of an epoch without its validation.
        image: Seconds of one image in evaluation.
        batches: Batches in an epoch.
    """

    begin: float
    learn: float
    image: float
    batches: int

    def epoch(self, rows: Rows) -> float:
        """Seconds of an epoch with its validation."""
        return self.learn + rows.val * self.image

    def end(self, rows: Rows) -> float:
        """Seconds from a fold's last epoch to its record: the kept weights are validated once more."""
        return _RECORD + rows.val * self.image

    def predictions(self, rows: Rows) -> float:
        """Seconds of a fold's predictions; 0 where none are asked for."""
        return _PREDICTION + rows.predicted * self.image if rows.predicted else 0.0

    def fitting(self, seconds: float, rows: Rows, most: int) -> tuple[int, int]:
        """How many epochs fit into a fold's time for training, and where not even one does, how many batches of one.

        Args:
            seconds: From the first batch to the end of the last validation of an epoch.
            rows: The fold's images.
            most: The epochs that the recipe asks for.
        """
        epochs = min(most, math.floor(_USED * seconds / self.epoch(rows)))
        if epochs >= 1:
            return epochs, 0
        left = _USED * seconds - rows.val * self.image
        return 0, min(self.batches, max(1, math.floor(left * self.batches / self.learn)))


class Stopwatch:
    """Watches the batches of a fold from its begin, and says once how fast it learns.

    Args:
        enough: Seconds of batches after which that is known.
        rows: The fold's images.
        told: Is given the pace and the epochs that the recipe asks for; what it raises ends the training.

    Attributes:
        begun: When the fold began, on the clock of `time.monotonic`.
    """

    def __init__(self, enough: float, rows: Rows, told: Callable[[Tempo, int], None]) -> None:
        self._enough, self._rows, self._told = enough, rows, told
        self.begun = time.monotonic()
        self._first = self._last = 0.0
        self._gaps: list[float] = []
        self._count, self._batches, self._is_whole, self._is_known = 0, 1, True, False

    def tick(self, tick: Tick) -> None:
        """A batch is done; a fold that goes on from a saved state tells nothing new."""
        now = time.monotonic()
        if not self._count:
            self._is_whole, self._first = (tick.epoch, tick.batch) == (0, 1), now
        elif tick.batch == 1:
            self._gaps.append(now - self._last)
        self._count, self._last, self._batches = self._count + 1, now, tick.batches
        taken = now - self._first
        is_enough = taken >= self._enough and (self._count > 3 or (self._count > 1 and taken >= 3 * self._enough))
        if not self._is_known and is_enough and (tempo := self.tempo()) is not None:
            self._is_known = True
            self._told(tempo, tick.epochs)

    def tempo(self) -> Tempo | None:
        """What the batches so far show; None where that is nothing."""
        within = self._count - 1 - len(self._gaps)
        if not self._is_whole or within < 1:
            return None
        batch = (self._last - self._first - sum(self._gaps)) / within
        rows, learn = self._rows, batch * self._batches
        image = _EVALUATION * learn / max(1, rows.train)
        if self._gaps and rows.val:
            image = max(0.0, sum(self._gaps) / len(self._gaps) - batch) / rows.val
        return Tempo(max(0.0, self._first - self.begun - batch), learn, image, self._batches)


@dataclass(frozen=True)
class Share:
    """A fold's part of the time, as it is stored with the run.

    Attributes:
        epochs: Epochs of the fold; None: those of the recipe, as its pace is not known yet; 0: fewer than one.
        steps: Batches where not one epoch fits; 0 with no epoch: the fold is left out.
        seconds: Seconds from its begin after which it ends by itself.
        folds: How many folds are trained.
        tempo: What the epochs were decided by.
        took: Seconds that the fold took in the end; 0: it has not ended.
    """

    epochs: int | None
    steps: int
    seconds: float
    folds: int
    tempo: Tempo | None = None
    took: float = 0.0

    @property
    def is_left_out(self) -> bool:
        """Whether there is no time for the fold."""
        return self.epochs == 0 and self.steps == 0


class TimeShares:
    """Decides how long each fold learns.

    Args:
        limit: Seconds of the whole command.
        context: When the command began.
        rows: Gives the images of the fold at a place in the order of those that are trained.
        folds: How many are.
        at_once: How many of them side by side.
        images: All images of the task.
    """

    def __init__(
        self, limit: float, context: RunContext, rows: Callable[[int], Rows], folds: int, at_once: int, images: int
    ) -> None:
        self._limit, self._context, self._rows, self._folds, self._at_once = limit, context, rows, folds, at_once
        self._images = images

    def of(self, run: Run, place: int) -> Share:
        """The share of the fold at a place in the order of the folds; decided once, so that a continued run does the same."""
        found = self._stored(run, place)
        if found is not None and found.epochs is not None:
            return found
        first = self._stored(run, 0) if place else None
        if first is None or first.tempo is None:
            if first is not None and first.took > self._left():
                log.info(f"left out: {clock(max(0.0, self._left()))} are left, and a fold takes {clock(first.took)}")
                return self._store(run, place, Share(0, 0, 0.0, self._folds))
            if self._left() <= 0:
                passed = clock(time.monotonic() - self._context.started)
                fix = "give it more time, or decode images beforehand (mml pp)"
                log.info(
                    f"{passed} of {clock(self._limit)} have passed: a fold learns from its first batches alone; {fix}"
                )
            waiting = math.ceil((self._folds - place) / self._at_once)
            return self._store(run, place, Share(None, 0, max(1.0, self._left() / waiting), self._folds))
        return self._store(run, place, self._decided(place, first.tempo, first.epochs or 1, first.folds))

    def stopwatch(self, run: Run, place: int, share: Share, state: Path) -> Stopwatch:
        """A stopwatch for a fold, which decides how long it learns where that is open.

        It raises PlannedAnew where the fold is to begin anew with the epochs that fit.

        Args:
            run: The run.
            place: The fold's.
            share: Its share so far.
            state: The folder of its saved state, which is deleted then.
        """

        def told(tempo: Tempo, most: int) -> None:
            if share.epochs is not None:
                return
            decided = self._decided(place, tempo, most, self._worthwhile(tempo, place))
            # First the state, so that whoever is stopped in between begins anew as well.
            if decided.epochs != most:
                shutil.rmtree(state, ignore_errors=True)
            self._store(run, place, decided)
            if decided.epochs != most:
                raise PlannedAnew

        return Stopwatch(min(max(_LEAST, _ENOUGH * share.seconds), _MOST), self._rows(place), told)

    def learned(self, run: Run, place: int, watch: Stopwatch) -> None:
        """Note how fast a whole fold was, by which the others are planned."""
        share = self._stored(run, place)
        if share is not None:
            took = round(time.monotonic() - watch.begun, 2)
            self._store(run, place, replace(share, tempo=watch.tempo() or share.tempo, took=took))

    def is_left_out(self, run: Run, place: int) -> bool:
        """Whether a fold was left out."""
        share = self._stored(run, place)
        return share is not None and share.is_left_out

    def _left(self) -> float:
        """Seconds that are left for the folds and their predictions."""
        reserve = _RESERVE_SECONDS + _RESERVE * self._limit
        if self._rows(0).predicted:
            reserve += _RESERVE_PER_THOUSAND * self._images / 1000
        return self._limit - reserve - (time.monotonic() - self._context.started)

    def _worthwhile(self, tempo: Tempo, place: int) -> int:
        """How many folds are trained: fewer where more than half of a fold's time would not be spent on learning."""
        rows = self._rows(place)
        fixed = tempo.begin + rows.val * tempo.image + tempo.end(rows) + tempo.predictions(rows)
        rounds = math.floor(self._left() / (2 * fixed + 1e-9))
        return max(place + 1, min(self._folds, place + max(1, rounds) * self._at_once))

    def _decided(self, place: int, tempo: Tempo, most: int, folds: int) -> Share:
        rows = self._rows(place)
        if place >= folds:
            log.info(f"left out: the time is enough for {counted(folds, 'fold')} of {self._folds}")
            return Share(0, 0, 0.0, folds)
        # Predictions of all folds come after the last one's training, one after the other.
        left = self._left() - folds * tempo.predictions(rows)
        share = left / math.ceil((folds - place) / self._at_once)
        # A fold that is planned by its own first batches begins anew, the next ones begin for the first time.
        epochs, steps = tempo.fitting(share - tempo.begin - tempo.end(rows), rows, most)
        seconds = max(1.0, share - tempo.end(rows))
        if share < 0 and place:
            log.info(f"left out: {clock(max(0.0, left))} are left")
            return Share(0, 0, 0.0, folds, tempo)
        told = f"an epoch takes about {clock(tempo.epoch(rows))}, {clock(max(0.0, left))} are left for {_rest(folds - place)}"
        if epochs:
            log.info(f"{told}: {epochs} of {counted(most, 'epoch')}")
        else:
            log.info(
                f"{told}: {steps} of {counted(tempo.batches, 'batch', 'batches')} of one epoch; {self._whole(tempo, rows)}"
            )
        return Share(epochs, steps, round(seconds, 2), folds, tempo)

    def _whole(self, tempo: Tempo, rows: Rows) -> str:
        """What a whole epoch of each fold, or of one, would take."""
        fold = tempo.begin + tempo.epoch(rows) / _USED + tempo.end(rows) + tempo.predictions(rows)
        before = self._limit - self._left()
        whole = math.ceil(before + fold * math.ceil(self._folds / self._at_once))
        one = "" if self._folds == 1 else f", one fold (mode.cv=false) {math.ceil(before + fold)} s"
        return f"a whole epoch of {_rest(self._folds)} takes time_limit={whole}s{one}; fewer pixels are quicker"

    def _stored(self, run: Run, place: int) -> Share | None:
        path = run.folder / _FOLDER / f"{place}.json"
        if not path.is_file():
            return None
        facts: dict[str, Any] = files.read_json(path)
        tempo = facts.pop("tempo")
        return Share(**facts, tempo=None if tempo is None else Tempo(**tempo))

    def _store(self, run: Run, place: int, share: Share) -> Share:
        (run.folder / _FOLDER).mkdir(exist_ok=True)
        files.write_json(run.folder / _FOLDER / f"{place}.json", asdict(share))
        return share


def seconds(config: RunConfig) -> float | None:
    """The time limit of a training that is no preset's; None: there is none, or the training takes no steps."""
    return None if config.recipe.optimizer.is_none else presets.seconds_of(config.tree.get("time_limit"))


def applied(recipe: Recipe, share: Share) -> Recipe:
    """The recipe with the epochs of a share; stages keep their parts of the whole, and so does the warm-up.

    Args:
        recipe: As the configuration says it.
        share: The fold's.
    """
    from mlpipe.learn import stages
    from mlpipe.learn.build.optimizer import most_steps, shortened

    if share.epochs is None:
        return recipe
    asked = sum(stage.epochs for stage in stages.of(recipe))
    part = max(share.epochs, 1) / asked
    trainer = {**recipe.trainer, "max_epochs": max(1, share.epochs)}
    if share.steps:
        # Stages have the batches of an epoch together.
        group = int(trainer.get("accumulate_grad_batches") or 1) * max(1, len(recipe.stages))
        trainer["max_steps"] = min(most_steps(recipe) or share.steps, max(1, share.steps // group))
    shorter = [
        replace(
            stage,
            epochs=max(1, math.floor(stage.epochs * part + 1e-9)),
            lr_scheduler=None if stage.lr_scheduler is None else shortened(stage.lr_scheduler, part),
        )
        for stage in recipe.stages
    ]
    return replace(recipe, trainer=trainer, stages=tuple(shorter), lr_scheduler=shortened(recipe.lr_scheduler, part))


def _rest(folds: int) -> str:
    return "this fold" if folds == 1 else f"{folds} folds"
