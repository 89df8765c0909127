"""Features of a frozen backbone, computed once for all images, folds and epochs, and stored beside the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from mlpipe import files, limits
from mlpipe.arch import adapt
from mlpipe.arch.classifier import Classifier
from mlpipe.config.schema import Recipe
from mlpipe.data import code_digests
from mlpipe.data.cache.packs import Pack
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.errors import first_line

log = logging.getLogger("mlpipe")

_BATCH = 64
# Attributes that do not affect features: those of every torch module, and a mark that matters in training only.
_COMMON = frozenset({*vars(nn.Module()), adapt.KEEPS})


def applies(recipe: Recipe, network: nn.Module) -> bool:
    """Whether features are the same in every epoch: only heads are trained, and images are not changed randomly."""
    if recipe.augmentations.cpu or recipe.augmentations.device or not isinstance(network, Classifier):
        return False
    # Stages may unfreeze the backbone, and low-rank additions are stored as different backbone weights for each fold.
    if not recipe.slicing.is_none or not recipe.peft.is_none or recipe.stages:
        return False
    return not any(parameter.requires_grad for parameter in network.backbone.parameters())


def inputs(recipe: Recipe, network: nn.Module, pack: Pack, rows: np.ndarray, should_stop: Callable[[], None]) -> Pack:
    """Return a network's inputs for some images: their features if these are always the same, otherwise the images.

    Args:
        recipe: The recipe of the network.
        network: The network, on the device used for computation.
        pack: The cached images.
        rows: The rows that are needed.
        should_stop: Called after every batch; raises to stop.
    """
    if not applies(recipe, network):
        return pack
    assert isinstance(network, Classifier)
    return feature_pack(network, pack, rows, should_stop)


def feature_pack(network: Classifier, pack: Pack, rows: np.ndarray, should_stop: Callable[[], None]) -> Pack:
    """Return the features of some images as a pack whose `images` have shape (samples, features), float32.

    Rows that were not requested are zero. The file is stored beside the images' and named after the backbone's weights, so
    that other folds and runs find it.

    Args:
        network: The network; its backbone is used in evaluation mode.
        pack: The cached images.
        rows: The rows that are needed; a file that lacks one is rewritten with the rows of both.
        should_stop: Called after every batch; raises to stop.
    """
    views = _views(network, pack, rows, should_stop)
    return pack.with_images(views[0] if len(views) == 1 else (views[0] + views[1]) / 2)


def view_features(network: Classifier, pack: Pack, rows: np.ndarray, should_stop: Callable[[], None]) -> np.ndarray:
    """Return the features of each view of images, shape (rows, views, features): the image, and its mirror image if used.

    Args:
        network: As for `feature_pack`; determines whether there is a second view.
        pack: The cached images.
        rows: The rows that are needed.
        should_stop: Called after every batch; raises to stop.
    """
    return np.stack([view[rows] for view in _views(network, pack, rows, should_stop)], axis=1)


def _views(network: Classifier, pack: Pack, rows: np.ndarray, should_stop: Callable[[], None]) -> list[np.ndarray]:
    """Return the features of each view, shape (samples, features), from their files or computed."""
    name, views = _fingerprint(network, pack), []
    for is_mirrored in (False, True)[: 1 + network.mirrored]:
        path = pack.folder / f"features-{name}{'-mirrored' if is_mirrored else ''}.npz"
        known = np.zeros(len(pack), bool)
        values = np.empty((len(pack), 0), np.float32)
        if path.is_file():
            known, values = _stored_features(path, known, values)
        missing = np.setdiff1d(rows, np.flatnonzero(known))
        if len(missing):
            values = _compute_features(network, pack, missing, values, is_mirrored, should_stop)
            known[missing] = True
            with files.durable(path) as temporary, temporary.open("wb") as handle:
                np.savez(handle, known=known, features=values)
            log.debug(f"computed the features of {len(missing)} images: {path.name}")
        views.append(values)
    return views


def _stored_features(path: Path, known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows a file has features of, and the features; the given arrays if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            limits.require_members(stored.zip)
            mask, features = stored["known"], stored["features"]
        fits = mask.shape == known.shape and mask.dtype == bool
        if not (fits and features.ndim == 2 and len(features) == len(known) and features.dtype == np.float32):
            raise ValueError("it has another shape")
        return mask, features
    except (*limits.DAMAGED_ARRAY, KeyError, TypeError, AttributeError) as error:
        log.warning(f"{path}: is damaged ({first_line(error)}); features are computed again")
        return known, values


def _compute_features(
    network: Classifier,
    pack: Pack,
    rows: np.ndarray,
    values: np.ndarray,
    is_mirrored: bool,
    should_stop: Callable[[], None],
) -> np.ndarray:
    device = network.mean.device
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for start in range(0, len(rows), _BATCH):
            chosen = rows[start : start + _BATCH]
            stacked = pack.take_fixed(chosen)
            if stacked.dtype == np.uint16:
                stacked = stacked.astype(np.float32)
            tensor = torch.from_numpy(np.ascontiguousarray(stacked)).movedim(-1, 1).contiguous().to(device)
            features = network.view_features(tensor.flip(-1) if is_mirrored else tensor).float().cpu().numpy()
            if values.shape[1] != features.shape[1]:
                values = np.zeros((len(pack), features.shape[1]), np.float32)
            values[chosen] = features
            should_stop()
    network.train(was_training)
    return values


def _fingerprint(network: Classifier, pack: Pack) -> str:
    """Return a hash of everything that determines the features: backbone, weights, normalisation and preprocessing."""
    state = {**network.backbone.state_dict(), "pixel mean": network.mean, "pixel std": network.std}
    parts = [[name, _tensor_digest(tensor)] for name, tensor in state.items()]
    variant = [pack.rows_key] if pack.rows_key else []
    # Pooling has no weights, but it appears in the structure, or in timm's options.
    options = {name: value for name, value in network.timm_options.items() if not name.startswith("drop")}
    structure = [repr(network.backbone), repr(sorted(options.items())), network.stages is not None]
    structure.append([[name, *_settings(module)] for name, module in network.backbone.named_modules()])
    # What a class of the user's own computes is in no weight and in no setting.
    own = code_digests.of_own_modules(type(module).__module__ for module in network.backbone.modules())
    structure += [own] if own else []
    key = [*structure, torch.__version__, *_preprocessing_key(pack.preprocessing), parts, *variant]
    return files.digest(key)[:16]


def _tensor_digest(tensor: torch.Tensor) -> str:
    return files.digest_bytes(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def _settings(module: nn.Module) -> list[Any]:
    """Return a module's class and attributes other than weights as plain data, because few modules print what they compute."""
    own = {name: value for name, value in vars(module).items() if name not in _COMMON}
    # Buffers that are not part of the state.
    buffers = {name: module.get_buffer(name) for name in sorted(module._non_persistent_buffers_set)}
    return [_plain(type(module), ()), _plain({**own, **buffers}, (id(module),))]


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    """Convert a value to plain data that is the same in every process.

    Args:
        value: Any attribute of a module.
        around: The ids of the objects that contain it.
    """
    inside = (*around, id(value))
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            return repr(value)
        case torch.Tensor():
            return [str(value.dtype), list(value.shape), _tensor_digest(value)]
        case np.ndarray():
            return [str(value.dtype), list(value.shape), files.digest_bytes(value.tobytes())]
        case nn.Module() | type():
            kind = value if isinstance(value, type) else type(value)
            return f"{kind.__module__}.{kind.__qualname__}"
        case _ if id(value) in around:
            return "itself"
        case Mapping():
            return [[_plain(key, inside), _plain(item, inside)] for key, item in value.items()]
        case list() | tuple():
            return [_plain(item, inside) for item in value]
        case Set():
            return sorted(files.digest(_plain(item, inside)) for item in value)
        case partial():
            return [_plain(part, inside) for part in (value.func, value.args, value.keywords)]
        case MethodType():
            return [_plain(value.__func__, inside), _plain(type(value.__self__), inside)]
        case FunctionType():
            code = value.__code__
            constants = [constant for constant in code.co_consts if isinstance(constant, int | float | str)]
            # The cell of a name without a value is empty; its content cannot be read.
            cells = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
            parts = [value.__module__, value.__qualname__, code.co_code, code.co_names, constants, cells]
            return [_plain(part, inside) for part in (*parts, value.__defaults__, value.__kwdefaults__)]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    content = getattr(value, "__dict__", None)
    if content is None:
        # An address differs between processes.
        content = "" if " at 0x" in repr(value) else repr(value)
    return [_plain(type(value), inside), _plain(content, inside)]


def _preprocessing_key(preprocessing: Preprocessing) -> list[Any]:
    """Return what determines how cached images become network inputs; transforms by their parameters."""
    before = [] if preprocessing.before is None else [preprocessing.before.key()]
    return [repr(replace(preprocessing, before=None)), *before]
