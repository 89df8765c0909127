"""Losses by name: outputs and targets to a mean, for classes, labels and numbers.

A loss is called with outputs (n, outputs), targets and, where the task weighs its images, weights (n,). Targets are class
numbers (n,) or class probabilities (n, classes) for classification; 0, 1 or something between (n, labels) for labels; and
numbers (n, outputs) for regression, standardised by the program. NaN targets are unknown and left out of the mean. With
class weights c and weights of images w the mean is sum(w c l) / sum(w c), as in torch.nn.CrossEntropyLoss. What losses of
masks are called with is said in `mlpipe.learn.losses.pixels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.losses import class_weights as class_weights_
from mlpipe.learn.losses import composite as sums
from mlpipe.learn.losses import expression as grammar
from mlpipe.learn.losses import means, pixels, probabilities
from mlpipe.learn.own_code import Code
from mlpipe.learn.own_code import Loss as OwnLoss

ClassWeights = Literal["balanced"] | list[float] | None
Kind = str


@dataclass(frozen=True)
class Labels:
    """What a loss is told of the training images of a fold.

    Attributes:
        kind: What is predicted.
        counts: Training images of each class, or for which each label holds, shape (outputs,); zeros for regression and
            images; for segmentation pixels of each class, in millionths of an image.
        total: How many training images there are.
        widths: For records with several outputs how many numbers each has.
        known: For how many training images each label is known, shape (outputs,); None: for all.
    """

    kind: Kind
    counts: Tensor
    total: int
    widths: tuple[int, ...] = ()
    known: Tensor | None = None

    @property
    def known_counts(self) -> Tensor:
        """For how many training images each label is known, shape (outputs,)."""
        return torch.full_like(self.counts, self.total) if self.known is None else self.known


def auto(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """The usual loss of the task's kind: cross-entropy, binary cross-entropy for labels, squared error for numbers.

    Args:
        labels: What is known of the training images.
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: As for `ce`.

    Raises:
        ConfigError: When a key is given that the kind's loss does not take.
    """
    if labels.kind in ("classification", "segmentation"):
        return ce(labels, label_smoothing=label_smoothing, class_weights=class_weights)
    given = {"label_smoothing": label_smoothing, "class_weights": class_weights}
    if wrong := [name for name, value in given.items() if value]:
        fix = "leave it out" + (", or use loss.pos_weight with loss=bce" if labels.kind == "multilabel" else "")
        raise ConfigError([problem(f"loss.{name}", "is for classification tasks", fix=fix) for name in wrong])
    return bce(labels) if labels.kind == "multilabel" else mse(labels)


def ce(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Cross-entropy over softmax, of images or of the pixels of masks.

    Args:
        labels: What is known of the training images.
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al. 2016).
        class_weights: `balanced` (n / (classes * count), as scikit-learn; 0 for classes that the training part lacks, and
            bounded, see `mlpipe.learn.losses.class_weights`), or one number for each class.
    """
    refuse_other_kinds("ce", labels, ("classification", "segmentation"))
    if labels.kind == "segmentation":
        return pixels.PixelCrossEntropy(weights(labels, class_weights, label_smoothing), label_smoothing)
    return means.CrossEntropy(means.cross_entropies, weights(labels, class_weights, label_smoothing), label_smoothing)


def nll(labels: Labels, *, class_weights: ClassWeights = None) -> nn.Module:
    """Negative log-likelihood, torch.nn.NLLLoss, for a network that gives log-probabilities itself, of images or pixels.

    Args:
        labels: What is known of the training images.
        class_weights: As for `ce`.
    """
    refuse_other_kinds("nll", labels, ("classification", "segmentation"))
    if labels.kind == "segmentation":
        return pixels.PixelCrossEntropy(weights(labels, class_weights), of_logs=True)
    return means.OverClasses(_taken_logs, weights(labels, class_weights), 0.0)


def _taken_logs(logs: Tensor, wanted: Tensor) -> Tensor:
    # A class that a network gives no chance at all has an infinite log-probability, which counts only where it is true.
    return torch.where(wanted > 0, -wanted * logs, torch.zeros_like(logs))


