"""Writer for a Musket experiment's folder: weights/, metrics/, summary.yaml and the split files, from records."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.data.splits import methods
from mlpipe.data.splits.methods import TEST
from mlpipe.data.task import Samples
from mlpipe.dialects.musket import example_grids
from mlpipe.errors import ProjectError, first_line, problem
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.metrics import Measure
from mlpipe.runs import maps, predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

# Folder for files of folds and stages that an experiment no longer has.
OUTDATED = "outdated"
Row = dict[str, float]
# Logits and targets of some images.
Part = tuple[npt.NDArray[Any], npt.NDArray[Any]]
Images = Callable[[list[int]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]
# In a summary predictions are thresholded, so that F1 is computed from integer counts.
_IN_SUMMARY = {"soft_macro_f1": "macro_f1"}


@dataclass(frozen=True)
class Trained:
    """A finished cross-validation of an experiment.

    Attributes:
        project: The project with its records.
        found: The record of each fold.
        names: Musket's name of each native metric.
        result: The native name of the experiment's result; None: the monitor's mean.
        own: Metrics of the user's own by name.
        images: Returns the pixels of rows of the task, shape (n, height, width, channels), and their targets, for masks
            class numbers (n, height, width); None: no pictures are drawn.
        subsample: Share of the training images per epoch.
        split: The rows of each fold; None: the split files are not written.
        train: Musket's names of the metrics that are also computed on training images.
    """

    project: Project
    found: Sequence[ModelRecord]
    names: Mapping[str, str]
    result: str | None = None
    own: Mapping[str, Measure] = field(default_factory=dict)
    images: Images | None = None
    subsample: float = 1.0
    split: Split | None = None
    train: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Split:
    """The split of an experiment's items, with the numbers in its files.

    Attributes:
        holdout: The remaining rows and the holdout rows, numbered among all items; None: no holdout was drawn.
        folds: Training and validation rows of each fold, numbered among the remaining rows; for all folds, trained or not.
    """

    holdout: tuple[list[int], list[int]] | None
    folds: list[tuple[list[int], list[int]]]

    @staticmethod
    def of(samples: Samples, split: methods.Split) -> Split:
        """Return the split of a task; items that every fold is trained on have no number.

        Args:
            samples: The task's samples.
            split: Their folds.
        """
        pool = np.flatnonzero((split.fold >= 0) & (split.fold < split.n_folds))
        held = np.flatnonzero((split.fold == TEST) & ~samples.in_part("test"))
        places = {row: place for place, row in enumerate(sorted([*pool.tolist(), *held.tolist()]))}
        drawn = ([places[row] for row in pool.tolist()], [places[row] for row in held.tolist()]) if len(held) else None
        own = [split.fold[pool] == fold for fold in split.validated]
        return Split(drawn, [(np.flatnonzero(~val).tolist(), np.flatnonzero(val).tolist()) for val in own])


@dataclass
class Progress:
    """Writes into an experiment's folder during training: the metrics of each epoch, and the weights of each finished fold.

    Attributes:
        folder: The experiment's folder.
        project: The project with its records.
        names: Musket's name of each native metric.
        train: Musket's names of the metrics that are also computed on training images.
        run: Name of the run, after it has started.
    """

    folder: Path
    project: Project
    names: Mapping[str, str]
    train: frozenset[str]
    run: str = ""
    _fold: int | None = None

    def begun(self, run: str) -> None:
        """Set the name of the run."""
        self.run = run

    def epochs(self, fold: int, rows: Sequence[Mapping[str, float]]) -> None:
        """Write the epochs of a fold so far; when a fold begins, the previous one is a finished record."""
        _write_metrics(self.folder, fold, [dict(row) for row in rows], self.names, self.train)
        if fold != self._fold:
            self._fold = fold
            for record in records.load_all(self.project):
                if record.run == self.run:
                    home = self.project.model_dir(record.pivot, record.id)
                    _write_weights(self.folder, home, record, _rows(home / records.METRICS_FILE))


def _write_metrics(
    folder: Path, fold: int, rows: Sequence[Row], names: Mapping[str, str], train: Collection[str]
) -> None:
    for stage in range(_stages(rows)):
        text = _csv(_rows_of_stage(rows, stage), names, train)
        files.write_text(folder / f"metrics/metrics-{fold}.{stage}.csv", text)


def _write_batches(folder: Path, fold: int, batches_file: Path) -> None:
    """Write a table of batches for each stage that keeps them; epochs count from the stage's first."""
    rows = _rows(batches_file) if batches_file.is_file() else []
    for stage in sorted({int(row["stage"]) for row in rows}):
        own = [row for row in rows if row["stage"] == stage]
        first = min(row["epoch"] for row in own)
        lines = [f"{int(row['epoch'] - first)},{int(row['batch'])},{row['loss']!r},{row['lr']!r}" for row in own]
        text = "\n".join(["epoch,batch,loss,lr", *lines]) + "\n"
        files.write_text(folder / f"metrics/metrics-{fold}.{stage}.csvall.csv", text)


