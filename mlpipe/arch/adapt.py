"""Partial training of a network: freeze its first stages, or train low-rank additions (LoRA) to frozen weights.

Weight files hold the low-rank additions merged into their base weights, so that prediction needs only the plain network.
The saved state of a training keeps them separate, so that the training resumes exactly.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Annotated, Any

from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlpipe.errors import ConfigError, did_you_mean, listing, problem

_BACKBONE = "backbone."
# A parameter name that timm assigns to no layer, as it does for the head of a network.
_UNMATCHED = "~"
# Attribute that marks a batch normalisation whose statistics stay fixed while its scale and shift are trained.
KEEPS = "keeps_statistics"


class Added(nn.Module):
    """A frozen layer plus a trainable low-rank addition: y = base(x) + scale * up(down(dropout(x))).

    `weight` and `bias` are those of the merged layer, for networks that read them instead of calling the layer.

    Args:
        base: A linear layer, or a convolution without groups.
        rank: Rows of the first factor. The second factor starts at zero, so that training starts from the base layer.
        scale: Factor of the addition.
        dropout: Dropout rate on the input of the addition.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.rank, self.scale = rank, scale
        self.dropout = nn.Dropout(dropout)
        self.down: nn.Linear | nn.Conv2d
        self.up: nn.Linear | nn.Conv2d
        if isinstance(base, nn.Linear):
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)
        else:
            shape: dict[str, Any] = {
                key: getattr(base, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
            }
            self.down = nn.Conv2d(base.in_channels, rank, bias=False, **shape)
            self.up = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the base layer plus the addition."""
        added: Tensor = self.up(self.down(self.dropout(x)))
        plain: Tensor = self.base(x)
        return plain + self.scale * added

    @property
    def weight(self) -> Tensor:
        """The merged weights, in the shape of the base's."""
        up, down = self.up.weight.flatten(1), self.down.weight.flatten(1)
        return self.base.weight + self.scale * (up @ down).view_as(self.base.weight)

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return self.base.bias


def none(network: nn.Module) -> None:
    """Leave the network as it is.

    Args:
        network: The network.
    """


def lora(
    network: nn.Module,
    *,
    layers: list[str],
    rank: Annotated[int, ">= 1"] = 8,
    alpha: Annotated[float, "> 0"] = 16.0,
    dropout: Annotated[float, ">= 0", "< 1"] = 0.0,
) -> None:
    """Freeze the backbone and train low-rank additions to its layers together with the heads (LoRA; Hu et al. 2022).

    Linear layers and ungrouped convolutions can have additions; other layers that a pattern matches stay frozen. The
    first factor of a convolution uses its kernel size, the second is a 1 x 1 convolution. The frozen backbone keeps its
    batch statistics and uses no dropout.

    Args:
        network: The network, changed in place; set by the program.
        layers: Name patterns of layers in the backbone, such as `*attn.qkv`; `*` matches anything.
        rank: Rank of each addition; values above the smaller side of the layer's matrix bring nothing.
        alpha: Additions are scaled by alpha / rank.
        dropout: Dropout rate on the input of each addition.

    Raises:
        ConfigError: When the network has no backbone, or a pattern matches no layer that can have an addition.
    """
    body = getattr(network, "backbone", None)
    if not isinstance(body, nn.Module):
        raise ConfigError(problem("peft=lora", "the network has no backbone to add to", fix="use peft=none"))
    names = [
        name
        for name, module in body.named_modules()
        if type(module) in (nn.Linear, nn.Conv2d) and _is_ungrouped(module)
    ]
    chosen = []
    for pattern in layers:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            fix = did_you_mean(pattern, names, otherwise=f"layers are {listing(names, most=6)}")
            raise ConfigError(problem("peft.layers", "matches no linear layer or convolution", got=pattern, fix=fix))
        chosen += matches
    body.requires_grad_(False)
    for name in dict.fromkeys(chosen):
        parent, _, last = name.rpartition(".")
        layer = body.get_submodule(name)
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        setattr(body.get_submodule(parent), last, Added(layer, rank, alpha / rank, dropout))


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the network's state with all additions merged, under the tensor names of a network without additions."""
    state: Mapping[str, Tensor] = network.state_dict()
    merged = dict(state)
    for name, module in network.named_modules():
        if isinstance(module, Added):
            for key in [key for key in merged if key.startswith(f"{name}.")]:
                del merged[key]
            merged[f"{name}.weight"] = module.weight.detach()
            if module.bias is not None:
                merged[f"{name}.bias"] = module.bias.detach()
    return {key: merged[key] for key in merged}


def added_parameter_count(network: nn.Module) -> int:
    """Return the number of parameters in the network's additions."""
    return sum(
        parameter.numel()
        for addition in additions(network)
        for parameter in (*addition.down.parameters(), *addition.up.parameters())
    )


def additions(network: nn.Module) -> list[Added]:
    """Return the network's low-rank additions."""
    return [module for module in network.modules() if isinstance(module, Added)]


def freeze(network: nn.Module, part: bool | str | int) -> None:
    """Freeze all or the first stages of the network's backbone.

    Args:
        network: A network with a `backbone`, changed in place.
        part: False: nothing; True or `backbone`: the whole backbone; a number: all but that many last stages, as timm
            counts them (the stem is the first stage; each block of a transformer is a stage).

    Raises:
        ConfigError: When the stages are unknown, or there are not that many.
    """
    if part is False:
        return
    if part is True or part == "backbone":
        network.get_submodule("backbone").requires_grad_(False)
        return
    layers = layer_numbers(network, coarse=True)
    if layers is None:
        raise ConfigError(problem("arch.freeze", "the stages of this network are not known", got=part, fix="use true"))
    stages = max(layers.values()) + 1
    if int(part) >= stages:
        fix = f"use 1 to {stages - 1}, true or false"
        raise ConfigError(problem("arch.freeze", f"the network has {stages} stages", got=part, fix=fix))
    parameters = dict(network.named_parameters())
    for name, stage in layers.items():
        parameters[name].requires_grad_(stage >= stages - int(part))


def freeze_statistics(network: nn.Module, is_frozen: bool) -> None:
    """Freeze or unfreeze the statistics of the backbone's batch normalisations.

    With frozen statistics a layer normalises in training as it does in evaluation; its scale and shift are still trained.
    A head that was fitted to features from evaluation mode then sees the same features when the backbone is unfrozen.

    Args:
        network: The network; nothing changes if it has no `backbone`.
        is_frozen: Whether the statistics are frozen. Takes effect with the next `keep_frozen_in_eval`.
    """
    for layer in _normalisations(network):
        setattr(layer, KEEPS, is_frozen)


def _normalisations(network: nn.Module) -> list[_BatchNorm]:
    body = getattr(network, "backbone", None)
    return [layer for layer in body.modules() if isinstance(layer, _BatchNorm)] if isinstance(body, nn.Module) else []


def layer_numbers(network: nn.Module, *, coarse: bool) -> dict[str, int] | None:
    """Return the layer or stage number of each parameter of a network, counted from the input.

    The heads, and parameters that timm assigns to no layer, belong to the last layer. Stages cover the backbone only.

    Args:
        network: A network with a timm network as its `backbone`.
        coarse: Return stages instead of layers.

    Returns:
        Numbers by parameter name in `network`; None when timm does not know the layers of the backbone.
    """
    body = getattr(network, "backbone", None)
    matcher = getattr(body, "group_matcher", None)
    if not isinstance(body, nn.Module) or matcher is None:
        return None
    inside = [(name, None) for name, _ in body.named_parameters()]
    names = inside if coarse else [*inside, (_UNMATCHED, None)]
    numbers: dict[str, int] = group_with_matcher(iter(names), matcher(coarse=coarse), reverse=True)
    layers = {f"{_BACKBONE}{name}": numbers[name] for name, _ in inside}
    if coarse:
        return layers
    return {name: layers.get(name, numbers[_UNMATCHED]) for name, _ in network.named_parameters()}


def keep_frozen_in_eval(network: nn.Module) -> None:
    """Put frozen parts in evaluation mode, so that their batch norms keep their statistics and they use no dropout.

    A child without parameters, such as dropout, belongs to the children before it: it stays in training mode if one of
    them is trainable. In a backbone with low-rank additions only the dropouts of the additions are in training mode. Batch
    normalisations with frozen statistics (`freeze_statistics`) are in evaluation mode even where they are trainable.

    Args:
        network: A network in training mode; only its `backbone` is changed.
    """
    body = getattr(network, "backbone", None)
    if not isinstance(body, nn.Module):
        return
    if any(isinstance(module, Added) for module in body.modules()):
        body.eval()
        for addition in additions(body):
            addition.dropout.train()
    elif not _learns(body):
        body.eval()
    elif _is_part_frozen(body):
        _set_frozen_to_eval(body)
    for layer in _normalisations(network):
        if getattr(layer, KEEPS, False):
            layer.eval()


def _set_frozen_to_eval(part: nn.Module) -> None:
    """Put the frozen children of a part in evaluation mode, recursively in its partly frozen children."""
    something_learns = False
    for child in part.children():
        if _learns(child):
            something_learns = True
            if _is_part_frozen(child):
                _set_frozen_to_eval(child)
        elif not something_learns or any(True for _ in child.parameters()):
            child.eval()


def _learns(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def _is_part_frozen(part: nn.Module) -> bool:
    return not all(parameter.requires_grad for parameter in part.parameters())


def _is_ungrouped(module: nn.Module) -> bool:
    return not isinstance(module, nn.Conv2d) or module.groups == 1
