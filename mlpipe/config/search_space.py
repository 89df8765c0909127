"""Search spaces in Hydra's sweep grammar: choice, range, interval and tag, on the command line or in a file.

A space is a mapping from keys (or groups) to parameters. Optuna samples it; this module reads it, checks it, and turns
samples back into overrides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from mlpipe.config.catalog import ALIASES
from mlpipe.errors import ConfigError, problem

Value = str | int | float | bool | None
SECTIONS = ("hpo", "search_space")
_FIXED = (
    "proj",
    "out_dir",
    "data_dir",
    "mode",
    "continue",
    "use_best_params",
    "task",
    "task_list",
    "sys",
    "trust",
    "trust_paths",
    *SECTIONS,
)
_FORMS = "write choice(a,b), range(1,9), interval(0,1) or tag(log,interval(1e-5,1e-2))"


@dataclass(frozen=True)
class Parameter:
    """One searched key.

    Attributes:
        choices: The values of a list; empty for numbers in a range.
        low: The smallest number.
        high: The largest number, included.
        step: The distance between numbers; None: continuous.
        log: Search on a logarithmic scale.
        whole: Integers only.
    """

    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False

    def extremes(self) -> tuple[Value, ...]:
        """Return every choice, or the smallest and the largest number."""
        return self.choices or (self._number(self.low), self._number(self.high))

    def values(self) -> tuple[Value, ...]:
        """Return all values, for a grid; empty if there are infinitely many."""
        if self.choices:
            return self.choices
        step = self.step if self.step is not None else 1.0 if self.whole else 0.0
        if not step:
            return ()
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return tuple(self._number(self.low + index * step) for index in range(count))

    def _number(self, value: float) -> float:
        return int(value) if self.whole else float(value)


def split(texts: Sequence[str]) -> tuple[list[str], dict[str, Parameter], list[str]]:
    """Return the overrides shared by all trials, the parameters searched by the command line, and problems."""
    parser = OverridesParser.create()
    fixed, space, problems = [], {}, []
    for text in texts:
        key, _, value = text.partition("=")
        try:
            parsed = parser.parse_override(text)
        except HydraException:
            # Left to the parser of overrides, which quotes what the grammar cannot tokenise or reports errors.
            fixed.append(text)
            continue
        if parsed.is_sweep_override():
            key = _key(parsed)
            space[key], wrong = _parameter(key, parsed, value)
            problems += wrong
        elif key == "search_space.params":
            more, wrong = read(parsed.value())
            space |= more
            problems += wrong
        else:
            fixed.append(text)
    return fixed, space, problems


def read(params: Any) -> tuple[dict[str, Parameter], list[str]]:
    """Read the parameters of a mapping from keys to expressions, lists, or Hydra's own sweeps."""
    if not isinstance(params, Mapping):
        need = "must be a mapping from keys to choices, ranges and intervals"
        return {}, [problem("search_space.params", need, got=params, fix=_FORMS)]
    parser = OverridesParser.create()
    space: dict[str, Parameter] = {}
    problems: list[str] = []
    for raw, expression in params.items():
        key = str(raw)
        text = f"choice({','.join(map(as_text, expression))})" if isinstance(expression, list) else expression
        try:
            parsed = expression if _is_sweep(expression) else parser.parse_override(f"{key}={text}")
        except HydraException:
            parsed = None
        if parsed is None or (isinstance(parsed, Override) and not parsed.is_sweep_override()):
            problems.append(problem(f"search_space.params.{key}", "is no space to search", got=expression, fix=_FORMS))
            continue
        group, dot, rest = key.partition(".")
        key = ALIASES.get(group, group) + dot + rest
        space[key], wrong = _parameter(key, parsed, expression)
        problems += wrong
    return space, problems


