"""Write a trained fold to disk: weights, metrics of every epoch and configuration, then the record that names them."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import timm
import torch

import mlpipe
from mlpipe import files
from mlpipe.arch import adapt
from mlpipe.arch import weights as weight_files
from mlpipe.config.schema import Recipe
from mlpipe.errors import counted
from mlpipe.learn import monitoring, stages
from mlpipe.learn.callbacks.keeper import Keeper
from mlpipe.learn.job import FoldJob
from mlpipe.learn.machine.hardware import Numerics
from mlpipe.learn.module import FoldModule
from mlpipe.post import metrics
from mlpipe.runs import records
from mlpipe.runs.journal import now
from mlpipe.runs.records import ModelRecord


def timings(speeds: list[dict[str, float]], seconds: float) -> dict[str, float]:
    """Return the timings of a record, with the median speed of all epochs but the first.

    Args:
        speeds: The speed of each epoch.
        seconds: The duration of the whole training.
    """
    steady = speeds[1:] or speeds
    if not steady:
        return {"seconds": seconds}
    return {
        "seconds": round(seconds, 3),
        "train_seconds": round(sum(row["train_seconds"] for row in speeds), 3),
        "train_images_per_s": round(float(np.median([row["train_images_per_s"] for row in steady])), 1),
        "data_wait": round(float(np.median([row["data_wait"] for row in steady])), 4),
    }


@dataclass(frozen=True)
class Trained:
    """The results of a training.

    Attributes:
        module: The trained module, after its last validation.
        keeper: The kept epoch and weights.
        scores: The final metrics of the validation images.
        timings: Durations and speed.
        numerics: Precision and layout.
        notes: Notes for the user.
        co_tasks: Facts about tasks that were trained with it.
        events: Troubles that the training recovered from.
        examples: Predictions for some validation images, by epoch.
        batches: The loss of every batch, for the stages that keep it.
        first_weights: The hash of the initial weights.
    """

    module: FoldModule
    keeper: Keeper
    scores: dict[str, float | None]
    timings: dict[str, float]
    numerics: Numerics
    notes: list[str]
    co_tasks: list[dict[str, Any]]
    events: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    batches: list[dict[str, Any]] = field(default_factory=list)
    first_weights: str = ""


def write(job: FoldJob, trained: Trained) -> ModelRecord:
    """Write weights, metrics and configuration, then the record that names them, then delete the saved state.

    Args:
        job: The fold.
        trained: The results of its training.
    """
    module, keeper, origin, destination = trained.module, trained.keeper, job.origin, job.files
    # The record is written last, because readers rely on the files it names. The saved state is deleted only after it, so that
    # a process that is killed in between resumes from the state and writes everything again.
    digest, checksums = _write_files(job, trained)
    optimistic = bool(origin.val_used_for) and not origin.nested
    has_val = len(job.view.val) > 0
    details = metrics.details(module.val_logits, module.val_targets, job.task.classes, job.kind) if has_val else {}
    record = ModelRecord(
        id=destination.record_id,
        number=0,
        run=origin.run,
        created=now(),
        task=job.view.task,
        pivot=job.task.name,
        fold=job.view.fold,
        nested=origin.nested,
        recipe=origin.recipe_hash,
        arch=job.recipe.arch.title,
        classes=list(job.task.classes),
        parameters=sum(parameter.numel() for parameter in module.network.parameters())
        - adapt.added_parameter_count(module.network),
        counts={name: len(rows) for name, rows in job.view.rows().items()},
        kind=job.kind,
        scores={"val": trained.scores},
        best_epoch=keeper.best_epoch if keeper.best_epoch is not None else len(module.history) - 1,
        epochs=len(module.history),
        monitor=f"{job.recipe.metrics.monitor} ({monitoring.monitor_direction(job.recipe)})",
        val_used_for=origin.val_used_for,
        timings=trained.timings,
        environment=_environment(job.recipe, trained.numerics)
        | ({records.FIRST_WEIGHTS: trained.first_weights} if trained.first_weights else {})
        | _extra_facts(job, module),
        weights=digest,
        refit=list(origin.refit),
        notes=_refit_notes(job, len(module.history))
        + (["the validation score is optimistic: it also chose what val_used_for names"] if optimistic else [])
        + trained.notes
        + [
            f"validation {sentence}"
            for sentence in metrics.class_mean_notes(details.get("classes", []), trained.scores)
        ],
        details={"val": details} if has_val else {},
        co_tasks=trained.co_tasks,
        events=trained.events,
        checksums=checksums,
    )
    record = records.save(destination.project, record)
    shutil.rmtree(destination.checkpoint, ignore_errors=True)
    return record


def _write_files(job: FoldJob, trained: Trained) -> tuple[str | None, dict[str, str]]:
    """Write the files of a record; return the hash of its weights, if they are kept, and the hashes of other files by name."""
    module, destination = trained.module, job.files
    folder = destination.project.model_dir(job.task.name, destination.record_id)
    digest = None
    if destination.store_parameters:
        digest = weight_files.save(adapt.merged_state(module.network), folder / records.WEIGHTS_FILE)
    texts = {records.METRICS_FILE: _as_csv(module.history), records.CONFIG_FILE: job.origin.pipeline}
    if trained.examples:
        texts[records.EXAMPLES_FILE] = json.dumps(trained.examples)
    if trained.batches:
        texts[records.BATCHES_FILE] = _as_csv(trained.batches)
    for name, text in texts.items():
        files.write_text(folder / name, text)
    file_names = list(texts)
    # After the record's own weights, because the network loads those of each stage that keeps its own, and ends with the last.
    for stage, state in trained.keeper.of_stages.items() if destination.store_parameters else ():
        stages.load_network_state(module.network, state)
        weight_files.save(adapt.merged_state(module.network), records.stage_weights(folder, stage))
        file_names.append(records.stage_weights(folder, stage).name)
    return digest, {name: files.digest_file(folder / name) for name in file_names}


def _refit_notes(job: FoldJob, epochs: int) -> list[str]:
    """Return notes on a training on all folds for the record."""
    if not job.origin.refit:
        return []
    lasted = f" for {counted(epochs, 'epoch')}, as its folds did in the median," if job.lasting else ""
    learned = (
        f"it learned{lasted} from {counted(len(job.view.train), 'labelled image')}, all but those of the test part"
    )
    return [f"{learned}; nothing validated it: expect of it the score of the images that its folds held out"]


def _environment(recipe: Recipe, numerics: Numerics) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "mlpipe": mlpipe.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch_lightning": version("pytorch-lightning"),
        "timm": timm.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "device": device,
        "threads": recipe.threads,
        "precision": str(numerics),
    }


def _extra_facts(job: FoldJob, module: FoldModule) -> dict[str, Any]:
    """Return unusual facts about the training; empty for most."""
    recipe = job.recipe
    used: dict[str, Any] = dict(job.origin.tuned)
    if recipe.stages:
        used["stages"] = len(recipe.stages)
    if not recipe.compile.is_none:
        used["compile"] = str(recipe.compile.params.get("mode", recipe.compile.identity))
    if additions := adapt.additions(module.network):
        learned = sum(parameter.numel() for parameter in module.network.parameters() if parameter.requires_grad)
        used["lora"] = {"rank": additions[0].rank, "layers": len(additions), "learned_parameters": learned}
    return used


def _as_csv(history: list[dict[str, float]]) -> str:
    rows = [row | {key: int(row[key]) for key in ("epoch", "stage") if key in row} for row in history]
    # An exact head has no loss of steps, and epochs have none of inner folds. Columns present in every row come first.
    columns = sorted(
        {name: None for row in history for name in row}, key=lambda name: sum(name not in row for row in history)
    )
    return files.csv_text(rows, columns)
