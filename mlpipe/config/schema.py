"""The checked, frozen configuration of a run, section by section; all other packages receive it in this form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe import names
from mlpipe.config.components import Component
from mlpipe.files import digest

RECIPE_SECTIONS = (
    "split",
    "arch",
    "loss",
    "optimizer",
    "lr_scheduler",
    "metrics",
    "preprocessing",
    "augmentations",
    "sampling",
    "callbacks",
    "trainer",
)
# Parts of a recipe that may be missing; a recipe without one has the option `none` there.
OPTIONAL_SECTIONS = ("tta", "tune", "peft", "compile", "slicing")
AUTO = "auto"
# Keys that do not affect training: whether a rare class is refused.
_SILENT = {"split": ("rare",)}
# Keys added later, with the value for which hashes stay the same as before.
_LATER: dict[str, dict[str, Any]] = {
    "arch": {"anchors": None},
    "lr_scheduler": {"warmup_steps": 0.0, "first_ratio": 0.0},
    "metrics": {"heads": None},
    "optimizer": {"flips": False},
    "split": {"repeats": 1},
}


@dataclass(frozen=True)
class Metrics:
    """The metrics to measure, and the one that chooses the best epoch.

    Attributes:
        train: Metrics of the validation images after every epoch; `auto`: the usual ones of the task's kind.
        final: Metrics of a finished record; `auto` as above.
        monitor: `val/loss` or `val/METRIC`.
        direction: Whether a lower or higher monitor is better; `auto` knows mlpipe's own metrics.
        functions: Names of your own functions, which train, final and monitor may then name.
        modules: The folder of Python files that contain them.
        imports: Further modules to import.
        stand_ins: Packages that are replaced by `mlpipe.data.items` when imported.
        trust: Folders outside the current one, and modules, whose code may run; always the same as the top-level
            `trust`.
        blocks: Your own classes as `{import: MODULE.NAME, params: {...}, name: NAME}`, named like functions.
        while_training: Also compute the metrics of `train` on the training images during training.
        heads: For outputs that consist of several heads side by side, `{name: out0, outputs: 4, activation: softmax}`
            for each: functions receive each head's outputs separately or, if marked with `final_metric`, lists of them.
    """

    train: list[str] | Literal["auto"]
    final: list[str] | Literal["auto"]
    monitor: str
    direction: Literal["auto", "min", "max"] = "auto"
    functions: list[str] | None = None
    modules: str | None = None
    imports: list[str] | None = None
    stand_ins: list[str] | None = None
    trust: list[str] | None = None
    blocks: list[dict[str, Any]] | None = None
    while_training: bool = False
    heads: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Augmentations:
    """Random changes of training images, and the normalisation of all images.

    Attributes:
        normalization: `model` (the mean and deviation that the network was made for) or `unit` (0 to 1).
        cpu: The steps of the pipeline in order.
        device: Steps applied afterwards on the device, to whole batches.
    """

    normalization: Literal["model", "unit"]
    cpu: tuple[Component, ...]
    device: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Clip:
    """How gradients are clipped before every optimizer step: if both bounds are given, by their norm first.

    Attributes:
        clip_norm: The largest norm of all gradients together; None: no bound.
        clip_value: The maximum absolute value of each gradient; None: no bound.
    """

    clip_norm: Annotated[float, "> 0"] | None = None
    clip_value: Annotated[float, "> 0"] | None = None


@dataclass(frozen=True)
class LayerRates:
    """How learning rates differ between the layers of a network.

    Attributes:
        layer_decay: The learning rate of each layer as a share of the next layer's, towards the input; None: one rate
            for all.
    """

    layer_decay: Annotated[float, "> 0", "<= 1"] | None = None


@dataclass(frozen=True)
class Sys:
    """How the machine is used.

    Attributes:
        num_workers: The number of loader processes; None: chosen by the hardware.
        threads: The number of threads of torch.
        fold_workers: The number of folds trained in parallel, each with `threads` threads.
        artifact_dir: A folder in which a training of records stores all that scoring needs; it must not exist yet.
        artifact_config: The configuration of another program that is copied into it.
        console: How a training looks on the terminal: an option of `conf/console`.
        outfile: The name of a training's two tables, NAME_train.EXT and NAME_test.EXT.
    """

    num_workers: Annotated[int, ">= 0", "<= 1024"] | Literal["auto"]
    threads: Annotated[int, ">= 1", "<= 1024"] | Literal["auto"]
    fold_workers: Annotated[int, ">= 1", "<= 1024"] | Literal["auto"] = 1
    artifact_dir: str | None = None
    artifact_config: str | None = None
    console: str = "mlpipe"
    outfile: str | None = None


@dataclass(frozen=True)
class Hpo:
    """How hyperparameters are searched with Optuna.

    Attributes:
        study: The study's name; None: made from the configuration and the space.
        trials: The total number of trials of the study.
        storage: A path or an Optuna URL; None: a journal file in the project.
        sampler: The Optuna sampler that proposes trials.
        pruner: The Optuna pruner that stops bad trials early.
        startup_trials: The number of trials before the sampler and the pruner become active.
        metric: The metric to optimise (`val/NAME` or `test/NAME`); None: metrics.monitor; several: a Pareto front.
        direction: Whether a lower or higher metric is better; `auto` knows mlpipe's own metrics.
    """

    study: str | None
    trials: Annotated[int, ">= 1"]
    storage: str | None
    sampler: Literal["tpe", "random", "grid", "qmc", "gp", "nsga2"]
    pruner: Literal["none", "median", "hyperband"]
    startup_trials: Annotated[int, ">= 1"]
    metric: str | list[str] | None
    direction: Literal["auto", "minimize", "maximize"] | list[str]


@dataclass(frozen=True)
class Reuse:
    """Parts of other runs that a run reuses: `PROJ` is a folder in out_dir or a path, `PROJ#3` one record of it.

    Attributes:
        models: Projects or records: `tl` chooses its starting model among them, `predict` and `test` use them.
        parameters: `PROJ#3` or a file with the weights from which training starts.
        predictions: Projects whose predictions `post` also uses.
        blueprint: `PROJ#3` or a YAML file whose sections replace this run's, with mode.use_blueprint=true.
        allow_missing: Accept starting weights that lack more than a tenth of the network's body.
    """

    models: str | list[str] | None = None
    parameters: str | None = None
    predictions: str | list[str] | None = None
    blueprint: str | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Preset:
    """The recipes of a preset.

    Attributes:
        common: Overrides of all recipes.
        arch: Options of all recipes' networks.
        recipes: The overrides of each recipe, by its name.
        pretrained: Further overrides, by the recipe's name, for when a whole pretrained network is trained.
        sizes: Shares of the other recipes' image size, by the recipe's name, the preferred one first.
        spare: Names of recipes for leftover time.
        post: Overrides of the post-processing.
        trees: The configuration of each recipe, by its name; set by the program.
    """

    common: list[str] | None = None
    arch: Mapping[str, Any] | None = None
    recipes: Mapping[str, list[str]] | None = None
    pretrained: Mapping[str, list[str]] | None = None
    sizes: Mapping[str, Annotated[float, "> 0"] | list[Annotated[float, "> 0"]]] | None = None
    spare: list[str] | None = None
    post: list[str] | None = None
    trees: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Remove:
    """Files that a run deletes after it has succeeded.

    Attributes:
        parameters: The weights of its records.
    """

    parameters: bool = False


@dataclass(frozen=True)
class Healing:
    """Automatic recoveries when something goes wrong in a training.

    Attributes:
        rollbacks: How often a NaN or infinite loss or gradient restarts its epoch.
        lr_factor: The factor of the learning rate at each such restart, until the end of the stage.
        micro_batches: Whether images pass through the network in smaller batches when memory runs out.
    """

    rollbacks: Annotated[int, ">= 0"] = 3
    lr_factor: Annotated[float, "> 0", "< 1"] = 0.5
    micro_batches: bool = True


@dataclass(frozen=True)
class Stage:
    """One stage of a training; what it does not set is taken from the recipe.

    Attributes:
        epochs: The number of epochs.
        lr: Its learning rate.
        freeze: What part of the backbone is frozen, as in `arch.freeze`; False: nothing is.
        loss: Its loss.
        lr_scheduler: Its schedule, over its own epochs.
        callbacks: Its callbacks, in place of the recipe's.
        initial_weights: A file with the weights from which it starts, instead of those of the earlier stages.
        start_from: The number, from 0, of an earlier stage with `keep` from whose best weights it starts, instead of
            those of the previous stage; null: the previous stage.
        weights_strict: False: load whatever fits from that file, however little.
        negatives: The number of negative images for each positive one, 0: none; None: all.
        val_negatives: The same for validation images.
        carry: Continue with the optimizer of the previous stage, including its learning rate if the stage sets none.
        keep: Also keep its own best weights in the record; the next stage starts from them.
        head: `linear`: fit the head exactly on the frozen backbone instead of training epochs, as `optimizer=linear`
            does; it is then validated as one epoch.
        batch_statistics: `frozen`: keep the statistics of the backbone's batch normalisations, whose scales and shifts
            are still trained; None: they follow the images, in the parts that are trained.
        size: Height and width of its training images in pixels, or one number for both; None: as cached. Validation
            images keep the cached size.
    """

    epochs: Annotated[int, ">= 1"]
    lr: Annotated[float, "> 0"] | None = None
    freeze: bool | Literal["backbone"] | Annotated[int, ">= 1"] | None = None
    loss: Component | None = None
    lr_scheduler: Component | None = None
    callbacks: Mapping[str, Component] | None = None
    initial_weights: str | None = None
    start_from: Annotated[int, ">= 0"] | None = None
    weights_strict: bool = True
    negatives: Annotated[int, ">= 0"] | None = None
    val_negatives: Annotated[int, ">= 0"] | None = None
    carry: bool = False
    keep: bool = False
    head: Literal["linear"] | None = None
    batch_statistics: Literal["frozen"] | None = None
    size: Annotated[int, ">= 1"] | tuple[int, int] | None = None


@dataclass(frozen=True)
class Recipe:
    """The recipe: everything that determines the weights and predictions, given a task and its fold.

    Attributes:
        heads: The activations of the outputs, if set in the task's section: the same samples may be learned with
            different ones.
    """

    arch: Component
    loss: Component
    optimizer: Component
    clip: Clip
    lr_scheduler: Component
    metrics: Metrics
    preprocessing: Component
    augmentations: Augmentations
    sampling: Component
    callbacks: Mapping[str, Component]
    trainer: Mapping[str, Any]
    tta: Component
    tune: Component
    peft: Component
    compile: Component
    slicing: Component
    layer_decay: float | None
    stages: tuple[Stage, ...]
    seed: int
    threads: int
    heads: tuple[Mapping[str, Any], ...] | None = None

    @property
    def epochs(self) -> int:
        """The maximum number of epochs of a fold: the sum over its stages, or `trainer.max_epochs` without stages."""
        return sum(stage.epochs for stage in self.stages) or int(self.trainer["max_epochs"])


@dataclass(frozen=True)
class RunConfig:
    """The checked configuration of one run, from the command line and the configuration files.

    Attributes:
        mode: The mode's name, the first word of the command.
        scheduler: The class that plans and runs the mode, with the mode's keys.
        task: The pivot task's source.
        split: How its samples are split.
        recipe: How to learn.
        logging: The logger of a training's curves.
        sys: How the machine is used.
        proj: The project's name.
        out_dir: The folder of all projects.
        data_dir: The folder of task descriptions and caches.
        task_list: Further tasks' names.
        tags: The tags of a variant of the pivot task, such as `subset?0.1+noise?0.2`; empty for the task itself.
        resume: The run to continue (`latest` or its name), None for a new run.
        hpo: The hyperparameter search; None: no search.
        healing: Automatic recoveries of a training.
        tree: The whole resolved configuration as plain data, as stored in snapshots and records.
        reuse: Parts of other runs that it reuses.
        remove: Files that it deletes after it has succeeded.
        given: The keys set by the command line and its recipe file; None if the configuration comes from a run.
    """

    mode: str
    scheduler: Component
    task: Component
    split: Component
    recipe: Recipe
    logging: Component
    sys: Sys
    seed: int
    proj: str
    out_dir: Path
    data_dir: Path
    task_list: tuple[str, ...]
    resume: str | None
    tree: Mapping[str, Any] = field(repr=False)
    tags: str = ""
    reuse: Reuse = Reuse()
    remove: Remove = Remove()
    hpo: Hpo | None = None
    healing: Healing = Healing()
    given: frozenset[str] | None = None

    @property
    def project_dir(self) -> Path:
        """The project's folder."""
        return self.out_dir / self.proj

    def recipe_hash(self, task_name: str) -> str:
        """The hash that groups the folds of one cross-validation: recipe, task and the mode's deciding keys."""
        return recipe_hash(self.tree, task_name, self.seed)


