"""The checked, frozen configuration of a run, section by section, as everything below `modes` gets it."""

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
# Parts of a recipe that may be missing; a recipe without one is the recipe whose option is `none`.
OPTIONAL_SECTIONS = ("tta", "tune", "peft", "compile", "slicing")
AUTO = "auto"
# Keys that decide nothing of what is learned: whether a rare class is refused.
_SILENT = {"split": ("rare",)}
# Keys that came later, and the value with which hashes are as they were before.
_LATER: dict[str, dict[str, Any]] = {
    "arch": {"anchors": None},
    "metrics": {"heads": None},
    "optimizer": {"flips": False},
    "split": {"repeats": 1},
}


@dataclass(frozen=True)
class Metrics:
    """The metrics to measure, and the one that chooses the best epoch.

    Attributes:
        train: Metrics of the validation images after every epoch; `auto`: the usual ones of the task's kind.
        final: Metrics of a finished record, alike.
        monitor: `val/loss` or `val/METRIC`.
        direction: Whether less or more of the monitor is better; `auto` knows mlpipe's own metrics.
        functions: Names of functions of the user's own, which train, final and monitor may then name.
        modules: The folder of Python files that they are in.
        imports: Modules to import beside them.
        stand_ins: Packages whose imports give `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run; always those of the root's `trust`.
        blocks: Classes of the user's own as `{import: MODULE.NAME, params: {...}, name: NAME}`, named as functions are.
        while_training: Compute the metrics of `train` of the training images too, as they are learned.
        heads: Where outputs are those of several heads side by side, `{name: out0, outputs: 4, activation: softmax}` for each:
            functions are given each head's by itself, or, of one that is marked with `final_metric`, lists of them.
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
        cpu: The steps of the pipeline in their order.
        device: Steps that follow on the device, for whole batches.
    """

    normalization: Literal["model", "unit"]
    cpu: tuple[Component, ...]
    device: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Clip:
    """How gradients are bounded before every step of the optimizer: with both bounds by their norm first.

    Attributes:
        clip_norm: The largest norm of all gradients together; None: no bound.
        clip_value: The largest absolute value of each; None: no bound.
    """

    clip_norm: Annotated[float, "> 0"] | None = None
    clip_value: Annotated[float, "> 0"] | None = None


@dataclass(frozen=True)
class LayerRates:
    """How learning rates differ between the layers of a network.

    Attributes:
        layer_decay: The rate of each layer as a share of the next one's, towards the pixels; None: one rate for all.
    """

    layer_decay: Annotated[float, "> 0", "<= 1"] | None = None


@dataclass(frozen=True)
class Sys:
    """How the machine is used.

    Attributes:
        num_workers: Loader processes; None lets the hardware decide.
        threads: Threads of torch.
        fold_workers: Folds of one run side by side, each with `threads` threads.
        artifact_dir: A folder that a training of records fills with all that scoring needs; it must not be there yet.
        artifact_config: The configuration of another program that goes into it.
        console: How a training looks on the terminal: an option of `conf/console`.
        outfile: The name of two tables of a training, NAME_train.EXT and NAME_test.EXT.
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
        study: The study's name; None makes one from the configuration and the space.
        trials: All trials of the study together.
        storage: A path or an Optuna URL; None: a journal file in the project.
        sampler: What proposes the next trial.
        pruner: What stops bad trials early.
        startup_trials: Trials before the sampler and the pruner start to choose.
        metric: What is optimised (`val/NAME` or `test/NAME`); None: metrics.monitor; several for a front.
        direction: Whether less or more of it is better; `auto` knows mlpipe's own metrics.
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
    """Parts of other runs that a run takes over: `PROJ` is a folder under out_dir or a path, `PROJ#3` one record of it.

    Attributes:
        models: Projects or records: `tl` chooses its start among them, `predict` and `test` use them.
        parameters: `PROJ#3` or a file of weights that training starts from.
        predictions: Projects whose predictions `post` takes as well.
        blueprint: `PROJ#3` or a YAML file whose sections replace this run's, with mode.use_blueprint=true.
        allow_missing: Accept start weights that lack more than a tenth of the network's body.
    """

    models: str | list[str] | None = None
    parameters: str | None = None
    predictions: str | list[str] | None = None
    blueprint: str | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Preset:
    """The recipes that a preset is made of.

    Attributes:
        common: Overrides of all recipes.
        arch: Options of all recipes' networks.
        recipes: Name of a recipe: its overrides.
        pretrained: Name of a recipe: its further overrides, where all of a pretrained network learns.
        sizes: Name of a recipe: shares of the others' image size, the wished for first.
        spare: Names of recipes for time that is left.
        post: Overrides of the post-processing.
        trees: Name of a recipe: its configuration, which the program sets itself.
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
    """Files that a run deletes once it has ended well.

    Attributes:
        parameters: The weights of its records.
    """

    parameters: bool = False


