"""Count the parameters of every timm network and write `mlpipe/arch/network_sizes.csv`, which `mml models` shows.

    python scripts/network_sizes.py            add missing networks, as after an update of timm
    python scripts/network_sizes.py --all      count all again

Networks are created on torch's meta device, where parameters take no memory, with a head of 1,000 classes. The tag of the
weights and the image size are those of `pretrained=True`.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from typing import Any

import timm
import torch
from torch.overrides import TorchFunctionMode

from mlpipe.arch import names, network_sizes

# The table is written after this many networks.
EACH = 50


class WithoutValues(TorchFunctionMode):
    """Skips the initialisation of weights, which has no effect on the meta device and takes half of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in (
            "normal_",
            "uniform_",
            "trunc_normal_",
            "kaiming_normal_",
            "kaiming_uniform_",
            "xavier_uniform_",
            "erfinv_",
        ):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def row_of(name: str) -> dict[str, str]:
    """Return the row of a network."""
    with torch.device("meta"), WithoutValues():
        network = timm.create_model(name, pretrained=False, num_classes=1000)
    count = sum(weights.numel() for weights in network.parameters())
    settings = timm.get_pretrained_cfg(name)
    height, width = settings.input_size[1:] if settings else (None, None)
    size = "" if height is None else f"{height}" if height == width else f"{height}x{width}"
    tag = settings.tag if settings and settings.has_weights else ""
    return {"network": name, "parameters": str(count), "size": size, "weights": tag or ""}


def write(known: dict[str, dict[str, str]]) -> None:
    """Write the table."""
    part = network_sizes.TABLE.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["network", "parameters", "size", "weights"], lineterminator="\n")
        table.writeheader()
        table.writerows(known[name] for name in sorted(known))
    os.replace(part, network_sizes.TABLE)  # noqa: PTH105


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="count all again")
    options = parser.parse_args()
    known: dict[str, dict[str, str]] = {}
    if network_sizes.TABLE.is_file() and not options.all:
        rows = csv.DictReader(network_sizes.TABLE.open(encoding="utf-8"))
        known = {row["network"]: row for row in rows if row["network"] in names.timm_names()}
    lacking = [name for name in names.timm_names() if name not in known]
    for number, name in enumerate(lacking, 1):
        known[name] = row_of(name)
        if number % EACH == 0:
            write(known)
            print(f"{number} of {len(lacking)}", flush=True)
    write(known)
    print(f"{len(known)} networks of timm {timm.__version__} in {network_sizes.TABLE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