def recipe_hash(tree: Mapping[str, Any], task_name: str, seed: int | None) -> str:
    """Return the hash of the recipe that a checked configuration describes.

    Args:
        tree: The configuration as plain data, as stored in snapshots and records.
        task_name: The task.
        seed: The seed; None: the hash shared by recipes that differ only in the seed.
    """
    # The folder of artifacts is not part of a recipe: a replay uses another one.
    plain = with_artifacts_in(tree, None)
    decided = {key: deciding_keys(key, plain[key]) for key in RECIPE_SECTIONS}
    # Unused sections are left out, so that hashes stay the same as before the section existed.
    used = [key for key in OPTIONAL_SECTIONS if tree.get(key) and names.name_of(tree[key]["_target_"]) != "none"]
    decided |= {key: tree[key] for key in used}
    healing = Healing(**tree.get("healing", {}))
    decided |= {"healing": asdict(healing)} if healing != Healing() else {}
    decided |= {"time_limit": tree["time_limit"]} if tree.get("time_limit") is not None else {}
    decided |= {"stages": tree["stages"]["list"]} if tree["stages"].get("list") else {}
    mode = {key: tree["mode"].get(key) for key in ("nested", "store_best")}
    if tree["mode"].get("multitask"):
        mode |= {key: tree["mode"].get(key) for key in ("multitask", "task_weights")}
    sys = {"threads": tree["sys"]["threads"]}
    # A component keeps its hash when its code moves.
    decided = {key: names.identified(key, value) for key, value in decided.items()}
    return digest({**decided, "mode": mode, "sys": sys, "seed": seed, "task": task_name})[:8]


