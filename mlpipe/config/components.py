"""Resolve a `_target_`, check its parameters, and call it: how a configuration names a function or class.

A component of mlpipe takes what the program gives by position and what the configuration gives by keyword: its
keyword-only parameters are its configuration keys. A foreign class is allowed where its module is listed for the slot
and it is of the slot's kind; functions are allowed only from mlpipe's own module for that slot, from modules in the
current folder, and from modules named in `trust`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpipe.config import signatures
from mlpipe.errors import ConfigError, did_you_mean, listing, problem


@dataclass(frozen=True)
class Slot:
    """What may stand in one place of the configuration.

    Attributes:
        home: The module of mlpipe whose public functions and classes fit.
        foreign: Module prefixes outside mlpipe whose classes fit.
        kind: The full name of the class that a foreign class must be derived from; several are separated by blanks.
        late: How many of the program's positional arguments a foreign class takes.
    """

    home: str
    foreign: tuple[str, ...] = ()
    kind: str = ""
    late: int = 0


SLOTS: dict[str, Slot] = {
    "mode": Slot("mlpipe.modes"),
    "task": Slot("mlpipe.data.sources"),
    "split": Slot("mlpipe.data.splits"),
    "arch": Slot("mlpipe.arch"),
    "loss": Slot("mlpipe.learn.losses", ("torch.nn",), "torch.nn.modules.module.Module"),
    "optimizer": Slot("mlpipe.learn.optimizers", ("torch.optim", "timm.optim"), "torch.optim.optimizer.Optimizer", 1),
    "lr_scheduler": Slot(
        "mlpipe.learn.lr_schedulers", ("torch.optim.lr_scheduler",), "torch.optim.lr_scheduler.LRScheduler", 1
    ),
    "preprocessing": Slot("mlpipe.data.preprocessing"),
    "augmentations": Slot(
        "mlpipe.data.augmentations",
        ("torchvision.transforms.v2", "albumentations"),
        "torch.nn.modules.module.Module albumentations.core.transforms_interface.BasicTransform",
    ),
    "device_augmentations": Slot(
        "mlpipe.data.device_augmentations",
        ("torchvision.transforms.v2", "kornia.augmentation"),
        "torch.nn.modules.module.Module",
    ),
    "sampling": Slot("mlpipe.data.sampling"),
    "callbacks": Slot(
        "mlpipe.learn.callbacks",
        ("pytorch_lightning.callbacks", "lightning.pytorch.callbacks"),
        "pytorch_lightning.callbacks.callback.Callback",
    ),
    "logging": Slot("mlpipe.learn.loggers"),
    "tta": Slot("mlpipe.learn.tta"),
    "tune": Slot("mlpipe.learn.tune"),
    "peft": Slot("mlpipe.arch.adapt"),
    "compile": Slot("mlpipe.learn.compiling"),
}


@dataclass(frozen=True)
class Component:
    """A checked function or class with its parameters, not yet imported.

    Attributes:
        slot: The group that it stands in, a key of `SLOTS`.
        target: The dotted name.
        params: The configuration's parameters.
    """

    slot: str
    target: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        """Whether it is its group's `none`."""
        return self.target == f"{SLOTS[self.slot].home}.none"

    def build(self, *late: Any) -> Any:
        """Import the target and call it with the program's positional and the configuration's keyword arguments.

        Raises:
            ConfigError: When the target cannot be imported or is not of the slot's kind.
        """
        slot = SLOTS[self.slot]
        function = _load(self.target)
        if _is_foreign(self.target, slot):
            bases = [f"{base.__module__}.{base.__qualname__}" for base in getattr(function, "__mro__", ())]
            if not set(slot.kind.split()) & set(bases):
                wanted = f"must be a class derived from {slot.kind.replace(' ', ' or ')}"
                raise ConfigError(problem(f"{self.slot}._target_", wanted, got=self.target, fix="name such a class"))
            late = late[: slot.late]
        return function(*late, **self.params)


def check(
    section: str, slot_name: str, node: Any, *, trust: tuple[str, ...] = ()
) -> tuple[Component | None, list[str]]:
    """The component that a section of the configuration describes, and a sentence for everything wrong with it.

    Args:
        section: The section's key, for the sentences.
        slot_name: The slot that it must fit, a key of `SLOTS`.
        node: The section: a mapping with `_target_` and parameters.
        trust: Further modules that are allowed.
    """
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        return None, [problem(section, "must be a mapping with a _target_", got=node, fix="choose one of its options")]
    target = node["_target_"]
    if target == "???":
        fix = f"add {section}._target_=MODULE.FUNCTION"
        return None, [problem(f"{section}._target_", "a value is needed", fix=fix)]
    params = {key: value for key, value in node.items() if key != "_target_"}
    if sentence := _refusal(section, target, SLOTS[slot_name], trust):
        return None, [sentence]
    signature = signatures.read(target)
    if signature is None:
        return None, [_unknown_target(section, target)]
    return Component(slot_name, target, params), signature.problems(section, params)


def _refusal(section: str, target: str, slot: Slot, trust: tuple[str, ...]) -> str:
    """Why a target is not allowed here; empty when it is."""
    inside = target.startswith(f"{slot.home}.") and not any(part.startswith("_") for part in target.split("."))
    module = target.rpartition(".")[0]
    if inside or _is_foreign(target, slot) or _under(module, trust) or _in_current_folder(module):
        return ""
    allowed = listing([slot.home, *slot.foreign])
    return problem(
        f"{section}._target_",
        "is not allowed here",
        got=target,
        fix=f"use a name from {allowed}, from a module in this folder, or add trust=[{module or target}]",
    )


def _is_foreign(target: str, slot: Slot) -> bool:
    return _under(target.rpartition(".")[0], slot.foreign)


def _under(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def _in_current_folder(module: str) -> bool:
    """Whether the module is the user's own: its file lies in the current folder and shadows no installed package."""
    if not module or module.split(".")[0] == "mlpipe":
        return False
    file = signatures.module_file(module)
    if file is None:
        return False
    here = Path.cwd().resolve()
    inside = file.resolve()
    return inside.is_relative_to(here) and "site-packages" not in inside.relative_to(here).parts


def _unknown_target(section: str, target: str) -> str:
    module, _, name = target.rpartition(".")
    file = signatures.module_file(module) if module else None
    if file is None:
        fix = "name an existing module and a function or class in it"
    else:
        names = signatures.public_names(file)
        fix = did_you_mean(name, names, otherwise=f"{module} has {listing(names)}")
    return problem(f"{section}._target_", "there is no such function or class", got=target, fix=fix)


def _load(target: str) -> Any:
    module, _, name = target.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(problem("_target_", "cannot be imported", got=target, fix=str(error))) from error