def _write_weights(folder: Path, home: Path, record: ModelRecord, rows: Sequence[Row]) -> None:
    for stage, weights in _weights(home, record, rows).items():
        target = folder / "weights" / f"best-{record.fold}.{stage}.weights"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, target)


def write(folder: Path, config: str, trained: Trained) -> dict[str, Any]:
    """Write all files of an experiment's folder after a training; summary.yaml comes last.

    Args:
        folder: The experiment's folder.
        config: Name of the configuration file.
        trained: The cross-validation.

    Returns:
        The summary.
    """
    stages = []
    for record in trained.found:
        home = trained.project.model_dir(record.pivot, record.id)
        rows = _rows(home / records.METRICS_FILE)
        stages.append(_stages(rows))
        _write_metrics(folder, record.fold, rows, trained.names, trained.train)
        _write_batches(folder, record.fold, home / records.BATCHES_FILE)
        _write_weights(folder, home, record, rows)
        if trained.images is not None and (home / records.EXAMPLES_FILE).is_file():
            example_grids.draw(folder / "examples", record, home / records.EXAMPLES_FILE, trained.images)
    if trained.split is not None:
        _write_splits(folder, config, trained.split)
        _move_outdated(folder, len(trained.split.folds), max(stages, default=0))
    content = summary(config, trained)
    files.write_text(folder / "summary.yaml", files.yaml_text(content))
    return content


def summary(config: str, trained: Trained) -> dict[str, Any]:
    """Return the content of summary.yaml: the metrics of each stage's best weights, and as `allStages` those of their mean.

    Args:
        config: Name of the configuration file.
        trained: The cross-validation.
    """
    histories = [
        _rows(trained.project.model_dir(record.pivot, record.id) / records.METRICS_FILE) for record in trained.found
    ]
    count = max(map(_stages, histories), default=0)
    stage_sets = [
        set(records.kept_stages(trained.project.model_dir(record.pivot, record.id))) for record in trained.found
    ]
    known = set[int].intersection(*stage_sets) if stage_sets else set()
    if count > 1 and known == set(range(count)):
        stages = [_mean_metrics(trained, [stage]) for stage in range(count)]
        together = _mean_metrics(trained, list(range(count)))
    else:
        together = _mean_metrics(trained, [None])
        stages = (
            [together] if count == 1 else [_best_epoch_metrics(trained, histories, stage) for stage in range(count)]
        )
    return {
        "completed": True,
        "cfgName": config,
        "subsample": trained.subsample,
        "folds": [record.fold for record in trained.found],
        "stages": stages,
        # A copy, because YAML would write the same object twice as an anchor and alias, which simple readers do not support.
        "allStages": copy.deepcopy(together),
    }


def result(metrics: Mapping[str, Any], trained: Trained) -> float:
    """Return the experiment's result: on the holdout, else over the folds, else the monitor's mean."""
    monitor = trained.found[0].monitor.partition(" ")[0].removeprefix("val/")
    name = trained.names.get(trained.result or monitor, trained.result or monitor)
    of_all = metrics["allStages"]
    if f"{name}_holdout" in of_all:
        return float(of_all[f"{name}_holdout"])
    if name in of_all:
        return float(of_all[name]["mean"])
    return float(np.mean([record.scores["val"].get(monitor) or float("nan") for record in trained.found]))


