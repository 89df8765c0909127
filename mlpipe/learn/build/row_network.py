"""Networks for rows of named inputs: your own class or a list of layers, with outputs used as they are."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from mlpipe import current_folder
from mlpipe.arch import weights as weight_files
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.sequential import sequential_from_config
from mlpipe.data import imports
from mlpipe.errors import ConfigError, DataError, listing, problem
from mlpipe.learn.losses.keras import as_logits
from mlpipe.learn.own_parts.own_code import called

Gives = Literal["logits", "softmax", "sigmoid", "class_logits", "label_logits"]
Inputs = Sequence[tuple[str, tuple[int, ...]]]
_KINDS = {"softmax": "classification", "sigmoid": "multilabel", "logits": "regression"}
# Converts the logits of one of several outputs to probabilities, because several outputs are returned side by side.
_OF_LOGITS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "class_logits": partial(torch.softmax, dim=1),
    "label_logits": torch.sigmoid,
}


class RecordNetwork(nn.Module):
    """Splits vectors of records into named inputs, and returns the module's outputs as logits or numbers.

    Args:
        module: Takes the inputs by name, or a single input by position; returns a tensor, or tensors by output.
        inputs: Name and shape of each input, in their order in the vector.
        outputs: The outputs that are trained.
        head: The name of the network's head.
        gives: The form of each output: logits or numbers, probabilities of classes, or of labels; for several outputs also
            `class_logits` and `label_logits`.
        chosen: The one of several outputs that is returned; None: all of them.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Inputs,
        outputs: Sequence[str],
        head: str,
        gives: Sequence[Gives],
        chosen: str | None = None,
    ) -> None:
        super().__init__()
        self.module, self._inputs, self._head, self._chosen = module, tuple(inputs), head, chosen
        self._outputs, self._gives = tuple(outputs), tuple(gives)
        self._by_name = {name for name, _ in inputs} <= set(inspect.signature(module.forward).parameters)

    @property
    def chosen(self) -> str | None:
        """The one of several outputs that is returned; None: all of them."""
        return self._chosen

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits or numbers of one output, shape (n, outputs), or several outputs side by side, logits as probabilities.

        Args:
            images: The vectors, shape (n, 1, length, 1).
        """
        raw = self.raw(images.reshape(len(images), -1))
        outputs = {name: tensor.reshape(len(tensor), -1).float() for name, tensor in raw.items()}
        gives = dict(zip(self._outputs, self._gives, strict=True))
        if self._chosen is None and len(outputs) > 1:
            plain = [
                _OF_LOGITS[gives[name]](tensor) if gives[name] in _OF_LOGITS else tensor
                for name, tensor in outputs.items()
            ]
            return {self._head: torch.cat(plain, 1)}
        name = self._chosen or self._outputs[0]
        return {self._head: as_logits(outputs[name], _KINDS.get(gives[name], "regression"))}

    def raw(self, vectors: Tensor) -> dict[str, Tensor]:
        """Return the module's own outputs, in their own shapes, for vectors of shape (n, length)."""
        parts, start = {}, 0
        for name, shape in self._inputs:
            size = math.prod(shape)
            parts[name] = vectors[:, start : start + size].reshape(len(vectors), *shape)
            start += size
        outputs = self.module(**parts) if self._by_name else self.module(*parts.values())
        if isinstance(outputs, Mapping):
            return {name: outputs[name] for name in self._outputs}
        several = outputs if isinstance(outputs, list | tuple) else (outputs,)
        tensors = dict(zip(getattr(self.module, "output_names", None) or self._outputs, several, strict=True))
        return {name: tensors[name] for name in self._outputs}


