"""Resolve the composed configuration to plain data: references, absolute paths, network files, and the mode's part.

A reference `${key}` is another key's value, `=2*${key}` a number; there is no access to environment variables or
functions, and no exponential expansion. OmegaConf's own resolvers can read the environment (`oc.env`), which would end
up in stored configurations, and a few nested references can expand to billions of values. Here, a reference names a
key, and the number of expanded values is limited. A text that begins with `=` and contains references is a formula
(`mlpipe.formulas`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mlpipe import current_folder, files, formulas, limits
from mlpipe.config import written_paths
from mlpipe.config.overrides import Change
from mlpipe.errors import ConfigError, no_such_file, problem
from mlpipe.names import name_of, path_of

_REFERENCE = re.compile(r"(?<!\\)\$\{([^{}]*)\}")
_KEY = re.compile(r"\.*[A-Za-z_0-9-]+(\.[A-Za-z_0-9-]+)*")
_MOST_TEXT = 10_000
# The keys of a task that are paths; those that are paths for some sources and words for others, such as rows that a Python
# program holds; those that are paths only without a root; those that name an array in a file unless they end with .npy.
_TASK_PATHS = ("root", "test_root", "file", "val_file", "test_file", "modules", "steps_dir")
_TASK_WORDS = (
    "train", "val", "validation", "test", "extra", "train_targets", "val_targets", "test_targets",
    "train_masks", "val_masks", "test_masks",
)  # fmt: skip
_TASK_FOLDERS = ("images", "masks")
_TASK_ARRAYS = ("targets",)
_SECTIONS = (
    "mode", "task", "split", "arch", "loss", "optimizer", "lr_scheduler", "metrics", "augmentations", "trainer",
    "callbacks", "stages", "reuse", "preset", "sys", "task_list", "time_limit", "proj", "out_dir", "data_dir", "seed",
)  # fmt: skip


def resolved(
    composed: Mapping[str, Any], mode: str, changes: Iterable[Change], folders: Mapping[str, Path], problems: list[str]
) -> dict[str, Any]:
    """Return the configuration as plain data, with folders and the mode's decisions filled in.

    Args:
        composed: Hydra's result, with unresolved references.
        mode: The mode's name.
        changes: The overrides.
        folders: The defaults of `out_dir` and `data_dir`.
        problems: The list of sentences, to which problems found here are added.

    Raises:
        ConfigError: When references or whole sections are invalid, so that nothing else can be checked.
    """
    tree = {str(key): value for key, value in composed.items()}
    # Before references are resolved, because other keys may refer to these folders.
    for key, folder in folders.items():
        problems += current_folder.unknown_home(key, str(tree.get(key) or folder))
        tree[key] = _absolute(tree.get(key) or folder)
    try:
        plain: dict[str, Any] = {"mode_name": mode, **interpolated(tree)}
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if missing := [key for key in _SECTIONS if key not in plain]:
        fix = "a file with '# @package _global_' must not replace the others"
        raise ConfigError([*problems, *(problem(key, "the section is missing", fix=fix) for key in missing)])
    # Only the person who starts the run decides which code may run: a file from elsewhere cannot declare its own code
    # trusted.
    for key in ("trust", "trust_paths"):
        if plain.get(key) and not any(change.key == key for change in changes):
            wrong, fix = (
                "must be said on the command line, not in a file",
                f"read that file, then add {key}=[...] yourself",
            )
            problems.append(problem(key, wrong, got=plain[key], fix=fix))
    problems += [
        sentence for key, text in written_paths.paths(plain) for sentence in current_folder.unknown_home(key, text)
    ]
    _make_paths_absolute(plain)
    # The contents of a network file become part of the configuration here, because a stored run must not depend on that
    # file.
    problems += network_inlined(plain["arch"])
    # Last, because it depends on the command line and on values that were references until now.
    _decide_for_mode(plain, mode, {change.key for change in changes})
    return plain


def _make_paths_absolute(plain: dict[str, Any]) -> None:
    """Make paths absolute, so that they stay valid when the run is continued from another folder."""
    make_task_paths_absolute(plain["task"])
    arch = plain["arch"] if isinstance(plain["arch"], dict) else {}
    if isinstance(arch.get("weights"), str) and arch["weights"] not in ("", "???"):
        arch["weights"] = _absolute(arch["weights"])
    reuse = plain["reuse"] if isinstance(plain["reuse"], dict) else {}
    for key in ("models", "parameters", "predictions", "blueprint"):
        value = reuse.get(key)
        if isinstance(value, str):
            reuse[key] = _absolute_reference(value)
        elif isinstance(value, list):
            reuse[key] = [_absolute_reference(item) if isinstance(item, str) else item for item in value]
    listed = plain["stages"].get("list") if isinstance(plain["stages"], dict) else None
    for stage in listed if isinstance(listed, list) else []:
        if isinstance(stage, dict) and isinstance(stage.get("initial_weights"), str):
            stage["initial_weights"] = _absolute(stage["initial_weights"])


def _decide_for_mode(plain: dict[str, Any], mode: str, keys: Collection[str]) -> None:
    """Fill in the values that follow from the mode and from the keys of the command line."""
    section = plain["mode"]
    if isinstance(section.get("folds"), int):
        # The form that a sweep over folds gives: mode.folds=0,1,2 -m
        section["folds"] = [section["folds"]]
    if mode == "tl" and section.get("freeze") is True and isinstance(plain["arch"], dict):
        plain["arch"]["freeze"] = True
    if mode == "clean" and section.get("pivot") is None:
        section["pivot"] = any(key.partition(".")[0] == "task" for key in keys)
    # The share has a meaning only if test images choose.
    if mode == "post" and "mode.eval_frac" in keys and "mode.select_on" not in keys:
        section["select_on"] = "test"
    subroutines = section.get("subroutines")
    predicts = isinstance(subroutines, list) and {"predict", "test"} & set(map(str, subroutines))
    if predicts and "train" not in subroutines and not any(key.split(".")[0] == "tta" for key in keys):
        # Stored models predict with the test-time views of their training.
        plain["tta"] = {"_target_": path_of("tta", "stored")}
    if mode == "create":
        for mode_key, split_key in (("n_folds", "folds"), ("ensure_balancing", "stratify")):
            if split_key in plain["split"]:
                _set_both_keys(plain, keys, mode_key, split_key)


def _set_both_keys(tree: dict[str, Any], keys: Collection[str], mode_key: str, split_key: str) -> None:
    """Set the same value for two keys: the mode's if the command line has it (or neither), else the split's."""
    if f"split.{split_key}" in keys and f"mode.{mode_key}" not in keys:
        tree["mode"][mode_key] = tree["split"][split_key]
    else:
        tree["split"][split_key] = tree["mode"][mode_key]


def make_task_paths_absolute(task: Any) -> None:
    """Make the paths in a section `task` absolute.

    Args:
        task: The section, which is changed; anything but a dictionary is not.
    """
    if not isinstance(task, dict):
        return
    words = (*_TASK_WORDS, *(_TASK_FOLDERS if task.get("root") is None else ()))
    for key in (*_TASK_PATHS, *words, *_TASK_ARRAYS):
        value = task.get(key)
        if not isinstance(value, str) or value in ("", "???"):
            continue
        if key in _TASK_PATHS or value.endswith(".npy") or (key in words and _exists(value)):
            task[key] = _absolute(value)


def _absolute(path: Any) -> str:
    text = str(path)
    # Addresses and values that are not paths are kept, for the error message that refuses them.
    return text if not text.strip() or "://" in text else os.path.abspath(current_folder.expanded(text))  # noqa: PTH100


def _exists(path: str) -> bool:
    # Text of any length and with any character may stand there, for which a Path raises errors.
    return os.path.exists(current_folder.expanded(path))  # noqa: PTH110


def _absolute_reference(text: str) -> str:
    """Make the path in a reference to records absolute; names of projects are kept."""
    path, number_sign, record = text.partition("#")
    is_path = "/" in path or path.startswith("~") or path.endswith((".safetensors", ".pt", ".pth", ".yaml", ".yml"))
    return f"{_absolute(path)}{number_sign}{record}" if is_path else text


def network_inlined(arch: Any) -> list[str]:
    """Read `arch.file` of a Keras network into `arch.layers`, as JSON on one line, which is fast to store and load.

    Args:
        arch: The section, changed in place for such a network.

    Returns:
        A sentence for each problem.
    """
    if not isinstance(arch, dict):
        return []
    if name_of(str(arch.get("_target_"))) != "keras_json":
        return _parts_inlined(arch)
    file, layers = arch.get("file"), arch.get("layers")
    if isinstance(file, str) and layers is not None:
        return [problem("arch.file", "arch.layers gives the network already", got=file, fix="leave one of them out")]
    if not isinstance(file, str):
        if layers is None and file is None:
            fix = "add arch.file=net.json, or arch.layers=[...]"
            return [problem("arch.file", "a value is needed", fix=fix)]
        arch["name"] = arch.get("name") or "keras"
        return []
    layers, problems = _network_json("arch.file", file)
    if not problems:
        arch |= {"file": None, "layers": layers, "name": arch.get("name") or Path(file).stem}
    return problems


def _parts_inlined(arch: dict[str, Any]) -> list[str]:
    """Read the files of Keras networks that are parts of a network, such as `arch.generator=net.json`, in the same way."""
    problems = []
    for key, value in arch.items():
        if isinstance(value, str) and value.endswith(".json"):
            arch[key], wrong = _network_json(f"arch.{key}", value)
            problems += wrong
    return problems


def _network_json(key: str, file: str) -> tuple[str, list[str]]:
    """Return the contents of a Keras network's file as JSON on one line, and a sentence for each problem."""
    path = current_folder.expanded(file)
    if not path.is_file():
        return file, [no_such_file(key, path, got=file)]
    try:
        content = files.plain_json(limits.text(path), unique=True)
    except (OSError, ValueError) as error:
        # The message of a JSON error includes line and column.
        return file, [problem(key, f"is not JSON ({error})", got=file, fix="give what model.to_json() writes")]
    return json.dumps(content, separators=(",", ":")), []


