"""Call the user's own code: arguments by name, from configuration keys and from the program's values.

A value of the program (`late`) is passed to a parameter of the same name. A function may also take all of them by
position, under other names, like functions of mlpipe; a class may not, because its own parameters could not be told
from the program's values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The maximum length of a signature in messages; the rest is cut off.
_LONGEST = 160


@dataclass(frozen=True)
class Parameter:
    """A parameter other than `*` and `**`.

    Attributes:
        name: Its name.
        required: Whether it has no default.
        by_position: Whether it accepts a positional argument.
    """

    name: str
    required: bool
    by_position: bool


def positional_parameters(
    parameters: Sequence[Parameter], config: Mapping[str, Any], late: Sequence[str], *, is_class: bool
) -> list[str]:
    """Return the parameters that take all of the program's values by position; empty if there are none.

    Args:
        parameters: The signature.
        config: The configuration's keys.
        late: The names of the program's values, each with synonyms separated by `|`.
        is_class: Whether the callable is a class.
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
    """Call a function or class of the user's own.

    Args:
        function: The function or class.
        given: The configuration's keys, which take precedence over the program's values.
        names: The names of `late`, as in `positional_parameters`.
        late: The values that the program passes by position to its own functions.
        known: Further values of the program.

    Raises:
        TypeError: When a parameter is missing or unknown.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # A function written in C, without a signature.
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
    """Return the parameters of a signature that can be passed individually."""
    collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        Parameter(parameter.name, parameter.default is parameter.empty, parameter.kind is not parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.kind not in collecting
    ]


def shown(name: str, function: Callable[..., Any]) -> str:
    """Format a function with its parameters, without annotations, for messages.

    Args:
        name: The function's name.
        function: The function.
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
