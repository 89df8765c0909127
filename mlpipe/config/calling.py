"""Calls of a user's own code: arguments by name, from the configuration's keys and the facts that the program has.

What the program knows (`late`) is given to a parameter of that name. A function may also take all of it by position, under
names of its own, as functions of mlpipe do; a class may not, because nobody could tell its parameters from the program's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What may be left out of the middle of a long signature.
_LONGEST = 160


@dataclass(frozen=True)
class Parameter:
    """A parameter that is not collected by `*` or `**`.

    Attributes:
        name: Its name.
        required: Whether it has no default.
        by_position: Whether it may be given by position.
    """

    name: str
    required: bool
    by_position: bool


def positional_parameters(
    parameters: Sequence[Parameter], config: Mapping[str, Any], late: Sequence[str], *, is_class: bool
) -> list[str]:
    """The parameters that take everything the program knows by position; empty where they do not.

    Args:
        parameters: The signature.
        config: The configuration's keys.
        late: The names of what the program knows, each with others that mean the same behind `|`.
        is_class: Whether it is a class.
    """
    names = {name for alternatives in late for name in alternatives.split("|")}
    open_ = [
        parameter.name
        for parameter in parameters
        if parameter.required and parameter.by_position and parameter.name not in config
    ]
    return open_ if not is_class and late and len(open_) == len(late) and not set(open_) & names else []


def call(
    function: Callable[..., Any], given: Mapping[str, Any], names: Sequence[str], late: Sequence[Any], **known: Any
) -> Any:
    """The value of a function or class of the user's own.

    Args:
        function: It.
        given: The configuration's keys, which go before what the program knows.
        names: The names of `late`, as for `positional_parameters`.
        late: What the program gives by position to functions of its own.
        known: What it knows besides.

    Raises:
        TypeError: When a parameter is missing, or one is given that it does not have.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Written in C, which says nothing of its parameters.
        return function(**given)
    values = dict(known)
    for alternatives, value in zip(names, late, strict=False):
        values.update(dict.fromkeys(alternatives.split("|"), value))
    by_position = positional_parameters(
        parameters_of(signature), given, names[: len(late)], is_class=isinstance(function, type)
    )
    values.update(zip(by_position, late, strict=False))
    own = {**{name: values[name] for name in values if _takes(signature, name)}, **given}
    first = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in own
    ]
    arguments = [own.pop(name) for name in first]
    signature.bind(*arguments, **own)
    return function(*arguments, **own)


def parameters_of(signature: inspect.Signature) -> list[Parameter]:
    """The parameters of a signature that can be given one by one."""
    collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        Parameter(parameter.name, parameter.default is parameter.empty, parameter.kind is not parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.kind not in collecting
    ]


def shown(name: str, function: Callable[..., Any]) -> str:
    """A function with its parameters, without annotations, for sentences.

    Args:
        name: Its name.
        function: It.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return name
    plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    text = f"{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]}...)"


def _takes(signature: inspect.Signature, name: str) -> bool:
    parameter = signature.parameters.get(name)
    return parameter is not None and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