def focal(
    labels: Labels,
    *,
    gamma: Annotated[float, ">= 0"] = 2.0,
    alpha: Annotated[float, "> 0", "< 1"] | None = None,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Focal loss (Lin et al. 2017): the cross-entropy times (1 - p)^gamma, p the probability of the true side.

    Over softmax for classes, of images or of pixels; over the sigmoid of each label for labels.

    Args:
        labels: What is known of the training images.
        gamma: 0 is cross-entropy.
        alpha: For labels the weight of positives, 1 - alpha that of negatives; None weighs both with 1.
        label_smoothing: As for `ce`; classes only.
        class_weights: As for `ce`; classes only.
    """
    refuse_other_kinds("focal", labels, ("classification", "multilabel", "segmentation"))
    if labels.kind == "multilabel":
        _refuse_for_labels("multi-label", label_smoothing=label_smoothing, class_weights=class_weights)
        return means.FocalLabels(gamma, alpha)
    if alpha is not None:
        fix = "use loss.class_weights for classes"
        raise ConfigError(problem("loss.alpha", "is for multi-label tasks", got=alpha, fix=fix))
    if labels.kind == "segmentation":
        return pixels.PixelCrossEntropy(weights(labels, class_weights, label_smoothing), label_smoothing, gamma)

    def each(logits: Tensor, wanted: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return -wanted * (1 - logs.exp()) ** gamma * logs

    return means.OverClasses(each, weights(labels, class_weights, label_smoothing), label_smoothing)


def poly1(
    labels: Labels,
    *,
    epsilon: float = 1.0,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """PolyLoss of the first order (Leng et al. 2022): cross-entropy plus epsilon (1 - p).

    Args:
        labels: What is known of the training images.
        epsilon: 0 is cross-entropy.
        label_smoothing: As for `ce`.
        class_weights: As for `ce`.
    """
    refuse_other_kinds("poly1", labels, ("classification",))

    def each(logits: Tensor, wanted: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return wanted * (epsilon * (1 - logs.exp()) - logs)

    return means.OverClasses(each, weights(labels, class_weights, label_smoothing), label_smoothing)


def bce(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
    pos_weight: ClassWeights = None,
) -> nn.Module:
    """Binary cross-entropy over sigmoid: of each label, or of each class against the rest; the mean over images and outputs.

    Where targets are images it is between values of 0 to 1 (torch.nn.BCELoss): the network must end in a sigmoid by itself.

    Args:
        labels: What is known of the training images.
        label_smoothing: Targets t become t (1 - s) + s / outputs.
        class_weights: As for `ce`, but the mean is not divided by them (torch.nn.BCEWithLogitsLoss).
        pos_weight: The weight of positives, for each output; `balanced`: negatives over positives in the training images
            for which the label is known, bounded alike.
    """
    refuse_other_kinds("bce", labels, ("classification", "multilabel", "images"))
    if labels.kind == "images":
        _refuse_for_labels(
            "images", label_smoothing=label_smoothing, class_weights=class_weights, pos_weight=pos_weight
        )
        return means.Between(means.cross_entropy_of_values)
    if pos_weight == "balanced":
        positive: Tensor | None = class_weights_.of_positives(labels.counts, labels.known_counts).values
    else:
        positive = _listed("pos_weight", labels, pos_weight)
    return means.EachLabel(positive, weights(labels, class_weights), label_smoothing)


def asymmetric(
    labels: Labels,
    *,
    gamma_neg: Annotated[float, ">= 0"] = 4.0,
    gamma_pos: Annotated[float, ">= 0"] = 1.0,
    clip: Annotated[float, ">= 0", "< 1"] = 0.05,
) -> nn.Module:
    """Asymmetric loss for labels (Ridnik et al. 2021): easy negatives are down-weighted more than easy positives.

    Args:
        labels: What is known of the training images.
        gamma_neg: Focusing of negatives.
        gamma_pos: Focusing of positives.
        clip: Probability below which a negative counts nothing.
    """
    refuse_other_kinds("asymmetric", labels, ("multilabel",))
    return means.AsymmetricLabels(gamma_neg, gamma_pos, clip)


def mse(labels: Labels) -> nn.Module:
    """Mean squared error of standardised numbers.

    Args:
        labels: What is known of the training images.
    """
    return _numbers("mse", labels, lambda error: error**2)


def mae(labels: Labels) -> nn.Module:
    """Mean absolute error of standardised numbers.

    Args:
        labels: What is known of the training images.
    """
    return _numbers("mae", labels, torch.abs)


def huber(labels: Labels, *, delta: Annotated[float, "> 0"] = 1.0) -> nn.Module:
    """Huber's loss (1964), torch.nn.HuberLoss: squared for small errors, linear for large ones.

    Args:
        labels: What is known of the training images.
        delta: Where it turns linear, in standard deviations of the target.
    """
    return _numbers("huber", labels, lambda error: F.huber_loss(error, error * 0, reduction="none", delta=delta))


def smooth_l1(labels: Labels, *, beta: Annotated[float, "> 0"] = 1.0) -> nn.Module:
    """Smooth L1 (Girshick 2015), torch.nn.SmoothL1Loss: Huber's loss over beta.

    Args:
        labels: What is known of the training images.
        beta: Where it turns linear, in standard deviations of the target.
    """
    return _numbers("smooth_l1", labels, lambda error: F.smooth_l1_loss(error, error * 0, reduction="none", beta=beta))


def composite(labels: Labels, *, expression: str) -> nn.Module:
    """A weighted sum of losses, such as `ce+0.1*dice`; see `mlpipe.learn.losses.expression` for what may be written.

    Args:
        labels: What is known of the training images.
        expression: Terms of a number and a loss of this module or of `mlpipe.learn.losses.probabilities`.

    Raises:
        ConfigError: When it cannot be read, or names an unknown loss or one that does not fit the task's kind.
    """
    return _sum(labels, expression, {})


def own(
    labels: Labels,
    *,
    expression: str,
    modules: str | None = None,
    imports: list[str] | None = None,
    stand_ins: list[str] | None = None,
    trust: list[str] | None = None,
) -> nn.Module:
    """A weighted sum in which names may be functions of the user's own, `f(y_true, y_pred)`.

    Both arguments have shape (n, outputs): targets (one-hot for classes) and probabilities (numbers for regression). The
    function returns one number, or one for each image.

    Args:
        labels: What is known of the training images.
        expression: As for `composite`; a function of the user's own goes before a loss of the same name.
        modules: The folder of Python files with the functions.
        imports: Modules to import beside them.
        stand_ins: Packages whose imports give `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.

    Raises:
        ConfigError: As for `composite`, and when a function fails or gives no loss.
        DataError: When the code is not trusted or cannot be imported.
    """
    functions = Code(modules, imports or (), stand_ins or (), trust or ()).functions("loss")
    return _sum(labels, expression, functions)


def _sum(labels: Labels, expression: str, functions: Mapping[str, Callable[..., Any]]) -> nn.Module:
    """The sum that an expression means, with functions of the user's own by name."""
    terms = grammar.parse(expression)
    if labels.kind in ("segmentation", "images"):
        return _sum_of_pixels(terms, labels)
    of_probabilities = {**probabilities.EACH, **probabilities.TOGETHER}
    known = [*functions, *_TERMS, *of_probabilities]
    names = [name for _, name in terms if name not in functions]
    found = [
        problem(
            "loss.expression",
            "unknown loss",
            got=name,
            fix=did_you_mean(name, known, otherwise=listing(known, most=40)),
        )
        for name in names
        if name not in known
    ]
    found += [
        problem("loss.expression", f"{name} is for probabilities, this task has numbers", fix="use squared_error")
        for name in names
        if labels.kind == "regression" and name in of_probabilities and name not in probabilities.OF_NUMBERS
    ]
    if found:
        raise ConfigError(found)

    def part(name: str) -> nn.Module:
        if name in functions:
            return OwnLoss(name, functions[name], labels.kind, len(labels.counts))
        return _TERMS[name](labels) if name in _TERMS else sums.OnProbabilities(name, labels.kind)

    together = [name for name in names if name in probabilities.TOGETHER]
    return _summed(terms, [part(name) for _, name in terms], together)


def _sum_of_pixels(terms: Sequence[grammar.Term], labels: Labels) -> nn.Module:
    names, of_values = [name for _, name in terms], labels.kind == "images"
    known = _OF_VALUES if of_values else [*pixels.TERMS]
    wrong, what = sorted(set(names) - set(known)), "target images" if of_values else "masks"
    fix = f"use {listing(known, most=10)}"
    if wrong:
        raise ConfigError([problem("loss.expression", f"is no loss of {what}", got=name, fix=fix) for name in wrong])
    together = [] if of_values else [name for name in names if name in pixels.TOGETHER]
    return _summed(terms, [_TERMS[name](labels) if of_values else pixels.TERMS[name]() for name in names], together)


def _summed(terms: Sequence[grammar.Term], parts: Sequence[nn.Module], together: Sequence[str]) -> nn.Module:
    """The sum of terms, of which those of some names are one number of a whole batch."""
    shares = [weight for weight, _ in terms]
    return sums.BatchSum(shares, parts, list(dict.fromkeys(together))) if together else sums.Sum(shares, parts)


def weights(labels: Labels, wanted: ClassWeights, label_smoothing: float = 0.0) -> Tensor | None:
    """The weight of each class, shape (classes,).

    Args:
        labels: What is known of the training images.
        wanted: `balanced` (see `mlpipe.learn.losses.class_weights.of_classes`), a number for each class, or None.
        label_smoothing: Of a loss in which each class's share of the smoothed target counts with its own weight.

    Raises:
        ConfigError: When a list has another length than there are classes, or is not positive.
    """
    if wanted == "balanced":
        return class_weights_.of_classes(labels.counts, label_smoothing).values if labels.counts.any() else None
    return _listed("class_weights", labels, wanted)


def _listed(key: str, labels: Labels, wanted: ClassWeights) -> Tensor | None:
    if wanted is None:
        return None
    if isinstance(wanted, str):
        fix = did_you_mean(wanted, ["balanced"], otherwise="use balanced, or a list")
        raise ConfigError(problem(f"loss.{key}", "is neither balanced nor a list", got=wanted, fix=fix))
    n = len(labels.counts)
    if len(wanted) != n or min(float(value) for value in wanted) < 0 or max(float(value) for value in wanted) == 0:
        fix = f"give {n} numbers >= 0, or balanced"
        raise ConfigError(problem(f"loss.{key}", "does not fit the classes", got=wanted, fix=fix))
    return torch.tensor([float(value) for value in wanted])


def refuse_other_kinds(name: str, labels: Labels, kinds: tuple[str, ...]) -> None:
    """Refuse a loss for a task of another kind.

    Args:
        name: The loss.
        labels: What is known of the training images.
        kinds: The kinds that it is for.

    Raises:
        ConfigError: Naming losses that fit.
    """
    if labels.kind in kinds:
        return
    others = {
        "classification": "auto, ce, bce or focal",
        "multilabel": "auto, bce, focal or asymmetric",
        "regression": "auto, mse, mae or huber",
        "segmentation": "auto, ce, focal, dice, jaccard or lovasz",
        "images": "auto, mse, mae, huber or bce",
    }
    wrong = f"{name} is for {' or '.join(kinds)} tasks, this task is {labels.kind}"
    raise ConfigError(problem("loss", wrong, fix=f"use {others[labels.kind]}"))


def _refuse_for_labels(kind: str, **given: object) -> None:
    wrong = [name for name, value in given.items() if value]
    if wrong:
        fix = "leave it out" + (", or use loss=bce" if kind == "multi-label" else "")
        raise ConfigError([problem(f"loss.{name}", f"is not for {kind} tasks here", fix=fix) for name in wrong])


def _numbers(name: str, labels: Labels, each: Callable[[Tensor], Tensor]) -> nn.Module:
    refuse_other_kinds(name, labels, ("regression", "images"))
    return means.Errors(each)


_TERMS: dict[str, Callable[[Labels], nn.Module]] = {
    "auto": auto,
    "ce": ce,
    "nll": nll,
    "focal": focal,
    "poly1": poly1,
    "bce": bce,
    "asymmetric": asymmetric,
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "smooth_l1": smooth_l1,
}
# Those of them that compare images.
_OF_VALUES = ["auto", "bce", "mse", "mae", "huber", "smooth_l1"]
