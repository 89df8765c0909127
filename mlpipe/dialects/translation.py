"""Result of a translation: a native configuration, and a report on each key of the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mlpipe import files
from mlpipe.config import recipe_file
from mlpipe.errors import ConfigError, problem

NATIVE = "native"
Fate = Literal["same", "differs", "ignored", "lint"]


@dataclass(frozen=True)
class Line:
    """One line of the report.

    Attributes:
        key: The key of the source, dotted.
        fate: `same` (same meaning natively), `differs` (the note explains the difference), `ignored`, or `lint` (a mistake
            that the other program would not have reported).
        place: The native key; empty if there is none.
        note: An explanation for the user.
    """

    key: str
    fate: Fate
    place: str = ""
    note: str = ""

    def __str__(self) -> str:
        place = f" -> {self.place}" if self.place else ""
        note = f": {self.note}" if self.note else ""
        return f"[{self.fate}] {self.key}{place}{note}"


@dataclass(frozen=True)
class Translation:
    """A translated file.

    Attributes:
        dialect: The program that the file was written for.
        native: `defaults`, a list of one-key mappings from group to option, and the sections' values.
        report: A line for each key of the source, and lint.
        needed: Settings that the file lacks and the command line must give, with examples.
        mode: The mode that does what the file asks for; empty: training.
    """

    dialect: str
    native: dict[str, Any]
    report: tuple[Line, ...] = field(default=())
    needed: Mapping[str, str] = field(default_factory=dict)
    mode: str = ""

    def chosen(self) -> dict[str, Any]:
        """Return the chosen option of each group."""
        return recipe_file.chosen(self.native)

    def of_fate(self, *fates: Fate) -> list[Line]:
        """Return the lines with one of these fates."""
        return [line for line in self.report if line.fate in fates]

    def of_one_training(self) -> Translation:
        """Return the translation without the file's search, for the values in `needed`.

        The values are already substituted in formulas, so that a search over the names would have no effect.
        """
        first = {key: value for key, value in self.needed.items() if key.startswith("given.")}
        if not first:
            return self
        searches = ("hpo", "search_space")
        entries = [entry for entry in self.native.get("defaults", []) if not set(entry) & set(searches)]
        native = {key: value for key, value in self.native.items() if key not in (*searches, "defaults")}
        assignments = " ".join(f"{key}={value}" for key, value in first.items())
        note = f"below is the training with the first values ({assignments}); mml train recipe=FILE searches with the file itself"
        return replace(
            self, native={"defaults": entries, **native}, report=(*self.report, Line("search", "lint", "", note))
        )

    def text(self) -> str:
        """Return the native configuration as YAML, with the report in comments above it."""
        lines = [f"# {line}" for line in self.report]
        body = files.yaml_text(self.native, allow_unicode=True, width=120)
        return "\n".join([f"# Translated from {self.dialect}.", *lines, body])


@dataclass
class State:
    """State during a translation.

    Attributes:
        options: The options of groups.
        native: The sections' values.
        lines: The report so far.
        wrong: A sentence for every problem so far.
    """

    options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    native: dict[str, Any] = field(default_factory=dict, kw_only=True)
    lines: list[Line] = field(default_factory=list, kw_only=True)
    wrong: list[str] = field(default_factory=list, kw_only=True)

    def set(self, place: str, value: Any) -> str:
        """Set a native key (dotted), and return the key."""
        *sections, last = place.split(".")
        node = self.native
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
        return place

    def say(self, key: str, fate: Fate, place: str = "", note: str = "") -> None:
        """Add a line to the report."""
        self.lines.append(Line(key, fate, place, note))

    def same(self, key: str, place: str, value: Any) -> None:
        """Set a native key with the same meaning as a key of the source."""
        self.say(key, "same", self.set(place, value))

    def refuse(self, key: str, wrong: str, *, got: object = None, fix: str = "") -> None:
        """Note a problem."""
        self.wrong.append(problem(key, wrong, got=got, fix=fix))

    def missing(self, key: str, feature: str, fix: str = "leave it out") -> None:
        """Note a feature that the other program has and this version does not."""
        self.refuse(key, f"{feature} is not available in this version of mlpipe", fix=fix)

    def require_none_wrong(self) -> None:
        """Stop if there are problems.

        Raises:
            ConfigError: With a sentence for every problem, without duplicates.
        """
        if self.wrong:
            raise ConfigError(list(dict.fromkeys(self.wrong)))

    def whole(self) -> dict[str, Any]:
        """Return the native configuration, as in `Translation`."""
        return {"defaults": [{group: option} for group, option in self.options.items()], **self.native}
