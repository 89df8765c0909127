"""Transforms of every image before it is resized, in training and in prediction alike."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.augment import libraries, samples
from mlpipe.data.augment.samples import Step


class BeforeResize:
    """Steps over one image; what is random in them is drawn from the image's own pixels, so that it is always the same.

    Args:
        components: What makes each step, with `target`, `params` and `build()`.
    """

    def __init__(self, components: Sequence[Any]) -> None:
        self._components = tuple(components)
        self._local = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return BeforeResize, (self._components,)

    def __call__(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An image of shape (height, width, channels), changed.

        Raises:
            DataError: When a step cannot take it.
        """
        # Transforms of libraries keep generators, and images are decoded in several threads.
        if not hasattr(self._local, "steps"):
            self._local.steps = [libraries.adapt(one.build()) for one in self._components]
        steps: list[Step] = self._local.steps
        content = np.ascontiguousarray(pixels)
        seed = np.frombuffer(hashlib.blake2b(content.tobytes(), digest_size=8).digest(), np.uint64)
        changed: npt.NDArray[Any] = samples.apply(steps, content[np.newaxis], seed)[0]
        return changed

    def key(self) -> list[dict[str, Any]]:
        """Parameters that decide how images are changed, for the cache's hash."""
        return [{"target": one.identity, **one.params} for one in self._components]
