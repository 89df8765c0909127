"""A folder with a file for each sample, named as the sample's own file."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.runs.sinks import Predicted


class SampleFiles:
    """Writes what is predicted for every place of a sample.

    Attributes:
        places: Where each sample's file lies in the folder.

    Args:
        folder: The folder.
        ending: What files end in, in place of the samples' own endings.
        encode: The values of a sample, shape (outputs, *spatial), to what its file holds.
        have_datasets: Whether names are `FILE:DATASET`; a file of many arrays becomes a folder.
    """

    def __init__(
        self, folder: Path, ending: str, encode: Callable[[npt.NDArray[Any]], bytes], *, have_datasets: bool = False
    ) -> None:
        self._folder, self._ending, self._encode, self._have_datasets = folder, ending, encode, have_datasets
        self.places: dict[str, Path] = {}
        self._taken_places = set[Path]()

    def add(self, predicted: Predicted) -> None:
        """Write the files of some samples.

        Args:
            predicted: With arrays.
        """
        assert predicted.arrays is not None
        for name, values in zip(predicted.ids, predicted.arrays, strict=True):
            self.places[name] = place = self.place_of(name)
            self._taken_places.add(place)
            files.write_bytes(self._folder / place, self._encode(values))

    def place_of(self, name: str) -> Path:
        """The place of the next sample's file in the folder.

        Args:
            name: The sample.
        """
        if self._have_datasets and ":" in name:
            # A name in a file has no ending of its own, and may not lead anywhere else.
            file, _, key = name.partition(":")
            place = Path(file, *(files.safe_name(part) for part in key.split("/")))
            return Path(f"{place}{self._ending}")
        own = Path(name).with_suffix(self._ending)
        # Two samples of one name but for their endings would be one file.
        while own in self._taken_places:
            name = f"{name}{self._ending}"
            own = Path(name)
        return own


def as_npy(values: npt.NDArray[Any]) -> bytes:
    """An array as a file of NumPy.

    Args:
        values: Of any shape.
    """
    out = BytesIO()
    np.save(out, values)
    return out.getvalue()
