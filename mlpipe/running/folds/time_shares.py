"""Divide a time limit among the folds of a training (`mml train time_limit=5m`): the same number of epochs each.

The first batches of the first fold show how long an epoch takes; the fold then restarts with the epochs that fit, so
that the learning rate schedule ends with the training. The decision is stored with the run.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipe import files, stored
from mlpipe.config import presets
from mlpipe.config.schema import Recipe, RunConfig
from mlpipe.errors import counted, listing
from mlpipe.running.steps import RunContext
from mlpipe.running.time_plan import PlannedAnew, clock
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from mlpipe.learn.callbacks.progress import Tick

log = logging.getLogger("mlpipe")

# The folder of a run with the shares.
FOLDER = "time_limit"
# Reserved for the leaderboard and the end of the process, and for the steps after predictions if these are requested:
# seconds, a share of the limit, and seconds per thousand images.
_RESERVE_SECONDS, _RESERVE, _RESERVE_PER_THOUSAND = 1.5, 0.02, 1.0
# Constant time of a report in seconds, independent of the number of images.
_REPORT = 3.0
# Seconds of one fold's predictions besides the network's own work, and of writing a record.
_PREDICTION, _RECORD = 1.0, 0.5
# The share of a fold's time after which its speed is known, with the minimum and maximum in seconds.
_ENOUGH, _LEAST, _MOST = 0.03, 0.5, 10.0
# Epochs are planned for this share of the time; the rest is a margin.
_USED = 0.96
# Evaluating an image takes a third of the time of training on it: there is no backward pass.
_EVALUATION = 1 / 3


@dataclass(frozen=True)
class Rows:
    """The number of images of a fold: for training, for validation, and to predict afterwards, once for each view."""

    train: int
    val: int
    predicted: int


@dataclass(frozen=True)
class Tempo:
    """The speed of a fold's training.

    Attributes:
        begin: Seconds from the start of the fold to its first batch.
        learn: Seconds of an epoch without its validation.
        image: Seconds to evaluate one image.
        batches: Batches per epoch.
    """

    begin: float
    learn: float
    image: float
    batches: int

    def epoch(self, rows: Rows) -> float:
        """Seconds of an epoch with its validation."""
        return self.learn + rows.val * self.image

    def end(self, rows: Rows) -> float:
        """Return the seconds from a fold's last epoch to its record, with a second validation of the kept weights."""
        return _RECORD + rows.val * self.image

    def predictions(self, rows: Rows) -> float:
        """Return the seconds of a fold's predictions; 0 if none are requested."""
        return _PREDICTION + rows.predicted * self.image if rows.predicted else 0.0

    def of(self, own: Rows, others: Rows) -> Tempo:
        """Return the speed of a training with other numbers of images.

        Args:
            own: The numbers of images it was measured with.
            others: The numbers of images of the other training.
        """
        part = others.train / max(1, own.train)
        return replace(self, learn=self.learn * part, batches=max(1, round(self.batches * part)))

    def fitting(self, seconds: float, rows: Rows, most: int) -> tuple[int, int]:
        """Return how many epochs fit into a fold's training time, and if not even one fits, how many batches do.

        Args:
            seconds: The time from the first batch to the end of the last epoch's validation.
            rows: The fold's numbers of images.
            most: The epochs of the recipe.
        """
        epochs = min(most, math.floor(_USED * seconds / self.epoch(rows)))
        if epochs >= 1:
            return epochs, 0
        left = _USED * seconds - rows.val * self.image
        return 0, min(self.batches, max(1, math.floor(left * self.batches / self.learn)))


