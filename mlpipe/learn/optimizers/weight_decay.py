"""Which parameters weight decay leaves alone: norms, biases, and what a network says of itself."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from torch import nn


def undecayed(network: nn.Module) -> set[str]:
    """The names of the parameters without weight decay, as timm chooses them (`param_groups_weight_decay`).

    They are norms and biases, and what a network or a part of it lists in its `no_weight_decay()`, as those of timm do:
    embeddings of classes, tokens and positions, tables of relative positions, temperatures.

    Args:
        network: The network.
    """
    names = [name for name, _ in network.named_parameters()]
    found = {name for name, parameter in network.named_parameters() if parameter.ndim <= 1 or name.endswith(".bias")}
    for prefix, part in _listing(network, ""):
        for pattern in part.no_weight_decay():
            # Few of them are patterns, and a network may list thousands of names.
            is_pattern = any(sign in pattern for sign in "*?[")
            found |= set(fnmatch.filter(names, f"{prefix}{pattern}")) if is_pattern else {f"{prefix}{pattern}"}
    return found & set(names)


def _listing(part: nn.Module, prefix: str) -> Iterator[tuple[str, Any]]:
    """The outermost parts that list what does not decay, and what the names of their parameters begin with."""
    if callable(getattr(part, "no_weight_decay", None)):
        yield prefix, part
        return
    for name, child in part.named_children():
        yield from _listing(child, f"{prefix}{name}.")
