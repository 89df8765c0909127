"""Rules between sections of a configuration: combinations that are refused, and options that do not exist yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mlpipe.config import near_values, objectives, signatures
from mlpipe.errors import did_you_mean, listing, problem
from mlpipe.names import current, name_of

SUBROUTINES: dict[str, tuple[str, ...]] = {
    "train": ("train", "predict", "test", "post"),
    "predict": ("train", "predict", "test"),
    "test": ("train", "predict", "test"),
    "tl": ("train", "predict", "test", "post"),
    "distill": ("train", "predict", "test", "post"),
    "clean": ("temp", "download", "cache", "parameters"),
    "upgrade": ("upgrade", "downgrade"),
    "downgrade": ("upgrade", "downgrade"),
    "create": ("dataset", "task"),
    "pp": ("preprocess",),
    "post": ("calibrate", "ensemble"),
    "info": (
        "tasks",
        "hpo",
        "samples",
        "sample_grid",
        "models",
        "more_data",
        "compare",
        "oof",
        "cost",
        "report",
        "plugins",
    ),
}
LATER_KEYS = (
    "hydra",
)  # fmt: skip
PIPELINE_KEYS = (
    "arch", "augmentations", "cbs", "callbacks", "loss", "lr_scheduler", "mode", "optimizer", "preprocessing",
    "sampling", "trainer", "tta", "tune", "peft", "compile", "stages", "split", "metrics", "slicing",
)  # fmt: skip
# The modes that read each key of `reuse`.
REUSED_BY = {
    "models": ("predict", "test", "tl"),
    "parameters": ("train", "tl", "distill"),
    "predictions": ("post",),
    "blueprint": ("train", "tl", "distill"),
}
# The class built in place of an optimizer to fit the head exactly on features, `mlpipe.learn.exact_heads`.
EXACT = "ExactHead"
# Some file systems limit names to 143 bytes.
MOST_LETTERS = 100
SET_BY_MLPIPE = (
    "callbacks", "logger", "plugins", "default_root_dir", "enable_checkpointing", "enable_progress_bar",
    "use_distributed_sampler", "num_sanity_val_steps", "enable_model_summary", "barebones", "fast_dev_run",
    "deterministic", "inference_mode", "reload_dataloaders_every_n_epochs", "check_val_every_n_epoch",
    "val_check_interval", "min_steps", "max_time", "overfit_batches", "log_every_n_steps", "profiler",
    "detect_anomaly", "limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches",
    "strategy", "num_nodes", "model_registry", "enable_autolog_hparams", "min_epochs",
)  # fmt: skip


_NEED_LOGGERS = ("LearningRateMonitor", "DeviceStatsMonitor")


def hydra_key_problem(key: str) -> str:
    """Return the sentence for a Hydra setting without counterpart, except the folder of runs."""
    fix = "write out_dir=DIR" if key in ("hydra.run.dir", "hydra.sweep.dir") else "leave it out"
    return problem(key, "not available in this version of mlpipe", fix=fix)


def broken(tree: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every rule between sections that a resolved configuration violates."""
    # Each rule reads plain data, because nothing is built yet, and returns a sentence instead of raising, so that all
    # are reported. Rules depend on the mode's name, because other modes lack the keys.
    mode, name = tree["mode"], tree["mode_name"]
    problems = _subroutine_rules(name, mode)
    problems += _reuse_rules(tree) if name in SUBROUTINES else []
    if name in ("train", "predict", "test", "tl", "distill"):
        problems += _train_rules(mode) + _multitask_rules(mode, list(tree["task_list"] or ()))
        # A student's teacher is named like the predictor of new images.
        problems += _new_image_rules(name, mode) if name != "distill" else []
        problems += _val_score_rules(tree) + _refit_rules(tree) if "train" in mode["subroutines"] else []
    if name == "create" and not (isinstance(mode["n_folds"], int) and mode["n_folds"] > 1):
        problems.append(problem("mode.n_folds", "must be a whole number larger than 1", got=mode["n_folds"]))
    problems += _clipping_rules(tree) + _stepless_rules(tree)
    if tree["mode"].get("multitask") and _tunes(tree):
        problems.append(problem("tune", "looks at one task", got="mode.multitask", fix="leave one of the two out"))
    if tree["mode"].get("multitask") and (tree.get("stages") or {}).get("list"):
        problems.append(problem("stages", "are of one task", got="mode.multitask", fix="leave one of the two out"))
    problems += _slicing_rules(tree) + _slice_set_rules(tree["task"])
    problems += _exact_head_rules(tree) if name in ("train", "tl") else []
    problems += _distillation_rules(tree) if name == "distill" else []
    problems += _stage_rules(tree) + _direction_rules(tree["metrics"])
    problems += _preset_rules(tree)
    problems += _device_rules(tree) + _train_metric_rules(tree) + _logger_rules(tree)
    if not isinstance(tree["proj"], str) or not is_plain_name(tree["proj"]):
        problems.append(
            problem("proj", "must be a plain folder name", got=tree["proj"], fix="for example proj=default")
        )
    if not isinstance(tree["seed"], int) or isinstance(tree["seed"], bool) or not 0 <= tree["seed"] < 2**32:
        numbers = re.fullmatch(r"\[?(\d+(?:, ?\d+)+)\]?", str(tree["seed"]))
        fix = f"write seed={numbers[1].replace(' ', '')} -m to run each of them" if numbers else ""
        problems.append(problem("seed", "must be a whole number from 0 to 4294967295", got=tree["seed"], fix=fix))
    return problems