def _weights(home: Path, record: ModelRecord, rows: Sequence[Row]) -> dict[int, Path]:
    """Return the file with the best weights of each stage that has one."""
    if record.weights is None:
        return {}
    if stages := records.kept_stages(home):
        return {stage: records.stage_weights(home, stage) for stage in stages}
    return {int(rows[record.best_epoch].get("stage", 0)) if rows else 0: home / records.WEIGHTS_FILE}


def _mean_metrics(trained: Trained, stages: Sequence[int | None]) -> dict[str, Any]:
    """Return the metrics of the mean prediction of stages over the folds, and of the mean of all folds on the holdout.

    Args:
        trained: The cross-validation.
        stages: Their numbers; None: the weights of the record itself.
    """
    scores: dict[str, Any] = {}
    kind = trained.found[0].kind
    validated = [together(trained, [(record, stage) for stage in stages], "val") for record in trained.found]
    held = together(trained, [(record, stage) for record in trained.found for stage in stages], "test")
    known = {**post_kind.of(kind).METRICS, **trained.own}
    for native, name in trained.names.items():
        measured = native if native in trained.own else _IN_SUMMARY.get(native, native)
        # Several heads have metrics of their own, and their mean is not the metric of all outputs together.
        if measured not in known or ("heads" in trained.own and native not in trained.own):
            continue

        def values(part: Part, measured: str = measured, name: str = name) -> dict[str, float]:
            """Return the metric, or each value of a metric with several, by its name in Musket."""
            results = metrics.compute([measured], *part, kind, trained.own)
            return {name if key == measured else trained.names.get(key, key): value for key, value in results.items()}

        if all(part is not None for part in validated):
            rows = [values(part) for part in validated if part is not None]
            scores |= {key: spread([row.get(key, float("nan")) for row in rows]) for key in rows[0]}
        if held is not None and len(held[1]):
            scores |= {f"{key}_holdout": value for key, value in values(held).items()}
    return scores


def together(trained: Trained, members: Sequence[tuple[ModelRecord, int | None]], split: str) -> Part | None:
    """Return the mean prediction of stages of several records for the same images, and the targets; None if one is missing."""
    parts = [predicted(trained, record, split, stage) for record, stage in members]
    if trained.found[0].kind != "segmentation" or len(parts) < 2 or None in parts:
        return _mean_prediction(parts, trained.found[0].kind)
    assert parts[0] is not None
    # Pixel counts cannot be averaged: average the probabilities that they were computed from.
    with ExitStack() as stack:
        files_of = [_path(trained, record, stage).with_suffix(maps.SUFFIX) for record, stage in members]
        opened = [stack.enter_context(maps.Maps(path)) for path in files_of]
        names = [record.task for record, _ in members]
        counted = []
        for sample in parts[0].sample_ids:
            chances = [reader.chances(name, split, sample) for reader, name in zip(opened, names, strict=True)]
            mean = maps.mean(chances)
            counted.append(maps.counts(mean.argmax(axis=0), opened[0].true(names[0], split, sample), len(mean)))
    if not counted:
        return parts[0].logits, parts[0].targets
    return np.stack([output_counts for output_counts, _ in counted]), np.stack(
        [true_counts for _, true_counts in counted]
    )


def _mean_prediction(parts: Sequence[predictions.Predictions | None], kind: str) -> Part | None:
    """Return the mean prediction of several models for the same images, and the targets; None if one is missing."""
    known_parts = [part for part in parts if part is not None]
    if not known_parts or len(known_parts) < len(parts):
        return None
    if len(known_parts) == 1:
        return known_parts[0].logits, known_parts[0].targets
    mixing = "logits" if kind == "regression" else "probabilities"
    logits = [part.logits.astype(np.float64) for part in known_parts]
    return combine(logits, [1 / len(known_parts)] * len(known_parts), kind, mixing), known_parts[0].targets


