"""Facts of a task that losses need, and the refusal of losses that do not fit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpipe import kinds
from mlpipe.data import kind as target_kind
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import kind as learn_kind


@dataclass(frozen=True)
class Facts:
    """Facts of a kind of task that losses depend on.

    Attributes:
        excludes: Classes exclude each other: outputs are logits of a softmax.
        of_labels: Each output is a yes-or-no question of its own: outputs are logits of sigmoids. Neither: numbers.
        is_dense: Every pixel has a target of its own.
        of_numbers: Outputs and targets are numbers side by side.
        losses: Losses that fit, for a person who chose another.
    """

    excludes: bool = False
    of_labels: bool = False
    is_dense: bool = False
    of_numbers: bool = False
    losses: tuple[str, ...] = ()

    @property
    def fitting(self) -> str:
        """`losses` in a sentence."""
        return f"{', '.join(self.losses[:-1])} or {self.losses[-1]}"


def facts(kind: str) -> Facts:
    """What losses ask of a kind.

    Args:
        kind: The kind of a task.
    """
    its, part = kinds.of(kind), learn_kind.of(kind)
    return Facts(
        excludes=its.has_classes,
        of_labels=its.has_probabilities and not its.has_classes,
        is_dense=its.is_dense,
        of_numbers=part.OF_NUMBERS,
        losses=part.FITTING_LOSSES,
    )


def fitting_kinds(fit: Callable[[Facts], bool]) -> list[str]:
    """The kinds of tasks of which something holds, those that are dense last."""
    return sorted((kind for kind in target_kind.names() if fit(facts(kind))), key=lambda kind: facts(kind).is_dense)


@dataclass(frozen=True)
class Labels:
    """Facts of a fold's training images that losses depend on.

    Attributes:
        kind: What is predicted; a loss asks for `facts` of it.
        counts: Training images of each class, or for which each label holds, shape (outputs,); zeros for regression and
            images; for segmentation pixels of each class, in millionths of an image.
        total: How many training images there are.
        widths: For records with several outputs how many numbers each has.
        known: For how many training images each label is known, shape (outputs,); None: for all.
        in_units: Whether losses get numbers in their own unit, and not in standard deviations of the training images'.
    """

    kind: str
    counts: Tensor
    total: int
    widths: tuple[int, ...] = ()
    known: Tensor | None = None
    in_units: bool = False

    @property
    def facts(self) -> Facts:
        """What losses ask of the kind."""
        return facts(self.kind)

    @property
    def known_counts(self) -> Tensor:
        """For how many training images each label is known, shape (outputs,)."""
        return torch.full_like(self.counts, self.total) if self.known is None else self.known


def refuse_unless(fit: Callable[[Facts], bool], name: str, labels: Labels) -> None:
    """Refuse a loss for tasks that it is not for.

    Args:
        fit: Whether it is for a kind of which these facts hold.
        name: The loss.
        labels: What is known of the training images.

    Raises:
        ConfigError: Naming losses that fit.
    """
    if not fit(labels.facts):
        wrong = f"{name} is for {' or '.join(fitting_kinds(fit))} tasks, this task is {labels.kind}"
        raise ConfigError(problem("loss", wrong, fix=f"use {labels.facts.fitting}"))


def refuse_keys(kind: str, **given: object) -> None:
    """Refuse keys that a loss has for other tasks.

    Args:
        kind: What such tasks are called.
        given: The keys and their values; those that are empty are not refused.

    Raises:
        ConfigError: Naming each of them.
    """
    wrong = [name for name, value in given.items() if value]
    if wrong:
        fix = "leave it out" + (", or use loss=bce" if kind == "multi-label" else "")
        raise ConfigError([problem(f"loss.{name}", f"is not for {kind} tasks here", fix=fix) for name in wrong])
