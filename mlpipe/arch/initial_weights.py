"""Initialisation of a network from stored weights, with a report of the loaded, adapted and unused tensors.

Every training that starts from stored weights uses `load`: `arch.weights`, `reuse.parameters`, `mml tl`, and the weights
of a stage. Resuming a training, and predicting with its weights, does not: these weights have to fit exactly.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlpipe import current_folder
from mlpipe.arch import resampling, timm_body
from mlpipe.arch import weights as weight_files
from mlpipe.arch.timm_body import Body, State
from mlpipe.errors import DataError, counted, listing, problem

_HEADS, _DECODER = "heads.", "decoder."
# Maximum depth of wrapper prefixes in tensor names.
_DEEPEST = 4
# Prefix of the body's tensors in a file of a whole network of this program.
_BODY_AT_THE_END = re.compile(r"backbone\.((model|module)\.)?$")


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from.

    Attributes:
        file: A `.safetensors`, `.pt` or `.pth` file.
        digest: Hash of the file.
        name: Name in reports.
        keep_heads: Also load heads with equal name and shape.
        allow_missing: Accept a file in which tensors do not fit or more than a tenth of the body is missing.
        key: The configuration key that names the file.
        allow: The setting that accepts such a file, for the error message.
        is_file: Whether the key names a file rather than a record.
        sides: Height and width of the images that the weights were trained on; None: not known.
        most_missing: Share of the body's tensors that may be missing.
    """

    file: Path
    digest: str
    name: str
    keep_heads: bool
    allow_missing: bool = False
    key: str = "reuse.parameters"
    allow: str = "reuse.allow_missing=true"
    is_file: bool = False
    sides: tuple[int, int] | None = None
    most_missing: float = weight_files.MOST_MISSING


@dataclass
class Taken:
    """Assignment of a file's tensors to those of a network.

    Attributes:
        state: The loaded tensors, under the network's names.
        channels: Names of tensors that were adapted to another number of channels.
        resampled: Names of tensors that were resampled to another size.
        misshapen: Both shapes of each tensor whose shapes differ, by name.
        unused: Names in the file that the network's body does not have.
        heads: Names in the file of heads or a decoder that the network lacks or has in another form.
        outside: Other names in the file that are not of the body and not in the network.
    """

    state: State = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)
    resampled: list[str] = field(default_factory=list)
    misshapen: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def put(self, name: str, tensor: Tensor, state: Mapping[str, Tensor]) -> None:
        """Add a tensor to `state` if its shape fits, else to `misshapen`."""
        if tensor.shape == state[name].shape:
            self.state[name] = tensor
        else:
            self.misshapen[name] = f"{[*tensor.shape]} for {[*state[name].shape]}"


def of_file(weights: str, strict: bool, most_missing: float = weight_files.MOST_MISSING) -> Start:
    """Return the start for a file in `arch.weights`.

    Args:
        weights: The file.
        strict: Refuse a file that does not fit.
        most_missing: Share of the body's tensors that may be missing.
    """
    path = current_folder.expanded(weights)
    return Start(
        path,
        "",
        path.name,
        keep_heads=True,
        allow_missing=not strict,
        key="arch.weights",
        allow="arch.weights_strict=false",
        is_file=True,
        most_missing=most_missing,
    )


def load(network: nn.Module, start: Start) -> str:
    """Load stored weights into a network, adapted as timm does it, and return a report.

    First convolutions are adapted to the number of channels, position embeddings and biases to the image size; heads of
    another shape keep their initial weights. The network keeps its own statistics of pixels and target values, because they
    describe the new images and targets.

    Returns:
        The report, one sentence.

    Raises:
        DataError: When other tensors do not fit, or more than a tenth of the body's tensors is missing, and
            `start.allow_missing` is not set; or when nothing of the body is loaded.
    """
    own = network.state_dict()
    transfer = fitted(weight_files.read(start.file), network, start)
    report = _report(own, transfer)
    if not start.allow_missing:
        _require_body(own, transfer, start, report)
    # Counters of batches, single numbers, fit any network.
    if any(map(_is_body, own)) and not any(_is_body(name) and tensor.ndim for name, tensor in transfer.state.items()):
        fix = "choose the arch that it was saved from, or leave it out"
        raise DataError(problem(start.key, f"holds nothing of the network ({report})", got=start.name, fix=fix))
    network.load_state_dict(transfer.state, strict=False)
    return f"starts from {start.name}, {report}"


