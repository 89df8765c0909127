"""Loss `Wasserstein` (`--app=gan`): two networks in `layers`, images without targets, and generated images as outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn import network
from mlpipe.dialects.rmldnn.state import State

# The documentation page has one key for one network; both ways to give two are defined by this program.
_WAYS = 'give two: [generator, critic], or {"generator": ..., "critic": ...}'


def pair(layers: Any) -> tuple[Any, Any] | None:
    """Return generator and critic in `layers`, each a file or its content; None for a single network.

    Args:
        layers: The key's value: a list of two networks, or a mapping of two.
    """
    if isinstance(layers, Mapping):
        critic = next((layers[name] for name in ("critic", "discriminator") if name in layers), None)
        return (layers["generator"], critic) if "generator" in layers and critic is not None else None
    if isinstance(layers, list) and len(layers) == 2 and all(map(_is_network, layers)):
        return layers[0], layers[1]
    return None


def _is_network(value: Any) -> bool:
    """Return whether a value is a whole network rather than one layer of a list."""
    if isinstance(value, Mapping):
        config = value.get("config")
        return isinstance(config, Mapping) and "layers" in config
    return isinstance(value, str | list)


def translate_networks(state: State) -> None:
    """Translate generator and critic, with values from 0 to 1 for a final sigmoid, else from -1 to 1."""
    both = pair(state.source["layers"])
    if both is None:
        state.refuse("layers", "Wasserstein teaches a generator and a critic, this is one network", fix=_WAYS)
        return
    state.options["arch"] = "gan"
    contents = [network.content_of(layers) for layers in both]
    for name, content in zip(("generator", "critic"), contents, strict=True):
        state.set(f"arch.{name}", json.dumps(content, separators=(",", ":")))
    state.set("arch.name", state.network.name or "gan")
    values = "unit" if _ends_in_sigmoid(contents[0]) else "signed"
    state.set("arch.values", values)
    end = (
        "ends in a sigmoid: images are seen as 0 to 1" if values == "unit" else "sees images as -1 to 1: end it in tanh"
    )
    note = f"of the two networks the first draws images from noise, which its input's shape tells, and {end}"
    state.say("layers", "differs", "arch.generator, arch.critic", note)
    if state.section("checkpoints"):
        fix = "leave it out: records keep the weights of both"
        state.refuse("checkpoints", "are of one network", fix=fix)


def _ends_in_sigmoid(content: Any) -> bool:
    """Return whether the last layer that changes values has a sigmoid; layers that only move values may follow."""
    listed = content.get("config", {}).get("layers", []) if isinstance(content, Mapping) else content
    for layer in reversed(listed):
        kind, config = str(layer.get("class_name", "")), layer.get("config") or {}
        if not kind.startswith(("Reshape", "Cropping", "UpSampling", "Permute")):
            return "sigmoid" in (str(config.get("activation", "")).lower(), kind.lower())
    return False


def translate_wasserstein(state: State) -> None:
    """Translate the loss of critic scores; the page specifies neither the update ratio nor the bound of the critic's slope."""
    state.options["loss"] = "wasserstein"
    state.set("metrics.train", [])
    note = (
        "the page names no way to hold the critic's slope: a gradient penalty of 10 and five steps of the critic before each "
        "of the generator (Gulrajani et al. 2017); in the place of a test loss stands the Fréchet distance"
    )
    state.say("loss.function", "differs", "loss=wasserstein", note)
