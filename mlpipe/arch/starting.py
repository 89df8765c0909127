"""Start a network from stored weights: its body, matching heads, and a report of what went where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from mlpipe.arch import weights as weight_files
from mlpipe.errors import DataError, listing, problem

_HEADS = "heads."


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from.

    Attributes:
        file: A `.safetensors`, `.pt` or `.pth` file.
        digest: Its hash.
        name: What reports call it.
        keep_heads: Take over heads too, where name and shape are equal.
        allow_missing: Accept a body of which more than a tenth is missing.
    """

    file: Path
    digest: str
    name: str
    keep_heads: bool
    allow_missing: bool = False


def load(network: nn.Module, start: Start) -> str:
    """Load what fits by name and shape, and say what did not.

    Statistics of pixels and of numbers to predict stay the network's own: they belong to the new images and targets. A
    first convolution for another number of channels is adapted by `in_channels`.

    Returns:
        The report, one sentence.

    Raises:
        DataError: When more than a tenth of the body's tensors is missing and `start.allow_missing` is not set.
    """
    own = network.state_dict()
    state, adapted = _fitted(weight_files.read(start.file), own, start)
    match = weight_files.load(network, state)
    body = [name for name in own if _is_body(name)]
    lost = [name for name in body if name not in match.loaded]
    if len(lost) > weight_files.MOST_MISSING * len(body) and not start.allow_missing:
        wrong = f"{len(lost)} of {len(body)} tensors of the network's body are not in {start.name} ({match.sentence()})"
        fix = "choose the arch that it was trained with, or add reuse.allow_missing=true"
        raise DataError(problem("reuse.parameters", wrong, fix=fix))
    parts = [f"starts from {start.name}", f"{len(match.loaded)} tensors loaded"]
    news = [name for name in own if name.startswith(_HEADS) and name not in match.loaded]
    for word, names in (
        ("missing", lost),
        ("unused", [name for name in match.unexpected if _is_body(name)]),
        ("of another shape", list(match.misshapen)),
        ("new", news),
        ("adapted to other channels", adapted),
    ):
        if names:
            parts.append(f"{len(names)} {word} ({listing(names, most=4)})")
    return ", ".join(parts)


def in_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weight for another number of input channels.

    Every new channel gets the mean over the old ones, scaled so that a grey image, repeated in all channels, gives what it
    gave before.

    Args:
        weight: Shape (out, old channels, height, width).
        channels: The new number of channels.
    """
    mean = weight.mean(dim=1, keepdim=True) * (weight.shape[1] / channels)
    return mean.repeat(1, channels, 1, 1)


def _fitted(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor], start: Start
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors that may be loaded, named as the network names them, and which of them were adapted."""
    prefix = "backbone."
    if any(name.startswith(prefix) for name in own) and not any(name.startswith((prefix, _HEADS)) for name in stored):
        stored = {f"{prefix}{name}": tensor for name, tensor in stored.items()}
    state: dict[str, Tensor] = {}
    adapted: list[str] = []
    for name, tensor in stored.items():
        if not (_is_body(name) or (start.keep_heads and name.startswith(_HEADS))):
            continue
        if name in own and _differs_in_channels(tensor, own[name]) and not adapted:
            tensor = in_channels(tensor, own[name].shape[1])
            adapted.append(name)
        state[name] = tensor
    return state, adapted


def _is_body(name: str) -> bool:
    """Everything but heads and the buffers of the network itself, which have no dot in their names."""
    return "." in name and not name.startswith(_HEADS)


def _differs_in_channels(stored: Tensor, own: Tensor) -> bool:
    """Whether two convolutions differ in their input channels only, and those are an image's."""
    if stored.ndim != 4 or own.ndim != 4 or stored.shape[1] == own.shape[1]:
        return False
    return stored.shape[0] == own.shape[0] and stored.shape[2:] == own.shape[2:] and stored.shape[1] <= 16