def _best_epoch_metrics(trained: Trained, histories: Sequence[list[Row]], stage: int) -> dict[str, Any]:
    """Return the metrics of a stage's best epochs, for records that keep only the best weights of all stages."""
    best = [_best(_rows_of_stage(rows, stage), record) for rows, record in zip(histories, trained.found, strict=True)]
    logged = [key.removeprefix("val/") for key in best[0] if key.startswith("val/")]
    return {
        trained.names[name]: spread([row[f"val/{name}"] for row in best]) for name in logged if name in trained.names
    }


def predicted(
    trained: Trained, record: ModelRecord, split: str, stage: int | None = None
) -> predictions.Predictions | None:
    """Return the stored predictions of a record, or of one of its stages, for a part; None if there are none."""
    path = _path(trained, record, stage)
    if not path.is_file() or (record.task, split) not in predictions.contents(path):
        return None
    return predictions.load(path, record.task, split)


def _path(trained: Trained, record: ModelRecord, stage: int | None) -> Path:
    """Return the path of the predictions of a record, or of one of its stages."""
    if stage is None:
        return trained.project.predictions_file(record.pivot, record.id)
    return records.stage_predictions(trained.project.model_dir(record.pivot, record.id), stage)


def _write_splits(folder: Path, config: str, split: Split) -> None:
    """Write the split files that do not exist yet."""
    if split.holdout is not None:
        _write_once(folder / f"{config}.holdout_split", [list(part) for part in split.holdout])
    _write_once(folder / f"{config}.folds_split", [[list(part) for part in fold] for fold in split.folds])


def _move_outdated(folder: Path, folds: int, stages: int) -> None:
    """Move files of folds and stages that the experiment no longer has, so that programs that average all files skip them."""
    for path in sorted([*folder.glob("metrics/metrics-*.csv"), *folder.glob("weights/best-*.weights")]):
        fold, _, rest = path.stem.partition("-")[2].partition(".")
        stage = rest.removesuffix(".csvall")
        if not (fold.isdigit() and stage.isdigit()) or (int(fold) < folds and int(stage) < stages):
            continue
        target = folder / OUTDATED / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        log.info(
            f"{path.relative_to(folder)} is of an earlier training with more folds or stages: moved to {OUTDATED}/"
        )


def _write_once(path: Path, content: Any) -> None:
    if not path.exists():
        files.write_text(path, files.yaml_text(content, default_flow_style=None, width=10**6))


def _rows(path: Path) -> list[Row]:
    try:
        return [{key: float(value) for key, value in row.items() if value} for row in files.csv_rows(path)]
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"is damaged ({first_line(error)})", fix="train it again")) from error


def _stages(rows: Sequence[Row]) -> int:
    return int(max((row.get("stage", 0.0) for row in rows), default=-1)) + 1


def _rows_of_stage(rows: Sequence[Row], stage: int) -> list[Row]:
    return [row for row in rows if int(row.get("stage", 0)) == stage]


def _best(rows: Sequence[Row], record: ModelRecord) -> Row:
    """Return the best epoch by the monitor."""
    key, _, direction = record.monitor.partition(" ")
    choose = min if "min" in direction else max
    return choose(rows, key=lambda row: row[key])


def _csv(rows: Sequence[Row], names: Mapping[str, str], train: Collection[str]) -> str:
    """Return one row per epoch, counted from 0 in its stage, with columns sorted by name.

    Args:
        rows: The epochs.
        names: Musket's name of each native metric.
        train: Metrics on training images that are written in addition to their loss.
    """
    plain = []
    for number, row in enumerate(rows):
        entry = {"lr": row["lr"]}
        for key, value in row.items():
            part, _, native = key.partition("/")
            name = names.get(native, native)
            if part == "val":
                entry[f"val_{name}"] = value
            elif part == "train" and (native == "loss" or name in train):
                entry[name] = value
        plain.append({"epoch": number} | {key: entry[key] for key in sorted(entry)})
    return files.csv_text(plain)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean, max, min and standard deviation of a metric over folds, or of an experiment's result over seeds."""
    return {
        "mean": float(np.mean(values)),
        "max": float(np.max(values)),
        "min": float(np.min(values)),
        "std": float(np.std(values)),
    }
