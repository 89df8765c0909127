"""Sources of samples: folders, tables, arrays, volumes, archives, functions of the user's own; `mml train task=WORD`.

Each word of `conf/task` has a module of that name here, with a function that reads the data and returns a `Task`. It
combines a listing (`listings/`: where samples lie) with a target (`targets/`: what is predicted for them). `open` returns
the source of a stored task.
"""

from __future__ import annotations

from mlpipe.data.sources.arrays import arrays
from mlpipe.data.sources.boxes import boxes
from mlpipe.data.sources.created import created, load, open, reader, root, targets_of
from mlpipe.data.sources.csv import csv
from mlpipe.data.sources.digits import digits
from mlpipe.data.sources.elpv import elpv
from mlpipe.data.sources.fashion_mini import fashion_mini
from mlpipe.data.sources.folder import folder
from mlpipe.data.sources.folders import folders
from mlpipe.data.sources.image_folders import image_folders
from mlpipe.data.sources.initial_values import initial_values
from mlpipe.data.sources.items import items
from mlpipe.data.sources.mask_folders import mask_folders
from mlpipe.data.sources.masks import masks
from mlpipe.data.sources.mnist import mnist
from mlpipe.data.sources.new_inputs import new_arrays, new_images
from mlpipe.data.sources.records import records_of as records
from mlpipe.data.sources.samples import samples
from mlpipe.data.sources.slices import slices
from mlpipe.data.sources.source import Read, Source

__all__ = [
    "Read", "Source", "arrays", "boxes", "created", "csv", "digits", "elpv", "fashion_mini", "folder", "folders", "image_folders",
    "initial_values", "items", "load", "mask_folders", "masks", "mnist", "new_arrays", "new_images", "open", "reader",
    "records", "root", "samples", "slices", "targets_of",
]  # fmt: skip
