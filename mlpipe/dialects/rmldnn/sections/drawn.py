"""Loss `Wasserstein` (`--app=gan`): two networks in `layers`, images without targets, and drawn images as outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn import network
from mlpipe.dialects.rmldnn.state import State

# The page has one key for one network; both ways to write two are decisions of this program.
_WAYS = 'give two: [generator, critic], or {"generator": ..., "critic": ...}'


def pair(layers: Any) -> tuple[Any, Any] | None:
    """Generator and critic of `layers`, each a file or what it holds; None where it is one network.

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
    """Whether something is a whole network, and not one layer of a list."""
    if isinstance(value, Mapping):
        config = value.get("config")
        return isinstance(config, Mapping) and "layers" in config
    return isinstance(value, str | list)


def translate_networks(state: State) -> None:
    """The generator and the critic, and the values that they see: 0 to 1 after a sigmoid, else -1 to 1."""
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
    """Whether the last layer that changes values ends in a sigmoid; one that only moves them may follow it."""
    listed = content.get("config", {}).get("layers", []) if isinstance(content, Mapping) else content
    for layer in reversed(listed):
        kind, config = str(layer.get("class_name", "")), layer.get("config") or {}
        if not kind.startswith(("Reshape", "Cropping", "UpSampling", "Permute")):
            return "sigmoid" in (str(config.get("activation", "")).lower(), kind.lower())
    return False


def translate_wasserstein(state: State) -> None:
    """The critic's scores; nothing on the page says how often each learns, nor what holds the critic's slope."""
    state.options["loss"] = "wasserstein"
    state.set("metrics.train", [])
    note = (
        "the page names no way to hold the critic's slope: a gradient penalty of 10 and five steps of the critic before each "
        "of the generator (Gulrajani et al. 2017); in the place of a test loss stands the Fréchet distance"
    )
    state.say("loss.function", "differs", "loss=wasserstein", note)
