"""Data sets: functions of the project's modules, built-in sets, holdout, folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.musket.sections.chains import translate_chain
from mlpipe.dialects.musket.sections.heads import task_keys
from mlpipe.dialects.musket.state import Work
from mlpipe.errors import did_you_mean, listing

# `mlpipe.data.items.sets`, whose sets need no function of the project's.
BUILT_IN_SETS = (
    "BinaryClassificationDataSet",
    "CategoryClassificationDataSet",
    "DirectoryDataSet",
    "FolderClassificationDataSet",
    "FolderDataSet",
    "MultiClassClassificationDataSet",
    "MultiOutputClassClassificationDataSet",
)
_PARTS = {"train": "train", "validation": "validation", "holdout": "test"}


def translate_data(work: Work) -> None:
    """`dataset`, `datasets`, `imports`, `holdout`: a native `task=items`, where the file names data at all."""
    given = work.source.get("dataset")
    added = additions(work)
    if given is None:
        work.say(
            "dataset", "lint", note="there is none: choose the task yourself, for example task=folder task.root=DIR"
        )
        return
    parts = parts_of(work)
    if not any(parts.values()):
        return
    work.options["task"] = "items"
    values: dict[str, Any] = {
        **work.code(),
        "root": str(work.home.project / "data"),
        "name": work.home.name.replace("/", "-"),
        "kind": work.kind,
        "outputs": outputs_of(work),
        **task_keys(work),
    }
    for key, value in {**values, **parts, **added}.items():
        if value not in (None, []):
            work.set(f"task.{key}", value)
    work.say("dataset", "same", "task")
    for key in ("datasets", "imports"):
        if key in work.source:
            work.say(key, "same", "task")
    for name in work.imports_elsewhere():
        note = f"{name} is no file in modules/: name it in trust=[{name}]"
        work.say("imports", "lint", "task.imports", note)


def parts_of(work: Work) -> dict[str, list[Any]]:
    """The functions of each part that `dataset` and `holdout` name, by the part's native name.

    Args:
        work: The translation.
    """
    given = work.source.get("dataset")
    if isinstance(given, Mapping) and given and set(given) <= set(_PARTS):
        found = {_PARTS[key]: calls(work, f"dataset.{key}", value) for key, value in given.items()}
    else:
        found = {"train": calls(work, "dataset", given)}
    if "holdout" in work.source:
        found["test"] = calls(work, "holdout", work.source["holdout"])
        work.say("holdout", "same", "task.test")
    return found


def calls(work: Work, key: str, given: Any) -> list[Any]:
    """Functions with their arguments: `[{call: NAME, arguments: [...]}, ...]`.

    Args:
        work: Notes what is wrong.
        key: Where it stands in the source.
        given: A map of functions, or the name of an entry of `datasets`.
    """
    named = work.source.get("datasets") or {}
    if isinstance(given, str):
        if given not in named:
            fix = did_you_mean(given, named, otherwise="name an entry of datasets, or a function with its arguments")
            work.refuse(key, "there is no such data set", got=given, fix=fix)
            return []
        return calls(work, f"datasets.{given}", named[given])
    if not isinstance(given, Mapping) or not given:
        work.refuse(key, "must be a function with its arguments", got=given, fix="for example getTrain: [false]")
        return []
    for name in given:
        _look_for(work, key, str(name))
    return [{"call": str(name), "arguments": _arguments(value)} for name, value in given.items()]


def _look_for(work: Work, key: str, name: str) -> None:
    """Mention a function that is nowhere to be seen; it may still be made while the modules are imported."""
    if name in BUILT_IN_SETS or work.is_own(name) or work.imports_elsewhere():
        return
    known = [*work.own_names(), *BUILT_IN_SETS]
    fix = did_you_mean(name, known, otherwise=f"there are {listing(known, most=20)}")
    line = f"no function of the project's modules is called {name}; {fix}"
    if not any(one.note == line for one in work.lines):
        work.say(key, "lint", note=line)


def additions(work: Work) -> dict[str, Any]:
    """Further changes of the data sets: `preprocessing`, `extra_train_data` and `dataset_augmenter`.

    Args:
        work: The translation.
    """
    found: dict[str, Any] = {}
    if chain := translate_chain(work):
        found |= {"preprocessing": chain, "steps_dir": str(work.home.project / ".cache" / "steps")}
    if work.source.get("extra_train_data") is not None:
        found["extra"] = calls(work, "extra_train_data", work.source["extra_train_data"])
        work.say("extra_train_data", "same", "task.extra")
    if work.source.get("dataset_augmenter") is not None:
        found["augmenter"] = _augmenter(work, work.source["dataset_augmenter"])
    if work.source.get("groupFunc") is not None:
        found["strata"] = _own_call(work, "groupFunc", work.source["groupFunc"])
        if work.source.get("stratified"):
            work.say("groupFunc", "same", "task.strata", "for sets without get_stratify_class")
        else:
            work.say("groupFunc", "lint", "task.strata", "without stratified: true it changes nothing")
    if work.source.get("pretrain_transform") is not None:
        found["after_holdout"] = _own_call(work, "pretrain_transform", work.source["pretrain_transform"])
        found |= _drawn_before(work)
    return found


def _drawn_before(work: Work) -> dict[str, Any]:
    """The holdout that a task draws itself, because something happens to what it leaves."""
    share = work.source.get("testSplit") or 0
    note = "the holdout is drawn from all items first, from its seed; its file is not read"
    work.say("pretrain_transform", "differs" if share else "same", "task.after_holdout", note if share else "")
    if not share:
        return {}
    seed, stratify = work.source.get("testSplitSeed", 123), bool(work.source.get("stratified", False))
    return {"holdout": {"fraction": float(share), "seed": seed, "stratify": stratify}}


def _own_call(work: Work, key: str, given: Any) -> dict[str, Any] | None:
    """A function of the project's modules by its name, or as a map from it to arguments."""
    if isinstance(given, Mapping) and len(given) == 1:
        name, arguments = next(iter(given.items()))
    else:
        name, arguments = given, None
    if not isinstance(name, str) or not isinstance(arguments, Mapping | None):
        work.refuse(key, "must be the name of a function", got=given, fix="put the function into modules/")
        return None
    if not work.is_own(name):
        own = work.own_names()
        fix = did_you_mean(name, own, otherwise=f"there are {listing(own, most=20)}")
        work.refuse(key, "no function of the project's modules has this name", got=name, fix=fix)
        return None
    return {"call": name, **({"arguments": dict(arguments)} if arguments else {})}