def is_plain_name(text: str) -> bool:
    """Return whether a text is a valid folder name on every file system."""
    is_device = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", text)
    is_short = 0 < len(text.encode("utf-8", "replace")) <= MOST_LETTERS
    return is_short and text.isprintable() and not set(text) & set('/\\:*?"<>|') and text[0] != "." and not is_device


def val_used_for(tree: Mapping[str, Any]) -> list[str]:
    """Return the uses of the validation images besides a score: the choice of epoch, the stop, the learning rate."""
    if is_exact(tree) or _name(tree["optimizer"]) == "none":
        return []
    used = ["best_checkpoint"] if tree["mode"].get("store_best") else []
    entries = tree.get("stages", {}).get("list") or [{}]
    callbacks = [entry.get("callbacks") or tree["callbacks"] for entry in entries]
    nodes = [node for group in callbacks for node in group.values() if isinstance(node, dict)]
    targets = [str(node.get("_target_", "")) for node in nodes]
    if any(map(is_early_stop, targets)):
        used.append("early_stopping")
    schedules = [entry.get("lr_scheduler") or tree["lr_scheduler"] for entry in entries]
    if any(schedule.get("plateau") or "plateau" in str(schedule.get("_target_", "")).lower() for schedule in schedules):
        used.append("lr_plateau")
    return used


def is_early_stop(target: str) -> bool:
    """Return whether a callback, by its name, ends a training that does not improve."""
    return "early" in target.rpartition(".")[2].lower()


def _name(section: Mapping[str, Any]) -> str:
    """Return the name of a section's component within its group."""
    return name_of(str(section.get("_target_", "")))


def _subroutine_rules(name: str, mode: Mapping[str, Any]) -> list[str]:
    known, subroutines = SUBROUTINES.get(name), mode.get("subroutines")
    if known is None:
        return []
    if not isinstance(subroutines, list) or not subroutines:
        return [problem("mode.subroutines", "must be a list", got=subroutines, fix=f"choose from {listing(known)}")]
    return [
        problem(
            "mode.subroutines",
            "unknown subroutine",
            got=item,
            fix=did_you_mean(str(item), known) or f"choose from {listing(known)}",
        )
        for item in subroutines
        if item not in known
    ]


