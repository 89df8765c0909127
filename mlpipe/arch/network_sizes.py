"""Parameters, size of images and weights of timm's networks, read from a table without importing timm.

`scripts/network_sizes.py` writes the table, `network_sizes.csv` beside this file, by making every network of one version of timm.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("network_sizes.csv")


@dataclass(frozen=True)
class NetworkSize:
    """What the table says of one network.

    Attributes:
        parameters: How many it has with a head of 1,000 classes.
        size: Height and width of the images that its weights were trained on, such as 224 or 1024x768; empty: not known.
        weights: The tag of the weights that `arch.pretrained=true` takes; empty where there are none.
    """

    parameters: int
    size: str
    weights: str


@functools.cache
def table() -> dict[str, NetworkSize]:
    """Every network that the table knows, by timm's name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["network"]: NetworkSize(int(row["parameters"]), row["size"], row["weights"]) for row in rows}