def _augmenter(work: Work, given: Any) -> dict[str, Any] | None:
    key = "dataset_augmenter"
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        work.refuse(key, "must have a name", got=given, fix="for example {name: TheAugmenter, parameter: 3}")
        return None
    arguments = {str(name): value for name, value in given.items() if name != "name"}
    found = _own_call(work, key, {given["name"]: arguments})
    if found is None:
        return None
    note = "it makes the set that folds are cut from, so that what it adds is validated on too"
    work.say(key, "differs", "task.augmenter", note)
    return found


def _arguments(value: Any) -> Any:
    if value is None or value == {}:
        return []
    return value if isinstance(value, list | dict) else [value]


def outputs_of(work: Work) -> int | None:
    """The number of values in a target, the heads' together; of masks the number of classes, background included."""
    classes = work.source.get("classes")
    if work.is_of_masks and classes == 1:
        return 2
    if isinstance(classes, list):
        return sum(int(size) for size in classes)
    return int(classes) if classes is not None else None


def translate_split(work: Work) -> None:
    """Folds, holdout and their seeds; Musket cuts them whatever classes they lack."""
    work.options["split"] = "shuffled"
    work.set("split.rare", "allow")
    parts = work.native.get("task", {})
    if "validation" in parts:
        work.options["split"] = "given"
        work.say("dataset.validation", "same", "split", "it makes exactly one fold")
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
        value = work.source.get(key, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        work.set(f"split.{place}", value)
        if key in work.source:
            work.say(key, "same", f"split.{place}")
    if "test" in parts:
        work.set("split.test_fraction", 0.0)
    if "validationSplit" in work.source and work.source.get("folds_count", 5) != 1:
        work.say("validationSplit", "lint", note="is only used with folds_count: 1")
    drawn = "holdout" in parts
    if drawn:
        work.set("split.test_fraction", 0.0)
    for suffix, place in (("holdout_split", "test_file"), ("folds_split", "folds_file")):
        if drawn and place == "test_file":
            continue
        file = work.home.config.with_name(f"{work.home.config.name}.{suffix}")
        if file.is_file():
            work.set(f"split.{place}", str(file))
            work.say(suffix, "same", f"split.{place}", f"{file.name} is there and wins over seeds and shares")
