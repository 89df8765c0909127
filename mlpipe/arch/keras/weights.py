"""Load Keras's HDF5 weights by layer names into a network of the same layers, with a report of the matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe import hdf5
from mlpipe.arch.keras.graph import Graph
from mlpipe.arch.keras.layers.reading import Slot
from mlpipe.arch.keras.layers.recurrent import EachStep
from mlpipe.errors import DataError, counted, first_line, listing, problem

# Order in which Keras 3 numbers the weights of a layer.
_ORDER = (
    *("depthwise_kernel", "pointwise_kernel", "kernel", "recurrent_kernel", "bias", "gamma", "beta"),
    *("moving_mean", "moving_variance", "mean", "variance", "alpha", "embeddings", "scale", "concat_score_weight"),
    *(f"{part}_{kind}" for part in ("query", "key", "value", "output") for kind in ("kernel", "bias")),
)
# Parts of a layer that have weights, in order.
_PARTS = (
    *("cell", "forward_layer", "backward_layer", "layer"),
    *("query_dense", "key_dense", "value_dense", "output_dense"),
)
_WAYS = ("forward_", "backward_")
_KEY = "arch.weights"


@dataclass(frozen=True)
class Report:
    """Report on loading a file; weights are named `layer/weight`, as in Keras.

    Attributes:
        matched: Weights that were loaded.
        skipped: Weights of the network that the file does not have.
        mismatched: Weights whose shapes differ, with both shapes.
        unused: Layers of the file that the network does not have.
    """

    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def sentence(self) -> str:
        """Return the report in one sentence."""
        parts = [f"{counted(len(self.matched), 'weight')} loaded"]
        for word, names in (
            ("not in the file", self.skipped),
            ("of another shape", self.mismatched),
            ("layers of the file unused", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({listing(names, most=4)})")
        return ", ".join(parts)


def load_weights(graph: Graph, path: Path) -> Report:
    """Load the weights that fit by layer name and shape.

    Reads the formats of Keras 2 and the old format of Keras 3 (`model.save("x.h5")`, `save_weights`), with the whole network
    or its weights alone, and Keras 3's `.weights.h5` if it holds the layers' names.

    Args:
        graph: The network.
        path: The file.

    Raises:
        DataError: When the file cannot be read, or its form cannot be read safely.
    """
    stored = _read(path)
    matched: list[str] = []
    skipped: list[str] = []
    mismatched: list[str] = []
    used: set[str] = set()
    for names, module, slots in _layers(graph):
        entry = _entry_of_layer(stored, names)
        if entry is None and slots:
            skipped += [f"{names[-1]}/{weight}" for weight in _weights(slots)]
            continue
        if entry is None:
            continue
        used.add(entry[0])
        values = stored[entry]
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for position, (weight, slot) in enumerate(_weights(slots).items()):
            label = f"{names[-1]}/{weight}"
            value = next((values[key] for key in (*_aliases(weight, slots), position) if key in values), None)
            if value is None:
                skipped.append(label)
            elif _squeezed_shape(value.shape) != _squeezed_shape(slot.shape):
                mismatched.append(f"{label}: {value.shape} in the file, {slot.shape} in the network")
            else:
                with torch.no_grad():
                    state[slot.tensor].copy_(slot.convert(_tensor(value, slot, path)))
                matched.append(label)
    unused = sorted({root for (root, _), values in stored.items() if values} - used)
    return Report(tuple(matched), tuple(skipped), tuple(mismatched), tuple(unused))


def _layers(
    graph: Graph, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], nn.Module, Mapping[str, Slot]]]:
    """Yield each layer with its name and the names of the networks that contain it."""
    for name, layer in graph.layers.items():
        if not layer.module:
            continue
        module = graph.get_submodule(layer.module)
        module = module.layer if isinstance(module, EachStep) and isinstance(module.layer, Graph) else module
        if isinstance(module, Graph):
            yield from _layers(module, (*above, name))
        else:
            yield (*above, name), module, layer.slots


def _weights(slots: Mapping[str, Slot]) -> dict[str, Slot]:
    """Return the weights in Keras's order, each tensor once."""
    once = {slot.tensor: name for name, slot in reversed(list(slots.items()))}
    return {name: slots[name] for name in sorted(once.values(), key=_sort_key)}


def _sort_key(name: str) -> tuple[int, int]:
    """Return the position of a weight in Keras's order: all weights of the first part before those of the second."""
    way = next((number for number, prefix in enumerate(_WAYS) if name.startswith(prefix)), None)
    return (way or 0, _ORDER.index(name if way is None else name.removeprefix(_WAYS[way])))


def _aliases(weight: str, slots: Mapping[str, Slot]) -> list[str]:
    return [name for name, slot in slots.items() if slot.tensor == slots[weight].tensor]