def pretrained_report(network: nn.Module, source: str) -> str:
    """Return the report for pretrained weights that timm, or a package of weights, has loaded and adapted.

    Args:
        network: The network with these weights.
        source: Source of the weights.
    """
    own, body, transfer = network.state_dict(), timm_body.of(network), Taken()
    native = timm_body.native_shapes(body)
    for name, place in body.names.items():
        if name not in native:
            continue
        transfer.put(place, own[place], own)
        if native[name] != own[place].shape:
            is_first = name.removesuffix(".weight") in body.first_convolutions
            (transfer.channels if is_first else transfer.resampled).append(place)
    transfer.heads = [name for name in native if name not in body.names]
    return f"starts from {source}, {_report(own, transfer)}"


def fitted(stored: Mapping[str, Tensor], network: nn.Module, start: Start) -> Taken:
    """Assign the tensors of a file to those of a network and adapt their shapes where possible.

    Args:
        stored: Tensors by their name in the file: of a network of timm or another program, of a wrapper of one, or of a
            network of this program.
        network: The network.
        start: The description of the file.
    """
    own, body, transfer = network.state_dict(), timm_body.of(network), Taken()
    of_body, others = _body_and_other_tensors(stored, body)
    filtered = _filtered(of_body, body, start.sides)
    fitting = _Fitting(body, own, _channels(network, body))
    for name, tensor in filtered.items():
        if name not in body.names:
            (transfer.heads if name in body.headed else transfer.unused).append(name)
            continue
        place = body.names[name]
        new_tensor, how = fitting.of(name, tensor)
        transfer.put(place, new_tensor, own)
        if place in transfer.state and name in of_body and not _is_same(tensor, of_body[name]):
            transfer.resampled.append(place)
        if place in transfer.state and how:
            getattr(transfer, how).append(place)
    for name, tensor in others.items():
        _take_other(name, tensor, own, transfer, keep_heads=start.keep_heads)
    return transfer


def _take_other(name: str, tensor: Tensor, state: Mapping[str, Tensor], transfer: Taken, *, keep_heads: bool) -> None:
    """Assign a tensor outside the backbone: a head or decoder tensor if it fits, never the network's own buffers."""
    if name.startswith(_HEADS):
        if keep_heads and name in state and state[name].shape == tensor.shape:
            transfer.state[name] = tensor
        elif name not in state:
            transfer.heads.append(name)
    elif _is_body(name):
        if name in state:
            transfer.put(name, tensor, state)
        elif name.startswith(_DECODER) and not any(key.startswith(_DECODER) for key in state):
            transfer.heads.append(name)
        else:
            transfer.outside.append(name)


def _body_and_other_tensors(stored: Mapping[str, Tensor], body: Body) -> tuple[State, State]:
    """Split tensors into those of the body, under its own names, and the others, under the network's names.

    The prefix of a wrapper (`module.`, `model.`, `backbone.` and others) is the one whose removal turns the most names
    into names of the body.
    """
    known = {**{name: name for name in (*body.names, *body.headed)}, **body.alike}
    known |= {timm_body.flattened(name): name for name in (*body.names, *body.headed)} | {
        name: name for name in body.names
    }
    wrappers: Counter[str] = Counter()
    for name in stored:
        parts = name.split(".")
        for depth in range(min(len(parts), _DEEPEST + 1)):
            if ".".join(parts[depth:]) in known:
                wrappers["".join(f"{part}." for part in parts[:depth])] += 1
    wrapper = max(wrappers, key=lambda prefix: (wrappers[prefix], -len(prefix)), default="")
    outer = _BODY_AT_THE_END.sub("", wrapper)
    of_body: State = {}
    others: State = {}
    for name, tensor in stored.items():
        if name.startswith(wrapper) and not (not wrapper and name.startswith((_HEADS, _DECODER))):
            inner = name.removeprefix(wrapper)
            of_body[known.get(inner, inner)] = tensor
        else:
            others[name.removeprefix(outer)] = tensor
    return of_body, others