def records(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    network: dict[str, Any],
    output: str | list[str],
    gives: Gives | list[Gives] = "logits",
    trust: list[str] | None = None,
    pretrained: bool = False,
    weights: str | None = None,
) -> RecordNetwork:
    """The module made by a function or class, for records; nothing is added to it.

    The function is called with its parameters and those from the task's transformer. The module's forward takes the inputs
    by name, or a single input by position, in their shape in the records, with the batch first.

    Args:
        heads: The head of each target; given by the program.
        pixels: Facts about the records; given by the program.
        network: `{import: MODULE.NAME, params: {...}}`, or `{import: sequential_from_config, params: {layers: [...]}}`.
        output: The output to train, or several, in the order in which the network returns them.
        gives: The form of the output, or of each: `softmax` and `sigmoid` are probabilities, which for a single output are
            stored as logarithms; `class_logits` and `label_logits` mark those of several outputs that are logits.
        trust: Modules outside the current folder whose code may run.
        pretrained: Must be false.
        weights: A weights file for the whole network.

    Raises:
        ConfigError: When the function fails, or its module has other inputs or outputs.
        DataError: When the code is not the user's own and not trusted, or a weights file does not fit.
    """
    if pretrained:
        raise ConfigError(problem("arch.pretrained", "a network for records has no weights", got=True, fix="use false"))
    if not pixels.inputs:
        fix = "use task=records, or another arch"
        raise ConfigError(problem("arch", "is for records, the task has images", fix=fix))
    if len(heads) > 1:
        raise ConfigError(problem("mode.multitask", "is not available for records", fix="leave it out"))
    module = built(network, pixels.parameters, trust or ())
    ((head, target_head),) = heads.items()
    names, output_kinds = ([value] if isinstance(value, str) else value for value in (output, gives))
    record_network = RecordNetwork(module, pixels.inputs, names, head, cast("list[Gives]", output_kinds), pixels.output)
    _check(record_network, network["import"], pixels.inputs, names, target_head.size)
    if weights is not None:
        match = weight_files.load(record_network, weight_files.read(current_folder.expanded(weights)))
        if lost := [name for name in record_network.state_dict() if name not in match.loaded]:
            wrong = f"lacks {listing(lost, most=3)} of the network"
            raise DataError(problem("arch.weights", wrong, got=weights, fix="choose the arch that it was saved from"))
    return record_network


def built(network: Mapping[str, Any], more: Mapping[str, Any], trust: Sequence[str]) -> nn.Module:
    """Build the module of an import block.

    Args:
        network: The block.
        more: Parameters in addition to the block's.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When a parameter is given twice, or the function fails or returns no module.
        DataError: When the code is not the user's own and not trusted.
    """
    path, params = network.get("import"), dict(network.get("params") or {})
    if not isinstance(path, str):
        raise ConfigError(problem("arch.network", "has no import", got=dict(network), fix="{import: MODULE.NAME}"))
    if twice := sorted(set(params) & set(more)):
        wrong = f"{listing(twice)} comes from the transformer too"
        raise ConfigError(problem("arch.network.params", wrong, fix="leave it out of the one or the other"))
    function = imports.resolve("arch.network", path, {"sequential_from_config": sequential_from_config}, trust)
    module = called("arch.network", path, function, **params, **more)
    if not isinstance(module, nn.Module):
        got = type(module).__name__
        raise ConfigError(problem("arch.network", f"{path} gives no network", got=got, fix="return a torch.nn.Module"))
    return module


def _check(network: RecordNetwork, path: str, inputs: Inputs, outputs: Sequence[str], size: int) -> None:
    """Try the network once, so that a misfit is reported with its reason."""
    names = [name for name, _ in inputs]
    accepted = inspect.signature(network.module.forward).parameters
    if len(names) > 1 and not set(names) <= set(accepted):
        wrong = f"the forward of {path} takes {listing(accepted)}, the records have {listing(names)}"
        raise ConfigError(problem("arch.network", wrong, fix="name its parameters like the inputs"))
    was_training = network.training
    network.eval()
    with torch.no_grad():
        vectors = torch.zeros(2, sum(math.prod(shape) for _, shape in inputs))
        tensors = called(
            "arch.network", f"{path} with inputs {_inputs_text(inputs)}", _tried, network, vectors, outputs
        )
    network.train(was_training)
    fits = all(tensor.ndim > 0 and len(tensor) == 2 for tensor in tensors)
    used_tensors = tensors if network.chosen is None else [tensors[outputs.index(network.chosen)]]
    if not fits or sum(math.prod(tensor.shape[1:]) for tensor in used_tensors) != size:
        shapes = " and ".join(str(list(tensor.shape[1:])) for tensor in tensors)
        wrong = f"{path} gives {shapes} for a record, the targets have {size}"
        raise ConfigError(problem("arch.network", wrong, fix="let its last layer, or task.outputs, fit"))


def _tried(network: RecordNetwork, vectors: Tensor, outputs: Sequence[str]) -> list[Tensor]:
    names = set(getattr(network.module, "output_names", None) or outputs)
    if names != set(outputs):
        wrong = f"the network has the outputs {listing(sorted(names))}"
        raise ConfigError(problem("task.output", wrong, got=listing(outputs), fix="let both have the same names"))
    return list(network.raw(vectors).values())


def _inputs_text(inputs: Inputs) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in inputs)
