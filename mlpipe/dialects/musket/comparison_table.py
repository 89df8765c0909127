"""Comparison of many experiments in one table: the settings that differ, and the best value of every metric over folds."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpipe import files, limits
from mlpipe.dialects import names
from mlpipe.errors import DataError, did_you_mean, listing, problem
from mlpipe.post import metrics

_FILE = re.compile(r"metrics-(\d+)\.(\d+)\.csv")
_SKIPPED = ("lr", "fold")
# Affixes of a metric's name in a metrics file.
_AFFIXES = re.compile(r"^(val_)?((out|dense_)\d+_)?")


@dataclass
class Experiment:
    """Facts about one experiment.

    Attributes:
        path: Its configuration file.
        config: Its configuration with dotted keys.
        best: The best value of each fold, for every metric.
    """

    path: Path
    config: dict[str, Any]
    best: dict[str, dict[tuple[str, int], float]] = field(default_factory=dict)


def collected_experiments(folder: Path) -> list[Experiment]:
    """Return all experiments below a folder that have metrics; the seeds of an experiment count as one.

    Args:
        folder: Searched for `config.yaml`.

    Raises:
        DataError: When there is none, or a file cannot be read.
    """
    experiments = []
    for path in sorted(folder.glob("**/*config.yaml")):
        content = _yaml(path)
        homes = _metric_folders(path.parent, content)
        experiment = Experiment(path, flat(content))
        for home in homes:
            for file in sorted((home / "metrics").glob("metrics-*.csv")):
                match = _FILE.fullmatch(file.name)
                if match:
                    _take_metrics(
                        experiment, file, (home.name if home != path.parent else "", int(match[1])), int(match[2])
                    )
        if experiment.best:
            experiments.append(experiment)
    if not experiments:
        fix = "name a folder with experiments that were trained (mml fit)"
        raise DataError(problem("mode.inputFolder", "has no experiment with metrics", got=str(folder), fix=fix))
    return experiments


def _metric_folders(folder: Path, content: Any) -> list[Path]:
    """Return the folders with an experiment's metrics, without those of seeds that its configuration no longer lists."""
    count = content.get("num_seeds") if isinstance(content, dict) else None
    if isinstance(count, int):
        seeds = [folder / str(seed) for seed in range(count)]
        return [path for path in seeds if (path / "config_concrete.yaml").is_file()] or [folder]
    return [folder, *(path.parent for path in sorted(folder.glob("*/config_concrete.yaml")))]


def table(experiments: Sequence[Experiment], only: str = "", sort_by: str = "val_loss") -> str:
    """Return the experiments as CSV: path, differing settings, and metrics, best first.

    Args:
        experiments: The result of `collected_experiments`.
        only: The only metric to show; empty: all.
        sort_by: The metric that orders the rows.

    Raises:
        DataError: When no experiment has a named metric.
    """
    measured = sorted({name for entry in experiments for name in entry.best})
    for key, name in (("mode.onlyMetric", only), ("mode.sortBy", sort_by)):
        # The default sort key may be missing.
        if name and name not in measured and (key, name) != ("mode.sortBy", "val_loss"):
            fix = did_you_mean(name, measured, otherwise=f"there are {listing(measured)}")
            raise DataError(problem(key, "no experiment has this metric", got=name, fix=fix))
    plain = [name for name in measured if not name.startswith("val_")]
    columns = [only] if only else [*plain, *(name for name in measured if name.startswith("val_"))]
    different = _differing_keys([entry.config for entry in experiments])
    renamed = {key: "loss_function" if key == "loss" else key for key in different}
    ordered = sorted(experiments, key=lambda entry: _sort_key(entry, sort_by))
    lines: list[list[Any]] = [["path", "fold_count", *renamed.values(), *columns]]
    for experiment in ordered:
        folds = len({fold for values in experiment.best.values() for fold in values})
        means = [_mean(experiment, name) for name in columns]
        cells = ["" if mean is None else f"{mean:.6g}" for mean in means]
        lines.append([str(experiment.path), folds, *(experiment.config.get(key, "") for key in different), *cells])
    return files.csv_table(lines)


def notes(experiments: Sequence[Experiment], sort_by: str) -> list[str]:
    """Return notes about the order of the table.

    Args:
        experiments: The result of `collected_experiments`.
        sort_by: The metric that orders the rows.
    """
    different = _differing_keys([experiment.config for experiment in experiments if sort_by in experiment.best])
    keys = [key for key in different if key.split(".")[0] == "loss" or (key.startswith("stages") and "loss" in key)]
    if sort_by not in ("loss", "val_loss") or not keys:
        return []
    return [
        f"{sort_by} is of different losses ({', '.join(keys)}), so that the order means nothing; --sortBy takes another"
    ]


def less_is_better(name: str) -> bool:
    """Return whether lower values of a metric are better, by its name in a metrics file."""
    plain = _AFFIXES.sub("", name).lower()
    is_loss = plain in names.LOSSES or plain.endswith("loss")
    return is_loss or plain in ("epoch", "stage") or metrics.direction(plain) == "min"


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return a configuration with dotted keys; a list of plain values becomes one string.

    Args:
        value: A mapping, a list or a plain value.
        key: Its key.
    """
    if isinstance(value, Mapping):
        return {
            place: item for part, inner in value.items() for place, item in flat(inner, _dotted_key(key, part)).items()
        }
    if isinstance(value, list):
        if not any(isinstance(item, Mapping | list) for item in value):
            return {key: str(value)}
        return {
            place: item for n, inner in enumerate(value) for place, item in flat(inner, _dotted_key(key, n)).items()
        }
    return {key: value}


def _dotted_key(key: str, part: object) -> str:
    return f"{key}.{part}" if key else str(part)


def _differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({str(config.get(key, "")) for config in configs}) > 1]


def _take_metrics(experiment: Experiment, file: Path, fold: tuple[str, int], stage: int) -> None:
    try:
        rows = list(csv.DictReader(io.StringIO(limits.text(file, limits.STORED), newline="")))
        for row in rows:
            for name, text in {**row, "stage": str(stage)}.items():
                if name not in _SKIPPED and text not in ("", "NA", None):
                    value, values = float(text), experiment.best.setdefault(name, {})
                    choose = min if less_is_better(name) and name not in ("epoch", "stage") else max
                    values[fold] = value if fold not in values else choose(values[fold], value)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(problem(str(file), f"cannot be read ({error})", fix="remove it")) from error


def _mean(experiment: Experiment, name: str) -> float | None:
    values = experiment.best.get(name)
    return sum(values.values()) / len(values) if values else None


def _sort_key(experiment: Experiment, name: str) -> tuple[bool, float]:
    mean = _mean(experiment, name)
    if mean is None:
        return True, 0.0
    return False, mean if less_is_better(name) else -mean


def _yaml(path: Path) -> Any:
    try:
        return files.read_yaml(path)
    except (OSError, ValueError) as error:
        raise DataError(problem(str(path), f"cannot be read ({' '.join(str(error).split())[:200]})")) from error