def _filtered(state: State, body: Body, sides: tuple[int, int] | None) -> Mapping[str, Tensor]:
    """Return stored tensors after timm's checkpoint filter, or unchanged if there is none or it fails."""
    if body.filter is None:
        return state
    try:
        with _with_source_sides(body.module, _source_sides(state, body) if sides is None else sides):
            try:
                tensors = body.filter(dict(state), body.module)
            except TypeError:
                tensors = body.filter(dict(state))
    except Exception:
        # Not weights of this network: the report of names and shapes shows the differences.
        return state
    return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


@contextmanager
def _with_source_sides(module: Any, sides: tuple[int, int] | None) -> Iterator[None]:
    """Tell timm the image size that the weights were trained with, while its filter runs."""
    before = getattr(module, "pretrained_model_args", {})
    if sides is not None:
        module.pretrained_model_args = {**before, "img_size": sides}
    try:
        yield
    finally:
        module.pretrained_model_args = before


def _source_sides(state: State, body: Body) -> tuple[int, int] | None:
    """Return the likely image size of a position embedding whose grid cannot be square, else None.

    The grid with the proportions nearest to the network's images is assumed. timm itself assumes a square.
    """
    table, patches = state.get("pos_embed"), state.get("patch_embed.proj.weight")
    if table is None or patches is None or table.ndim != 3 or patches.ndim != 4:
        return None
    module = body.module
    tokens = 0 if getattr(module, "no_embed_class", False) else int(getattr(module, "num_prefix_tokens", 1))
    places = table.shape[1] - tokens
    if places < 1 or math.isqrt(places) ** 2 == places:
        return None
    log_ratio = math.log(body.sides[0] / body.sides[1])
    heights = [height for height in range(1, places + 1) if places % height == 0]
    # On a logarithmic scale 1:2 and 2:1 are equally far from a square.
    height = min(heights, key=lambda candidate: abs(math.log(candidate * candidate / places) - log_ratio))
    return height * patches.shape[2], places // height * patches.shape[3]


class _Fitting:
    """Adapts single tensors to a network.

    Args:
        body: The body.
        state: The network's tensors.
        channels: Number of channels of the network's images.
    """

    def __init__(self, body: Body, state: Mapping[str, Tensor], channels: int | None) -> None:
        self._body, self._state, self._channels = body, state, channels
        # In a network unknown to timm, the first layer that differs in its channels is taken for the first convolution.
        self._is_open = not body.first_convolutions

    def of(self, name: str, tensor: Tensor) -> tuple[Tensor, str]:
        """Return the adapted tensor and the kind of adaptation: `channels`, `resampled` or empty.

        Args:
            name: Name of the tensor in the body.
            tensor: The stored tensor.
        """
        own = self._state[self._body.names[name]]
        if tensor.shape == own.shape:
            return tensor, ""
        parent, _, last = name.rpartition(".")
        module = self._body.module.get_submodule(parent)
        if last == "weight" and self._is_first(parent, tensor, own):
            patches = resampling.resampled_patches(tensor, module)
            how = "" if patches is None or patches.shape == tensor.shape else "resampled"
            if patches is not None and patches.shape == own.shape:
                return patches, how
            source = tensor if patches is None else patches
            result = resampling.resampled_channels(source, module, self._channels or own.shape[1])
            return (tensor, "") if result is None else (result, "channels")
        result = resampling.resampled_positions(name, tensor, own, module, self._body.sides)
        return (tensor, "") if result is None or result.shape != own.shape else (result, "resampled")

    def _is_first(self, layer: str, tensor: Tensor, target: Tensor) -> bool:
        if not self._is_open:
            return layer in self._body.first_convolutions
        if not resampling.differs_in_channels(tensor, target):
            return False
        self._is_open = False
        return True