def _train_rules(mode: Mapping[str, Any]) -> list[str]:
    problems = []
    subroutines = mode["subroutines"] if isinstance(mode["subroutines"], list) else []
    needing = [item for item in subroutines if item in ("predict", "test", "post")]
    if mode["store_parameters"] is False and needing:
        wrong = f"keeps no weights, but mode.subroutines asks for {' and '.join(needing)}"
        problems.append(problem("mode.store_parameters=false", wrong, fix="leave one of the two out"))
    if "post" in subroutines and not {"train", "predict"} <= set(subroutines):
        fix = "add train and predict, or use mml post for stored predictions"
        problems.append(problem("mode.subroutines", "post follows a training's predictions", got=subroutines, fix=fix))
    if "post" in subroutines and mode["eval_on"] is not None:
        fix = "leave post out"
        problems.append(problem("mode.eval_on", "leaves the task itself without predictions for post", fix=fix))
    if mode["store_parameters"] is False and mode.get("refit"):
        wrong = "keeps no weights, but mode.refit is for a model that predicts new images"
        problems.append(problem("mode.store_parameters=false", wrong, fix="leave one of the two out"))
    problems += _unknown_pipeline_keys(mode["pipeline_keys"])
    folds = mode["folds"]
    if isinstance(folds, list) and (not folds or len(set(map(str, folds))) != len(folds)):
        problems.append(
            problem("mode.folds", "must name each fold once", got=folds, fix="for example mode.folds=[0,2]")
        )
    return problems


def _refit_rules(tree: Mapping[str, Any]) -> list[str]:
    """Check a training on all images, which has no validation for its learning rate to follow."""
    if not tree["mode"].get("refit") or "lr_plateau" not in val_used_for(tree):
        return []
    wrong = "learns from all images, so that no validation is left for a rate that falls when it stands still"
    return [problem("mode.refit", wrong, got=True, fix="use another schedule, for example lr_scheduler=cosine")]


def _new_image_rules(name: str, mode: Mapping[str, Any]) -> list[str]:
    # The method of `mml post` for sets is a separate key.
    keys = ("source", "ensemble", "deploy_prior", *(["alpha"] * (name == "predict")))
    present_keys = [key for key in keys if mode.get(key) is not None]
    if mode.get("samples") is not None and (present_keys or mode["eval_on"] is not None):
        other = f"mode.{present_keys[0] if present_keys else 'eval_on'}"
        return [problem("mode.samples", f"draws images, {other} asks for predictions", fix="leave one of the two out")]
    if name == "predict" and mode.get("seed") and mode.get("samples") is None:
        return [problem("mode.seed", "is what images are drawn from", got=mode["seed"], fix="add mode.samples=64")]
    if name != "predict":
        return [
            problem(f"mode.{key}", "is a key of mml predict", fix=f"mml predict mode.{key}=...") for key in present_keys
        ]
    if present_keys and "source" not in present_keys:
        fix = "add mode.source=DIR; the task's own images are predicted by mml predict and mixed by mml post"
        return [problem(f"mode.{key}", "is for new images", fix=fix) for key in present_keys]
    if present_keys and mode["eval_on"] is not None:
        return [problem("mode.source", "cannot go with mode.eval_on", fix="leave one of the two out")]
    return []


def _tunes(tree: Mapping[str, Any]) -> bool:
    return _name(tree.get("tune") or {}) not in ("", "none")


def is_exact(tree: Mapping[str, Any]) -> bool:
    """Return whether a recipe's head is fitted exactly on features (`optimizer=linear`, `nearest`), without epochs."""
    return EXACT in signatures.gives(current(str(tree["optimizer"].get("_target_", ""))))


