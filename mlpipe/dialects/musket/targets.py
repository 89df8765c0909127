"""Targets of an experiment, and its data sets, for callers in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.dialects.musket import schema
from mlpipe.dialects.musket.reading import Home, with_numbers
from mlpipe.dialects.musket.sections import hyperparameters
from mlpipe.dialects.musket.sections.data import additions, calls, outputs_of, parts_of
from mlpipe.dialects.musket.sections.heads import task_keys
from mlpipe.dialects.musket.state import State
from mlpipe.errors import ConfigError


def targets_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a native task for targets: kind, number of values per target, and activation.

    Args:
        source: The experiment's configuration, merged with common.yaml.
    """
    state = State(source, Home(Path("config.yaml"), Path()), lenient=True)
    task = {"kind": state.kind, "outputs": outputs_of(state), **task_keys(state)}
    return {key: value for key, value in task.items() if value is not None}


def data_of(source: Mapping[str, Any], home: Home, name: str | None = None) -> dict[str, Any]:
    """Return the functions of an experiment's data set, its chain, and the code locations, as arguments of `task=items`.

    Args:
        source: The experiment's configuration, merged with common.yaml.
        home: Its home.
        name: An entry of `datasets`; None: the training data set with all its parts.

    Raises:
        ConfigError: When there is no such data set.
    """
    state = State(source, home, lenient=True)
    parts = parts_of(state) if name is None else {"train": calls(state, "datasets", name)}
    added = additions(state)
    state.require_none_wrong()
    keys = ("preprocessing", "steps_dir", *(("augmenter", "holdout", "after_holdout") if name is None else ()))
    also = {key: value for key, value in {**parts, **added}.items() if key in ("validation", "test", *keys)}
    return {"calls": parts.get("train", []), **also, **state.code(), "root": str(home.project / "data")}


def additions_of(source: Mapping[str, Any], home: Home) -> dict[str, Any]:
    """Return further changes to data sets from Python, as keys of `task=items`; empty if there are none.

    Args:
        source: The experiment's configuration, merged with common.yaml.
        home: Its home.

    Raises:
        ConfigError: When it names functions that do not exist.
    """
    state = State(source, home, lenient=True)
    added = additions(state)
    state.require_none_wrong()
    return {**added, **state.code(), "root": str(home.project / "data")} if added else {}


def code_of(source: Mapping[str, Any], home: Home) -> dict[str, Any]:
    """Return the code of an experiment's project: `modules`, `imports` and `stand_ins`.

    Args:
        source: The experiment's configuration, merged with common.yaml.
        home: Its home.
    """
    return State(source, home, lenient=True).code()


def filled(source: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's configuration for one trial of its search, with the values of the formulas in its strings.

    Invalid values are removed; the translation reports them.

    Args:
        source: The experiment's configuration, merged with common.yaml.
        values: Values of its hyperparameters by name; others have the first value of their space.

    Raises:
        ConfigError: With a sentence for each problem of the formulas.
    """
    searched, wrong = hyperparameters.read(with_numbers(source))
    if wrong:
        raise ConfigError(wrong)
    settings = {name: values.get(name, parameter.first) for name, parameter in searched.items()}
    whole = hyperparameters.filled(source, settings, wrong)
    if wrong:
        raise ConfigError(wrong)
    return schema.read(with_numbers(whole))[0]
