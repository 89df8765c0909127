"""A folder with a file for each sample, named like the sample's own file."""

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
    """Write predictions for every pixel of a sample.

    Attributes:
        places: The path of each sample's file in the folder.

    Args:
        folder: The folder.
        ending: The suffix of the files, instead of the samples' own suffixes.
        encode: A function from the values of a sample, shape (outputs, *spatial), to the contents of its file.
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
            predicted: The predictions, with arrays.
        """
        assert predicted.arrays is not None
        for name, values in zip(predicted.ids, predicted.arrays, strict=True):
            self.places[name] = place = self.place_of(name)
            self._taken_places.add(place)
            files.write_bytes(self._folder / place, self._encode(values))

    def place_of(self, name: str) -> Path:
        """Return the path of the next sample's file in the folder.

        Args:
            name: The sample.
        """
        if self._have_datasets and ":" in name:
            # The name of a dataset has no suffix of its own, and must not lead outside the folder.
            file, _, key = name.partition(":")
            place = Path(file, *(files.safe_name(part) for part in key.split("/")))
            return Path(f"{place}{self._ending}")
        own = Path(name).with_suffix(self._ending)
        # Two samples whose names differ only in their suffix would share a file.
        while own in self._taken_places:
            name = f"{name}{self._ending}"
            own = Path(name)
        return own


def as_npy(values: npt.NDArray[Any]) -> bytes:
    """Encode an array as a NumPy file.

    Args:
        values: Of any shape.
    """
    out = BytesIO()
    np.save(out, values)
    return out.getvalue()
