"""`hyperparameters`: a search over names of the file, whose strings are formulas of these names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlpipe import formulas
from mlpipe.config.recipe_file import as_text
from mlpipe.dialects.musket.state import State
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

KEYS = ("hyperparameters", "max_evals")
_USUAL = 200
# Number of random trials before hyperopt's sampler starts.
_STARTUP = 20
_FORM = "write [0.001, 0.1], {range: [1, 8], type: int} or {enum: [Adam, SGD]}"


@dataclass(frozen=True)
class Searched:
    """One parameter.

    Attributes:
        space: The search space in the native grammar.
        first: The first value of the space.
    """

    space: str
    first: Any


def read(source: Mapping[str, Any]) -> tuple[dict[str, Searched], list[str]]:
    """Return the searched parameters of a file by name, and a sentence for each problem with them.

    Args:
        source: The experiment's configuration, merged with common.yaml.
    """
    spaces = source.get("hyperparameters")
    if spaces in (None, {}, []):
        return {}, []
    if not isinstance(spaces, Mapping):
        fix = "for example hyperparameters: {rate: [0.001, 0.1]}"
        return {}, [problem("hyperparameters", "must be a map of names", got=spaces, fix=fix)]
    parameters, wrong = {}, []
    for name, space in spaces.items():
        key = f"hyperparameters.{name}"
        if not str(name).isidentifier() or not str(name).isascii():
            wrong.append(problem(key, "is no name for formulas", fix="use letters, digits and _"))
            continue
        parameter = _parameter(space)
        if isinstance(parameter, str):
            wrong.append(problem(key, parameter, got=space, fix=_FORM))
        else:
            parameters[str(name)] = parameter
    return parameters, wrong


def _parameter(space: Any) -> Searched | str:
    """Return one parameter, or an error message."""
    if isinstance(space, list):
        return _range(space, None)
    if not isinstance(space, Mapping) or not space:
        return "is no space to search"
    if unknown := set(map(str, space)) - {"range", "type", "enum"}:
        return f"{listing(sorted(unknown))} is unknown"
    if "enum" in space:
        choices = space["enum"]
        if not isinstance(choices, list) or not choices or "range" in space:
            return "enum must be a list of values, alone"
        return Searched(f"choice({','.join(map(as_text, choices))})", choices[0])
    return _range(space.get("range"), space.get("type"))


def _range(ends: Any, kind: Any) -> Searched | str:
    numbers = isinstance(ends, list) and len(ends) == 2
    if not numbers or not all(_is_number(end) for end in ends):
        return "a range has two numbers"
    low, high = ends
    if not low <= high:
        return "the least number must come first"
    if kind not in (None, "int", "float"):
        return "type must be int or float"
    if kind == "int" or (kind is None and isinstance(low, int) and isinstance(high, int)):
        if low != int(low) or high != int(high):
            return "whole numbers have whole ends"
        return Searched(f"int(interval({int(low)},{int(high)}))", int(low))
    return Searched(f"interval({float(low)!r},{float(high)!r})", float(low))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def filled(source: Mapping[str, Any], values: Mapping[str, Any], wrong: list[str]) -> dict[str, Any]:
    """Return a configuration without the search, with the values of its formulas.

    Args:
        source: The experiment's configuration.
        values: A value for each name.
        wrong: Collects a sentence for each formula without a value, whose string stays.
    """
    return {key: _filled_formulas(value, str(key), values, wrong) for key, value in source.items() if key not in KEYS}


def _filled_formulas(value: Any, key: str, values: Mapping[str, Any], wrong: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {part: _filled_formulas(item, f"{key}.{part}", values, wrong) for part, item in value.items()}
    if isinstance(value, list):
        return [_filled_formulas(item, f"{key}[{place}]", values, wrong) for place, item in enumerate(value)]
    if not isinstance(value, str) or not formulas.names_in(value) & set(values):
        return value
    try:
        return formulas.reduced(value, values)
    except ConfigError as error:
        wrong += [sentence.replace("formula:", f"{key}:", 1) for sentence in error.problems]
        return value


def translate(
    state: State, searched: Mapping[str, Searched], values: Mapping[str, Any], source: Mapping[str, Any]
) -> None:
    """Add the native search, `given.NAME` for each parameter, and the report.

    Args:
        state: The state of the translation of a file whose formulas have values.
        searched: The parameters.
        values: The values from the command line.
        source: The file as written.
    """
    trials = source.get("max_evals", _USUAL)
    if not searched:
        if "max_evals" in source:
            state.say("max_evals", "ignored", note="there are no hyperparameters")
        return
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        state.refuse("max_evals", "must be a whole number >= 1", got=trials)
    for name in (override for override in values if override not in searched):
        fix = did_you_mean(name, searched, otherwise=f"there are {listing(searched)}")
        state.refuse(f"given.{name}", "the file searches no such parameter", fix=fix)
    used = _formula_names({key: value for key, value in source.items() if key not in KEYS})
    for name, parameter in searched.items():
        key, place = f"hyperparameters.{name}", f"search_space.params.given.{name}"
        if name in used:
            state.say(key, "same", place, parameter.space)
        else:
            state.say(key, "lint", place, "no text of the file is a formula with this name, so it changes nothing")
    state.options["hpo"] = "optuna"
    state.set("hpo.trials", trials)
    state.set("hpo.startup_trials", _STARTUP)
    state.native["search_space"] = {
        "params": {f"given.{name}": entry.space for name, entry in searched.items() if name not in values}
    }
    state.say("max_evals", "same", "hpo.trials", "" if "max_evals" in source else f"missing, so {_USUAL}")
    state.say("hyperparameters", "differs", "hpo", "Optuna's TPE goes by the primary metric's mean over the folds")


def _formula_names(value: Any) -> frozenset[str]:
    """Return the names in all formulas of a configuration."""
    if isinstance(value, Mapping):
        return frozenset(name for item in value.values() for name in _formula_names(item))
    if isinstance(value, list):
        return frozenset(name for item in value for name in _formula_names(item))
    return formulas.names_in(value) if isinstance(value, str) else frozenset()
