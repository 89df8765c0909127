"""Facts about a task that losses need, and the refusal of losses that do not fit it."""

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
    """Facts about a kind of task that losses depend on.

    Attributes:
        excludes: Classes exclude each other: outputs are logits of a softmax.
        of_labels: Each output is a yes-or-no question of its own: outputs are logits of sigmoids.
        is_dense: Every pixel has a target of its own.
        of_numbers: Outputs and targets are numbers side by side.
        losses: Losses that fit, suggested in error messages.
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
    """Return the facts about a kind that losses depend on.

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
    """Return the kinds of tasks whose facts pass a test, dense kinds last."""
    return sorted((kind for kind in target_kind.names() if fit(facts(kind))), key=lambda kind: facts(kind).is_dense)


@dataclass(frozen=True)
class Labels:
    """Facts about a fold's training images that losses depend on.

    Attributes:
        kind: The kind of predictions; `facts` gives its properties.
        counts: Training images of each class, or positives of each label, shape (outputs,); zeros for regression and
            images; for segmentation the pixels of each class, in millionths of an image.
        total: The number of training images.
        widths: For records with several outputs, the number of columns of each.
        known: Training images in which each label is known, shape (outputs,); None: all of them.
        in_units: Whether losses get numbers in their own unit, not in standard deviations of the training targets.
    """

    kind: str
    counts: Tensor
    total: int
    widths: tuple[int, ...] = ()
    known: Tensor | None = None
    in_units: bool = False

    @property
    def facts(self) -> Facts:
        """The facts about the kind that losses depend on."""
        return facts(self.kind)

    @property
    def known_counts(self) -> Tensor:
        """The number of training images in which each label is known, shape (outputs,)."""
        return torch.full_like(self.counts, self.total) if self.known is None else self.known


def refuse_unless(fit: Callable[[Facts], bool], name: str, labels: Labels) -> None:
    """Refuse a loss for tasks of other kinds.

    Args:
        fit: Whether the loss is for a kind with these facts.
        name: The loss.
        labels: Facts about the training images.

    Raises:
        ConfigError: When it does not fit, naming losses that do.
    """
    if not fit(labels.facts):
        wrong = f"{name} is for {' or '.join(fitting_kinds(fit))} tasks, this task is {labels.kind}"
        raise ConfigError(problem("loss", wrong, fix=f"use {labels.facts.fitting}"))


def refuse_keys(kind: str, **given: object) -> None:
    """Refuse keys of a loss that apply to other tasks only.

    Args:
        kind: The name of such tasks in the message.
        given: The keys and their values; empty values are accepted.

    Raises:
        ConfigError: Naming each key with a value.
    """
    wrong = [name for name, value in given.items() if value]
    if wrong:
        fix = "leave it out" + (", or use loss=bce" if kind == "multi-label" else "")
        raise ConfigError([problem(f"loss.{name}", f"is not for {kind} tasks here", fix=fix) for name in wrong])
