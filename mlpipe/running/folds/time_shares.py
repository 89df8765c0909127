"""A time limit divided among the folds of a training (`mml train time_limit=5m`): as many epochs as fit, the same of each fold.

How long an epoch takes is what the first batches of the first fold show; then that fold begins anew with the epochs that fit,
so that the schedule of the learning rate ends where the training does. What was decided is stored with the run.
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

_FOLDER = "time_limit"
# Kept for the leaderboard and the process's own end, and for what follows where predictions are asked for: seconds, a share
# of the limit, and seconds for each thousand images.
_RESERVE_SECONDS, _RESERVE, _RESERVE_PER_THOUSAND = 1.5, 0.02, 1.0
# Seconds of a report's own work, whatever the number of images.
_REPORT = 3.0
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

    def of(self, own: Rows, others: Rows) -> Tempo:
        """The tempo of a training of other images.

        Args:
            own: The images that it was measured with.
            others: Those of the training.
        """
        part = others.train / max(1, own.train)
        return replace(self, learn=self.learn * part, batches=max(1, round(self.batches * part)))

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
        listener: Is given the pace and the epochs that the recipe asks for; what it raises ends the training.
        heads: Epochs before the first one with batches: heads that are fitted exactly.

    Attributes:
        begun: When the fold began, on the clock of `time.monotonic`.
        epochs: The epochs that the recipe asks for; 0: no batch was seen.
    """

    def __init__(self, enough: float, rows: Rows, listener: Callable[[Tempo, int], None], heads: int = 0) -> None:
        self._enough, self._rows, self._tempo_listener, self._heads = enough, rows, listener, heads
        self.begun, self.epochs = time.monotonic(), 0
        self._first = self._last = 0.0
        self._gaps: list[float] = []
        self._count, self._batches, self._is_whole, self._is_known = 0, 1, True, False
        self._look_times: list[float] = []

    def tick(self, tick: Tick) -> None:
        """A batch is done; a fold that goes on from a saved state tells nothing new."""
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
        """A batch of images was looked at, by a training without batches that computes features."""
        self._look_times = [*self._look_times[:1], time.monotonic()]

    @property
    def feature_seconds(self) -> float:
        """Seconds in which features were computed, which later folds find."""
        return 0.0 if self._count or not self._look_times else self._look_times[-1] - self._look_times[0]

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
        epochs: Epochs of the fold, besides heads that are fitted exactly; None: those of the recipe, as its pace is not known
            yet; 0: fewer than one.
        steps: Batches where not one epoch fits; 0 with no epoch: the fold is left out.
        seconds: Seconds from its begin after which it ends by itself.
        folds: How many folds are trained.
        tempo: What the epochs were decided by.
        took: Seconds that the fold took in the end, besides features that it computed for all; 0: it has not ended.
        refits: Whether there is time for a model of all folds, where one is asked for.
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
    """Decides how long each fold learns, and after them a model of all folds where one is asked for.

    Each training has time by how many images it learns from. Where time is short the last folds are left out, and what would
    predict new images is trained all the same.

    Args:
        limit: Seconds of the whole command.
        context: When the command began.
        rows: Gives the images of the fold at a place in the order of those that are trained; the model of all is the last.
        folds: How many are.
        at_once: How many of them side by side.
        images: All images of the task.
        refits: Whether a model of all folds follows.
        heads: How many heads are fitted exactly before the first batch.
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
        """The share of the fold at a place in the order of the folds; decided once, so that a continued run does the same."""
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
        """Seconds of a training without batches, by those before it, and of the one of all folds, which goes before a fold."""
        took = [share.took for other in range(place) if (share := self._stored(run, other)) is not None and share.took]
        if not took:
            return 0.0
        usual = statistics.median(took)
        whole = usual * self._rows(self._folds).train / max(1, self._rows(0).train) if self._refits else 0.0
        return whole if place == self._folds else usual + whole

    def _remaining_places(self, place: int, share: Share) -> list[int]:
        """The places of what is trained from one on."""
        folds = list(range(place, min(share.folds, self._folds)))
        return [*folds, self._folds] if self._refits and share.refits else folds

    def _rounds(self, places: Sequence[int]) -> list[int]:
        """Of folds that are trained side by side the one with most images, and the model of all, which is trained alone."""
        folds = [place for place in places if place < self._folds]
        groups = [folds[at : at + self._at_once] for at in range(0, len(folds), self._at_once)]
        largest = [max(group, key=lambda place: self._rows(place).train) for group in groups]
        return [*largest, *(place for place in places if place == self._folds)]

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
            count = self._training_count(tempo, place)
            # With time for a single training there is a score, and its fold predicts.
            refits = self._refits and count > place + 1
            scope = Share(None, 0, 0.0, min(self._folds, count - refits), refits=refits or not self._refits)
            decided = self._share_of_training(place, tempo, place, most, scope)
            # First the state, so that whoever is stopped in between begins anew as well.
            if decided.epochs != most:
                shutil.rmtree(state, ignore_errors=True)
            self._store(run, place, decided)
            if decided.epochs != most:
                raise PlannedAnew

        return Stopwatch(min(max(_LEAST, _ENOUGH * share.seconds), _MOST), self._rows(place), told, self._heads)

    def learned(self, run: Run, place: int, watch: Stopwatch) -> None:
        """Note how fast a whole fold was, by which the others are planned."""
        share = self._stored(run, place)
        if share is not None:
            took = round(time.monotonic() - watch.begun - watch.feature_seconds, 2)
            tempo = watch.tempo() or share.tempo
            # A fold that was over before its pace was known had all epochs, and so have the others.
            epochs = watch.epochs or None if share.epochs is None and tempo is not None else share.epochs
            self._store(run, place, replace(share, epochs=epochs, tempo=tempo, took=took))

    def is_left_out(self, run: Run, place: int) -> bool:
        """Whether a fold was left out."""
        share = self._stored(run, place)
        return share is not None and share.is_left_out

    def _remaining_seconds(self) -> float:
        """Seconds that are left for the folds and their predictions."""
        reserve = _RESERVE_SECONDS + _RESERVE * self._limit
        if self._rows(0).predicted:
            reserve += _REPORT + _RESERVE_PER_THOUSAND * self._images / 1000
        return self._limit - reserve - (time.monotonic() - self._context.started)

    def _training_count(self, tempo: Tempo, place: int) -> int:
        """How many trainings there are: fewer where more than half of a fold's time would not be spent on learning."""
        rows = self._rows(place)
        fixed = tempo.begin + rows.val * tempo.image + tempo.end(rows) + tempo.predictions(rows)
        rounds = max(1, math.floor(self._remaining_seconds() / (2 * fixed + 1e-9)))
        folds = rounds - self._refits
        most = self._folds + self._refits
        return min(most, place + rounds if folds < 1 else place + folds * self._at_once + self._refits)

    def _share_of_training(self, place: int, tempo: Tempo, measured: int, most: int, scope: Share) -> Share:
        """The share of a training.

        Args:
            place: Its place.
            tempo: The pace of the training at the place `measured`.
            measured: That place.
            most: The epochs that the recipe asks for.
            scope: Which folds are trained, and whether all folds are once more.
        """
        if place not in (ahead := self._remaining_places(place, scope)):
            phrase = "a model of all folds" if place == self._folds else counted(scope.folds, "fold")
            log.info(f"left out: the time is {'not ' * (place == self._folds)}enough for {phrase} of {self._folds}")
            return Share(0, 0, 0.0, scope.folds, refits=scope.refits)
        of = {other: tempo.of(self._rows(measured), self._rows(other)) for other in {0, *ahead}}
        # Predictions of all folds come after the last one's training, one after the other.
        unpredicted = ahead if place == self._folds else self._remaining_places(0, scope)
        left = self._remaining_seconds() - sum(
            of.get(other, tempo).predictions(self._rows(other)) for other in unpredicted
        )
        # A fold that is planned by its own first batches begins anew, the next ones begin for the first time.
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
        """What a whole epoch of each fold, or of one, would take."""
        fold = tempo.begin + tempo.epoch(rows) / _USED + tempo.end(rows) + tempo.predictions(rows)
        before = self._limit - self._remaining_seconds()
        every = list(range(self._folds + self._refits))
        whole = math.ceil(before + fold * len(self._rounds(every)))
        alternative = "" if self._folds == 1 else f", one fold (mode.cv=false) {math.ceil(before + fold)} s"
        return f"a whole epoch of {self._trainings_text(every)} takes time_limit={whole}s{alternative}; fewer pixels are quicker"

    def _trainings_text(self, places: Sequence[int]) -> str:
        """Trainings in words."""
        folds = len([place for place in places if place < self._folds])
        phrases = ["this fold" if folds == 1 else f"{folds} folds"] if folds else []
        return listing([*phrases, *(["the refit"] if self._folds in places else [])])

    def _stored(self, run: Run, place: int) -> Share | None:
        path = run.folder / _FOLDER / f"{place}.json"
        if not path.exists():
            return None
        return stored.read(path, Share, "start the training anew")

    def _store(self, run: Run, place: int, share: Share) -> Share:
        (run.folder / _FOLDER).mkdir(exist_ok=True)
        files.write_json(run.folder / _FOLDER / f"{place}.json", asdict(share))
        return share


def seconds(config: RunConfig) -> float | None:
    """The time limit of a training that is no preset's; None: there is none, or the training takes no steps."""
    return None if config.recipe.optimizer.is_none else presets.seconds_of(config.tree.get("time_limit"))


def heads(recipe: Recipe) -> int:
    """How many stages of a recipe fit a head exactly before the first one that takes steps."""
    return len(list(itertools.takewhile(lambda stage: stage.head is not None, recipe.stages)))


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
    # A head that is fitted exactly takes no epochs of the others.
    epochs = sum(stage.epochs for stage in stages.of(recipe) if stage.head is None)
    part = max(share.epochs, 1) / epochs
    trainer = {**recipe.trainer, "max_epochs": max(1, share.epochs)}
    if share.steps:
        # Stages have the batches of an epoch together.
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