def _slicing_rules(tree: Mapping[str, Any]) -> list[str]:
    """Return what cannot be combined with images cut into cells."""
    if _name(tree.get("slicing") or {}) in ("", "none"):
        return []
    problems = []
    if tree["mode"].get("multitask"):
        problems.append(problem("slicing", "is for one task", got="mode.multitask", fix="leave one of the two out"))
    if is_exact(tree):
        problems.append(
            problem(
                "slicing",
                f"optimizer={_name(tree['optimizer'])} learns from whole images",
                fix="leave one of the two out",
            )
        )
    return problems


def _exact_head_rules(tree: Mapping[str, Any]) -> list[str]:
    """Check exact heads, which need a single kind of head and features that do not change between epochs."""
    if not is_exact(tree):
        return []
    problems, key = [], f"optimizer={_name(tree['optimizer'])}"
    if tree["arch"].get("freeze") not in (True, "backbone"):
        problems.append(problem(key, "fits the head of a frozen backbone", fix="add arch.freeze=true"))
    augmentations = tree["augmentations"] if isinstance(tree["augmentations"], dict) else {}
    if any((augmentations.get(place) or {}).get("pipeline") for place in ("cpu", "device")):
        problems.append(problem(key, "needs features that are the same in every epoch", fix="add augmentations=none"))
    loss = str(tree["loss"].get("_target_", "")).rpartition(".")[2]
    if loss not in ("auto", "ce", "bce", "mse") or tree["loss"].get("label_smoothing"):
        problems.append(problem(key, "minimises the plain loss of the task's kind", got=loss, fix="use loss=auto"))
    if tree["loss"].get("class_weights") not in (None, "balanced"):
        problems.append(problem("loss.class_weights", f"{key} knows null and balanced", fix="use one of them"))
    if (tree.get("stages") or {}).get("list"):
        problems.append(problem("stages", f"{key} has none", fix="leave it out"))
    if _tunes(tree):
        problems.append(problem("tune", f"{key} has no rate and no batches", fix="leave it out"))
    if tree["mode"].get("multitask"):
        problems.append(problem(key, "fits one head", got="mode.multitask", fix="leave one of the two out"))
    return problems


def _multitask_rules(mode: Mapping[str, Any], task_names: list[str]) -> list[str]:
    count, names, weights = mode["multitask"], mode["co_tasks"], mode["task_weights"]
    if count is False:
        keys = [key for key, default in (("co_tasks", "random"), ("task_weights", None)) if mode[key] != default]
        return [problem(f"mode.{key}", "is for several tasks", fix="add mode.multitask=2") for key in keys]
    problems = []
    if names == "random" and len(task_names) < count - 1:
        fix = f"name {count - 1} tasks or more, for example task_list=[digits]"
        problems.append(
            problem("task_list", f"mode.multitask={count} draws {count - 1} of it", got=task_names, fix=fix)
        )
    elif names != "random":
        problems += [
            problem(
                "mode.co_tasks", "is not in task_list", got=name, fix=did_you_mean(str(name), task_names) or "add it"
            )
            for name in names
            if name not in task_names
        ]
        if len(names) != count - 1 or len(set(names)) != len(names):
            fix = f"the pivot is one of the {count}: name {count - 1} others"
            problems.append(problem("mode.co_tasks", f"does not fit mode.multitask={count}", got=names, fix=fix))
    if isinstance(weights, list) and (len(weights) != count or min(weights) < 0 or max(weights) == 0):
        fix = f"give {count} numbers >= 0, the pivot's first"
        problems.append(problem("mode.task_weights", f"does not fit mode.multitask={count}", got=weights, fix=fix))
    return problems