def _squeezed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without leading axes of size 1, which Keras adds to pixel statistics."""
    while len(shape) > 1 and shape[0] == 1 and all(size == 1 for size in shape[:-1]):
        shape = shape[1:]
    return shape


def _tensor(value: Any, slot: Slot, path: Path) -> Tensor:
    array = np.asarray(value, np.float32).reshape(slot.shape)
    if np.isnan(array).any():
        raise DataError(problem(_KEY, "holds numbers that are none", got=str(path), fix="use another file"))
    return torch.from_numpy(array)


# Weights by name or number, by the layer's name and the path inside it if it is a network.
Stored = dict[tuple[str, str], dict[str | int, Any]]


def _entry_of_layer(stored: Stored, names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the entry of a layer by its name and those of the containing networks, whatever the file puts between them."""
    if len(names) == 1:
        return (names[0], "") if (names[0], "") in stored else None
    paths = [f"/{path}" for root, path in stored if root == names[0] and path]
    ends = [path for path in paths if path.endswith(f"/{names[-1]}")]
    within = [path for path in ends if all(f"/{name}/" in f"{path}/" for name in names[1:])]
    exact = [path for path in within if path == f"/{'/'.join(names[1:])}"]
    return next(((names[0], matches[0][1:]) for matches in (exact, within, ends) if len(matches) == 1), None)


def _read(path: Path) -> Stored:
    """Return every weight of a file by its layer, and by its name (or number, if it has none)."""
    if not path.is_file():
        raise DataError(problem(_KEY, "there is no such file", got=str(path), fix="name an existing file"))
    try:
        with hdf5.opened(path) as file:
            hdf5.require_whole(file)
            root = file.get("model_weights", file)
            if _names(root, "layer_names"):
                return _old_format_weights(root)
            if "layers" in root or "_layer_checkpoint_dependencies" in root:
                return dict(
                    _new_format_weights(root.get("layers", root.get("_layer_checkpoint_dependencies")), (), path)
                )
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = first_line(error)
        raise DataError(
            problem(_KEY, f"cannot be read ({reason})", got=str(path), fix="use a file of Keras")
        ) from error
    fix = "use what model.save('x.h5') or model.save_weights('x.weights.h5') wrote"
    raise DataError(problem(_KEY, "holds no layers of Keras", got=str(path), fix=fix))


def _old_format_weights(root: Any) -> Stored:
    """Read Keras 2 and the old format of Keras 3: groups by layer name, which list their weights."""
    listed: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for layer in _names(root, "layer_names"):
        group = root[layer]
        for weight in _names(group, "weight_names"):
            *place, name = weight.split(":")[0].split("/")
            value = np.asarray(hdf5.values(group[weight]), np.float32)
            # The layers of a nested network are identified by the path before the weight's name, which may also contain
            # parts of a layer.
            path = "/".join(place).removeprefix(f"{layer}/")
            inner = [] if path in ("", layer) else path.split("/")
            for depth in range(len(inner) + 1):
                listed.setdefault((layer, "/".join(inner[:depth])), []).append((name, value))
    return {place: _weights_by_key(weights) for place, weights in listed.items()}


def _weights_by_key(weights: list[tuple[str, Any]]) -> dict[str | int, Any]:
    """Return weights by name; by number if parts of a layer, such as both directions, have weights with equal names."""
    entries: dict[str | int, Any] = dict(weights)
    return entries if len(entries) == len(weights) else dict(enumerate(value for _, value in weights))


def _new_format_weights(
    layers: Any, above: tuple[str, ...], path: Path
) -> Iterator[tuple[tuple[str, str], dict[str | int, Any]]]:
    """Read Keras 3: groups by class; a layer's name is an attribute, its weights are numbered."""
    for group in layers.values():
        held = group.get("vars")
        name = held.attrs.get("name") if held is not None else None
        values: dict[str | int, Any] = dict(enumerate(_numbered(group)))
        # A wrapper that applies a network to each step holds it as a part.
        inside = group["layer"] if "layers" in group.get("layer", ()) else group
        if name is None and (values or "layers" in inside):
            wrong = "holds no names of layers, so that it is not known which weights are whose"
            fix = "store it again with a newer Keras, or with model.save('x.h5')"
            raise DataError(problem(_KEY, wrong, got=str(path), fix=fix))
        own = (*above, _text(name))
        if values:
            yield (own[0], "/".join(own[1:])), values
        if "layers" in inside:
            yield from _new_format_weights(inside["layers"], own, path)


def _numbered(group: Any) -> list[Any]:
    """Return the weights of a layer, then those of its parts, in order."""
    held = group.get("vars", {})
    own = [np.asarray(hdf5.values(held[number]), np.float32) for number in sorted(held, key=int)]
    return [*own, *(value for part in _PARTS if part in group for value in _numbered(group[part]))]


def _names(group: Any, key: str) -> list[str]:
    """Return a list of names, which Keras splits if it is long."""
    names = list(group.attrs[key]) if key in group.attrs else []
    number = 0
    while f"{key}{number}" in group.attrs:
        names += list(group.attrs[f"{key}{number}"])
        number += 1
    return [_text(name) for name in names]


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
