"""Test-time augmentation: predict each image from several views, mirrored, turned, cropped, or made by your own code.

The mean of probabilities is stored as its logarithm: log-probabilities of classes are valid logits, and so is the logit of
a label's mean probability. Numbers are averaged directly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.config.components import Component
from mlpipe.data.augment import batches as device_augmentations
from mlpipe.data.augment.batches import DeviceStep
from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem
from mlpipe.learn.kind import of as of_kind
from mlpipe.learn.own_parts.own_code import Code, called

Mix = Literal["probabilities", "logits"]
# Maps images (n, channels, height, width) to as many images of the same size.
View = Callable[[Tensor], Tensor]

_CROP = 0.875
_TURNING = frozenset(("rot90", "rot270", "transpose", "antitranspose"))


@dataclass(frozen=True)
class Views:
    """The views of an image over which its prediction is averaged.

    Attributes:
        views: The views.
        mix: Whether probabilities or logits are averaged.
        undo: The inverse of each view, for outputs of pixels; empty: views cannot be undone.
    """

    views: tuple[View, ...]
    mix: Mix = "probabilities"
    undo: tuple[View, ...] = ()

    def predict(self, network: Callable[[Tensor], Tensor], images: Tensor, kind: str) -> Tensor:
        """Return the mean of the network's outputs over all views, shape (n, outputs) or (n, classes, height, width), float32.

        Args:
            network: Maps images to logits or numbers of that shape.
            images: Shape (n, channels, height, width).
            kind: The kind of predictions.

        Raises:
            ConfigError: When masks are predicted from views that cannot be undone, or predictions cannot be averaged.
        """
        _require_mean(kind)
        if kinds.of(kind).is_dense:
            _require_undo(self)
            turned = [back(network(view(images))) for view, back in zip(self.views, self.undo, strict=True)]
            return mean_of(turned, kind, self.mix)
        return mean_of([network(view(images)) for view in self.views], kind, self.mix)


@dataclass(frozen=True)
class _OwnViews(Views):
    """Views whose number is determined by a function."""

    name: str = ""
    function: Callable[..., Any] | None = None
    peak: float = 255.0

    def predict(self, network: Callable[[Tensor], Tensor], images: Tensor, kind: str) -> Tensor:
        """As for `Views`.

        Raises:
            ConfigError: When the function fails or does not return images of the same size.
        """
        assert self.function is not None
        _require_mean(kind)
        if kinds.of(kind).is_dense:
            _require_undo(self)
        views_by_image: list[list[Tensor]] = []
        for image in images:
            values = image.permute(1, 2, 0).float().cpu().numpy()
            pixels = values.round().clip(0, 255).astype(np.uint8) if self.peak == 255 else values
            result = called("tta", self.name, self.function, pixels.copy())
            arrays = [np.asarray(item) for item in (result if isinstance(result, list | tuple) else [result])]
            if (
                not arrays
                or any(array.shape != pixels.shape for array in arrays)
                or (views_by_image and len(arrays) != len(views_by_image[0]))
            ):
                fix = f"return as many arrays of shape {list(pixels.shape)} for every image"
                got = [list(array.shape) for array in arrays]
                raise ConfigError(problem("tta", f"{self.name} gives no views of an image", got=got, fix=fix))
            views_by_image.append([torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1) for array in arrays])
        batches = [torch.stack(view).to(images) for view in zip(*views_by_image, strict=True)]
        return mean_of([network(batch) for batch in batches], kind, self.mix)


def mean_of(outputs: Sequence[Tensor], kind: str, mix: Mix = "probabilities") -> Tensor:
    """Return the mean of several outputs for the same images, shape (n, outputs).

    Args:
        outputs: Logits or numbers, each of shape (n, outputs).
        kind: The kind of predictions: classes by softmax over the outputs, labels by a sigmoid of each, or numbers.
        mix: Whether probabilities or logits are averaged; for numbers both are the same.
    """
    stacked = torch.stack([part.float() for part in outputs])
    facts = kinds.of(kind)
    if mix == "logits" or not facts.has_probabilities:
        return stacked.mean(0)
    if facts.has_classes:
        return _log_mean(stacked.log_softmax(2))
    return _log_mean(nn.functional.logsigmoid(stacked)) - _log_mean(nn.functional.logsigmoid(-stacked))


def refuse_views(section: Component) -> None:
    """Refuse prediction from several views, for tasks in which the target of a view differs from that of its sample.

    Args:
        section: The recipe's `tta` section.

    Raises:
        ConfigError: When it specifies views.
    """
    if section.name not in ("none", "stored"):
        wrong = "a view of a sample has another solution"
        raise ConfigError(problem("tta", wrong, got=section.name, fix="use tta=none"))


def none(peak: float) -> None:
    """Predict from each image as it is.

    Args:
        peak: The value of white.
    """


def stored(peak: float) -> Views:
    """The views of each record's recipe, which the program inserts.

    Args:
        peak: The value of white.

    Raises:
        ConfigError: When nothing was inserted, because there are no stored records.
    """
    raise ConfigError(problem("tta=stored", "is for predicting with stored records", fix="choose another option"))


def flips(peak: float, *, vertical: bool = False, mix: Mix = "probabilities") -> Views:
    """An image and its mirror image (Krizhevsky et al. 2012).

    Args:
        peak: The value of white.
        vertical: Also mirror top and bottom: four views.
        mix: Whether probabilities or logits are averaged.
    """
    return _views_by_name(["identity", "horizontal", *(["vertical", "rot180"] if vertical else [])], mix)


def rotate(peak: float, *, mix: Mix = "probabilities") -> Views:
    """An image turned by 0, 90, 180 and 270 degrees.

    Args:
        peak: The value of white.
        mix: Whether probabilities or logits are averaged.
    """
    return _views_by_name(["identity", "rot90", "rot180", "rot270"], mix)


def d4(peak: float, *, mix: Mix = "probabilities") -> Views:
    """All eight turns and mirror images of a square, the dihedral group D4 (Cohen & Welling 2016).

    Args:
        peak: The value of white.
        mix: Whether probabilities or logits are averaged.
    """
    names = ["identity", "rot90", "rot180", "rot270", "horizontal", "vertical", "transpose", "antitranspose"]
    return _views_by_name(names, mix)


def crop(peak: float, *, scale: Annotated[float, "> 0", "<= 1"] = _CROP, mix: Mix = "probabilities") -> Views:
    """The four corners and the middle of an image, resized to the image's size (Krizhevsky et al. 2012).

    Args:
        peak: The value of white.
        scale: A crop's height and width as a share of the image's.
        mix: Whether probabilities or logits are averaged.
    """
    return Views(tuple(partial(_cropped, place=place, scale=scale) for place in _PLACES), mix)


def views(peak: float, *, views: list[str | dict[str, Any]], mix: Mix = "probabilities") -> Views:
    """Views by name, or transforms of whole batches as in `augmentations.device.pipeline`.

    A random transform draws the same values for every image and every time, so that predictions do not depend on the order
    of images: the k-th view uses seed k.

    Args:
        peak: The value of white.
        views: Names of `NAMED`, or transforms as mappings with a `_target_`.
        mix: Whether probabilities or logits are averaged.

    Raises:
        ConfigError: For an unknown name, or when there is no view.
    """
    if all(isinstance(view, str) and view in NAMED for view in views) and views:
        return _views_by_name([str(view) for view in views], mix)
    built_views: list[View] = []
    entries: list[object] = list(views)
    for number, view in enumerate(entries):
        if isinstance(view, Component):
            built_views.append(_seeded_view(device_augmentations.adapt(view.build(), peak), number))
        elif isinstance(view, str) and view in NAMED:
            built_views.append(_view(view))
        else:
            fix = did_you_mean(str(view), NAMED, otherwise=f"views: {listing(NAMED, most=20)}")
            raise ConfigError(problem(f"tta.views[{number}]", "unknown view", got=view, fix=fix))
    if not built_views:
        raise ConfigError(problem("tta.views", "must name a view", got=views, fix="for example [identity,horizontal]"))
    return Views(tuple(built_views), mix)


def own(
    peak: float,
    *,
    function: str,
    modules: str | None = None,
    imports: list[str] | None = None,
    stand_ins: list[str] | None = None,
    trust: list[str] | None = None,
    mix: Mix = "probabilities",
) -> Views:
    """Views of each image made by your own function.

    Args:
        peak: The value of white.
        function: The function's name; it gets an array (height, width, channels), uint8 if white is 255, and returns an array
            of this shape or a list of such arrays, the same number for every image.
        modules: Folder of Python files with the function.
        imports: Modules to import in addition.
        stand_ins: Packages whose imports are replaced by `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.
        mix: Whether probabilities or logits are averaged.

    Raises:
        DataError: When the code is not trusted, cannot be imported, or has no such function.
    """
    own_function = Code(modules, imports or (), stand_ins or (), trust or ()).function("tta", function)
    return _OwnViews((), mix, name=function, function=own_function, peak=peak)


def label(section: Component) -> str:
    """Return a short description of the choice for a record, such as `flips (vertical=True)`; `none` for none."""
    name = section.target.rpartition(".")[2]
    if name == "own":
        # The location of its function differs between machines.
        return f"own ({section.params['function']})"
    parts = []
    for key, value in section.params.items():
        if isinstance(value, list):
            value = "+".join(item.target.rpartition(".")[2] if isinstance(item, Component) else item for item in value)
        parts.append(f"{key}={value}")
    return f"{name} ({', '.join(parts)})" if parts else name


def _views_by_name(names: list[str], mix: Mix) -> Views:
    undo = tuple(_view(_BACK.get(name, name)) for name in names) if not set(names) & set(_PLACES) else ()
    return Views(tuple(_view(name) for name in names), mix, undo)


def _require_undo(views: Views) -> None:
    if not views.undo:
        fix = "use tta=flips, tta=rotate or tta=d4"
        raise ConfigError(problem("tta", "these views of an image cannot be undone on its mask or target", fix=fix))


def _require_mean(kind: str) -> None:
    if not of_kind(kind).VIEWS_HAVE_MEAN:
        noun = kinds.of(kind).words.TARGETS
        fix = f"use tta=none; mml post joins the {noun} of several folds"
        raise ConfigError(problem("tta", f"{noun} in several views of an image are not joined", fix=fix))


def _view(name: str) -> View:
    return partial(_turned, name=name) if name in _TURNING else NAMED[name]


def _log_mean(logs: Tensor) -> Tensor:
    """Return the logarithm of the mean over the first axis of exponentiated values."""
    return logs.logsumexp(0) - math.log(len(logs))


def _turned(images: Tensor, name: str) -> Tensor:
    height, width = images.shape[2:]
    if height != width:
        wrong = f"{name} turns images on their side, and these are {height} x {width}"
        raise DataError(problem("tta", wrong, fix="use tta=hv, or images of equal height and width"))
    return NAMED[name](images)


def _cropped(images: Tensor, place: str, scale: float = _CROP) -> Tensor:
    height, width = images.shape[2:]
    down, across = max(round(height * scale), 1), max(round(width * scale), 1)
    rows = {"top": 0, "bottom": height - down}.get(place.partition("_")[0], (height - down) // 2)
    columns = {"left": 0, "right": width - across}.get(place.partition("_")[2], (width - across) // 2)
    part = images[:, :, rows : rows + down, columns : columns + across].float()
    return nn.functional.interpolate(part, size=(height, width), mode="bilinear", antialias=True)


def _seeded_view(step: DeviceStep, seed: int) -> View:
    def transform(images: Tensor) -> Tensor:
        changed = []
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            for image in images:
                torch.manual_seed(seed)
                changed.append(step(image[None], torch.zeros(1, 1, device=images.device), 1)[0])
        return torch.cat(changed)

    return transform


# The view that undoes another one; other views undo themselves.
_BACK = {"rot90": "rot270", "rot270": "rot90"}
_PLACES = ("top_left", "top_right", "bottom_left", "bottom_right", "middle")
NAMED: dict[str, View] = {
    "identity": lambda images: images,
    "horizontal": lambda images: images.flip(3),
    "vertical": lambda images: images.flip(2),
    "rot90": lambda images: images.rot90(1, (2, 3)),
    "rot180": lambda images: images.flip(2, 3),
    "rot270": lambda images: images.rot90(3, (2, 3)),
    "transpose": lambda images: images.transpose(2, 3),
    "antitranspose": lambda images: images.rot90(2, (2, 3)).transpose(2, 3),
    **{place: partial(_cropped, place=place) for place in _PLACES},
}
