"""Components: resolve the `_target_` of a configuration, check its parameters, and call it.

A component of mlpipe takes the program's values by position and the configuration's values by keyword: its keyword-only
parameters are its configuration keys. The user's own code is called by its own signature, see `mlpipe.config.calling`.
A foreign class is allowed if its module is listed for the slot and it is of the slot's kind; functions are allowed only
from mlpipe's own module for that slot, from modules in the current folder, from modules named in `trust`, and from
installed plugins (`mlpipe.plugins`).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlpipe
from mlpipe import current_folder, files, names, plugins
from mlpipe.config import calling, catalog, signatures
from mlpipe.config.signatures import Signature
from mlpipe.errors import EXTRAS, ConfigError, MlpipeError, did_you_mean, first_line, listing, not_installed, problem


@dataclass(frozen=True)
class Slot:
    """A place in the configuration, and the components that it accepts.

    Attributes:
        home: The module or package of mlpipe whose public functions and classes fit, in addition to those named by an
            option of the group.
        foreign: Module prefixes outside mlpipe whose classes fit.
        kind: The full name of the required base class of a foreign class; several are separated by blanks.
        names: The names of the program's positional arguments in the user's own code, each with synonyms separated by
            `|`.
        late: How many of them are passed to a foreign class.
        folder: The parameter of a foreign class that receives the first of them, if it has that parameter and the
            configuration does not set it.
        also: One more module of mlpipe whose public functions fit.
    """

    home: str
    foreign: tuple[str, ...] = ()
    kind: str = ""
    late: int = 0
    also: str = ""
    names: tuple[str, ...] = ()
    folder: str = ""


SLOTS: dict[str, Slot] = {
    "mode": Slot("mlpipe.modes", also="mlpipe.running.presets", names=("run_config", "context|world")),
    "task": Slot("mlpipe.data.sources"),
    "split": Slot("mlpipe.data.splits", names=("samples",)),
    "arch": Slot("mlpipe.arch", names=("heads", "pixels")),
    "loss": Slot("mlpipe.learn.losses", ("torch.nn",), "torch.nn.modules.module.Module", names=("labels",)),
    "optimizer": Slot(
        "mlpipe.learn.optimizers",
        ("torch.optim", "timm.optim"),
        "torch.optim.optimizer.Optimizer",
        1,
        names=("groups|params",),
    ),
    "lr_scheduler": Slot(
        "mlpipe.learn.lr_schedulers",
        ("torch.optim.lr_scheduler",),
        "torch.optim.lr_scheduler.LRScheduler",
        1,
        names=("optimizer", "clock"),
    ),
    "preprocessing": Slot("mlpipe.data.preprocessing", names=("channels",)),
    "augmentations": Slot(
        "mlpipe.data.augment",
        ("torchvision.transforms.v2", "albumentations"),
        "torch.nn.modules.module.Module albumentations.core.transforms_interface.BasicTransform",
    ),
    "device_augmentations": Slot(
        "mlpipe.data.augment.batches",
        ("torchvision.transforms.v2", "kornia.augmentation"),
        "torch.nn.modules.module.Module",
    ),
    "sampling": Slot("mlpipe.data.sampling"),
    "callbacks": Slot(
        "mlpipe.learn.callbacks",
        ("pytorch_lightning.callbacks", "lightning.pytorch.callbacks"),
        "pytorch_lightning.callbacks.callback.Callback",
        names=("monitor", "direction"),
    ),
    "logging": Slot(
        "mlpipe.learn.logging",
        ("pytorch_lightning.loggers", "lightning.pytorch.loggers"),
        "pytorch_lightning.loggers.logger.Logger lightning.pytorch.loggers.logger.Logger",
        names=("folder", "fold"),
        folder="save_dir",
    ),
    "tta": Slot("mlpipe.learn.tta", names=("peak",)),
    "tune": Slot("mlpipe.learn.tune"),
    "peft": Slot("mlpipe.arch.adapt", names=("network",)),
    "compile": Slot("mlpipe.learn.compile", names=("network",)),
    "slicing": Slot("mlpipe.learn.slicing"),
    "console": Slot("mlpipe.running.console", names=("config",)),
    "artifacts": Slot("mlpipe.running.artifacts", names=("config",)),
}


# Values that the user's own code may request by name, beside its slot's names.
ALSO_KNOWN: dict[str, tuple[str, ...]] = {"loss": ("class_counts",)}


@dataclass(frozen=True)
class Component:
    """A checked function or class with its parameters, not yet imported.

    Attributes:
        slot: The slot, a key of `SLOTS`.
        target: The dotted name.
        params: The configuration's parameters.
    """

    slot: str
    target: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        """Whether it is its group's `none`."""
        return self.name == "none"

    @property
    def name(self) -> str:
        """The name within its group; for the user's own code, the full path."""
        return names.name_of(self.target)

    @property
    def identity(self) -> str:
        """The identity for hashes: it stays the same when code moves."""
        return names.identity(self.slot, self.target)

    @property
    def title(self) -> str:
        """The title in records and messages: its parameter `name`, else its identity, which survives code moves."""
        return str(self.params.get("name", self.identity))

    @property
    def is_users(self) -> bool:
        """Whether it belongs to neither mlpipe nor a library whose classes fit its slot."""
        return _is_users(self.target, SLOTS[self.slot])

    @property
    def gives(self) -> tuple[str, ...]:
        """Return the names of the class that it builds and of its bases, read from source without importing anything."""
        return signatures.gives(self.target)

    def load(self) -> Any:
        """Import and return the function or class.

        Raises:
            ConfigError: When it cannot be imported, or is a library's class that is not of the slot's kind.
        """
        slot, function = SLOTS[self.slot], _load(self.target)
        bases = [f"{base.__module__}.{base.__qualname__}" for base in getattr(function, "__mro__", ())]
        if _is_foreign(self.target, slot) and not set(slot.kind.split()) & set(bases):
            requirement = f"must be a class derived from {slot.kind.replace(' ', ' or ')}"
            raise ConfigError(problem(f"{self.slot}._target_", requirement, got=self.target, fix="name such a class"))
        return function

    def build(self, *late: Any, **known: Any) -> Any:
        """Import the target and call it with the program's positional and the configuration's keyword arguments.

        The user's own code is called by its own signature, see `mlpipe.config.calling`.

        Args:
            late: The values that the program passes by position to functions of mlpipe.
            known: Further values that the user's own code may request by name.

        Raises:
            ConfigError: When the target cannot be imported, is not of the slot's kind, or does not accept these
                arguments.
        """
        slot, function = SLOTS[self.slot], self.load()
        try:
            if self.is_users:
                return calling.call(function, self.params, slot.names, late, **known)
            if not self.target.startswith("mlpipe."):
                has_folder = bool(slot.folder) and slot.folder in inspect.signature(function).parameters
                placed = {slot.folder: late[0]} if has_folder and late and slot.folder not in self.params else {}
                return function(*late[: slot.late], **placed, **self.params)
            inspect.signature(function).bind(*late, **self.params)
        except MlpipeError:
            raise
        except Exception as error:
            # For classes of other packages, the signature did not show this error before.
            raise ConfigError(_construction_problem(self, function, error)) from error
        return function(*late, **self.params)