def deciding_keys(name: str, section: Any) -> Any:
    """Return the keys of a section that affect training and that hashes are made of.

    Args:
        name: The section's name.
        section: The section, or the parameters of its component.
    """
    silent, later = _SILENT.get(name, ()), _LATER.get(name, {})
    if not silent and not later:
        return section
    return {
        key: value for key, value in section.items() if key not in silent and (key not in later or later[key] != value)
    }


def with_artifacts_in(tree: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return a configuration with another folder of artifacts, in `sys` and in callbacks that write there.

    A callback's `outfile`, which every epoch rewrites, is moved there as well.

    Args:
        tree: The composed tree.
        folder: The other folder; None: none that has a name.
    """
    artifact_dir = (tree.get("sys") or {}).get("artifact_dir")
    other = None if folder is None else str(folder)

    def moved(name: str, node: Any) -> Any:
        if isinstance(node, Mapping) and artifact_dir and node.get("folder") == artifact_dir:
            return {**node, "folder": other}
        if isinstance(node, Mapping) and "outfile" in node:
            return {**node, "outfile": None if folder is None else str(folder / f"{name}.h5")}
        return node

    result = dict(tree)
    if tree.get("callbacks"):
        result["callbacks"] = {name: moved(name, node) for name, node in tree["callbacks"].items()}
    return {**result, "sys": {**tree["sys"], "artifact_dir": other}} if artifact_dir else result