def _reuse_rules(tree: Mapping[str, Any]) -> list[str]:
    """Check keys of `reuse`: those that the mode does not read, and their requirements and conflicts."""
    reuse, name, mode = tree.get("reuse", {}), tree["mode_name"], tree["mode"]
    keys = [key for key in REUSED_BY if reuse.get(key) is not None]
    problems = [
        problem(f"reuse.{key}", f"mml {name} does not use it", fix=f"it is for {listing(REUSED_BY[key])}; leave it out")
        for key in keys
        if name not in REUSED_BY[key]
    ]
    trains = "train" in (mode.get("subroutines") or ())
    if name in ("tl", "distill") and not trains:
        problems.append(
            problem("mode.subroutines", f"mml {name} trains", fix="keep train, or use mml predict or mml test")
        )
    if name in ("predict", "test") and "models" in keys and trains:
        fix = "use reuse.parameters=PROJ#3 for weights to start from"
        problems.append(problem("reuse.models", "a training makes its own models", fix=fix))
    if mode.get("use_blueprint") is True and "blueprint" not in keys:
        fix = "add reuse.blueprint=PROJ#3 or reuse.blueprint=FILE.yaml"
        problems.append(problem("mode.use_blueprint", "there is no blueprint to use", fix=fix))
    if "blueprint" in keys and mode.get("use_blueprint") is False:
        problems.append(problem("reuse.blueprint", "is not used by itself", fix="add mode.use_blueprint=true"))
    if "parameters" in keys and isinstance(tree["arch"], dict) and tree["arch"].get("weights") is not None:
        problems.append(problem("reuse.parameters", "arch.weights names weights too", fix="leave one of them out"))
    return problems


def _preset_rules(tree: Mapping[str, Any]) -> list[str]:
    """Check a preset, which plans several recipes and accepts nothing meant for one."""
    if not (tree.get("preset") or {}).get("recipes"):
        return []
    if tree["mode_name"] != "train":
        return [problem("preset", f"is for mml train, not for mml {tree['mode_name']}", fix="leave it out")]
    problems = [
        problem(f"reuse.{key}", "is for one recipe, a preset trains several", fix="leave it or preset out")
        for key in REUSED_BY
        if tree.get("reuse", {}).get(key) is not None
    ]
    if tree.get("hpo"):
        problems.append(
            problem("hpo", "searches for one recipe, a preset trains several", fix="leave it or preset out")
        )
    return problems


def _distillation_rules(tree: Mapping[str, Any]) -> list[str]:
    """Return what a student cannot be combined with."""
    problems = []
    if is_exact(tree) or _name(tree["optimizer"]) == "none":
        wrong = "learns nothing from a teacher: it has no steps"
        problems.append(
            problem("optimizer", wrong, got=_name(tree["optimizer"]), fix="use for example optimizer=adamw")
        )
    if tree["mode"].get("multitask"):
        problems.append(problem("mode.multitask", "a student learns one task", fix="leave it out"))
    return problems


def _clipping_rules(tree: Mapping[str, Any]) -> list[str]:
    keys = [f"optimizer.{key}" for key in ("clip_norm", "clip_value") if tree["optimizer"].get(key) is not None]
    if not keys or tree["trainer"].get("gradient_clip_val") is None:
        return []
    return [problem(keys[0], "trainer.gradient_clip_val bounds the gradients too", fix="leave one of them out")]


def _stepless_rules(tree: Mapping[str, Any]) -> list[str]:
    """Refuse settings of steps for an optimizer that takes none."""
    if not is_exact(tree) and _name(tree["optimizer"]) != "none":
        return []
    wrong = f"optimizer={_name(tree['optimizer'])} takes no steps"
    keys = [key for key in ("clip_norm", "clip_value", "layer_decay") if tree["optimizer"].get(key) is not None]
    return [problem(f"optimizer.{key}", wrong, got=tree["optimizer"][key], fix="leave it out") for key in keys]


def _train_metric_rules(tree: Mapping[str, Any]) -> list[str]:
    """Return what metrics of training images cannot be combined with."""
    settings = {
        "mode.multitask": tree["mode"].get("multitask"),
        "trainer.devices": tree["trainer"].get("devices", 1) != 1,
    }
    wrong, fix = "is for one task on one device", "leave one of the two out"
    keys = [key for key, value in settings.items() if value] if tree["metrics"].get("while_training") else []
    return [problem("metrics.while_training", wrong, got=key, fix=fix) for key in keys]