def check(
    section: str, slot_name: str, node: Any, *, trust: tuple[str, ...] = ()
) -> tuple[Component | None, list[str]]:
    """Return the component that a section of the configuration describes, and a sentence for each problem.

    Args:
        section: The section's key, for messages.
        slot_name: The slot, a key of `SLOTS`.
        node: The section: a mapping with `_target_` and parameters.
        trust: Further modules that are allowed.
    """
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        return None, [problem(section, "must be a mapping with a _target_", got=node, fix="choose one of its options")]
    target = names.current(node["_target_"])
    if target == "???":
        fix = f"add {section}._target_=MODULE.FUNCTION"
        return None, [problem(f"{section}._target_", "a value is needed", fix=fix)]
    params = {key: value for key, value in node.items() if key != "_target_"}
    if sentence := _refusal(section, target, slot_name, trust):
        return None, [sentence]
    try:
        signature = signatures.read(target)
        if signature is None:
            return None, [_unknown_target(section, target)]
    except ConfigError as error:
        return None, list(error.problems)
    if sentence := _misplaced(section, target, SLOTS[slot_name], signature):
        return None, [sentence]
    if target.startswith("mlpipe.") and "trust" in signature.parameters:
        # A separate list would bypass the user's top-level list.
        params["trust"] = list(trust)
    return Component(slot_name, target, params), signature.problems(
        section, params, may_miss=_given_by_program(target, slot_name, signature, params)
    )