def _channels(network: nn.Module, body: Body) -> int | None:
    """Return the number of channels of a network's images; None: that of its first layer."""
    mean = getattr(network, "mean", None)
    if isinstance(mean, Tensor) and mean.ndim > 1:
        return int(mean.shape[1])
    channels = getattr(body.module, "in_chans", None)
    return channels if isinstance(channels, int) else None


def _is_same(tensor: Tensor, stored: Tensor) -> bool:
    return tensor is stored or (tensor.shape == stored.shape and torch.equal(tensor, stored))


def _is_body(name: str) -> bool:
    """Return whether a tensor is neither of a head nor a buffer of the network itself, whose names have no dot."""
    return "." in name and not name.startswith(_HEADS)


def _missing_tensors(state: Mapping[str, Tensor], transfer: Taken) -> tuple[list[str], list[str]]:
    """Return the body's tensors that a file lacks, and separately those of a decoder that it lacks entirely."""
    missing = [
        name for name in state if _is_body(name) and name not in transfer.state and name not in transfer.misshapen
    ]
    decoder = [name for name in state if name.startswith(_DECODER)]
    stored_names = (*transfer.state, *transfer.misshapen, *transfer.outside)
    bare = bool(decoder) and not any(name.startswith(_DECODER) for name in stored_names)
    return [name for name in missing if not (bare and name in decoder)], decoder if bare else []


def _require_body(state: Mapping[str, Tensor], transfer: Taken, start: Start, report: str) -> None:
    """Require that a file holds nearly all of a body in fitting shapes, and is not of a different, larger network.

    Raises:
        DataError: When the file does not fit.
    """
    missing, _ = _missing_tensors(state, transfer)
    lost = [*missing, *transfer.misshapen]
    body = [name for name in state if _is_body(name)]
    is_missing = len(lost) > start.most_missing * len(body)
    is_other = len(transfer.unused) > weight_files.MOST_MISSING * (len(transfer.state) + len(transfer.unused))
    if not (is_missing or is_other or transfer.misshapen):
        return
    if start.is_file:
        fix = f"choose the arch that it was saved from, or add {start.allow}"
        raise DataError(problem(start.key, f"does not fit the network ({report})", got=str(start.file), fix=fix))
    wrong = f"{len(lost)} of {len(body)} tensors of the network's body are not in {start.name}"
    if not is_missing:
        wrong = f"{start.name} does not fit the network's body"
    fix = f"choose the arch that it was trained with, or add {start.allow}"
    raise DataError(problem(start.key, f"{wrong} ({report})", fix=fix))


def _report(state: Mapping[str, Tensor], transfer: Taken) -> str:
    """Return one sentence about loaded, adapted and unused tensors, with the first names of each group."""
    missing, decoder = _missing_tensors(state, transfer)
    news = [name for name in state if name.startswith(_HEADS) and name not in transfer.state] + decoder
    misshapen = [f"{name}: {shapes}" for name, shapes in transfer.misshapen.items()]
    parts = [f"{counted(len(transfer.state), 'tensor')} loaded"]
    for word, names in (
        ("missing", missing),
        ("unused", [*transfer.unused, *transfer.outside]),
        ("of another shape", misshapen),
        ("new", news),
        ("adapted to other channels", transfer.channels),
        ("resampled to another size", transfer.resampled),
        ("of heads left out", transfer.heads),
    ):
        if names:
            parts.append(f"{len(names)} {word} ({listing(list(dict.fromkeys(names)), most=4)})")
    return ", ".join(parts)