def _logger_rules(tree: Mapping[str, Any]) -> list[str]:
    """Refuse Lightning callbacks that write to a logger, if there is none."""
    if str((tree.get("logging") or {}).get("_target_", "")).rpartition(".")[2] != "none":
        return []
    entries = (tree.get("stages") or {}).get("list") or []
    sections = {"callbacks": tree.get("callbacks")}
    sections |= {f"stages.list[{number}].callbacks": stage.get("callbacks") for number, stage in enumerate(entries)}
    return [
        problem(f"{section}.{name}", f"{needing} writes to a logger", fix="add logging=csv or logging=tensorboard")
        for section, group in sections.items()
        for name, node in (group or {}).items()
        if isinstance(node, dict)
        if (needing := str(node.get("_target_", "")).rpartition(".")[2]) in _NEED_LOGGERS
    ]


def _device_rules(tree: Mapping[str, Any]) -> list[str]:
    """Return what several devices for one fold cannot be combined with."""
    devices, key = tree["trainer"].get("devices", 1), "trainer.devices"
    if devices == "auto":
        return []
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        near = near_values.for_value(key, devices)
        fix = f"write {key}={near}" if near else f"for example {key}=2"
        return [problem(key, "must be a whole number >= 1 or auto", got=devices, fix=fix)]
    if devices == 1:
        return []
    problems = []
    if (tree.get("sys") or {}).get("fold_workers", 1) != 1:
        fix = "leave one of the two at 1"
        problems.append(problem(key, "several devices learn one fold at a time", got="sys.fold_workers", fix=fix))
    if tree["mode"].get("multitask"):
        problems.append(problem(key, "learns one task", got="mode.multitask", fix="leave one of the two out"))
    if is_exact(tree):
        problems.append(
            problem(key, f"optimizer={_name(tree['optimizer'])} makes the head on one device", got=devices, fix="use 1")
        )
    batch_size = (tree.get("sampling") or {}).get("batch_size")
    if isinstance(batch_size, int) and batch_size < 2 * devices:
        wrong = f"is divided among {devices} devices, which need two images each"
        fix = f"use {2 * devices} or more"
        problems.append(problem("sampling.batch_size", wrong, got=batch_size, fix=fix))
    return problems


def _stage_rules(tree: Mapping[str, Any]) -> list[str]:
    entries = [entry for entry in tree["stages"]["list"] if isinstance(entry, dict)]
    problems = []
    monitored, keeps = tree["metrics"].get("monitor"), tree["mode"].get("store_best")
    if keeps and objectives.is_by_the_loss(str(monitored), tree) and len(objectives.loss_of(tree)) > 1:
        wrong = f"{monitored} cannot choose among epochs of stages with different losses"
        fix = "use another metric, for example metrics.monitor=val/accuracy, or mode.store_best=false"
        problems.append(problem("metrics.monitor", wrong, fix=fix))
    # The optimizers that take steps; one whose learning rate is found uses the found one.
    own = [entry.get("lr") not in (None, tree["optimizer"].get("lr")) for entry in entries if not entry.get("head")]
    if _name(tree.get("tune") or {}) == "lr_find" and own and all(own):
        wrong, fix = "finds a rate that no stage takes, as each names its own", "leave lr out of one, or use tune=none"
        problems.append(problem("tune", wrong, got="lr_find", fix=fix))
    for number, entry in enumerate(entries):
        if entry.get("lr") is not None and "lr" not in tree["optimizer"]:
            problems.append(problem(f"stages.list[{number}].lr", "the optimizer has no lr", fix="leave it out"))
        if entry.get("start_from") is not None:
            problems += _start_from_rules(entries, number)
        problems += _stage_head_rules(tree, entry, f"stages.list[{number}].head")
        if entry.get("freeze") is not None and _name(tree["peft"]) != "none":
            wrong = "peft decides what learns"
            problems.append(problem(f"stages.list[{number}].freeze", wrong, fix="leave it out, or use peft=none"))
    return problems


