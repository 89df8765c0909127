"""State of the translation of an rmldnn configuration: what its sections collect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe.dialects import translation
from mlpipe.dialects.rmldnn.network import Network


@dataclass
class State(translation.State):
    """State of a translation on its way.

    Attributes:
        source: The object `neural_network`, checked.
        network: What its layers say.
        steps: Native steps that every image goes through or may go through in training.
        random: Names of transforms that draw at random.
    """

    source: Mapping[str, Any]
    network: Network
    steps: list[dict[str, Any]] = field(default_factory=list)
    random: list[str] = field(default_factory=list)

    def refuse(self, key: str, wrong: str, *, got: object = None, fix: str = "") -> None:
        """Note a problem, by the key as the file has it."""
        super().refuse(f"neural_network.{key}", wrong, got=got, fix=fix)

    def section(self, name: str) -> Mapping[str, Any]:
        """One of the objects inside; empty where it is not there."""
        section = self.source.get(name) or {}
        assert isinstance(section, Mapping)
        return section

    @property
    def trains(self) -> bool:
        """Whether anything is learned."""
        key = "num_examples" if self.is_generated else "input_path"
        return key in self.section("data") and self.source.get("num_epochs", 1) > 0

    @property
    def evaluates(self) -> bool:
        """Whether there are test samples."""
        return ("num_test_examples" if self.is_generated else "test_input_path") in self.section("data")

    @property
    def is_generated(self) -> bool:
        """Whether samples are initial values that are generated."""
        data = self.section("data")
        return str(data.get("input_type") or data.get("type") or "").lower() == "pde"

    @property
    def is_of_masks(self) -> bool:
        """Whether every pixel has a class: targets are masks, or there are none and the network gives maps.

        Losses of classes say so too where `target_is_mask` does not; MSE of a linear end compares numbers whatever it says.
        """
        data, loss = self.section("data"), str(self.section("loss").get("function", "")).lower()
        targets = str(data.get("target_type") or data.get("type") or "").lower()
        of_classes = loss in ("nll", "dice", "jaccard", "focal", "lovasz")
        if not self.trains and not self.has_targets:
            # Without targets both mean the same outputs; a softmax, or a single sigmoid, is that of classes.
            ends = self.network.end in ("softmax", "log_softmax")
            ends = ends or (self.network.end == "sigmoid" and self.network.units == 1)
            return self.network.maps and (ends or of_classes or bool(data.get("target_is_mask")))
        if targets not in ("images", "numpy", "hdf5"):
            return False
        if loss == "mse" and self.network.end == "linear":
            return False
        # Of slices there are masks alone.
        of_classes = of_classes or ("slicers" in data and loss in ("bce", "mse"))
        return bool(data.get("target_is_mask")) or (of_classes and (self.network.maps or targets == "images"))

    @property
    def is_of_boxes(self) -> bool:
        """Whether objects are to be found: the loss, or the type of targets, says so."""
        function = str(self.section("loss").get("function", "")).lower()
        return function == "yolov3" or str(self.section("data").get("target_type", "")).lower() == "boxes"

    @property
    def solves(self) -> bool:
        """Whether the loss is an equation, which the network is to solve."""
        return str(self.section("loss").get("function", "")).lower().startswith(("poisson", "burgers"))

    @property
    def draws(self) -> bool:
        """Whether the loss teaches a generator, for which each sample is its own target."""
        return str(self.section("loss").get("function", "")).lower() == "wasserstein"

    @property
    def is_of_images(self) -> bool:
        """Whether targets are images, or arrays of numbers: no masks, and no class numbers."""
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
    def has_targets(self) -> bool:
        """Whether test samples have targets."""
        data = self.section("data")
        labels = str(data.get("target_type", "")).lower() == "labels"
        is_mnist = str(data.get("type") or data.get("target_type") or "").lower() == "mnist"
        return labels or is_mnist or "test_target_path" in data or self.solves or self.draws
