"""What a translation collects on its way: the native tree, the report, and everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.translation import Collected
from mlpipe.errors import did_you_mean, listing

# Packages that a project's modules import, in whose place stands what mlpipe has.
STAND_INS = ("musket_core", "classification_pipeline", "segmentation_pipeline")


@dataclass
class Work(Collected):
    """A translation at work.

    Attributes:
        source: The experiment's configuration, common.yaml merged in.
        home: Where it lies.
        lenient: Let pass what Keras let pass.
        own_metrics: Functions of the project's modules that are named as metrics.
    """

    source: Mapping[str, Any]
    home: Home
    lenient: bool
    own_metrics: list[str] = field(default_factory=list)
    _own: frozenset[str] | None = None

    def unknown(self, key: str, word: str, known: Any, where: str = "") -> None:
        """Note an unknown key: an error, or, where things are lenient, a line."""
        fix = did_you_mean(word, known, otherwise=f"known: {listing(known, most=12)}")
        if self.lenient:
            self.say(key, "ignored", note=f"unknown key; {fix}")
        else:
            self.refuse(key, f"unknown key{where}", fix=f"{fix} (mode.lenient=true ignores it)")

    def is_own(self, name: object) -> bool:
        """Whether the project's modules define a function or class with this name."""
        return name in self.own_names()

    def own_names(self) -> frozenset[str]:
        """The functions and classes that the project's modules define."""
        if self._own is None:
            self._own = self.home.functions()
        return self._own

    def code(self) -> dict[str, Any]:
        """The native keys that say where the project's functions are."""
        return {
            "modules": str(self.home.modules) if self.home.modules else None,
            "imports": list(self.source.get("imports") or []),
            "stand_ins": list(STAND_INS),
        }

    @property
    def activation(self) -> str:
        """The last activation, of the first head where there are several."""
        given = self.source.get("activation")
        first = given[0] if isinstance(given, list) and given else given
        return "linear" if first in (None, "none", "linear") else str(first).lower()

    @property
    def kind(self) -> str:
        """The native kind of task that the activation means."""
        return {"sigmoid": "multilabel", "softmax": "classification"}.get(self.activation, "regression")
