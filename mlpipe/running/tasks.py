"""The task of a configuration with its split and its cached images; missing parts are created in the data folder."""

from __future__ import annotations

import io
import logging
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlpipe import files, kinds
from mlpipe.config import snapshot
from mlpipe.config.components import Component
from mlpipe.config.environment import cores
from mlpipe.config.overrides import name_and_tags
from mlpipe.config.schema import RunConfig, deciding_keys
from mlpipe.data import sources, tags, task
from mlpipe.data.cache import packs, variant_packs
from mlpipe.data.cache.packs import Pack
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.listings import array_layout
from mlpipe.data.sources.targets import target_files
from mlpipe.data.splits import methods
from mlpipe.data.splits.methods import Split
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, counted, first_line, problem
from mlpipe.names import path_of
from mlpipe.reports.progress import Display
from mlpipe.running import stored_decisions, task_names
from mlpipe.running.steps import RunContext
from mlpipe.runs import folder_users, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

Progress = Callable[[int, int], None]
_DECODERS = 8
_EMBEDDED = ("fashion_mini", "digits")


def resolve(source: Component, data_dir: Path) -> Task:
    """Scan the source, and describe the task in the data folder if it is not there yet.

    Raises:
        DataError: When the source is invalid, or another task of this name exists.
    """
    current_task: Task = source.build()
    path = task_names.file_of(data_dir, current_task.name)
    _refuse_folder_inside_source(current_task, data_dir, "data_dir")
    if not path.is_file():
        task.save(current_task, path)
        log.info(f"created task {current_task.name}: {describe(current_task)}")
        for note in current_task.notes:
            log.info(f"note on {current_task.name}: {note}")
        return current_task
    if source.name == "created":
        return current_task
    stored = sources.load(path)
    if stored.source_hash != current_task.source_hash:
        fix = "choose another data_dir, or remove that folder"
        raise DataError(problem(str(path.parent), "holds a task of this name made of other images", fix=fix))
    before, now = (array_layout.description(of.source) for of in (stored, current_task))
    for key, word in (("range", "value_range"), ("layout", "layout"), ("axes", "axes")):
        # The order of axes was not always stored.
        if before.get(key) != now.get(key) and (key in before or key == "range"):
            wrong = f"holds a task of this name with task.{word}={before.get(key)}"
            raise DataError(problem(str(path.parent), wrong, fix="give this one another name with task.name=NAME"))
    # Functions, their arguments and folders may change without changing the samples, and the old ones may be gone.
    if task.rewrite_source(stored, current_task, path):
        log.info(f"task {current_task.name}: the same samples, described anew")
    return current_task


def pivot(run_config: RunConfig) -> Task:
    """Return the task of a configuration with its tags, described in the data folder if necessary.

    Raises:
        DataError: When the source is invalid, or the tags do not fit it.
    """
    base = resolve(run_config.task, run_config.data_dir)
    file = task_names.file_of(run_config.data_dir, base.name)
    stored_decisions.store(run_config, file)
    return _variant(stored_decisions.with_split(run_config, file), base, run_config.tags, split_of)


def with_decisions(run_config: RunConfig, of: Task) -> RunConfig:
    """Return the configuration with the decisions stored for a task, see `mlpipe.running.stored_decisions`."""
    return stored_decisions.with_split(run_config, described_in(run_config.data_dir, of))


def variant(run_config: RunConfig, base: Task, text: str) -> Task:
    """Return a task's variant by tags.

    Args:
        run_config: The configuration, for the split.
        base: The task.
        text: The tags, such as `subset?0.1`.

    Raises:
        DataError: When they do not fit it.
    """
    return _variant(run_config, base, text, split_of)


def recorded_pivot(run_config: RunConfig, project: Project) -> Task:
    """Return the pivot as in a project's records: a variant depends on the split of its newest record."""
    if not run_config.tags:
        return pivot(run_config)
    base = resolve(run_config.task, run_config.data_dir)
    models = records.load_all(project, f"{base.name}+{tags.canonical(run_config.tags)}")
    if not models:
        return pivot(run_config)
    file = project.model_dir(models[-1].pivot, models[-1].id) / records.CONFIG_FILE
    folders = {"out_dir": str(run_config.out_dir), "data_dir": str(run_config.data_dir)}
    # Only its split is drawn again: the task exists, and nothing else is built.
    rest = set(run_config.tree) - {"split"}
    known = snapshot.load(file, allowed=run_config.tree, trust=run_config.tree["trust"], without=rest, **folders)
    return pivot(known)


