"""Network names that `arch=NAME` accepts, read from timm's source without importing it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from mlpipe.errors import ConfigError, problem

# "\n" instead of "^": a pattern with a literal prefix is found ten times faster.
_ENTRYPOINT = re.compile(r"\n@register_model\s*\ndef (\w+)\(")
_TABLE = re.compile(r"^(?:default_cfgs|_SOURCE_CFGS)\b.*?^[})]", re.MULTILINE | re.DOTALL)
# Start of a table entry: `'resnet18.a1_in1k': `; a star after the tag marks the default.
_ENTRY = re.compile(r"""^ {4,8}(['"])(\w+)\.([\w.-]+)\*?\1\s*:""", re.MULTILINE)
# How a module derives entries from others: with further endings of the name, and for the QuickGELU variants of networks
# whose weights were trained with it.
_ENDINGS = re.compile(r"^ {4}for suffix in \(([^)]*)\)", re.MULTILINE)
_QUICK, _QUICK_VARIANT = "natively QuickGELU", ("_clip_", "_clip_quickgelu_")
_RENAMED = re.compile(r"^register_model_deprecations\(__name__, \{.*?^\}\)", re.MULTILINE | re.DOTALL)
_RENAMED_ENTRY = re.compile(r"^ {4}['\"](\w+)['\"]\s*:\s*['\"]?([\w.-]*)", re.MULTILINE)


@functools.cache
def timm_names() -> tuple[str, ...]:
    """Return the names of timm's networks.

    Raises:
        ConfigError: When timm is not installed.
    """
    return tuple(sorted({name for text in _modules() for name in _ENTRYPOINT.findall(text)}))


@functools.cache
def timm_tags(name: str) -> tuple[str, ...]:
    """Return the tags of a network's weights, such as `a1_in1k`; `arch=NAME.TAG` selects one.

    Args:
        name: Name of the network in timm, without a tag.

    Raises:
        ConfigError: When timm is not installed.
    """
    for text in _modules():
        if name in _ENTRYPOINT.findall(text):
            return _tags_in(text).get(name, ())
    return ()


def all_timm_tags() -> dict[str, tuple[str, ...]]:
    """Return the tags of every network that has pretrained weights; see `timm_tags`.

    Raises:
        ConfigError: When timm is not installed.
    """
    return {name: tags for text in _modules() for name, tags in _tags_in(text).items()}


def is_network(name: str) -> bool:
    """Return whether a name is one of timm's networks, with or without a tag, or a former name of one.

    Sources of networks outside timm, such as `hf-hub:`, are not.

    Args:
        name: The name.

    Raises:
        ConfigError: When timm is not installed.
    """
    network, dot, tag = name.partition(".")
    return (tag in timm_tags(network)) if dot else (name in timm_names() or name in renamed_networks())


def check(key: str, name: str) -> None:
    """Refuse a name that would make timm contact a server or read a folder.

    Args:
        key: The configuration key, for the error message.
        name: The name.

    Raises:
        ConfigError: When the name is a hub address or a path.
    """
    if ":" in name or "/" in name or name.startswith("hf_hub"):
        fix = "use the name of a timm network; mml models WORD searches"
        raise ConfigError(problem(key, "unknown network", got=name, fix=fix))


@functools.cache
def renamed_networks() -> dict[str, str]:
    """Return the current name of each renamed network by its former name; some current names have a tag.

    Raises:
        ConfigError: When timm is not installed.
    """
    blocks = (block for text in _modules() for block in _RENAMED.findall(text))
    return {old: new for block in blocks for old, new in _RENAMED_ENTRY.findall(block)}


def _modules() -> Iterator[str]:
    """Yield the source of each of timm's model files."""
    import importlib.util

    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise ConfigError(problem("arch", "timm is not installed", fix="install mlpipe with its dependencies"))
    for file in sorted((Path(spec.origin).parent / "models").glob("*.py")):
        yield file.read_text("utf-8")


def _tags_in(text: str) -> dict[str, tuple[str, ...]]:
    """Return the tags of each network that a module defines, in alphabetical order."""
    own, tag_sets = set(_ENTRYPOINT.findall(text)), dict[str, set[str]]()
    for network, tag in _network_tag_pairs(text):
        if network in own:
            tag_sets.setdefault(network, set()).add(tag)
    return {network: tuple(sorted(tags)) for network, tags in tag_sets.items()}


def _network_tag_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of network and tag in a module's tables of weights, including derived ones."""
    endings = [ending for match in _ENDINGS.findall(text) for ending in re.findall(r"'(\w*)'", match)] or [""]
    for table in _TABLE.findall(text):
        entries = list(_ENTRY.finditer(table))
        ends = [*(entry.start() for entry in entries[1:]), len(table)]
        for entry, end in zip(entries, ends, strict=False):
            name, tag = entry[2], entry[3]
            yield from ((f"{name}{ending}", tag) for ending in endings)
            if _QUICK in table[entry.end() : end]:
                yield name.replace(*_QUICK_VARIANT), tag