def with_random_weights(target: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that give a network random weights, when its weights follow or are not needed.

    For some networks, pretrained weights have another form: `form` selects it in place of true.

    Args:
        target: The dotted name of the network.
        params: The recipe's parameters.
    """
    signature = signatures.read(names.current(target))
    parameter = signature.parameters.get("pretrained") if signature is not None else None
    has_forms = (
        signature is not None
        and parameter is not None
        and parameter.annotation is not None
        and "form" in signatures.choices(parameter.annotation, signature.module)
    )
    is_pretrained = params.get("pretrained") not in (False, None) and params.get("weights") is None
    return {**params, "pretrained": "form" if has_forms and is_pretrained else False, "weights": None}


def of_option(group: str, name: str) -> Component:
    """Return the component of an option selected by a key instead of a group; its file is read unchanged.

    Args:
        group: A folder of configuration files, which is a key of `SLOTS`.
        name: The option.

    Raises:
        ConfigError: When the file does not describe a component of the group.
    """
    part, wrong = check(f"{group}={name}", group, files.plain_yaml(catalog.option_text(group, name)))
    if part is None or wrong:
        raise ConfigError(wrong)
    return part


def _given_by_program(target: str, slot_name: str, signature: Signature, params: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters of the user's own code that the configuration need not set."""
    slot = SLOTS[slot_name]
    if not _is_users(target, slot):
        return frozenset({slot.folder} - {""})
    listed = [
        calling.Parameter(parameter.name, parameter.required, parameter.by_position)
        for parameter in signature.parameters.values()
    ]
    by_position = calling.positional_parameters(listed, params, slot.names, is_class=signature.is_class)
    if not signature.is_class and slot_name == "loss" and not by_position:
        # The loss itself, a function of outputs and targets, not a function that creates one.
        by_position = [parameter.name for parameter in listed if parameter.required and parameter.by_position]
    slot_names = {name for alternatives in slot.names for name in alternatives.split("|")}
    return frozenset({*slot_names, *by_position, *ALSO_KNOWN.get(slot_name, ())})


def _refusal(section: str, target: str, slot_name: str, trust: tuple[str, ...]) -> str:
    """Explain why a target is not allowed here; empty if it is."""
    slot, module = SLOTS[slot_name], target.rpartition(".")[0]
    is_home = (
        target.startswith(f"{slot.home}.")
        or (slot.also != "" and module == slot.also)
        or target in catalog.targets(slot_name.removeprefix("device_"))
    )
    inside = is_home and not any(part.startswith("_") for part in target.split("."))
    if inside or _is_foreign(target, slot) or _is_under(module, trust) or _is_own(module):
        return ""
    allowed = listing([slot.home, *slot.foreign])
    return problem(
        f"{section}._target_",
        "is not allowed here",
        got=target,
        fix=f"use a name from {allowed}, from a module in this folder, or add trust=[{module or target}]",
    )


def _misplaced(section: str, target: str, slot: Slot, signature: Signature) -> str:
    """Explain why the object behind a name is not allowed here; empty if it is."""
    if _is_foreign(target, slot) and not signature.is_class:
        fix = f"name one derived from {slot.kind.replace(' ', ' or ')}"
        return problem(f"{section}._target_", "must be a class", got=target, fix=fix)
    if _is_foreign(target, slot) and "Checkpoint" in target.rpartition(".")[2]:
        fix = "leave it out: mlpipe keeps the best and the last state by itself, and mode.store_best says which counts"
        return problem(f"{section}._target_", "would write pickles into a folder of its own", got=target, fix=fix)
    if target.startswith("mlpipe.") and not signature.file.resolve().is_relative_to(
        Path(mlpipe.__file__).resolve().parent
    ):
        fix = f"use a name of {slot.home}"
        return problem(f"{section}._target_", "is only imported there, not mlpipe's own", got=target, fix=fix)
    return ""


def _construction_problem(component: Component, function: Any, error: Exception) -> str:
    reason, name = first_line(error), component.target.rpartition(".")[2]
    fix = f"its signature is {calling.shown(name, function)}"
    if names := SLOTS[component.slot].names if component.is_users else ():
        known = [alternatives.partition("|")[0] for alternatives in names]
        fix += f"; besides keys of the configuration it may have the parameters {listing(known)}"
    return problem(component.slot, f"{component.target} cannot be made ({reason})", got=dict(component.params), fix=fix)


def _is_users(target: str, slot: Slot) -> bool:
    return not target.startswith("mlpipe.") and not _is_foreign(target, slot)


def _is_foreign(target: str, slot: Slot) -> bool:
    return _is_under(target.rpartition(".")[0], slot.foreign)


def _is_under(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def _is_own(module: str) -> bool:
    """Return whether the module is the user's own, or of an installed plugin."""
    if plugins.owns(module):
        return True
    first = module.partition(".")[0]
    if current_folder.is_installed(first):
        # A module in the current folder that is shadowed would not be the one that runs.
        return first != "mlpipe" and current_folder.is_on_path(first)
    return current_folder.module_place(module) is not None


def _unknown_target(section: str, target: str) -> str:
    module, _, name = target.rpartition(".")
    file = signatures.module_file(module) if module else None
    package = module.partition(".")[0]
    if package in EXTRAS and signatures.module_file(package) is None:
        return not_installed(f"{section}._target_", package)
    if file is None:
        fix = "name an existing module and a function or class in it"
    else:
        names = signatures.public_names(file)
        fix = did_you_mean(name, names, otherwise=f"{module} has {listing(names)}")
    return problem(f"{section}._target_", "there is no such function or class", got=target, fix=fix)


def _load(target: str) -> Any:
    module, _, name = target.rpartition(".")
    first = module.partition(".")[0]
    own = [first] if not current_folder.is_installed(first) else []
    try:
        with current_folder.importable(*own):
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(problem("_target_", "cannot be imported", got=target, fix=str(error))) from error
    except MlpipeError:
        raise
    except Exception as error:
        # A module of the user's own may raise any exception.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            problem("_target_", f"cannot be imported ({reason})", got=target, fix="correct it")
        ) from error
