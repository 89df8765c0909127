"""`preprocessing` and `declarations`: chains of the project's functions, caches and branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.musket.sections import imgaug
from mlpipe.dialects.musket.state import State
from mlpipe.errors import did_you_mean, listing

# Built-in entries of a chain.
BUILT_IN = (
    "cache", "disk-cache", "pass", "seq-preprocessor", "split-preprocessor", "split-concat-preprocessor",
    "transform-preprocessor",
)  # fmt: skip
_BRANCHES = ("split-preprocessor", "split-concat-preprocessor", "transform-preprocessor")
_DEEPEST = 20
# Entries that leave an item's x unchanged, with their arguments; `split` is the storage format in Musket.
_KEEPING = {"cache": ("name", "inputs"), "disk-cache": ("name", "inputs", "split"), "pass": ()}


def translate_chain(state: State) -> list[dict[str, Any]]:
    """Return the chain of `preprocessing`, with its augmentations moved to those of training; empty if there is none.

    Args:
        state: The state of the translation.
    """
    chain = state.source.get("preprocessing")
    if chain in (None, [], {}):
        return []
    steps = _chain(state, "preprocessing", chain, 0)
    state.say("preprocessing", "same", "task.preprocessing")
    return steps


def _chain(state: State, key: str, chain: Any, depth: int) -> list[dict[str, Any]]:
    declared = state.source.get("declarations") or {}
    if depth > _DEEPEST:
        state.refuse(key, "declarations name each other without an end", fix="take one of them out")
        return []
    if isinstance(chain, str):
        return _entry(state, key, chain, None, declared, depth)
    entries = chain if isinstance(chain, list) else [chain]
    steps = []
    for number, entry in enumerate(entries):
        where = f"{key}[{number}]"
        if isinstance(entry, str):
            steps += _entry(state, where, entry, None, declared, depth)
        elif isinstance(entry, Mapping) and entry:
            for name, arguments in entry.items():
                steps += _entry(state, where, str(name), arguments, declared, depth)
        else:
            state.refuse(
                where, "must be a function with its arguments", got=entry, fix="for example {resize: {size: 32}}"
            )
    return steps


def _entry(
    state: State, key: str, name: str, arguments: Any, declared: Mapping[str, Any], depth: int
) -> list[dict[str, Any]]:
    if name in declared:
        body = declared[name]
        if isinstance(body, Mapping) and set(body) & {"body", "parameters"}:
            body = _filled_chain(state, key, name, body, arguments)
        return _chain(state, f"declarations.{name}", body, depth + 1)
    if name == "augmentation":
        _augmentation(state, key, arguments)
        return []
    if name in _BRANCHES:
        branches = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
        if not isinstance(branches, list) or not branches:
            state.refuse(key, f"{name} needs its branches", got=arguments, fix="give a list of chains")
            return []
        return [{"call": name, "arguments": [_chain(state, key, branch, depth + 1) for branch in branches]}]
    if name == "seq-preprocessor":
        return [{"call": name, "arguments": _chain(state, key, arguments, depth + 1)}]
    if name not in BUILT_IN and not state.is_own(name):
        known = [*state.own_names(), *BUILT_IN, *declared, "augmentation"]
        fix = did_you_mean(name, known, otherwise=f"there are {listing(known, most=20)}")
        state.refuse(key, "no function of the project's modules has this name", got=name, fix=fix)
        return []
    _note_step(state, key, name, arguments)
    if name in _KEEPING:
        _check_keeping(state, key, name, arguments)
    values = dict(arguments) if isinstance(arguments, Mapping) else arguments
    listed = values if isinstance(values, dict | list) else [] if values is None else [values]
    own = (state.home.parameters(name) or (frozenset(), False))[0]
    # The name and inputs of a step are not passed to its function.
    call_arguments = (
        {argument: value for argument, value in listed.items() if argument not in ("name", "inputs") or argument in own}
        if isinstance(listed, dict)
        else listed
    )
    state.check_call(key, name, call_arguments, before=0 if state.home.is_class(name) else 1)
    return [{"call": name}] if arguments is None else [{"call": name, "arguments": listed}]


def _check_keeping(state: State, key: str, name: str, arguments: Any) -> None:
    """Refuse unknown arguments of a step that keeps items."""
    known = _KEEPING[name]
    if not isinstance(arguments, Mapping) and arguments not in (None, []):
        fix = f"for example {{{name}: {{name: first}}}}" if known else "leave it out"
        state.refuse(
            f"{key}.{name}", f"takes {listing(known)} by name" if known else "takes nothing", got=arguments, fix=fix
        )
        return
    for parameter in map(str, arguments or ()):
        if parameter not in known:
            fix = did_you_mean(parameter, known, otherwise=f"it takes {listing(known)}" if known else "it takes none")
            state.refuse(f"{key}.{name}", f"{name} has no such parameter", got=parameter, fix=fix)


def gives_several(
    chain: list[dict[str, Any]], before: bool | None = False, several_by_name: dict[str, bool | None] | None = None
) -> bool | None:
    """Return whether a translated chain produces several images from one; None if that depends on its functions.

    Args:
        chain: The result of `translate_chain`.
        before: Whether its input has several.
        several_by_name: Whether the steps with these names produced several; updated with the chain's steps.
    """
    is_several: bool | None = before
    several_by_name = {} if several_by_name is None else several_by_name
    for entry in chain:
        name, arguments = entry["call"], entry.get("arguments")
        given_by_name = arguments if isinstance(arguments, Mapping) else {}
        inputs = given_by_name.get("inputs") or []
        listed = inputs if isinstance(inputs, list) else [inputs]
        if name == "seq-preprocessor":
            is_several = gives_several(arguments or [], is_several, several_by_name)
        elif name in _KEEPING:
            is_several = len(listed) > 1 or (several_by_name.get(str(listed[0]), False) if listed else is_several)
        elif name in ("split-preprocessor", "split-concat-preprocessor"):
            is_several = name == "split-preprocessor"
        elif name != "transform-preprocessor" and (is_several or len(listed) > 1):
            # A function of several images may return several, or join them.
            is_several = None
        if "name" in given_by_name:
            several_by_name[str(given_by_name["name"])] = is_several
    return is_several


def _note_step(state: State, key: str, name: str, arguments: Any) -> None:
    """Register the name of a step, and check the steps that it uses as inputs; a function may have parameters of these names."""
    values = arguments if isinstance(arguments, Mapping) else {}
    own = (state.home.parameters(name) or (frozenset(), False))[0] if name not in BUILT_IN else frozenset()
    inputs = values.get("inputs") if "inputs" not in own else None
    for step in map(str, inputs if isinstance(inputs, list) else [] if inputs is None else [inputs]):
        if step not in state.steps:
            known = listing(state.steps) if state.steps else "none: give one of them name: NAME"
            fix = did_you_mean(step, state.steps, otherwise=f"named steps before it are {known}")
            state.refuse(f"{key}.{name}.inputs", "no step before it has this name", got=step, fix=fix)
    if values.get("name") is not None and "name" not in own:
        state.steps.append(str(values["name"]))


def _filled_chain(state: State, key: str, name: str, declared: Mapping[str, Any], arguments: Any) -> Any:
    """Return the chain of a declaration with its parameters replaced by the given arguments."""
    parameters = [str(parameter) for parameter in declared.get("parameters") or []]
    if isinstance(arguments, Mapping):
        values = {str(parameter): value for parameter, value in arguments.items()}
    else:
        listed = arguments if isinstance(arguments, list) else [] if arguments is None else [arguments]
        values = dict(zip(parameters, listed, strict=False))
    if set(values) != set(parameters):
        fix = f"give {listing(parameters)}" if parameters else "leave its arguments out"
        state.refuse(key, f"{name} has other parameters", got=sorted(values), fix=fix)
    return _with_arguments(declared.get("body"), values)


def _with_arguments(value: Any, arguments: Mapping[str, Any]) -> Any:
    """Return a value with strings that name parameters replaced by the arguments."""
    if isinstance(value, Mapping):
        return {key: _with_arguments(item, arguments) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_arguments(item, arguments) for item in value]
    return arguments[value] if isinstance(value, str) and value in arguments else value


def _augmentation(state: State, key: str, body: Any) -> None:
    """Translate operations that act in training only, each with its own probability if the body has weights."""
    chances: list[Any] = []
    if isinstance(body, Mapping) and "body" in body:
        weights = body.get("weights") or []
        chances, body = weights if isinstance(weights, list) else [weights], body["body"]
    if not isinstance(body, Mapping | list | None):
        fix = "for example {Fliplr: 0.5}"
        state.refuse(f"{key}.augmentation", "must be a map of operations", got=body, fix=fix)
        return
    if not all(
        isinstance(chance, int | float) and not isinstance(chance, bool) and 0 <= chance <= 1 for chance in chances
    ):
        fix = "give one for each operation"
        state.refuse(f"{key}.augmentation.weights", "must be probabilities from 0 to 1", got=chances, fix=fix)
        return
    operations = body if isinstance(body, list) else [{name: parameters} for name, parameters in (body or {}).items()]
    if chances and len(chances) != len(operations):
        state.refuse(key, "weights has another length than body", got=chances, fix="give one for each operation")
        return
    steps = []
    for number, operation in enumerate(operations):
        transforms = imgaug.pipeline(state, key, operation)
        if chances:
            transforms = [{**step, "p": step["p"] * float(chances[number])} for step in transforms]
        steps += transforms
    if steps:
        present = state.native.setdefault("augmentations", {}).setdefault("cpu", {}).setdefault("pipeline", [])
        present += steps
        state.options["preprocessing"] = "original"
        state.set("preprocessing.max_side", None)
        state.say(f"{key}.augmentation", "differs", "augmentations.cpu.pipeline", "after the rest of the chain")