@dataclass(frozen=True)
class Healing:
    """Recoveries that a training may make by itself when something goes wrong.

    Attributes:
        rollbacks: How often a NaN or infinite loss or gradient leads back to the start of its epoch.
        lr_factor: What the learning rate is multiplied by each time, until the end of the stage.
        micro_batches: Whether images go through the network in smaller parts when memory runs out.
    """

    rollbacks: Annotated[int, ">= 0"] = 3
    lr_factor: Annotated[float, "> 0", "< 1"] = 0.5
    micro_batches: bool = True


@dataclass(frozen=True)
class Stage:
    """One part of a training; what it does not say is as the recipe says.

    Attributes:
        epochs: How many epochs it has.
        lr: Its learning rate.
        freeze: What of the backbone does not learn in it, as `arch.freeze`; False: all learns.
        loss: Its loss.
        lr_scheduler: Its schedule, over its own epochs.
        callbacks: Its callbacks, in place of the recipe's.
        initial_weights: A file of weights that it starts from, in place of those of the stages before.
        start_from: The number, from 0, of an earlier stage with `keep` whose best weights it starts from, in place of those
            of the stage right before; null: those.
        weights_strict: False loads what fits of that file, however little that is.
        negatives: How many negative images it learns for each positive one, 0: none; None: all.
        val_negatives: The same for its validation images.
        carry: Go on with the optimizer of the stage before, its rate included where the stage names none.
        keep: Keep its own best weights in the record too; the next stage starts from them.
        head: `linear` fits the head exactly on the frozen backbone in place of its epochs, as `optimizer=linear` does; it is
            then validated as one epoch.
        batch_statistics: `frozen` keeps those of the backbone's batch normalisations, whose scales and shifts learn; None:
            they follow the images of what learns.
        size: Height and width of its training images in pixels, or both; None: as they are cached. Images are validated as they
            are cached.
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
    """How to learn: everything that decides the weights and predictions, given a task and its fold.

    Attributes:
        heads: What the outputs go through, where the task's section says so: the same samples may be learned both ways.
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
        """The most epochs of a fold: those of all its stages, or `trainer.max_epochs` without any."""
        return sum(stage.epochs for stage in self.stages) or int(self.trainer["max_epochs"])


@dataclass(frozen=True)
class RunConfig:
    """One run: what the command line and the configuration files say, checked.

    Attributes:
        mode: The mode's name, the first word of the command.
        scheduler: The class that plans and runs the mode, with the mode's keys.
        task: The pivot task's source.
        split: How its samples are split.
        recipe: How to learn.
        logging: What writes a training's curves while it runs.
        sys: How the machine is used.
        proj: The project's name.
        out_dir: The folder of all projects.
        data_dir: The folder of task descriptions and caches.
        task_list: Further tasks' names.
        tags: What makes a variant of the pivot task, such as `subset?0.1+noise?0.2`; empty for the task itself.
        resume: The run to continue (`latest` or its name), None for a new one.
        hpo: How hyperparameters are searched; None: they are not.
        healing: What a training does by itself when something goes wrong.
        tree: The whole resolved configuration as plain data, as snapshots and records store it.
        reuse: What it takes from other runs.
        remove: What it deletes once it has ended well.
        given: The keys that the command line and its recipe file name; None where the configuration comes from a run.
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
        """The hash that groups the folds of one cross-validation: the recipe, the task and what the mode decides."""
        return recipe_hash(self.tree, task_name, self.seed)


def recipe_hash(tree: Mapping[str, Any], task_name: str, seed: int | None) -> str:
    """The hash of the recipe that a checked configuration describes.

    Args:
        tree: The configuration as plain data, as snapshots and records store it.
        task_name: The task.
        seed: The seed; None: what recipes share that differ in nothing else.
    """
    # Where artifacts are put is no part of a recipe: a replay puts them elsewhere.
    plain = with_artifacts_in(tree, None)
    decided = {key: deciding_keys(key, plain[key]) for key in RECIPE_SECTIONS}
    # What is not used leaves the hash as it was before the section existed.
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
    # A component whose code moved is the component that it was.
    decided = {key: names.identified(key, value) for key, value in decided.items()}
    return digest({**decided, "mode": mode, "sys": sys, "seed": seed, "task": task_name})[:8]


def deciding_keys(name: str, section: Any) -> Any:
    """The keys of a section that decide what is learned: those that hashes are made of.

    Args:
        name: The section's name.
        section: It, or the parameters of its component.
    """
    silent, later = _SILENT.get(name, ()), _LATER.get(name, {})
    if not silent and not later:
        return section
    return {
        key: value for key, value in section.items() if key not in silent and (key not in later or later[key] != value)
    }


def with_artifacts_in(tree: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """A configuration with another folder of artifacts, where it names one: its own key, and callbacks' that write there.

    A callback's `outfile`, which every epoch writes anew, goes there as well.

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
