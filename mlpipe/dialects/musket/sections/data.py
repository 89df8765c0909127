"""Data sets: functions of the project's modules, built-in sets, holdout, folds."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.data.splits import shuffled
from mlpipe.dialects.musket.sections.chains import gives_several, translate_chain
from mlpipe.dialects.musket.sections.heads import task_keys
from mlpipe.dialects.musket.state import STAND_INS, State
from mlpipe.errors import DataError, counted, did_you_mean, listing

# The data sets of `mlpipe.data.items.sets`, which need no function of the project.
BUILT_IN_SETS = (
    "BinaryClassificationDataSet",
    "BinarySegmentationDataSet",
    "CategoryClassificationDataSet",
    "DirectoryDataSet",
    "FolderClassificationDataSet",
    "FolderDataSet",
    "MultiClassClassificationDataSet",
    "MultiClassSegmentationDataSet",
    "MultiOutputClassClassificationDataSet",
    "SimplePNGMaskDataSet",
)
_PARTS = {"train": "train", "validation": "validation", "holdout": "test"}


def translate_data(state: State) -> None:
    """Translate `dataset`, `datasets`, `imports` and `holdout` to a native `task=items`, if the file names data at all."""
    dataset = state.source.get("dataset")
    added = additions(state)
    for name, functions in (state.source.get("datasets") or {}).items():
        for function in functions if isinstance(functions, Mapping) else ():
            _note_unknown_function(state, f"datasets.{name}", str(function))
    if dataset is None:
        state.say(
            "dataset", "lint", note="there is none: choose the task yourself, for example task=folder task.root=DIR"
        )
        return
    parts = parts_of(state)
    if not any(parts.values()):
        return
    state.options["task"] = "items"
    values: dict[str, Any] = {
        **state.code(),
        "root": str(state.home.project / "data"),
        "name": state.home.name.replace("/", "-"),
        "kind": state.kind,
        "outputs": outputs_of(state),
        **task_keys(state),
    }
    for key, value in {**values, **parts, **added}.items():
        if value not in (None, []):
            state.set(f"task.{key}", value)
    state.say("dataset", "same", "task")
    for key in ("datasets", "imports"):
        if key in state.source:
            state.say(key, "same", "task")
    for name in state.imports_elsewhere():
        if state.is_whole and not _is_installed(name):
            files = [file.stem for file in sorted((state.home.modules or Path()).glob("*.py"))]
            fix = did_you_mean(name, files, otherwise=f"there are {listing(files, most=20)}")
            state.refuse("imports", "no file in modules/ has this name", got=name, fix=fix)
            continue
        note = f"{name} is no file in modules/: name it in trust=[{name}]"
        state.say("imports", "lint", "task.imports", note)


def _is_installed(name: str) -> bool:
    """Return whether a module can be imported from outside the project; only its package is searched for, nothing runs."""
    package = name.partition(".")[0]
    try:
        return package in STAND_INS or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def parts_of(state: State) -> dict[str, list[Any]]:
    """Return the functions of each part in `dataset` and `holdout`, by the part's native name.

    Args:
        state: The state of the translation.
    """
    dataset = state.source.get("dataset")
    if isinstance(dataset, Mapping) and set(dataset) & set(_PARTS):
        for name in (part for part in dataset if part not in _PARTS):
            fix = did_you_mean(str(name), _PARTS, otherwise=f"parts are {listing(_PARTS)}")
            state.refuse(f"dataset.{name}", "there is no such part of the data", fix=fix)
        dataset = {key: value for key, value in dataset.items() if key in _PARTS}
        parts = {_PARTS[key]: calls(state, f"dataset.{key}", value) for key, value in dataset.items()}
    else:
        parts = {"train": calls(state, "dataset", dataset)}
    if "holdout" in state.source:
        if "test" in parts:
            state.refuse(
                "holdout", "dataset has a holdout of its own", got=state.source["holdout"], fix="keep one of them"
            )
        parts["test"] = calls(state, "holdout", state.source["holdout"])
        state.say("holdout", "same", "task.test")
    return parts


def calls(state: State, key: str, dataset: Any) -> list[Any]:
    """Return functions with their arguments: `[{call: NAME, arguments: [...]}, ...]`.

    Args:
        state: Collects problems.
        key: The key in the source.
        dataset: A map of functions, or the name of an entry of `datasets`.
    """
    datasets = state.source.get("datasets") or {}
    if isinstance(dataset, str):
        if dataset not in datasets:
            fix = did_you_mean(
                dataset, datasets, otherwise="name an entry of datasets, or a function with its arguments"
            )
            state.refuse(key, "there is no such data set", got=dataset, fix=fix)
            return []
        return calls(state, f"datasets.{dataset}", datasets[dataset])
    if not isinstance(dataset, Mapping) or not dataset:
        state.refuse(key, "must be a function with its arguments", got=dataset, fix="for example getTrain: [false]")
        return []
    for name, value in dataset.items():
        _note_unknown_function(state, key, str(name))
        state.check_call(key, str(name), _arguments(value))
    return [{"call": str(name), "arguments": _arguments(value)} for name, value in dataset.items()]


def _note_unknown_function(state: State, key: str, name: str) -> None:
    """Note a function that cannot be found, unless the modules may define it dynamically."""
    if name in BUILT_IN_SETS or state.is_own(name) or state.imports_elsewhere() or name in state.home.assigned():
        return
    known = [*state.own_names(), *BUILT_IN_SETS]
    fix = did_you_mean(name, known, otherwise=f"there are {listing(known, most=20)}")
    # A file can also be read without its project, and trained with another task.
    if state.is_whole and not state.home.makes_names():
        state.refuse(key, "no function of the project's modules has this name", got=name, fix=fix)
        return
    line = f"no function of the project's modules is called {name}; {fix}"
    if not any(entry.note == line for entry in state.lines):
        state.say(key, "lint", note=line)


def additions(state: State) -> dict[str, Any]:
    """Return further changes to the data sets: `preprocessing`, `extra_train_data` and `dataset_augmenter`.

    Args:
        state: The state of the translation.
    """
    changes: dict[str, Any] = {}
    if chain := translate_chain(state):
        _check_several_inputs(state, gives_several(chain))
        changes |= {"preprocessing": chain, "steps_dir": str(state.home.project / ".cache" / "steps")}
    if state.source.get("extra_train_data") is not None:
        changes["extra"] = calls(state, "extra_train_data", state.source["extra_train_data"])
        state.say("extra_train_data", "same", "task.extra")
    if state.source.get("dataset_augmenter") is not None:
        changes["augmenter"] = _augmenter(state, state.source["dataset_augmenter"])
    if state.source.get("groupFunc") is not None:
        changes["strata"] = _own_call(state, "groupFunc", state.source["groupFunc"])
        if state.source.get("stratified"):
            state.say("groupFunc", "same", "task.strata", "for sets without get_stratify_class")
        else:
            state.say("groupFunc", "lint", "task.strata", "without stratified: true it changes nothing")
    if state.source.get("pretrain_transform") is not None:
        changes["after_holdout"] = _own_call(state, "pretrain_transform", state.source["pretrain_transform"])
        changes |= _holdout_drawn_first(state)
    return changes


def _check_several_inputs(state: State, are_several: bool | None) -> None:
    """Check that a network takes several inputs if a chain produces them; their channels depend on the data."""
    if are_several is False:
        return
    name = str(state.source.get("architecture"))
    if state.is_own(name) or state.is_own(name.lower()):
        state.native.get("arch", {}).pop("in_chans", None)
        if are_several:
            state.say("preprocessing", "same", "arch", "the network is given a list of its inputs")
    elif are_several:
        fix = "use split-concat-preprocessor, or a network of modules/ that is given a list"
        state.refuse("preprocessing", f"split-preprocessor gives several inputs, {name} takes one", fix=fix)


def _holdout_drawn_first(state: State) -> dict[str, Any]:
    """Return the holdout that the task draws itself, because the remaining items are changed afterwards."""
    share = state.source.get("testSplit") or 0
    note = "the holdout is drawn from all items first, from its seed; its file is not read"
    state.say("pretrain_transform", "differs" if share else "same", "task.after_holdout", note if share else "")
    if not share:
        return {}
    seed, stratify = state.source.get("testSplitSeed", 123), bool(state.source.get("stratified", False))
    return {"holdout": {"fraction": float(share), "seed": seed, "stratify": stratify}}


def _own_call(state: State, key: str, function: Any) -> dict[str, Any] | None:
    """Return a call of a function of the project's modules, given by name or as a map from the name to arguments."""
    if isinstance(function, Mapping) and len(function) == 1:
        name, arguments = next(iter(function.items()))
    else:
        name, arguments = function, None
    if not isinstance(name, str) or not isinstance(arguments, Mapping | None):
        state.refuse(key, "must be the name of a function", got=function, fix="put the function into modules/")
        return None
    if not state.is_own(name):
        own = state.own_names()
        fix = did_you_mean(name, own, otherwise=f"there are {listing(own, most=20)}")
        state.refuse(key, "no function of the project's modules has this name", got=name, fix=fix)
        return None
    state.check_call(key, name, arguments, flexible=True)
    return {"call": name, **({"arguments": dict(arguments)} if arguments else {})}