def other_task(run_config: RunConfig, name: str) -> Task:
    """Return a task of `task_list` or `mode.eval_on`: created earlier, or built in, with tags like the pivot's.

    Raises:
        DataError: When there is no such task, or the tags do not fit it.
    """
    base, text = name_and_tags(name, (*_EMBEDDED, *task_names.created(run_config.data_dir)))
    return _variant(run_config, named(base, run_config.data_dir), text, split_of_other)


def _variant(run_config: RunConfig, base: Task, text: str, split_base: Callable[[RunConfig, Task], Split]) -> Task:
    if not text:
        return base

    def split(other: Task) -> Split:
        return (split_base if other is base else split_of_other)(run_config, other)

    lookup = tags.World(split, partial(named, data_dir=run_config.data_dir))
    return tags.derive(base, tags.parse(text), lookup)


def named(name: str, data_dir: Path) -> Task:
    """Return a task by its name, created earlier or built in.

    Raises:
        DataError: When there is no such task.
    """
    if name in _EMBEDDED:
        return resolve(Component("task", path_of("task", name), {}), data_dir)
    return sources.created(name=name, data_dir=str(data_dir))


def split_of(run_config: RunConfig, of: Task) -> Split:
    """Return the task's split, which is stored with it when it is first drawn.

    Raises:
        DataError: When the task cannot be split in this way.
    """
    if of.bases:
        return _split_without_test(run_config, of)
    params = deciding_keys("split", run_config.split.params)
    key = files.digest([run_config.split.identity, params, *_content_hashes(params)])[:12]
    path = task_names.file_of(run_config.data_dir, of.name)
    stored: dict[str, Any] = files.read_json(path)
    if key in stored["splits"]:
        split = _stored_split(stored["splits"][key], of, path)
        return replace(split, rare=run_config.split.params.get("rare", "refuse"))
    drawn = methods.with_extra(of.samples, run_config.split.build(of.samples))
    parameters = {"target": run_config.split.identity, **params}
    with task.changing(path):
        # Another command may have changed the file meanwhile; the same split of another process is the same.
        stored = files.read_json(path)
        stored["splits"][key] = {"parameters": parameters, **drawn.as_plain()}
        files.write_json(path, stored)
    return drawn


def _stored_split(plain: Any, of: Task, path: Path) -> Split:
    """Return a split from the task's file.

    Raises:
        DataError: When it is damaged.
    """
    try:
        split = Split.from_plain(plain)
        if any(fold.shape != (len(of.samples),) for fold in (split.fold, *split.repeats)):
            raise ValueError("it is of other samples")
        if not all(isinstance(value, int) for value in (split.n_folds, split.seed, *split.validated)):
            raise TypeError("a number is none")
        return split
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        wrong = f"its split is damaged ({type(error).__name__}: {first_line(error)})"
        raise DataError(problem(str(path), wrong, fix="take it from a copy, or delete the entry in splits")) from error


def _content_hashes(params: Mapping[str, Any]) -> list[str]:
    """Return hashes of the files that define a split, which may be edited by hand."""
    paths = [Path(value) for name, value in sorted(params.items()) if name.endswith("_file") and value is not None]
    return [files.digest_file(path) for path in paths if path.is_file()]


def split_of_other(run_config: RunConfig, of: Task) -> Split:
    """Return the split of a task other than the pivot: like the pivot's, but with its own test part if it has one.

    Raises:
        DataError: When the task cannot be split in this way.
    """
    if of.bases or not of.samples.in_part("test").any():
        return split_of(run_config, of)
    return _split_without_test(run_config, of)


def _split_without_test(run_config: RunConfig, of: Task) -> Split:
    """Return the folds of a task with a fixed test part; drawn again each time."""
    split = run_config.split
    fixed = {"test_fraction": 0.0} if "test_fraction" in split.params else {}
    drawn: Split = Component(split.slot, split.target, {**split.params, **fixed}).build(of.samples)
    return methods.with_extra(of.samples, drawn)


