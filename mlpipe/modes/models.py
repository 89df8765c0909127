"""`mml models PATTERN ...`: networks by name, with parameters, size of images and pretrained weights.

    mml models 'resnet*'            names that begin with resnet
    mml models convnext nano        names that have both words in them
    mml models efficientnet small   where no name has it, small is fewer than 30 M parameters (tiny, base, large alike)
    mml models resnet50.a1_in1k     the network of these weights
    mml models 'resnet*' --json     the same as JSON

Parameters are counted with a head of 1,000 classes; size is that of the images that the pretrained weights were trained on
(preprocessing.size may be another). The weights that arch.pretrained=true takes stand first, others are chosen by
arch=NAME.TAG. Sizes come from a table beside the program, so that no network has to be made: `?` is a network that is newer.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
from collections.abc import Sequence
from typing import Any

from mlpipe.arch import names, network_sizes
from mlpipe.config import catalog
from mlpipe.errors import ConfigError, listing, problem
from mlpipe.modes.terminal import table

_FLAGS = ("--json",)
# timm's mark for an entry without weights.
_NONE = "untrained"
# Common words for sizes, as ranges of parameters; for names that do not state a size.
_SIZES = {"tiny": (0, 10e6), "small": (0, 30e6), "base": (30e6, 100e6), "large": (100e6, 1e12), "huge": (500e6, 1e12)}


def main(words: Sequence[str]) -> int:
    """Print the networks that match all patterns, the smallest first, and the matching options of `arch`.

    Args:
        words: Patterns with `*` and `?`, or parts of names; `--json`.

    Raises:
        ConfigError: When nothing matches (with similar names), or an option is unknown.
    """
    if unknown := [word for word in words if word.startswith("-") and word not in _FLAGS]:
        raise ConfigError(problem(unknown[0], "unknown option", fix="mml models PATTERN ... or --json"))
    patterns = [word.lower().removeprefix("arch=").removeprefix("arch.name=") for word in words if word not in _FLAGS]
    options, networks, note = matching_options(patterns), matching_networks(patterns), ""
    if not options and not networks and (sizes := [word for word in patterns if word in _SIZES]):
        networks = _networks_of_sizes(matching_networks([word for word in patterns if word not in _SIZES]), sizes)
        note = "".join(f"; {word}: {_bounds(*_SIZES[word])}" for word in sizes)
    if not options and not networks:
        raise ConfigError(_no_match_problem(patterns))
    if "--json" in words:
        print(json.dumps({"networks": networks, "options": options}, indent=1))
    elif not patterns:
        print("\n".join([*_option_lines(options), "", *_hints(len(networks))]))
    else:
        lines = _network_lines(networks, patterns, note) if networks else []
        print("\n".join([*_option_lines(options), *([""] if options and networks else []), *lines]))
    return 0


def matching_networks(patterns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the networks that match all patterns, those with the fewest parameters first.

    Args:
        patterns: Patterns in lower case, see `main`.

    Returns:
        For each network its `name`, `parameters` and `size` (None if unknown) and the tags of its `weights`.
    """
    tags, sizes = names.all_timm_tags(), network_sizes.table()
    networks = []
    for name in names.timm_names():
        own = [tag for tag in tags.get(name, ()) if tag != _NONE]
        size = sizes.get(name)
        own.sort(key=lambda tag: (size is None or tag != size.weights, tag))
        if all(_fits(pattern, name, own) for pattern in patterns):
            parameters = size.parameters if size else None
            networks.append(
                {"name": name, "parameters": parameters, "size": (size and size.size) or None, "weights": own}
            )
    return sorted(
        networks, key=lambda network: (network["parameters"] is None, network["parameters"] or 0, network["name"])
    )


def matching_options(patterns: Sequence[str]) -> list[dict[str, str]]:
    """Return the options of `arch` whose names match all patterns: `option`, `purpose`."""
    return [
        {"option": f"arch={name}", "purpose": catalog.purpose("arch", name)}
        for name in catalog.options("arch")
        if all(_fits(pattern, name, ()) for pattern in patterns)
    ]


def _fits(pattern: str, name: str, tags: Sequence[str]) -> bool:
    """Return whether a name contains the pattern, or matches one with `*` or `?`; a tag follows a dot."""
    wild = any(sign in pattern for sign in "*?[")
    lower = name.lower()
    if "." in pattern:
        full = [f"{lower}.{tag.lower()}" for tag in tags]
        return any(fnmatch.fnmatchcase(full_name, pattern if wild else f"{pattern}*") for full_name in full)
    return fnmatch.fnmatchcase(lower, pattern) if wild else pattern in lower


def _networks_of_sizes(networks: Sequence[dict[str, Any]], words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the networks of the sizes that all words denote."""
    bounds = [_SIZES[word] for word in words]
    return [
        network
        for network in networks
        if network["parameters"] is not None and all(least <= network["parameters"] < most for least, most in bounds)
    ]


def _bounds(least: float, most: float) -> str:
    upper = f"fewer than {_millions(int(most))} parameters" if most < 1e12 else ""
    lower = f"{_millions(int(least))} parameters or more" if least else ""
    return " and ".join(part for part in (lower, upper) if part)


def _no_match_problem(patterns: Sequence[str]) -> str:
    """Return the sentence for no match: the current name of a network, or similar names."""
    text = " ".join(patterns)
    if new := names.renamed_networks().get(text):
        return problem("models", f"timm calls it {new}", got=text, fix=f"write arch={new}")
    known = [*names.timm_names(), *catalog.options("arch")]
    bare = text.replace("-", "_").replace(" ", "_").strip("*")
    near = difflib.get_close_matches(bare, known, n=5, cutoff=0.6) or [name for name in known if bare[:6] in name][:5]
    fix = f"near names: {listing(near)}" if near else "mml models 'resnet*' shows some"
    return problem("models", "no network has such a name", got=text, fix=fix)


def _network_lines(networks: Sequence[dict[str, Any]], patterns: Sequence[str], note: str) -> list[str]:
    rows = [
        (
            network["name"],
            _millions(network["parameters"]),
            network["size"] or "?",
            ", ".join(network["weights"]) or "none",
        )
        for network in networks
    ]
    first = max(networks, key=lambda network: (network["name"] in patterns, bool(network["weights"])))
    example = f"arch={first['name']}" + (f" or arch={first['name']}.{first['weights'][0]}" if first["weights"] else "")
    header = [("network", "parameters", "size", "weights, that of arch.pretrained=true first")]
    return [*table([*header, *rows]), "", f"{len(networks)} of timm's networks{note}; mml train {example}"]


def _millions(parameters: int | None) -> str:
    """Format millions with three digits: 0.43 M, 5.29 M, 25.6 M, 1,011 M."""
    if parameters is None:
        return "?"
    millions = parameters / 1e6
    return f"{millions:,.0f} M" if millions >= 100 else f"{millions:.3g} M"


def _option_lines(options: Sequence[dict[str, str]]) -> list[str]:
    return table((option["option"], option["purpose"].partition(": mml ")[0]) for option in options)


def _hints(count: int) -> list[str]:
    return [
        f"and {count} networks of timm, by name (arch=resnet18, arch=resnet18.a1_in1k):",
        "  mml models 'resnet*'            names that begin with resnet",
        "  mml models convnext nano        names that have both words in them",
    ]