def _augmenter(state: State, augmenter: Any) -> dict[str, Any] | None:
    key = "dataset_augmenter"
    if not isinstance(augmenter, Mapping) or not isinstance(augmenter.get("name"), str):
        state.refuse(key, "must have a name", got=augmenter, fix="for example {name: TheAugmenter, parameter: 3}")
        return None
    arguments = {str(name): value for name, value in augmenter.items() if name != "name"}
    call = _own_call(state, key, {augmenter["name"]: arguments})
    if call is None:
        return None
    # Repeated or changed items occur in several folds, which is intended.
    state.set("task.allow_overlap", True)
    note = "it makes the set that folds are cut from, so that what it adds is validated on too; images may be in several folds"
    state.say(key, "differs", "task.augmenter", note)
    return call


def _arguments(value: Any) -> Any:
    if value is None or value == {}:
        return []
    return value if isinstance(value, list | dict) else [value]


def outputs_of(state: State) -> int | None:
    """Return the number of values per target, over all heads; for masks the number of classes including the background."""
    classes = state.source.get("classes")
    if state.is_of_masks and classes == 1:
        return 2
    if isinstance(classes, list):
        return sum(int(size) for size in classes)
    return int(classes) if classes is not None else None


def translate_split(state: State) -> None:
    """Translate folds, holdout and their seeds; Musket allows folds without some classes."""
    state.options["split"] = "shuffled"
    state.set("split.rare", "allow")
    parts = state.native.get("task", {})
    if "validation" in parts:
        state.options["split"] = "given"
        state.say("dataset.validation", "same", "split", "it makes exactly one fold")
        return
    keys = {
        "folds_count": ("folds", 5),
        "random_state": ("seed", 33),
        "stratified": ("stratify", False),
        "testSplit": ("test_fraction", 0.0),
        "testSplitSeed": ("test_seed", 123),
        "validationSplit": ("val_fraction", 0.2),
    }
    for key, (place, default) in keys.items():
        value = state.source.get(key, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        state.set(f"split.{place}", value)
        if key in state.source:
            state.say(key, "same", f"split.{place}")
    if "test" in parts:
        state.set("split.test_fraction", 0.0)
        if state.source.get("testSplit"):
            state.say("testSplit", "lint", note="the file gives a holdout, so that none is drawn")
    if "validationSplit" in state.source and state.source.get("folds_count", 5) != 1:
        state.say("validationSplit", "lint", note="is only used with folds_count: 1")
    # A holdout of the task itself is drawn anew, or given, each time.
    has_own = "holdout" in parts or "test" in parts
    if "holdout" in parts:
        state.set("split.test_fraction", 0.0)
    for suffix, place in (("holdout_split", "test_file"), ("folds_split", "folds_file")):
        file = state.home.config.with_name(f"{state.home.config.name}.{suffix}")
        if file.is_file() and not (has_own and place == "test_file"):
            state.set(f"split.{place}", str(file))
            state.say(suffix, "same", f"split.{place}", f"{file.name} is there and wins over seeds and shares")
            _note_changed_split(state, file, suffix)


def _note_changed_split(state: State, file: Path, suffix: str) -> None:
    """Note that the file has changed since its split was written; the split still applies."""
    try:
        rows = shuffled.read_rows(file, suffix)
        sizes = [len(part) for part in rows]
    except (DataError, TypeError):
        # Errors in the file are reported when it is used.
        return
    anew = f"remove {file.name} to split anew"
    if suffix == "folds_split":
        key, setting, stored = "folds_count", state.source.get("folds_count", 5), len(rows)
        if setting != stored:
            note = f"{file.name} has {counted(stored, 'fold')} and wins over {setting}; {anew}"
            state.say(key, "lint", "split.folds_file", note)
    elif len(sizes) == 2:
        setting, whole = state.source.get("testSplit", 0.0), sum(sizes)
        if round(whole - whole * setting) != sizes[0]:
            note = f"{file.name} holds out {sizes[1]} of {counted(whole, 'item')} and wins over {setting}; {anew}"
            state.say("testSplit", "lint", "split.test_file", note)