class Stopwatch:
    """Time the batches of a fold from its start, and report its speed once.

    Args:
        enough: Seconds of batches after which the speed is known.
        rows: The fold's numbers of images.
        listener: Receives the speed and the epochs of the recipe; an exception it raises ends the training.
        heads: The number of epochs before the first one with batches, which are heads fitted exactly.

    Attributes:
        begun: The start time of the fold, on the clock of `time.monotonic`.
        epochs: The epochs of the recipe; 0: no batch was seen.
    """

    def __init__(self, enough: float, rows: Rows, listener: Callable[[Tempo, int], None], heads: int = 0) -> None:
        self._enough, self._rows, self._tempo_listener, self._heads = enough, rows, listener, heads
        self.begun, self.epochs = time.monotonic(), 0
        self._first = self._last = 0.0
        self._gaps: list[float] = []
        self._count, self._batches, self._is_whole, self._is_known = 0, 1, True, False
        self._look_times: list[float] = []

    def tick(self, tick: Tick) -> None:
        """Count a finished batch; a fold that continues from a saved state measures nothing."""
        now, self.epochs = time.monotonic(), tick.epochs - self._heads
        if not self._count:
            self._is_whole, self._first = (tick.epoch, tick.batch) == (self._heads, 1), now
        elif tick.batch == 1:
            self._gaps.append(now - self._last)
        self._count, self._last, self._batches = self._count + 1, now, tick.batches
        duration = now - self._first
        is_enough = duration >= self._enough and (self._count > 3 or (self._count > 1 and duration >= 3 * self._enough))
        if not self._is_known and is_enough and (tempo := self.tempo()) is not None:
            self._is_known = True
            self._tempo_listener(tempo, self.epochs)

    def ask(self) -> None:
        """Count a batch of images whose features are computed, in a training without batches."""
        self._look_times = [*self._look_times[:1], time.monotonic()]

    @property
    def feature_seconds(self) -> float:
        """Return the seconds spent on features, which later folds reuse."""
        return 0.0 if self._count or not self._look_times else self._look_times[-1] - self._look_times[0]

    def tempo(self) -> Tempo | None:
        """Return the speed shown by the batches so far; None if unknown."""
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
    """A fold's share of the time, as stored with the run.

    Attributes:
        epochs: Epochs of the fold, besides heads fitted exactly; None: those of the recipe, as its speed is not known
            yet; 0: fewer than one.
        steps: Batches, if not even one epoch fits; if 0 as well, the fold is left out.
        seconds: Seconds from its start after which it ends by itself.
        folds: The number of folds to train.
        tempo: The speed on which the epochs are based.
        took: Seconds that the fold took, without features that it computed for all folds; 0: it has not ended.
        refits: Whether there is time for a model of all folds, if one is requested.
    """

    epochs: int | None
    steps: int
    seconds: float
    folds: int
    tempo: Tempo | None = None
    took: float = 0.0
    refits: bool = True

    @property
    def is_left_out(self) -> bool:
        """Whether there is no time for the fold."""
        return self.epochs == 0 and self.steps == 0


