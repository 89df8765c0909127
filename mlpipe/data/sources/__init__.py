"""Where images come from: embedded sets, folders, tables, arrays; each becomes a task, and can be read again.

A source is a function that looks at what is there and returns a `Task`; `reader` opens what a stored task names.
"""

from __future__ import annotations

from mlpipe.data.sources.array_files import arrays
from mlpipe.data.sources.cells import elpv
from mlpipe.data.sources.class_folders import folder
from mlpipe.data.sources.embedded import digits, fashion_mini
from mlpipe.data.sources.generated import initial_values
from mlpipe.data.sources.idx_files import mnist
from mlpipe.data.sources.image_folders import image_folders
from mlpipe.data.sources.labelled_folders import folders
from mlpipe.data.sources.mask_folders import mask_folders
from mlpipe.data.sources.masks import masks
from mlpipe.data.sources.pictures import pictures
from mlpipe.data.sources.python_items import items
from mlpipe.data.sources.reading import Read, reader, root
from mlpipe.data.sources.record_files import records_of as records
from mlpipe.data.sources.sample_files import samples
from mlpipe.data.sources.stored import created
from mlpipe.data.sources.tables import csv
from mlpipe.data.sources.unseen_samples import new_samples
from mlpipe.data.sources.volume_slices import slices

__all__ = [
    "Read", "arrays", "created", "csv", "digits", "elpv", "fashion_mini", "folder", "folders", "image_folders", "initial_values",
    "items", "mask_folders", "masks", "mnist", "new_samples", "pictures", "reader", "records", "root", "samples", "slices",
]  # fmt: skip
