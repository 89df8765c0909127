"""State of the translation of a Musket experiment: the native configuration, the report, and all problems."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe.dialects import names, translation
from mlpipe.dialects.musket.reading import Home, built_in
from mlpipe.errors import did_you_mean, listing

# Packages that a project's modules import and that mlpipe replaces by its own.
STAND_INS = ("musket_core", "classification_pipeline", "segmentation_pipeline")


# Activations in the documentation of Keras 2.
ACTIVATIONS = (
    "linear", "relu", "sigmoid", "softmax", "tanh", "elu", "selu", "softplus", "softsign", "hard_sigmoid", "exponential",
    "swish",
)  # fmt: skip


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _intended_activation(activation: str) -> str:
    """Return the likely meaning of a misspelt activation, so that one mistake does not cause others."""
    near = difflib.get_close_matches(activation, ACTIVATIONS, 1)
    return activation if activation in ACTIVATIONS or not near else near[0]


@dataclass
class State(translation.State):
    """State during a translation.

    Attributes:
        source: The experiment's configuration, merged with common.yaml.
        home: Its home.
        lenient: Allow what Keras allowed.
        own_metrics: Functions of the project's modules that are used as metrics.
        of_heads: The native metrics of each head, if each has its own.
        steps: The names of the steps of `preprocessing` so far.
    """

    source: Mapping[str, Any]
    home: Home
    lenient: bool
    own_metrics: list[str] = field(default_factory=list)
    of_heads: list[list[str]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    _own: frozenset[str] | None = None

    def __post_init__(self) -> None:
        self.of_heads = [[] for _ in self.heads]

    def unknown(self, key: str, word: str, known: Any, where: str = "") -> None:
        """Note an unknown key: as an error, or, in lenient mode, as a line of the report."""
        fix = did_you_mean(word, known, otherwise=f"known: {listing(known, most=12)}")
        if self.lenient:
            self.say(key, "ignored", note=f"unknown key; {fix}")
        else:
            self.refuse(key, f"unknown key{where}", fix=f"{fix} (mode.lenient=true ignores it)")

    def measure(self, name: str) -> None:
        """Note a function of the project's modules that is used as a metric."""
        if name not in self.own_metrics:
            self.own_metrics.append(name)

    def is_own(self, name: object) -> bool:
        """Return whether the project's modules define a function or class with this name."""
        return name in self.own_names()

    def own_names(self) -> frozenset[str]:
        """The functions and classes that the project's modules define."""
        if self._own is None:
            self._own = self.home.functions()
        return self._own

    def check_call(self, key: str, name: str, arguments: Any, *, before: int = 0, flexible: bool = False) -> None:
        """Refuse arguments that a function or class of the modules does not take, before anything is run.

        Args:
            key: The key in the source.
            name: The function's name.
            arguments: A list of arguments, or a mapping from their names.
            before: Number of arguments that are passed before these.
            flexible: Whether further arguments may be passed, so that only names are checked.
        """
        signature = self.home.signature(name) if self.is_own(name) else built_in(name)
        if signature is None:
            return
        listed, keywords = (arguments, {}) if isinstance(arguments, list) else ([], dict(arguments or {}))
        parameters = list(signature.parameters.values())
        parameter_names = [parameter.name for parameter in parameters if parameter.kind in _NAMED][
            0 if flexible else before :
        ]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            unknown = [str(keyword) for keyword in keywords if keyword not in parameter_names]
            for unknown_name in unknown:
                fix = did_you_mean(
                    unknown_name,
                    parameter_names,
                    otherwise=f"it takes {listing(parameter_names)}" if parameter_names else "it takes none",
                )
                self.refuse(f"{key}.{name}", f"{name} has no such parameter", got=unknown_name, fix=fix)
            if unknown or flexible:
                return
        elif flexible:
            return
        try:
            signature.bind(*[None] * before, *listed, **{str(keyword): value for keyword, value in keywords.items()})
        except TypeError as error:
            fix = f"it takes {listing(parameter_names)}" if parameter_names else "it takes none"
            self.refuse(f"{key}.{name}", f"{name} cannot be given these ({error})", got=arguments, fix=fix)

    @property
    def is_whole(self) -> bool:
        """Whether the file is read with its project, so that the names in it must exist; a file alone can be read, too."""
        return self.home.modules is not None and not self.lenient

    def imports_elsewhere(self) -> list[str]:
        """Return the modules in `imports` that are not files of the project."""
        folder, imports = self.home.modules, self.source.get("imports") or []
        names = [str(name) for name in imports] if isinstance(imports, list) else [str(imports)]
        return [name for name in names if folder is None or not (folder / f"{name}.py").is_file()]

    def code(self) -> dict[str, Any]:
        """Return the native keys with the locations of the project's functions."""
        return {
            "modules": str(self.home.modules) if self.home.modules else None,
            # All files of the folder are imported, including those in `imports`.
            "imports": self.imports_elsewhere(),
            "stand_ins": list(STAND_INS),
        }

    @property
    def heads(self) -> list[tuple[str, int]]:
        """The activation and the number of outputs of each head; a single activation applies to all."""
        activation, classes = self.source.get("activation"), self.source.get("classes")
        sizes = classes if isinstance(classes, list) else [classes]
        activations = activation if isinstance(activation, list) else [activation]
        native_names = [
            "linear" if entry in (None, "none") else _intended_activation(str(entry).lower()) for entry in activations
        ]
        pairs = zip(native_names * len(sizes) if len(native_names) == 1 else native_names, sizes, strict=False)
        return [(name, size if isinstance(size, int) and not isinstance(size, bool) else 0) for name, size in pairs]

    @property
    def activation(self) -> str:
        """The final activation; with several heads, that of the first."""
        return self.heads[0][0] if self.heads else "linear"

    @property
    def kind(self) -> str:
        """The native kind of task for the activations."""
        if self.is_of_masks:
            return "segmentation"
        activations = {name for name, _ in self.heads}
        if activations == {"softmax"} and len(self.heads) == 1:
            return "classification"
        return "multilabel" if activations == {"sigmoid"} else "regression"

    @property
    def is_of_masks(self) -> bool:
        """Whether every pixel is predicted: the architecture is a segmentation network, not a function of the project's own."""
        name = str(self.source.get("architecture"))
        return name.lower() in names.SEGMENTERS and not self.is_own(name) and not self.is_own(name.lower())

    @property
    def are_joined(self) -> bool:
        """Whether several heads are a single native head: sigmoids of one size, each with binary crossentropy."""
        loss = self.source.get("loss") or "binary_crossentropy"
        losses = set(map(str, loss if isinstance(loss, list) else [loss]))
        stages = self.source.get("stages")
        changed = any(isinstance(stage, Mapping) and stage.get("loss") is not None for stage in stages or [])
        alike = (
            len(set(self.heads)) == 1 and self.kind == "multilabel" and losses <= {"binary_crossentropy", "log_loss"}
        )
        return len(self.heads) > 1 and alike and not changed and not self.is_of_masks and not self._has_metrics_of_heads

    @property
    def _has_metrics_of_heads(self) -> bool:
        """Return whether a metric of the file uses the largest output, which differs per head."""
        values = [self.source.get(key) for key in ("metrics", "final_metrics", "primary_metric", "experiment_result")]
        return "categorical_accuracy" in str(values)

    @property
    def has_parts(self) -> bool:
        """Whether each head has its own native loss and metrics: `loss=heads`."""
        if self.is_of_masks:
            return False
        if len(self.heads) > 1:
            return not self.are_joined
        return self.activation not in ("sigmoid", "softmax", "linear") or self._learns_units

    @property
    def _learns_units(self) -> bool:
        """Return whether numbers are trained with a loss that is meaningful in their own unit only."""
        stages = self.source.get("stages")
        listed = [stage for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []
        words = {
            word.strip()
            for section in (self.source, *listed)
            for word in re.split(r"[+*,\[\]']", str(section.get("loss") or ""))
        }
        terms = {names.LOSSES.get(word.lower()) for word in words if not self.is_own(word)}
        return self.activation == "linear" and bool(terms & names.OF_UNITS)