class TimeShares:
    """Decide how long each fold trains, and then a model of all folds if one is requested.

    Each training gets time in proportion to its images. If time is short, the last folds are left out, but the model
    that would predict new images is still trained.

    Args:
        limit: The time limit of the whole command in seconds.
        context: The context, with the start time of the command.
        rows: Returns the numbers of images of the fold at a position in the training order; the model of all folds is
            the last.
        folds: The number of folds.
        at_once: The number of folds trained in parallel.
        images: The number of images of the task.
        refits: Whether a model of all folds follows.
        heads: The number of heads fitted exactly before the first batch.
    """

    def __init__(
        self,
        limit: float,
        context: RunContext,
        rows: Callable[[int], Rows],
        folds: int,
        at_once: int,
        images: int,
        *,
        refits: bool = False,
        heads: int = 0,
    ) -> None:
        self._limit, self._context, self._folds, self._at_once = limit, context, folds, at_once
        self._rows, self._images, self._refits, self._heads = functools.cache(rows), images, refits, heads

    def of(self, run: Run, place: int) -> Share:
        """Return the share of the fold at a position; decided once, so that a continued run does the same."""
        share = self._stored(run, place)
        if share is not None and share.epochs is not None:
            return share
        first = self._stored(run, 0) if place else None
        if first is not None and first.tempo is not None:
            return self._store(run, place, self._share_of_training(place, first.tempo, 0, first.epochs or 1, first))
        left = self._remaining_seconds()
        if place and (needed := self._needed_seconds(run, place)) > left:
            log.info(f"left out: {clock(max(0.0, left))} are left, and {clock(needed)} are needed")
            return self._store(run, place, Share(0, 0, 0.0, self._folds))
        if left <= 0:
            passed = clock(time.monotonic() - self._context.started)
            fix = "give it more time, or decode images beforehand (mml pp)"
            log.info(f"{passed} of {clock(self._limit)} have passed: a fold learns from its first batches alone; {fix}")
        waiting = len(self._rounds(self._remaining_places(place, Share(None, 0, 0.0, self._folds))))
        return self._store(run, place, Share(None, 0, max(1.0, left / waiting), self._folds))

    def _needed_seconds(self, run: Run, place: int) -> float:
        """Estimate the seconds of a training without batches, plus those of the refit if a fold precedes it."""
        took = [share.took for other in range(place) if (share := self._stored(run, other)) is not None and share.took]
        if not took:
            return 0.0
        usual = statistics.median(took)
        whole = usual * self._rows(self._folds).train / max(1, self._rows(0).train) if self._refits else 0.0
        return whole if place == self._folds else usual + whole

    def _remaining_places(self, place: int, share: Share) -> list[int]:
        """Return the positions of the remaining trainings, starting with one."""
        folds = list(range(place, min(share.folds, self._folds)))
        return [*folds, self._folds] if self._refits and share.refits else folds

    def _rounds(self, places: Sequence[int]) -> list[int]:
        """Return the rounds of trainings: of parallel folds the one with the most images; the refit by itself."""
        folds = [place for place in places if place < self._folds]
        groups = [folds[at : at + self._at_once] for at in range(0, len(folds), self._at_once)]
        largest = [max(group, key=lambda place: self._rows(place).train) for group in groups]
        return [*largest, *(place for place in places if place == self._folds)]

    def stopwatch(self, run: Run, place: int, share: Share, state: Path) -> Stopwatch:
        """Return a stopwatch for a fold, which decides how long it trains if that is open.

        It raises PlannedAnew if the fold has to restart with the epochs that fit.

        Args:
            run: The run.
            place: The fold's position.
            share: Its share so far.
            state: The folder of its saved state, which is deleted in that case.
        """

        def told(tempo: Tempo, most: int) -> None:
            if share.epochs is not None:
                return
            count = self._training_count(tempo, place)
            # With time for a single training, there is a score, and its fold predicts.
            refits = self._refits and count > place + 1
            scope = Share(None, 0, 0.0, min(self._folds, count - refits), refits=refits or not self._refits)
            decided = self._share_of_training(place, tempo, place, most, scope)
            # Delete the state first, so that a run interrupted in between restarts as well.
            if decided.epochs != most:
                shutil.rmtree(state, ignore_errors=True)
            self._store(run, place, decided)
            if decided.epochs != most:
                raise PlannedAnew

        return Stopwatch(min(max(_LEAST, _ENOUGH * share.seconds), _MOST), self._rows(place), told, self._heads)

    def learned(self, run: Run, place: int, watch: Stopwatch) -> None:
        """Store the speed of a whole fold, from which the other folds are planned."""
        share = self._stored(run, place)
        if share is not None:
            took = round(time.monotonic() - watch.begun - watch.feature_seconds, 2)
            tempo = watch.tempo() or share.tempo
            # A fold that ended before its speed was known had all epochs, so the others get all epochs too.
            epochs = watch.epochs or None if share.epochs is None and tempo is not None else share.epochs
            self._store(run, place, replace(share, epochs=epochs, tempo=tempo, took=took))

    def is_left_out(self, run: Run, place: int) -> bool:
        """Return whether a fold was left out."""
        share = self._stored(run, place)
        return share is not None and share.is_left_out

    def _remaining_seconds(self) -> float:
        """Return the seconds left for the folds and their predictions."""
        reserve = _RESERVE_SECONDS + _RESERVE * self._limit
        if self._rows(0).predicted:
            reserve += _REPORT + _RESERVE_PER_THOUSAND * self._images / 1000
        return self._limit - reserve - (time.monotonic() - self._context.started)

    def _training_count(self, tempo: Tempo, place: int) -> int:
        """Return the number of trainings: fewer if more than half of a fold's time would not be spent on training."""
        rows = self._rows(place)
        fixed = tempo.begin + rows.val * tempo.image + tempo.end(rows) + tempo.predictions(rows)
        rounds = max(1, math.floor(self._remaining_seconds() / (2 * fixed + 1e-9)))
        folds = rounds - self._refits
        most = self._folds + self._refits
        return min(most, place + rounds if folds < 1 else place + folds * self._at_once + self._refits)

    def _share_of_training(self, place: int, tempo: Tempo, measured: int, most: int, scope: Share) -> Share:
        """Return the share of a training.

        Args:
            place: Its position.
            tempo: The speed of the training at the position `measured`.
            measured: That position.
            most: The epochs of the recipe.
            scope: Which folds are trained, and whether a model of all folds follows.
        """
        if place not in (ahead := self._remaining_places(place, scope)):
            phrase = "a model of all folds" if place == self._folds else counted(scope.folds, "fold")
            log.info(f"left out: the time is {'not ' * (place == self._folds)}enough for {phrase} of {self._folds}")
            return Share(0, 0, 0.0, scope.folds, refits=scope.refits)
        of = {other: tempo.of(self._rows(measured), self._rows(other)) for other in {0, *ahead}}
        # Predictions of all folds follow the last fold's training, one after the other.
        unpredicted = ahead if place == self._folds else self._remaining_places(0, scope)
        left = self._remaining_seconds() - sum(
            of.get(other, tempo).predictions(self._rows(other)) for other in unpredicted
        )
        # A fold that is planned from its own first batches restarts; later folds start for the first time.
        rounds, own, rows = self._rounds(ahead), of[place], self._rows(place)
        fixed = sum(of[other].begin + of[other].end(self._rows(other)) for other in rounds)
        epochs_of = [of[other].epoch(self._rows(other)) for other in rounds]
        learning = (left - fixed) * epochs_of[0] / sum(epochs_of)
        if left < 0 and place:
            log.info(f"left out: {clock(max(0.0, left))} are left")
            return Share(0, 0, 0.0, scope.folds, tempo, refits=scope.refits)
        epochs, steps = own.fitting(learning, rows, most)
        seconds = max(1.0, own.begin + learning)
        ahead_text = self._trainings_text(ahead)
        sentence = f"an epoch takes about {clock(own.epoch(rows))}, {clock(max(0.0, left))} are left for {ahead_text}"
        if epochs:
            log.info(f"{sentence}: {epochs} of {counted(most, 'epoch')}")
        else:
            batches = counted(own.batches, "batch", "batches")
            log.info(f"{sentence}: {steps} of {batches} of one epoch; {self._epoch_sentence(own, rows)}")
        return Share(epochs, steps, round(seconds, 2), scope.folds, tempo, refits=scope.refits)

    def _epoch_sentence(self, tempo: Tempo, rows: Rows) -> str:
        """Describe how long a whole epoch of each fold, or of one, would take."""
        fold = tempo.begin + tempo.epoch(rows) / _USED + tempo.end(rows) + tempo.predictions(rows)
        before = self._limit - self._remaining_seconds()
        every = list(range(self._folds + self._refits))
        whole = math.ceil(before + fold * len(self._rounds(every)))
        alternative = "" if self._folds == 1 else f", one fold (mode.cv=false) {math.ceil(before + fold)} s"
        return f"a whole epoch of {self._trainings_text(every)} takes time_limit={whole}s{alternative}; fewer pixels are quicker"

    def _trainings_text(self, places: Sequence[int]) -> str:
        """Describe a number of trainings in words."""
        folds = len([place for place in places if place < self._folds])
        phrases = ["this fold" if folds == 1 else f"{folds} folds"] if folds else []
        return listing([*phrases, *(["the refit"] if self._folds in places else [])])

    def _stored(self, run: Run, place: int) -> Share | None:
        path = run.folder / FOLDER / f"{place}.json"
        if not path.exists():
            return None
        return stored.read(path, Share, "start the training anew")

    def _store(self, run: Run, place: int, share: Share) -> Share:
        (run.folder / FOLDER).mkdir(exist_ok=True)
        files.write_json(run.folder / FOLDER / f"{place}.json", asdict(share))
        return share


