"""Training and evaluation speed of a network on this machine, measured on random pixels before any image is decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.config.schema import AUTO, Recipe
from mlpipe.learn.build.network import without_weights
from mlpipe.learn.machine.hardware import numerics
from mlpipe.learn.machine.quiet import prepare_torch
from mlpipe.learn.module import TARGET
from mlpipe.learn.optimizers.parameter_groups import parameter_groups

_STEPS, _MOST_SECONDS = 8, 6.0
# The cost of a training step in evaluations, if not measured: forward, and backward for inputs and for weights.
_TRAINING = 3.0


@dataclass(frozen=True)
class Speed:
    """Seconds per image.

    Attributes:
        train: In a training step.
        evaluate: In evaluation.
        parameters: The number of parameters of the network.
        features: The number of input features of its head; 0 without a linear head for an image.
    """

    train: float
    evaluate: float
    parameters: int
    features: int


def speed(
    recipe: Recipe,
    channels: int,
    size: int,
    outputs: int,
    batch_size: int,
    *,
    learns: bool = True,
    most_seconds: float = _MOST_SECONDS,
) -> Speed:
    """Time a few steps of a recipe's network; the first one of each kind is not counted.

    Args:
        recipe: Specifies the network, precision and threads; weights are random, which has the same cost.
        channels: Channels of the images.
        size: Height and width of the images.
        outputs: The number of logits.
        batch_size: Images per step.
        learns: Time training too; otherwise it is estimated as three times evaluation.
        most_seconds: Time after which no further step of a kind begins.
    """
    prepare_torch(recipe.threads)
    accelerator = str(recipe.trainer.get("accelerator", AUTO))
    chosen = numerics(recipe.trainer.get("precision", AUTO), size, accelerator)
    device = "cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu"
    pixels = Pixels(channels, size, 255.0, recipe.augmentations.normalization)
    network = without_weights(recipe.arch).build({TARGET: Head(outputs)}, pixels).to(device)
    layout = torch.channels_last if chosen.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    images = (
        torch.randint(0, 256, (batch_size, channels, size, size), device=device)
        .float()
        .contiguous(memory_format=layout)
    )
    optimizer = torch.optim.SGD(parameter_groups(network), lr=1e-9)
    autocast = torch.autocast(device, torch.bfloat16, enabled="bf16" in str(chosen.precision))

    def learn() -> None:
        with autocast:
            loss = network(images)[TARGET].float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def look() -> None:
        with torch.no_grad(), autocast:
            network(images)

    train = usual_seconds(learn, device, most_seconds) / batch_size if learns else 0.0
    network.eval()
    evaluate = usual_seconds(look, device, most_seconds) / batch_size
    train = train if learns else _TRAINING * evaluate
    parameters = sum(parameter.numel() for parameter in network.parameters())
    head = network.heads[TARGET] if isinstance(network, Classifier) else None
    return Speed(train, evaluate, parameters, int(getattr(head, "in_features", 0)))


def usual_seconds(call: Callable[[], None], device: str, most_seconds: float) -> float:
    """Return the undisturbed seconds of one call: the lower quartile of a few calls after a first one, fewer if they are slow.

    Other programs and the first steps of a process only make calls longer, so that the median would be too large.
    """
    durations: list[float] = []
    started = time.perf_counter()
    while len(durations) < 1 + _STEPS and (len(durations) < 2 or time.perf_counter() - started < most_seconds):
        before = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        durations.append(time.perf_counter() - before)
    later = sorted(durations[1:])
    return later[len(later) // 4]