def preprocessing_of(run_config: RunConfig, of: Task) -> Preprocessing:
    """Return the preprocessing for a task: the network's channels if it names them, else the task's."""
    channels = run_config.recipe.arch.params.get("in_chans") or of.channels
    if channels != of.channels and of.channels != 1 and "root" not in of.source:
        fix = f"leave it out, or use {of.channels}"
        raise ConfigError(
            problem("arch.in_chans", f"the images have {counted(of.channels, 'channel')}", got=channels, fix=fix)
        )
    if channels not in (1, 3, 4) and "root" in of.source:
        raise ConfigError(problem("arch.in_chans", "image files have 1, 3 or 4 channels", got=channels, fix="use one"))
    built: Preprocessing = run_config.recipe.preprocessing.build(channels)
    return built


def pack_folder(run_config: RunConfig, of: Task) -> Path:
    """Return the folder of a task's cached images; a variant uses the pivot's."""
    of = of.bases[0] if of.bases else of
    name = packs.pack_id(of, preprocessing_of(run_config, of))
    return run_config.data_dir / of.name / "cache" / name


def pack_of(
    run_config: RunConfig,
    of: Task,
    context: RunContext | None = None,
    *,
    workers: int | None = None,
    max_unreadable: int | None = None,
) -> Pack:
    """Return a task's cached images, decoded first if they are missing.

    Args:
        run_config: The configuration, for the preprocessing and the data folder.
        of: The task.
        context: Shows progress; if asked to stop, decoding continues from there next time. None: nothing is shown.
        workers: Threads for decoding; None: the number of cores.
        max_unreadable: The maximum number of unreadable images; None: as in `unreadable_allowed`.

    Raises:
        DataError: When more images are unreadable than `task.max_unreadable` allows.
        Interrupted: When asked to stop.
    """
    most = unreadable_allowed(run_config, of) if max_unreadable is None else max_unreadable
    run_context = context or RunContext(Project(run_config.project_dir), Display(io.StringIO()))
    bases = of.bases or (of,)

    def progress(count: int, total: int) -> None:
        run_context.stop.check()
        run_context.display.update(count)

    run_context.display.start(f"preprocessing {of.name}", len(of.samples))
    try:
        preprocessing = preprocessing_of(run_config, of)
        of_bases = [_built_pack(run_config, base, preprocessing, workers or cores(), progress, most) for base in bases]
        for base_task, pack in zip(bases, of_bases, strict=True):
            _tell_unreadable(base_task, pack, run_context.told)
        return variant_packs.joined(of, of_bases) if of.bases else of_bases[0]
    finally:
        run_context.display.close()


def unreadable_allowed(run_config: RunConfig, of: Task) -> int:
    """Return how many unreadable images of a task are accepted: `task.max_unreadable`, or the stored value."""
    names = [base.name for base in of.bases or (of,)]
    return max(
        stored_decisions.max_unreadable(run_config, task_names.file_of(run_config.data_dir, name)) for name in names
    )


def _tell_unreadable(of: Task, pack: Pack, known_keys: set[str]) -> None:
    """Report unreadable images; in a child process of a run, the parent has reported them."""
    for name, reason in pack.unreadable.items():
        key = f"{of.name}: {name}"
        if key not in known_keys and multiprocessing.parent_process() is None:
            log.warning(f"left out {name}: {reason}")
        known_keys.add(key)


def _built_pack(
    run_config: RunConfig, of: Task, preprocessing: Preprocessing, workers: int, progress: Progress, max_unreadable: int
) -> Pack:
    folder = run_config.data_dir / of.name / "cache" / packs.pack_id(of, preprocessing)
    folder_users.mark_in_use(folder)
    is_new = not packs.is_complete(folder)
    pack = packs.build(of, preprocessing, folder, workers=min(workers, _DECODERS), progress=progress)
    if target_files.are_own(of) and of.samples.labelled.any():
        pack = replace(pack, masks=pack)
    elif of.samples.masks:
        pack = _with_masks(run_config, of, pack, workers, progress)
    packs.check_unreadable(pack, max_unreadable)
    if is_new:
        shape = "their own sizes" if preprocessing.is_ragged else " x ".join(map(str, pack.images.shape[1:]))
        log.info(f"packed {counted(len(pack), 'image')} of {of.name} at {shape} ({pack.images.nbytes / 1e6:.1f} MB)")
    return pack