def _start_from_rules(entries: list[Any], number: int) -> list[str]:
    """Check that a stage starts from an earlier one that keeps its own best weights, or from a file."""
    key, before = f"stages.list[{number}].start_from", entries[number]["start_from"]
    if entries[number].get("initial_weights") is not None:
        return [problem(key, f"stages.list[{number}].initial_weights names a file", fix="leave one of the two out")]
    if not isinstance(before, int) or before >= number:
        return [problem(key, "must be the number of an earlier stage", got=before, fix="the first one is 0")]
    if not entries[before].get("keep"):
        return [
            problem(key, f"stage {before} does not keep its weights", fix=f"add keep: true to stages.list[{before}]")
        ]
    return []


def _stage_head_rules(tree: Mapping[str, Any], entry: Mapping[str, Any], key: str) -> list[str]:
    """Return what an exact head as a stage cannot be combined with."""
    if entry.get("head") is None:
        return []
    problems = []
    if entry.get("freeze") not in (True, "backbone"):
        problems.append(problem(key, "is fitted on a frozen backbone", fix="add freeze: backbone to the stage"))
    problems += [
        problem(key, "is fitted on whole images of a plain backbone", fix=f"use {section}=none")
        for section in ("peft", "slicing")
        if _name(tree.get(section) or {}) not in ("", "none")
    ]
    if tree["trainer"].get("devices", 1) != 1:
        problems.append(
            problem(key, "is fitted on one device", got=tree["trainer"]["devices"], fix="use trainer.devices=1")
        )
    if entry.get("negatives") is not None or entry.get("val_negatives") is not None:
        problems.append(problem(key, "learns from all images", fix="leave negatives to later stages"))
    if entry.get("size") is not None:
        problems.append(problem(key, "is fitted to the images as they are cached", fix="leave size to later stages"))
    return problems


def _direction_rules(section: Mapping[str, Any]) -> list[str]:
    """Refuse to maximise a loss."""
    if section.get("monitor") != "val/loss" or section.get("direction") != "max":
        return []
    return [problem("metrics.direction", "less of val/loss is better", got="max", fix="use metrics.direction=auto")]


def _unknown_pipeline_keys(keys: Iterable[Any]) -> list[str]:
    return [
        problem("mode.pipeline_keys", "unknown section", got=key, fix=did_you_mean(str(key), PIPELINE_KEYS))
        for key in (keys if isinstance(keys, list) else [])
        if key not in PIPELINE_KEYS
    ]


def _val_score_rules(tree: Mapping[str, Any]) -> list[str]:
    used = val_used_for(tree)
    if tree["mode"]["strict_validation"] is not True or tree["mode"]["nested"] or not used:
        return []
    wrong = f"the validation fold is the score, but it also decides {listing(used)}"
    fix = "use mode.nested=true, or mode.store_best=false without early stopping and plateau"
    return [problem("mode.strict_validation", wrong, fix=fix)]


def slice_set_problems(place: str, slice_set: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every key of a slice set that is unknown, missing or of another type.

    Args:
        place: The set's key.
        slice_set: The set.
    """
    signature = signatures.read("mlpipe.data.volumes.slices.slice_set")
    assert signature is not None
    return signature.problems(place, dict(slice_set))


def _slice_set_rules(task: Mapping[str, Any]) -> list[str]:
    """Return the same for the sets of `task=slices`; nothing for other tasks.

    Args:
        task: The section.
    """
    if name_of(str(task.get("_target_", ""))) != "slices":
        return []
    slices = task.get("slices")
    entries = slices if isinstance(slices, list) else []
    return [
        sentence
        for number, entry in enumerate(entries)
        if isinstance(entry, Mapping)
        for sentence in slice_set_problems(f"task.slices[{number}]", entry)
    ]
