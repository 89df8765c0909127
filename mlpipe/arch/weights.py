"""Weights saved and loaded without pickle, with a report of what matched."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mlpipe import files, limits
from mlpipe.errors import DataError, counted, first_line, listing, problem

# Maximum share of a network's tensors that its weights file may lack.
MOST_MISSING = 0.1
# Keys of the weights in checkpoints of various programs, averaged weights first, as in timm.
_DEEPEST = 3
_AMONG_OTHERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model",
    "model_state_dict",
    "module",
    "network",
    "weights",
)


@dataclass(frozen=True)
class Match:
    """Match of a weights file with a network.

    Attributes:
        loaded: Names that were loaded.
        missing: Names of the network that the file does not have.
        unexpected: Names of the file that the network does not have.
        misshapen: Names whose shapes differ.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    def sentence(self) -> str:
        """The report in one sentence."""
        parts = [f"{counted(len(self.loaded), 'tensor')} loaded"]
        for word, names in (
            ("missing", self.missing),
            ("unused", self.unexpected),
            ("of another shape", self.misshapen),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({listing(names, most=4)})")
        return ", ".join(parts)


def require_match(match: Match, path: Path) -> None:
    """Require that a file holds nearly all tensors of a network.

    Args:
        match: The match of the file with the network.
        path: The file.

    Raises:
        DataError: When more than a tenth of the tensors is missing or of another shape.
    """
    lost = len(match.missing) + len(match.misshapen)
    if lost > MOST_MISSING * (len(match.loaded) + lost):
        wrong = f"does not fit the network ({match.sentence()})"
        raise DataError(problem("arch.weights", wrong, got=str(path), fix="choose the arch that it was saved from"))


def save(state: Mapping[str, Tensor], path: Path) -> str:
    """Durably write tensors as safetensors; equal weights give equal bytes (no time, path or version inside).

    Returns:
        The hash of the file.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    with files.durable(path) as temporary:
        save_file(plain, temporary)
    return files.digest_file(path)


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the elementwise mean of the tensors of several networks of one architecture, in their own dtypes.

    Sums are in double precision, so that the mean of equal numbers is exact. Integer tensors are those of the first network.

    Args:
        states: Tensors of each network, at least one, with the same names and shapes.

    Raises:
        DataError: When names or shapes differ.
    """
    first = states[0]
    for other in states[1:]:
        if differing := sorted(
            name
            for name in {*first, *other}
            if name not in first or name not in other or first[name].shape != other[name].shape
        ):
            wrong = f"tensors differ in name or shape: {listing(differing, most=3)}"
            raise DataError(problem("weights", wrong, fix="average networks of one architecture"))
    means = dict[str, Tensor]()
    for name, tensor in first.items():
        means[name] = tensor
        if tensor.is_floating_point():
            total = torch.zeros(tensor.shape, dtype=torch.float64)
            for state in states:
                total += state[name].cpu().double()
            means[name] = (total / len(states)).to(tensor.dtype)
    return means


def digest(state: Mapping[str, Tensor]) -> str:
    """Return a hash of tensors: of their names, dtypes, shapes and values."""
    hashed = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(state.items()):
        plain = tensor.detach().cpu().contiguous()
        hashed.update(f"{name} {plain.dtype} {[*plain.shape]};".encode())
        hashed.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, whatever its name, or of a torch file without unpickling other objects.

    Raises:
        DataError: When the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise DataError(problem("arch.weights", "there is no such file", got=str(path), fix="name an existing file"))
    try:
        limits.require_ordinary(path)
    except OSError as error:
        raise DataError(problem("arch.weights", f"cannot be read ({error})", got=str(path))) from error
    tensors = _tensors(path)
    # A view with stride 0 may repeat a stored number any number of times; an honest file has more bytes than numbers.
    most = path.stat().st_size
    if vast := [f"{name} {[*tensor.shape]}" for name, tensor in tensors.items() if tensor.numel() > most]:
        wrong = f"holds tensors of more numbers than it has bytes: {listing(vast, most=3)}"
        raise DataError(problem("arch.weights", wrong, got=str(path), fix="use another file"))
    odd = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    if odd:
        wrong = f"holds tensors that are no weights: {listing(odd, most=3)} (sparse, complex, quantised or NaN)"
        raise DataError(problem("arch.weights", wrong, got=str(path), fix="use another file"))
    return tensors


def _is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is dense, real and without NaN."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        return False
    return not (tensor.is_floating_point() and bool(torch.isnan(tensor).any()))


def read_plain(path: Path, key: str = "arch.weights") -> Any:
    """Read a torch file without unpickling anything but tensors and plain values.

    Args:
        path: The file.
        key: The configuration key that names the file, for the error message.

    Raises:
        DataError: When the file is missing, damaged, or holds anything else.
    """
    try:
        # timm's checkpoints store their arguments as a Namespace, which only has attributes.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = first_line(error)
        fix = "use a .safetensors file, or a torch file that holds tensors only"
        raise DataError(problem(key, f"cannot be read ({reason})", got=str(path), fix=fix)) from error


def read_despite_classes(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint that also stores objects of its program, without running their code.

    torch's weights-only reader is used. Each class or function in the file that it would refuse is replaced by an empty
    stand-in of the same name, so that the objects are read as empty and the tensors completely.

    Args:
        path: A file that Lightning wrote.

    Raises:
        DataError: When the file is missing, damaged, or holds no tensors.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:
        reason = first_line(error)
        raise DataError(problem(str(path), f"cannot be read as weights ({reason})")) from error
    with torch.serialization.safe_globals([(_stand_in(name), name) for name in names]):
        return read(path)


class _Hollow:
    """Accepts any arguments and state, and ignores them."""

    def __new__(cls, *arguments: object, **keywords: object) -> _Hollow:
        return object.__new__(cls)

    def __init__(self, *arguments: object, **keywords: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _stand_in(name: str) -> Callable[..., object]:
    """Return a stand-in for a class in a file; mappings are real dictionaries, because torch sets items in no others."""
    if name in ("builtins.dict", "collections.defaultdict"):
        return lambda *arguments: {}
    return type(name.rpartition(".")[2], (_Hollow,), {})


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors, by its suffix or its first bytes: the length of a JSON header, then `{`."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        begin = file.read(9)
    return begin[8:] == b"{" and int.from_bytes(begin[:8], "little") < path.stat().st_size


def _tensors(path: Path) -> dict[str, Tensor]:
    if _is_safetensors(path):
        _require_few(path)
        try:
            return dict(load_file(path))
        except Exception as error:
            reason = first_line(error)
            raise DataError(problem("arch.weights", f"cannot be read ({reason})", got=str(path))) from error
    stored = read_plain(path)
    for _ in range(_DEEPEST):
        stored = _inner_weights(stored)
    tensors = (
        {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
        if isinstance(stored, dict)
        else {}
    )
    if not tensors:
        raise DataError(problem("arch.weights", "holds no tensors", got=str(path), fix="name a file of weights"))
    return tensors


def _require_few(path: Path) -> None:
    """Refuse a safetensors file of more tensors than any network has, before they are read one by one.

    Raises:
        DataError: If its header names too many.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        count = file.read(min(length, limits.TEXT)).count(b'"dtype"')
    if count > limits.TENSORS:
        wrong = f"holds {count:,} tensors, more than the {limits.TENSORS:,} that are read"
        raise DataError(problem("arch.weights", wrong, got=str(path), fix="use another file"))


def _inner_weights(stored: Any) -> Any:
    """Return the weights inside a checkpoint, or `stored` itself if it has none of the known keys."""
    candidates = (stored.get(key) for key in _AMONG_OTHERS) if isinstance(stored, dict) else ()
    return next((candidate for candidate in candidates if isinstance(candidate, dict) and candidate), stored)


def load(network: nn.Module, state: Mapping[str, Tensor]) -> Match:
    """Load the tensors that fit by name and shape, and return the match; modules with `take_sizes` get theirs first."""
    for name, part in network.named_modules():
        if callable(take_sizes := getattr(part, "take_sizes", None)):
            prefix = f"{name}."
            take_sizes({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    network.load_state_dict(fitting, strict=False)
    return Match(
        loaded=tuple(fitting),
        missing=tuple(name for name in own if name not in state),
        unexpected=tuple(name for name in state if name not in own),
        misshapen=tuple(name for name in state if name in own and own[name].shape != state[name].shape),
    )