def _with_masks(run_config: RunConfig, of: Task, pack: Pack, workers: int, progress: Progress) -> Pack:
    """Return the pack with that of its masks or target images; an image with an unreadable target cannot be used."""
    targets = sources.targets_of(of, pack.preprocessing)
    if targets is None:
        return pack
    of_masks, alike = targets
    folder = run_config.data_dir / of.name / "cache" / packs.pack_id(of_masks, alike)
    folder_users.mark_in_use(folder)
    masks = packs.build(of_masks, alike, folder, workers=min(workers, _DECODERS), progress=progress)
    masked = {name for name, (path, _) in zip(of.samples.ids, of.samples.masks, strict=True) if path}
    lost = {name: f"its target {reason}" for name, reason in masks.unreadable.items() if name in masked}
    return replace(pack, masks=masks, unreadable={**lost, **pack.unreadable})


def config_of(run_config: RunConfig, record: ModelRecord, home: Project | None = None) -> RunConfig:
    """Return the configuration of a record, with the current folders and for the current machine.

    Args:
        run_config: The configuration, for the current folders.
        record: The record.
        home: The project that contains it; None: the run's own.

    Raises:
        ProjectError: When it is missing or damaged.
    """
    tree, folders = run_config.tree, (run_config.out_dir, run_config.data_dir)
    return stored_config(
        home or Project(run_config.project_dir), record, *folders, run_config.proj, tree["trust"], tree
    )


def stored_config(
    project: Project,
    record: ModelRecord,
    out_dir: Path,
    data_dir: Path,
    proj: str,
    trust: Any,
    allowed: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Return the configuration with which a record was trained.

    Args:
        project: The project that contains the record.
        record: The record.
        out_dir: The current folder of all projects.
        data_dir: The current folder of task data.
        proj: The name of the project in which it is used.
        trust: As in `mlpipe.config.snapshot.load`.
        allowed: As in `mlpipe.config.snapshot.load`.

    Raises:
        ProjectError: When it is missing or damaged.
    """
    path = project.model_dir(record.pivot, record.id) / records.CONFIG_FILE
    folders: dict[str, Any] = {"out_dir": str(out_dir), "data_dir": str(data_dir), "proj": proj}
    # Its task exists already, and is looked up by name.
    return snapshot.load(path, allowed=allowed, trust=trust, without=("task",), **folders)


def described_in(data_dir: Path, of: Task) -> Path:
    """Return the file that describes a task, or the task of a variant."""
    return task_names.file_of(data_dir, (of.bases or (of,))[0].name)


def describe(of: Task) -> str:
    """Describe a task briefly: kind, classes, images in each part."""
    parts = ", ".join(f"{count} {part}" for part, count in of.part_sizes().items())
    colour = {1: "grey", 3: "colour"}.get(of.channels, f"{of.channels}-channel")
    depth = {"uint8": "", "uint16": " 16-bit", "float32": " floating-point"}[of.dtype]
    words = kinds.of(of.kind).words
    outputs = counted(len(of.classes), words.OUTPUT, words.OUTPUTS)
    groups = f", {counted(len(set(of.samples.groups) - {''}), 'group')}" if of.samples.groups else ""
    is_of_records = sources.open(of).layout is not None
    noun = {1: "series", 3: "volumes"}.get(task.axes_of(of), "images")
    samples = "records" if is_of_records else f"{colour}{depth} {noun}"
    return f"{of.kind}, {outputs}, {samples}: {parts}{groups}"


def refuse_results_inside(of: Task, out_dir: Path) -> None:
    """Refuse a results folder inside the task's own images.

    Raises:
        DataError: When it lies there.
    """
    _refuse_folder_inside_source(of, out_dir, "out_dir")


def _refuse_folder_inside_source(of: Task, folder: Path, key: str) -> None:
    # Only a folder is searched for images, so that results in it would be found.
    base = sources.open(of).searched
    if base is not None and folder.resolve().is_relative_to(base.resolve()):
        fix = f"choose a folder outside the images with {key}=DIR"
        raise DataError(problem(key, "lies inside the folder of images", got=str(folder), fix=fix))