def seconds(config: RunConfig) -> float | None:
    """Return the time limit of a training outside presets; None: no limit, or the training takes no steps."""
    return None if config.recipe.optimizer.is_none else presets.seconds_of(config.tree.get("time_limit"))


def heads(recipe: Recipe) -> int:
    """Return how many stages of a recipe fit a head exactly before the first stage with steps."""
    return len(list(itertools.takewhile(lambda stage: stage.head is not None, recipe.stages)))


def applied(recipe: Recipe, share: Share) -> Recipe:
    """Return the recipe with the epochs of a share; stages and the warm-up keep their proportions.

    Args:
        recipe: The recipe as configured.
        share: The fold's share.
    """
    from mlpipe.learn import stages
    from mlpipe.learn.build.optimizer import most_steps, shortened

    if share.epochs is None:
        return recipe
    # A head fitted exactly takes no epochs from the others.
    epochs = sum(stage.epochs for stage in stages.of(recipe) if stage.head is None)
    part = max(share.epochs, 1) / epochs
    trainer = {**recipe.trainer, "max_epochs": max(1, share.epochs)}
    if share.steps:
        # The stages together have the batches of one epoch.
        several = len([stage for stage in recipe.stages if stage.head is None])
        group = int(trainer.get("accumulate_grad_batches") or 1) * max(1, several)
        trainer["max_steps"] = min(most_steps(recipe) or share.steps, max(1, share.steps // group))
    shorter = [
        stage
        if stage.head is not None
        else replace(
            stage,
            epochs=max(1, math.floor(stage.epochs * part + 1e-9)),
            lr_scheduler=None if stage.lr_scheduler is None else shortened(stage.lr_scheduler, part),
        )
        for stage in recipe.stages
    ]
    return replace(recipe, trainer=trainer, stages=tuple(shorter), lr_scheduler=shortened(recipe.lr_scheduler, part))