def fixed_key_problems(space: Mapping[str, object]) -> list[str]:
    """Return a sentence for every key that cannot be searched, and for an empty space."""
    if not space:
        fix = "add search_space=basic or a sweep such as 'optimizer.lr=tag(log,interval(1e-5,1e-2))'"
        return [problem("search_space", "there is nothing to search", fix=fix)]
    fix = "trials of one study share it; leave it out of the search"
    return [problem(key, "cannot be searched", fix=fix) for key in space if key.split(".")[0] in _FIXED]


def overrides(values: Mapping[str, Value]) -> list[str]:
    """Return the overrides that set parameters to these values."""
    return [f"{key}={as_text(value)}" for key, value in values.items()]


def as_text(value: Any) -> str:
    """Format a value in Hydra's grammar; texts are already in it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return value if isinstance(value, str) else repr(value)


def corners(space: Mapping[str, Parameter]) -> list[dict[str, Value]]:
    """Return a few points that contain every choice, and both ends of every range, at least once."""
    ends = {key: parameter.extremes() for key, parameter in space.items()}
    count = max((len(values) for values in ends.values()), default=0)
    return [{key: values[index % len(values)] for key, values in ends.items()} for index in range(count)]


def points(space: Mapping[str, Parameter]) -> list[dict[str, Value]]:
    """Return all points of a grid.

    Raises:
        ConfigError: For parameters with infinitely many values.
    """
    endless = [key for key, parameter in space.items() if not parameter.values()]
    if endless:
        fix = "use choice(...) or range(low,high,step), or another hpo.sampler"
        raise ConfigError([problem(key, "an interval has no grid", fix=fix) for key in endless])
    return [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*(parameter.values() for parameter in space.values()))
    ]


def _is_sweep(value: Any) -> bool:
    return isinstance(value, ChoiceSweep | RangeSweep | IntervalSweep)


def _key(override: Override) -> str:
    group, dot, rest = override.key_or_group.partition(".")
    return str(ALIASES.get(group, group) + dot + rest)


def _parameter(key: str, sweep: Any, text: Any) -> tuple[Parameter, list[str]]:
    value = sweep.value() if isinstance(sweep, Override) else sweep
    if isinstance(value, ChoiceSweep):
        # Compared as text, because True == 1 in Python.
        return Parameter(tuple({as_text(choice): choice for choice in _choices(value)}.values())), []
    if not isinstance(value, RangeSweep | IntervalSweep):
        return Parameter(), [problem(key, "is no space to search", got=text, fix=_FORMS)]
    log = "log" in value.tags
    problems = [] if value.tags <= {"log"} else [problem(key, "only the tag log is known", got=text, fix=_FORMS)]
    low: float | None
    high: float | None
    step: float | None
    if isinstance(value, IntervalSweep):
        low, high, step = value.start, value.end, None
        # Hydra's annotation says float, but int(interval(1,9)) contains integers.
        ends: list[Any] = [low, high]
        whole = all(isinstance(end, int) for end in ends)
    else:
        whole = all(isinstance(number, int) for number in (value.start, value.stop, value.step))
        low, step = value.start or 0, value.step
        # Like Python's range, Hydra's excludes the end.
        high = low + step * (math.ceil((value.stop - low) / step - 1e-9) - 1) if value.stop is not None else low
    if low is None or high is None or not low <= high:
        problems.append(problem(key, "the least number must come first", got=text, fix=_FORMS))
    elif log and low <= 0:
        problems.append(problem(key, "a logarithm needs numbers above 0", got=text, fix="begin above 0"))
    if log:
        step = None
    return Parameter(low=low or 0, high=high or 0, step=step, log=log, whole=whole), problems


def _choices(sweep: ChoiceSweep) -> list[Value]:
    parser = OverridesParser.create()
    values: list[Value] = []
    for item in sweep.list:
        if item is None or isinstance(item, bool | int | float):
            values.append(item)
        else:
            # Optuna stores only plain values: texts, lists and mappings are stored as written.
            override = parser.parse_override("key=a,b")
            override._value = ChoiceSweep(list=[item, item], simple_form=True)
            values.append(str(next(iter(override.sweep_string_iterator()))))
    return values