def interpolated(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration in which every `${key}` is replaced by that key's value.

    A name is absolute, `${.key}` is relative to the section, `${..key}` to its parent. A text that is one reference
    takes the value with its type; in a longer text, the value is inserted as text. `=0.1*${key}` is computed.

    Raises:
        ConfigError: With a sentence for every reference that is invalid, missing or circular.
    """
    problems: list[str] = []
    state = _State(tree, problems)
    result = {key: state.value(value, (str(key),)) for key, value in tree.items()}
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return result


class _State:
    """A tree, the keys being resolved, and the number of created values."""

    def __init__(self, tree: dict[str, Any], problems: list[str]) -> None:
        self._tree, self._problems = tree, problems
        self._open: list[tuple[str, ...]] = []
        self._value_count = 0

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        self._value_count += 1
        if self._value_count > limits.NODES:
            raise ConfigError(
                problem("configuration", f"stands for more than {limits.NODES:,} values", fix="make it smaller")
            )
        if isinstance(value, dict):
            return {key: self.value(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, str(index))) for index, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, path: tuple[str, ...]) -> Any:
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return self._referenced_value(whole[1], path)
        expansion = _REFERENCE.sub(lambda match: str(self._referenced_value(match[1], path)), text)
        if len(expansion) > _MOST_TEXT:
            self._note_problem(path, f"stands for more than {_MOST_TEXT:,} letters", text)
            return ""
        if _REFERENCE.sub("", text).replace("\\${", "").count("${"):
            self._note_problem(path, "an interpolation names a key", text)
        if text.startswith("="):
            return self._computed(expansion[1:], path)
        return expansion.replace("\\${", "${")

    def _computed(self, text: str, path: tuple[str, ...]) -> Any:
        if self._problems:
            # The key it refers to is already reported.
            return text
        try:
            return formulas.value(text)
        except ConfigError as error:
            self._problems += [sentence.replace("formula:", f"{'.'.join(path)}:", 1) for sentence in error.problems]
            return text

    def _referenced_value(self, name: str, path: tuple[str, ...]) -> Any:
        if not _KEY.fullmatch(name):
            return self._note_problem(path, "an interpolation names a key", f"${{{name}}}")
        dots = len(name) - len(name.lstrip("."))
        if dots > len(path):
            return self._note_problem(path, "an interpolation leads out of the configuration", f"${{{name}}}")
        base = path[: len(path) - dots] if dots else ()
        target = (*base, *name.lstrip(".").split("."))
        if target in self._open or target == path:
            return self._note_problem(path, "an interpolation leads to itself", f"${{{name}}}")
        node: Any = self._tree
        for part in target:
            if isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                return self._note_problem(path, "an interpolation names a key that is not there", f"${{{name}}}")
        self._open.append(target)
        try:
            return self.value(node, target)
        finally:
            self._open.pop()

    def _note_problem(self, path: tuple[str, ...], wrong: str, got: str) -> None:
        fix = "write ${key} or ${section.key}; the environment and functions are not read"
        self._problems.append(problem(".".join(path), wrong, got=got, fix=fix))
