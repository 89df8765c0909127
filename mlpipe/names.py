"""Stable identities of components, from which hashes are computed, independent of where the code is today.

Stored configurations name components by the dotted path of their code, and hashes of recipes, splits, caches and
studies include these paths. So that code can move, the path of a component in version 0.1.0 is its identity forever:
`FROZEN` lists these paths, `MOVED` maps them to today's code. A later component is identified as `GROUP/NAME`; a
function or class of the user's own by its full path.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

# For each group, the modules of 0.1.0 and their components: NAME, or NAME=FUNCTION if the two differ.
FROZEN: Mapping[str, Mapping[str, str]] = {
    "mode": {
        "mlpipe.modes.analyze": "analyze=AnalyzeScheduler",
        "mlpipe.modes.clean": "clean=CleanScheduler",
        "mlpipe.modes.convert": "convert=ConvertScheduler",
        "mlpipe.modes.create": "create=CreateScheduler",
        "mlpipe.modes.evaluate": "evaluate=EvaluationScheduler",
        "mlpipe.modes.fit": "fit=FitScheduler",
        "mlpipe.modes.info": "info=InfoScheduler",
        "mlpipe.modes.lr_find": "lr_find=LrFindScheduler",
        "mlpipe.modes.post": "post=PostprocessScheduler",
        "mlpipe.modes.pp": "pp=PreprocessScheduler",
        "mlpipe.modes.presets": "preset=PresetScheduler",
        "mlpipe.modes.score": "score=ScoreScheduler",
        "mlpipe.modes.task": "task=TaskScheduler",
        "mlpipe.modes.tl": "tl=TransferScheduler",
        "mlpipe.modes.train": "train=TrainingScheduler",
        "mlpipe.modes.upgrade": "upgrade=UpgradeScheduler",
        "mlpipe.modes.verify": "verify=VerifyScheduler",
    },
    "task": {
        "mlpipe.data.sources": (
            "arrays created csv digits elpv fashion_mini folder folders image_folders initial_values items "
            "mask_folders masks mnist records samples slices"
        ),
    },
    "split": {
        "mlpipe.data.splits": "given holdout kfold mml shuffled",
        "mlpipe.data.split_on_test": "on_test",
    },
    "arch": {
        "mlpipe.arch.classifier": "timm",
        "mlpipe.arch.keras_json": "keras_json",
        "mlpipe.arch.nasnet": "nasnetmobile=mobile",
        "mlpipe.arch.segmenter": "fpn linknet pspnet unet",
        "mlpipe.learn.own_network": "own",
        "mlpipe.learn.record_network": "records",
    },
    "loss": {
        "mlpipe.learn.losses": "asymmetric auto bce ce composite focal huber mae mse nll own poly1 smooth_l1",
        "mlpipe.learn.burgers": "burgers",
        "mlpipe.learn.mask_losses": "dice jaccard lovasz",
        "mlpipe.learn.output_losses": "elementwise heads",
        "mlpipe.learn.pde_losses": "poisson",
        "mlpipe.learn.record_losses": "keras keras_outputs",
    },
    "optimizer": {
        "mlpipe.learn.optimizers": ("adadelta adagrad adam adamax adamw lamb lars linear lion nadam none rmsprop sgd"),
        "mlpipe.learn.keras_optimizers": (
            "keras_adadelta=adadelta keras_adagrad=adagrad keras_adam=adam keras_adamax=adamax keras_ftrl=ftrl "
            "keras_nadam=nadam keras_rmsprop=rmsprop keras_sgd=sgd"
        ),
        "mlpipe.learn.import_blocks": "import_block=optimizer",
        "mlpipe.learn.second_order": "lbfgs",
    },
    "lr_scheduler": {
        "mlpipe.learn.lr_schedulers": (
            "cosine cosine_restart cyclic exponential inverse_time multistep none one_cycle piecewise plateau "
            "polynomial step variator warmup"
        ),
        "mlpipe.learn.import_blocks": "import_block=schedule",
    },
    "preprocessing": {"mlpipe.data.preprocessing": "standard"},
    "augmentations": {
        "mlpipe.data.augmentations": (
            "brightness_contrast horizontal_flip random_crop random_erasing random_resized_crop rotate90 vertical_flip"
        ),
        "mlpipe.data.drawn": "edges gray some_of with_drawn",
        "mlpipe.data.geometry": (
            "center_crop convert_color jitter_crop normalize random_flips random_rotate random_zoom resize rotate"
        ),
        "mlpipe.data.patches": "random_patches",
    },
    "device_augmentations": {
        "mlpipe.data.device_augmentations": (
            "cutmix horizontal_flip mixup mixup_or_cutmix random_crop random_erasing vertical_flip"
        ),
    },
    "sampling": {"mlpipe.data.sampling": "balanced full subset"},
    "callbacks": {
        "mlpipe.learn.callbacks": "early ema swa time_limit",
        "mlpipe.learn.best_practice": "early_train best_practice=every_epoch",
        "mlpipe.learn.graph_file": "graph_file=once",
        "mlpipe.learn.layer_files": "layer_files=every",
        "mlpipe.learn.output_files": "output_files=every_epoch",
        "mlpipe.learn.volume_files": "volume_file=every_epoch",
    },
    "logging": {"mlpipe.learn.loggers": "csv none tensorboard"},
    "tta": {"mlpipe.learn.tta": "crop d4 flips none own rotate stored views"},
    "tune": {"mlpipe.learn.tune": "batch_size lr_find none"},
    "peft": {"mlpipe.arch.adapt": "lora none"},
    "compile": {"mlpipe.learn.compiling": "default none"},
    "slicing": {"mlpipe.learn.slicing": "crops none"},
}

# Today's paths of code of 0.1.0: modules that moved as a whole, and single components (which take precedence).
MOVED: Mapping[str, str] = {
    "mlpipe.arch.keras_json": "mlpipe.arch.keras.keras_json",
    "mlpipe.data.augmentations": "mlpipe.data.augment.samples",
    "mlpipe.data.device_augmentations": "mlpipe.data.augment.batches",
    "mlpipe.data.drawn": "mlpipe.data.augment.random_choices",
    "mlpipe.data.geometry": "mlpipe.data.augment.geometry",
    "mlpipe.data.patches": "mlpipe.data.augment.patches",
    "mlpipe.data.split_on_test": "mlpipe.data.splits.methods",
    "mlpipe.data.splits": "mlpipe.data.splits.methods",
    "mlpipe.learn.best_practice": "mlpipe.learn.callbacks.best_practice",
    "mlpipe.learn.burgers": "mlpipe.learn.losses.equations",
    "mlpipe.learn.callbacks.early": "mlpipe.learn.callbacks.early.early",
    "mlpipe.learn.callbacks.ema": "mlpipe.learn.callbacks.averaging.ema",
    "mlpipe.learn.callbacks.swa": "mlpipe.learn.callbacks.averaging.swa",
    "mlpipe.learn.callbacks.time_limit": "mlpipe.learn.callbacks.time_limit.time_limit",
    "mlpipe.learn.compiling": "mlpipe.learn.compile",
    "mlpipe.learn.graph_file": "mlpipe.learn.callbacks.graph_file",
    "mlpipe.learn.import_blocks.optimizer": "mlpipe.learn.optimizers.import_block.optimizer",
    "mlpipe.learn.import_blocks.schedule": "mlpipe.learn.lr_schedulers.import_block.schedule",
    "mlpipe.learn.keras_optimizers": "mlpipe.learn.optimizers.keras",
    "mlpipe.learn.layer_files": "mlpipe.learn.callbacks.layer_files",
    "mlpipe.learn.loggers": "mlpipe.learn.logging",
    "mlpipe.learn.losses.asymmetric": "mlpipe.learn.losses.focal.asymmetric",
    "mlpipe.learn.losses.auto": "mlpipe.learn.losses.auto.auto",
    "mlpipe.learn.losses.bce": "mlpipe.learn.losses.cross_entropy.bce",
    "mlpipe.learn.losses.ce": "mlpipe.learn.losses.cross_entropy.ce",
    "mlpipe.learn.losses.composite": "mlpipe.learn.losses.composite.composite",
    "mlpipe.learn.losses.focal": "mlpipe.learn.losses.focal.focal",
    "mlpipe.learn.losses.huber": "mlpipe.learn.losses.numbers.huber",
    "mlpipe.learn.losses.mae": "mlpipe.learn.losses.numbers.mae",
    "mlpipe.learn.losses.mse": "mlpipe.learn.losses.numbers.mse",
    "mlpipe.learn.losses.nll": "mlpipe.learn.losses.cross_entropy.nll",
    "mlpipe.learn.losses.own": "mlpipe.learn.losses.own.own",
    "mlpipe.learn.losses.poly1": "mlpipe.learn.losses.focal.poly1",
    "mlpipe.learn.losses.smooth_l1": "mlpipe.learn.losses.numbers.smooth_l1",
    "mlpipe.learn.lr_schedulers.cosine": "mlpipe.learn.lr_schedulers.cosine.cosine",
    "mlpipe.learn.lr_schedulers.cosine_restart": "mlpipe.learn.lr_schedulers.cosine.cosine_restart",
    "mlpipe.learn.lr_schedulers.cyclic": "mlpipe.learn.lr_schedulers.cycle.cyclic",
    "mlpipe.learn.lr_schedulers.exponential": "mlpipe.learn.lr_schedulers.decay.exponential",
    "mlpipe.learn.lr_schedulers.inverse_time": "mlpipe.learn.lr_schedulers.decay.inverse_time",
    "mlpipe.learn.lr_schedulers.multistep": "mlpipe.learn.lr_schedulers.step.multistep",
    "mlpipe.learn.lr_schedulers.none": "mlpipe.learn.lr_schedulers.warmup.none",
    "mlpipe.learn.lr_schedulers.one_cycle": "mlpipe.learn.lr_schedulers.cycle.one_cycle",
    "mlpipe.learn.lr_schedulers.piecewise": "mlpipe.learn.lr_schedulers.step.piecewise",
    "mlpipe.learn.lr_schedulers.plateau": "mlpipe.learn.lr_schedulers.plateau.plateau",
    "mlpipe.learn.lr_schedulers.polynomial": "mlpipe.learn.lr_schedulers.decay.polynomial",
    "mlpipe.learn.lr_schedulers.step": "mlpipe.learn.lr_schedulers.step.step",
    "mlpipe.learn.lr_schedulers.variator": "mlpipe.learn.lr_schedulers.variator.variator",
    "mlpipe.learn.lr_schedulers.warmup": "mlpipe.learn.lr_schedulers.warmup.warmup",
    "mlpipe.learn.mask_losses": "mlpipe.learn.losses.overlap",
    "mlpipe.learn.optimizers.adadelta": "mlpipe.learn.optimizers.adagrad.adadelta",
    "mlpipe.learn.optimizers.adagrad": "mlpipe.learn.optimizers.adagrad.adagrad",
    "mlpipe.learn.optimizers.adam": "mlpipe.learn.optimizers.adam.adam",
    "mlpipe.learn.optimizers.adamax": "mlpipe.learn.optimizers.adam.adamax",
    "mlpipe.learn.optimizers.adamw": "mlpipe.learn.optimizers.adam.adamw",
    "mlpipe.learn.optimizers.lamb": "mlpipe.learn.optimizers.lamb.lamb",
    "mlpipe.learn.optimizers.lars": "mlpipe.learn.optimizers.lamb.lars",
    "mlpipe.learn.optimizers.linear": "mlpipe.learn.optimizers.linear.linear",
    "mlpipe.learn.optimizers.lion": "mlpipe.learn.optimizers.sgd.lion",
    "mlpipe.learn.optimizers.nadam": "mlpipe.learn.optimizers.adam.nadam",
    "mlpipe.learn.optimizers.none": "mlpipe.learn.optimizers.linear.none",
    "mlpipe.learn.optimizers.rmsprop": "mlpipe.learn.optimizers.adagrad.rmsprop",
    "mlpipe.learn.optimizers.sgd": "mlpipe.learn.optimizers.sgd.sgd",
    "mlpipe.learn.output_files": "mlpipe.learn.callbacks.output_files",
    "mlpipe.learn.output_losses": "mlpipe.learn.losses.by_output",
    "mlpipe.learn.own_network": "mlpipe.learn.build.own_network",
    "mlpipe.learn.pde_losses": "mlpipe.learn.losses.equations",
    "mlpipe.learn.record_losses": "mlpipe.learn.losses.keras",
    "mlpipe.learn.record_network": "mlpipe.learn.build.row_network",
    "mlpipe.learn.second_order": "mlpipe.learn.optimizers.lbfgs",
    "mlpipe.learn.tune.batch_size": "mlpipe.learn.tune.batch_size.batch_size",
    "mlpipe.learn.tune.lr_find": "mlpipe.learn.tune.lr_find.lr_find",
    "mlpipe.learn.volume_files": "mlpipe.learn.callbacks.volume_file",
    "mlpipe.modes.analyze": "mlpipe.dialects.musket.commands.analyze",
    "mlpipe.modes.convert": "mlpipe.dialects.convert",
    "mlpipe.modes.fit": "mlpipe.dialects.musket.commands.fit",
    "mlpipe.modes.presets": "mlpipe.running.presets",
    "mlpipe.modes.score": "mlpipe.dialects.barrage.commands.score",
    "mlpipe.modes.task": "mlpipe.dialects.musket.commands.task",
    "mlpipe.modes.upgrade.UpgradeScheduler": "mlpipe.dialects.mml_core.commands.upgrade.UpgradeScheduler",
}

# Packages of other programs that are aliases of `mlpipe.data.records`, in import strings and in imports.
ROW_PACKAGES = ("barrage",)
# Classes of 0.1.0 for several modes: today's class by the mode and the old path.
DIVIDED: Mapping[tuple[str, str], str] = {
    ("predict", "mlpipe.modes.train.TrainingScheduler"): "mlpipe.modes.predict.PredictScheduler",
    ("test", "mlpipe.modes.train.TrainingScheduler"): "mlpipe.modes.test.TestScheduler",
    (
        "downgrade",
        "mlpipe.modes.upgrade.UpgradeScheduler",
    ): "mlpipe.dialects.mml_core.commands.downgrade.DowngradeScheduler",
}


@cache
def frozen() -> dict[str, tuple[str, str]]:
    """Return group and name of each component of 0.1.0 by its path there."""
    rows = {}
    for group, modules in FROZEN.items():
        for module, entries in modules.items():
            for entry in entries.split():
                name, _, function = entry.partition("=")
                rows[f"{module}.{function or name}"] = (group, name)
    return rows


@cache
def _origins() -> dict[str, str]:
    """Return the path in 0.1.0 of each moved component by its path today."""
    by_rows_of_their_own_last = sorted(frozen(), key=lambda path: path in MOVED)
    return {today: path for path in by_rows_of_their_own_last if (today := current(path)) != path}


def current(path: str) -> str:
    """Return today's path for a path in a stored configuration.

    Args:
        path: A dotted path of any version; a path of the user's own is returned unchanged.
    """
    if path in MOVED:
        return MOVED[path]
    module, _, name = path.rpartition(".")
    return f"{MOVED[module]}.{name}" if module in MOVED and path in frozen() else path


def scheduler(mode: str, path: str) -> str:
    """Return today's path for the scheduler class that a stored run names.

    Args:
        mode: The mode's name.
        path: A dotted path of any version; a path of the user's own is returned unchanged.
    """
    return DIVIDED.get((mode, path), current(path))


@cache
def _paths() -> dict[tuple[str, str], str]:
    return {row: current(path) for path, row in frozen().items()}


def path_of(group: str, name: str) -> str:
    """Return today's path of a component of 0.1.0.

    Args:
        group: A key of `FROZEN`.
        name: The component's name within it.

    Raises:
        KeyError: When there was no such component.
    """
    return _paths()[group, name]


def name_of(path: str) -> str:
    """Return a component's name within its group for its path of any version; for the user's own code, the full path."""
    origin = _origins().get(path, path)
    return frozen()[origin][1] if origin in frozen() else _later_name(path)


def identity(group: str, path: str) -> str:
    """Return the name of a component in hashes: its path in 0.1.0, or `GROUP/NAME` for a later one.

    Args:
        group: The group of the component, a key of `FROZEN`.
        path: Its dotted path of any version. A path of the user's own is its own identity.
    """
    origin = _origins().get(path, path)
    return origin if origin in frozen() or not path.startswith("mlpipe.") else f"{group}/{_later_name(path)}"


def identified(section: str, value: Any) -> Any:
    """Return a part of a configuration with identities in place of dotted paths, as input of hashes.

    Args:
        section: The key of the part.
        value: The part, plain data.
    """
    if isinstance(value, Mapping):
        return {
            key: identity(section, item)
            if key == "_target_" and isinstance(item, str)
            else identified(_group(section, key), item)
            for key, item in value.items()
        }
    return [identified(section, item) for item in value] if isinstance(value, list) else value


def _group(section: str, key: Any) -> str:
    """Return the group of the components at a key of a section: stages and pipelines hold components of other groups."""
    if section == "augmentations" and key == "device":
        return "device_augmentations"
    return "callbacks" if key == "extra_callbacks" else key if key in FROZEN else section


def _later_name(path: str) -> str:
    return path.rpartition(".")[2] if path.startswith("mlpipe.") else path
