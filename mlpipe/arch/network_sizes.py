"""Parameter counts, image sizes and weights of timm's networks, read from a table without importing timm.

`scripts/network_sizes.py` writes the table, `network_sizes.csv` beside this file, by building every network of one timm version.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("network_sizes.csv")


@dataclass(frozen=True)
class NetworkSize:
    """The table entry of one network.

    Attributes:
        parameters: Number of parameters with a head of 1,000 classes.
        size: Height and width of the images that its weights were trained on, such as 224 or 1024x768; empty: not known.
        weights: Tag of the weights that `arch.pretrained=true` uses; empty for none.
    """

    parameters: int
    size: str
    weights: str


@functools.cache
def table() -> dict[str, NetworkSize]:
    """Return the table entries by timm's network name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["network"]: NetworkSize(int(row["parameters"]), row["size"], row["weights"]) for row in rows}
