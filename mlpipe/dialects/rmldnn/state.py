"""State of the translation of an rmldnn configuration: the results of its sections."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe import current_folder
from mlpipe.data.sources.listings import array_files
from mlpipe.dialects import translation
from mlpipe.dialects.rmldnn.network import Network
from mlpipe.errors import DataError


@dataclass
class State(translation.State):
    """State during a translation.

    Attributes:
        source: The object `neural_network`, checked.
        network: Facts from its layers.
        steps: Native steps for every image, always applied or in training only.
        random: Names of random transforms.
    """

    source: Mapping[str, Any]
    network: Network
    steps: list[dict[str, Any]] = field(default_factory=list)
    random: list[str] = field(default_factory=list)

    def refuse(self, key: str, wrong: str, *, got: object = None, fix: str = "") -> None:
        """Note a problem with the key in the file."""
        super().refuse(f"neural_network.{key}", wrong, got=got, fix=fix)

    def section(self, name: str) -> Mapping[str, Any]:
        """Return one of the nested objects; empty if it is missing."""
        section = self.source.get(name) or {}
        assert isinstance(section, Mapping)
        return section

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        key = "num_examples" if self.is_generated else "input_path"
        return key in self.section("data") and self.source.get("num_epochs", 1) > 0

    @property
    def evaluates(self) -> bool:
        """Whether there are test samples."""
        return ("num_test_examples" if self.is_generated else "test_input_path") in self.section("data")

    @property
    def is_generated(self) -> bool:
        """Whether samples are generated initial values."""
        data = self.section("data")
        return str(data.get("input_type") or data.get("type") or "").lower() == "pde"

    @property
    def is_of_masks(self) -> bool:
        """Whether every pixel has a class: targets are masks, or there are none and the network outputs maps.

        Losses of classes also imply this without `target_is_mask`; MSE with a linear output always compares numbers.
        """
        data, loss = self.section("data"), str(self.section("loss").get("function", "")).lower()
        targets = str(data.get("target_type") or data.get("type") or "").lower()
        of_classes = loss in ("nll", "dice", "jaccard", "focal", "lovasz")
        if not self.trains and not self.has_targets:
            # Without targets both have the same outputs; a softmax, or a single sigmoid, means classes.
            ends = self.network.end in ("softmax", "log_softmax")
            ends = ends or (self.network.end == "sigmoid" and self.network.units == 1)
            return self.network.maps and (ends or of_classes or bool(data.get("target_is_mask")))
        if targets not in ("images", "numpy", "hdf5"):
            return False
        if loss == "mse" and self.network.end == "linear":
            return False
        # Slices only support masks.
        of_classes = of_classes or ("slicers" in data and loss in ("bce", "mse"))
        return bool(data.get("target_is_mask")) or (of_classes and (self.network.maps or targets == "images"))

    @property
    def is_of_boxes(self) -> bool:
        """Whether objects are detected, according to the loss or the type of targets."""
        function = str(self.section("loss").get("function", "")).lower()
        return function == "yolov3" or str(self.section("data").get("target_type", "")).lower() == "boxes"

    @property
    def solves(self) -> bool:
        """Whether the loss is an equation that the network solves."""
        return str(self.section("loss").get("function", "")).lower().startswith(("poisson", "burgers"))

    @property
    def draws(self) -> bool:
        """Whether the loss trains a generator, for which each sample is its own target."""
        return str(self.section("loss").get("function", "")).lower() == "wasserstein"

    @property
    def is_of_images(self) -> bool:
        """Whether targets are images or arrays of numbers, but not masks or class numbers."""
        data = self.section("data")
        targets = str(data.get("target_type") or data.get("type") or "").lower()
        if self.is_of_masks or targets in ("labels", "mnist"):
            return False
        if self.solves or self.draws:
            return True
        if not self.trains and not self.has_targets:
            return self.network.maps
        return targets == "images" or (targets in ("numpy", "hdf5") and self.network.maps)

    @property
    def is_of_numbers(self) -> bool:
        """Whether targets are arrays with a number for each output of the network.

        A single sigmoid has classes as targets, for which there is an accuracy, and so have several outputs with a single
        number for each sample.
        """
        data, end = self.section("data"), self.network.end
        targets = str(data.get("target_type") or data.get("type") or "").lower()
        is_class = end in ("softmax", "log_softmax") or (end == "sigmoid" and self.network.units == 1)
        is_mse = str(self.section("loss").get("function", "")).lower() == "mse"
        if self.is_of_masks or self.is_of_images or "slicers" in data:
            return False
        if targets not in ("numpy", "hdf5") or not is_mse or is_class or not (self.trains or self.has_targets):
            return False
        return (self.network.units or 1) == 1 or not self._has_single_targets

    @property
    def _has_single_targets(self) -> bool:
        """Whether the first target that is on this machine is a single number."""
        data = self.section("data")
        path = data.get("target_path" if self.trains else "test_target_path")
        if not isinstance(path, str):
            return False
        with contextlib.suppress(DataError):
            _, first = next(array_files.arrays(current_folder.expanded(path), "data.target_path"))
            return bool(first.size == 1)
        return False

    @property
    def has_targets(self) -> bool:
        """Whether test samples have targets."""
        data = self.section("data")
        labels = str(data.get("target_type", "")).lower() == "labels"
        is_mnist = str(data.get("type") or data.get("target_type") or "").lower() == "mnist"
        return labels or is_mnist or "test_target_path" in data or self.solves or self.draws
