"""Compose command-line overrides into a checked `RunConfig`: every mistake is found before anything is read or written.

Hydra stops at the first bad override. Here each one is checked against the groups, the composed keys and the
components' signatures, bad ones are set aside with a sentence, and composing goes on without them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlpipe import files
from mlpipe.config import catalog, interpolation, network_files, rules, signatures
from mlpipe.config.assemble import assemble
from mlpipe.config.hydra_composition import Composer
from mlpipe.config.overrides import Change, parse, tagged
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, did_you_mean, first_line, listing, problem
from mlpipe.names import name_of, path_of

# How Hydra and OmegaConf refuse an override; the last three are what they let through for an entry of a list.
_REFUSALS = (HydraException, OmegaConfBaseException, ValueError, IndexError, TypeError)
# Sections whose keys are the user's own.
_FREE = ("given.", "search_space.params")
# No folder of configurations is larger; a whole disk would be.
_MOST_FILES = 1000
_SECTIONS = (
    "mode", "task", "split", "arch", "loss", "optimizer", "lr_scheduler", "metrics", "augmentations", "trainer",
    "callbacks", "stages", "reuse", "preset", "sys", "task_list", "time_limit", "proj", "out_dir", "data_dir", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """Facts from outside the configuration that composing needs, as plain values.

    Attributes:
        architectures: Gives the names of all networks that `arch=NAME` accepts besides the group's options.
        tasks: The names of tasks created earlier.
        out_dir: The results folder where the configuration names none.
        data_dir: The data folder where the configuration names none.
        extra_dirs: Further folders of configuration files.
        tag_problems: What is wrong with the tags of a task's name.
        network_tags: Gives the tags of a network's weights.
        is_network: Whether timm makes a network of that name.
    """

    architectures: Callable[[], Sequence[str]]
    tasks: tuple[str, ...] = ()
    out_dir: Path = Path("results")
    data_dir: Path = Path("mlpipe_data")
    extra_dirs: tuple[Path, ...] = ()
    tag_problems: Callable[[str], Sequence[str]] = lambda tags: ()
    network_tags: Callable[[str], Sequence[str]] = lambda name: ()
    is_network: Callable[[str], bool] = lambda name: True


def compose(mode: str, texts: Sequence[str], facts: Facts) -> RunConfig:
    """The checked configuration of one run.

    Args:
        mode: The mode's name.
        texts: Overrides in Hydra's grammar, without the mode.
        facts: What must be known of tasks and networks.

    Raises:
        ConfigError: With a sentence for every problem of every override and section.
    """
    _check_files(facts.extra_dirs)
    changes, found = parse(texts)
    groups = catalog.groups(facts.extra_dirs)
    # Three rounds, as each decides which keys the next one knows: options of groups bring sections, a `_target_` brings
    # the parameters of its component, values fill them in.
    choices, targets, values = [f"mode={mode}"], [], []
    for change in changes:
        if change.key.split(".")[0] in rules.LATER_KEYS:
            found += [] if change.value in (None, False, "none") else [rules.later(change.key)]
        elif change.key in groups:
            texts_, wrong = _choice(change, facts)
            choices += texts_
            found += wrong
        elif change.key.endswith("._target_"):
            targets.append(_of_new_name(change))
        else:
            values.append(_of_own_name(change))
    if any(text.startswith("tags=") for text in choices):
        fix = "write all of them in one place"
        twice = [change.value for change in values if change.key == "tags"]
        found += [problem("tags", "the task's name has tags already", got=value, fix=fix) for value in twice]
    composed, wrong = _with_values([*choices, *(change.text for change in targets)], values, facts.extra_dirs)
    found += wrong + list(facts.tag_problems(str(composed.tags or "")))
    tree = _resolved(composed, mode, changes, facts, found)
    _drop_parameters_of_replaced(tree, targets, {change.key for change in values})
    # Assembled even where something is wrong already, so that a person sees the problems of both at once.
    try:
        run_config = assemble(tree)
    except ConfigError as error:
        raise ConfigError(list(dict.fromkeys([*found, *error.problems]))) from None
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    return run_config


def _of_own_name(change: Change) -> Change:
    """A change as Hydra takes it: below `given`, and in a space to search, every name is new."""
    if not change.key.startswith(_FREE) or change.deletes:
        return change
    return replace(change, text=f"++{change.text.lstrip('+')}")


def _of_new_name(change: Change) -> Change:
    """A callback's target as Hydra takes it: callbacks have names that the user chooses, so that one may be new."""
    is_new = change.key.count(".") == 2 and change.key.startswith("callbacks.") and not change.deletes
    return replace(change, text=f"++{change.text.lstrip('+')}") if is_new else change


def _check_files(folders: Iterable[Path]) -> None:
    """Refuse files of options that would not end well when they are read.

    Raises:
        ConfigError: With a sentence for each of them.
    """
    found: list[str] = []
    for folder in folders:
        for file in itertools.islice(folder.rglob("*.yaml"), _MOST_FILES):
            try:
                files.read_yaml(file)
            except (OSError, ValueError) as error:
                found.append(
                    problem(file.name, f"cannot be read ({error})", fix=f"correct it, or remove it from {folder}")
                )
    if found:
        raise ConfigError(found)


def _choice(change: Change, facts: Facts) -> tuple[list[str], list[str]]:
    """The Hydra overrides that a group's choice means, and what is wrong with it."""
    group = change.key
    known = catalog.options(group, facts.extra_dirs)
    if group == "task" and "+" in str(change.value) and not change.deletes:
        return _tagged_choice(change, [*known, *facts.tasks], facts)
    if group == "mode":
        return [], [problem("mode", "is the first word of the command", fix=f"write mml {change.value} ...")]
    names = change.value if isinstance(change.value, list) else [change.value]
    unknown = [str(name) for name in names if str(name) not in known]
    if not unknown:
        return [change.text.lstrip("+")], []
    name = unknown[0]
    if group == "task" and name in facts.tasks:
        return ["task=created", f"task.name='{name}'"], []
    if group == "arch":
        wrong = _unknown_network("arch", name, facts, known)
        return (["arch=timm", f"arch.name='{name}'"], []) if not wrong else ([], [wrong])
    options = [*known, *(facts.tasks if group == "task" else ())]
    fix = did_you_mean(name, options, otherwise=f"options: {listing(options, most=20)}")
    return [], [problem(catalog.named(group), "unknown option", got=name, fix=fix)]


def _unknown_network(key: str, name: str, facts: Facts, options: Sequence[str] = ()) -> str:
    """What is wrong with the name of a network, with or without the tag of its weights; empty when nothing is."""
    networks = facts.architectures()
    network, dot, tag = name.partition(".")
    if name in networks or tag in (tags := facts.network_tags(network) if dot else ()):
        return ""
    if tags:
        fix = did_you_mean(
            name, [f"{network}.{one}" for one in tags], otherwise=f"its tags are {listing(tags, most=20)}"
        )
        return problem(key, f"{network} has no weights with the tag {tag}", got=name, fix=fix)
    otherwise = "use the name of a timm network" + (" or an option of arch" if options else "")
    return problem(key, "unknown network", got=name, fix=did_you_mean(name, [*options, *networks], otherwise=otherwise))


def _networks(arch: Any, facts: Facts) -> list[str]:
    """What is wrong with the networks of timm that a section `arch` names, however it came to do so."""
    if not isinstance(arch, dict):
        return []
    # The name of another architecture is what its user calls it.
    key = "encoder" if "encoder" in arch else "name" if name_of(str(arch.get("_target_"))) == "timm" else None
    name = arch.get(key) if key else None
    if not isinstance(name, str) or name == "???" or facts.is_network(name):
        return []
    wrong = _unknown_network(f"arch.{key}", name, facts)
    return [wrong] if wrong else []


def _tagged_choice(change: Change, known: list[str], facts: Facts) -> tuple[list[str], list[str]]:
    """The choice of a task whose name may have tags."""
    base, tags = tagged(str(change.value), known)
    if base not in known:
        fix = did_you_mean(base, known, otherwise=f"options: {listing(known, most=20)}")
        return [], [problem("task", "unknown option", got=change.value, fix=fix)]
    if not tags:
        return ["task=created", f"task.name='{base}'"], []
    texts, wrong = _choice(Change("task", base, f"task={base}"), facts)
    quoted = tags.replace("\\", "\\\\").replace("'", "\\'")
    return [*texts, f"tags='{quoted}'"], wrong


def _with_values(choices: list[str], values: list[Change], extra_dirs: Sequence[Path]) -> tuple[DictConfig, list[str]]:
    """Compose with all values; where Hydra refuses, find which ones are at fault and go on without them."""
    try:
        composer = Composer(choices, extra_dirs)
    except _REFUSALS as error:
        raise ConfigError(
            problem("configuration", _first_line(error), fix="check the options of the groups")
        ) from error
    # All at once first, which is right nearly always and fast; one by one only to find who is at fault.
    try:
        return composer.put([change.text for change in values]), []
    except _REFUSALS:
        pass
    good: list[str] = []
    found: list[str] = []
    for change in values:
        text, wrong = _placed(change, composer.base)
        if wrong:
            found.append(wrong)
            continue
        try:
            composer.put([*good, text])
            good.append(text)
        except _REFUSALS as error:
            found.append(problem(change.key, _first_line(error), got=change.value))
    return composer.put(good), found


def _placed(change: Change, base: DictConfig) -> tuple[str, str]:
    """The override's text, forced in where a signature knows its key, or a sentence when nothing does."""
    if change.key.startswith(_FREE):
        return change.text, ""
    node: Any = base
    parts = change.key.split(".")
    for depth, part in enumerate(parts):
        if (inner := _child(node, part)) is not None:
            node = inner
            continue
        section = ".".join(parts[:depth])
        if isinstance(node, ListConfig):
            if part.isdecimal() and int(part) < len(node):
                node = node._get_node(int(part))
                continue
            return "", problem(change.key, "names no entry of a list", got=part, fix=f"write {section}=[...]")
        if _is_free(base, parts[:depth]):
            return f"++{change.text.lstrip('+')}", ""
        known = _known_keys(section, node)
        if depth == len(parts) - 1 and part in known:
            return f"++{change.text.lstrip('+')}", ""
        prefix = f"{section}." if section else ""
        if not isinstance(node, DictConfig):
            return "", problem(f"{prefix}{part}", "unknown key", fix=f"{section} holds one value, no keys")
        fix = did_you_mean(part, known, otherwise=f"known keys: {listing(known, most=20)}")
        return "", problem(f"{prefix}{part}", "unknown key", fix=fix)
    if isinstance(change.value, dict) and _is_free(base, parts):
        # Hydra lets no mapping have keys that its default has not.
        return f"++{change.text.lstrip('+')}", ""
    return change.text, ""


def _is_free(base: DictConfig, parts: Sequence[str]) -> bool:
    """Whether a key holds, or may hold where it is null or missing, a mapping whose keys are the component's own matter.

    The signature of the component that it belongs to says so; what is in the mapping, its check or the component sees.
    """
    node: Any = base
    target: Any = None
    for part in parts:
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        node = _child(node, part)
    if not isinstance(target, str) or node is None or isinstance(node, ListConfig):
        return False
    is_open = "_target_" not in node if isinstance(node, DictConfig) else node._is_none() or node._is_missing()
    return is_open and signatures.takes_mapping(target, parts[-1])


def _child(node: Any, part: str) -> Any:
    """The node of a key of a mapping, also where it is null or still missing; None where there is none."""
    return node._get_node(part) if isinstance(node, DictConfig) and part in node.keys() else None  # noqa: SIM118


def _known_keys(section: str, node: Any) -> list[str]:
    keys = [str(key) for key in node] if isinstance(node, DictConfig) else []
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if section == "trainer":
        target = "pytorch_lightning.trainer.trainer.Trainer"
    signature = signatures.read(target) if isinstance(target, str) else None
    known = [*keys, *(signature.parameters if signature else ())]
    if not section:
        known = [*known, *catalog.ALIASES]
    return [key for key in dict.fromkeys(known) if key != "_target_"]


def _resolved(
    composed: DictConfig, mode: str, changes: Iterable[Change], facts: Facts, found: list[str]
) -> dict[str, Any]:
    """The configuration as plain data, with folders and what the mode decides filled in."""
    tree = OmegaConf.to_container(composed, resolve=False, throw_on_missing=False)
    assert isinstance(tree, dict)
    raw = {str(key): value for key, value in tree.items()}
    # Before anything is resolved: other keys may refer to these folders.
    for key, folder in (("out_dir", facts.out_dir), ("data_dir", facts.data_dir)):
        raw[key] = _absolute(raw[key] or folder)
    try:
        plain: dict[str, Any] = {"mode_name": mode, **interpolation.resolved(raw)}
    except ConfigError as error:
        raise ConfigError([*found, *error.problems]) from None
    if gone := [key for key in _SECTIONS if key not in plain]:
        fix = "a file with '# @package _global_' must not replace the others"
        raise ConfigError([*found, *(problem(key, "the section is missing", fix=fix) for key in gone)])
    if plain.get("trust") and not any(change.key == "trust" for change in changes):
        wrong = "must be said on the command line, not in a file"
        found.append(problem("trust", wrong, got=plain["trust"], fix="read that file, then add trust=[...] yourself"))
    for section, key in (("task", "root"), ("task", "file"), ("task", "targets"), ("arch", "weights")):
        value = plain[section].get(key) if isinstance(plain[section], dict) else None
        is_path = isinstance(value, str) and value != "???" and (key != "targets" or value.endswith(".npy"))
        if is_path:
            plain[section][key] = _absolute(value)
    # A network that is a file becomes part of the configuration here: a stored run must not depend on that file.
    found += network_files.inlined(plain["arch"])
    found += _networks(plain["arch"], facts)
    _absolute_reuse(plain["reuse"])
    listed = plain["stages"].get("list") if isinstance(plain["stages"], dict) else None
    for stage in listed if isinstance(listed, list) else []:
        if isinstance(stage, dict) and isinstance(stage.get("initial_weights"), str):
            stage["initial_weights"] = _absolute(stage["initial_weights"])
    keys = {change.key for change in changes}
    if isinstance(plain["mode"].get("folds"), int):
        # As a sweep over folds gives it: mode.folds=0,1,2 -m
        plain["mode"]["folds"] = [plain["mode"]["folds"]]
    if mode == "tl" and plain["mode"].get("freeze") is True and isinstance(plain["arch"], dict):
        plain["arch"]["freeze"] = True
    if mode == "clean" and plain["mode"].get("pivot") is None:
        plain["mode"]["pivot"] = any(key.partition(".")[0] == "task" for key in keys)
    # The share only means something when test images choose.
    if mode == "post" and "mode.eval_frac" in keys and "mode.select_on" not in keys:
        plain["mode"]["select_on"] = "test"
    subroutines = plain["mode"].get("subroutines")
    predicts = isinstance(subroutines, list) and {"predict", "test"} & set(map(str, subroutines))
    if predicts and "train" not in subroutines and not any(key.split(".")[0] == "tta" for key in keys):
        plain["tta"] = {"_target_": path_of("tta", "stored")}
    if mode == "create":
        for mode_key, split_key in (("n_folds", "folds"), ("ensure_balancing", "stratify")):
            if split_key in plain["split"]:
                _same(plain, keys, mode_key, split_key)
    return plain


def _drop_parameters_of_replaced(tree: dict[str, Any], targets: Iterable[Change], given: set[str]) -> None:
    """Where a `_target_` was replaced, the old one's parameters go unless the new one has them or they were given."""
    for change in targets:
        section = change.key.removesuffix("._target_")
        node: Any = tree
        for part in section.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        signature = signatures.read(str(change.value))
        if signature is None or not isinstance(node, dict):
            continue
        for key in list(node):
            if key not in ("_target_", *signature.parameters) and f"{section}.{key}" not in given:
                del node[key]


def _same(tree: dict[str, Any], given: set[str], mode_key: str, split_key: str) -> None:
    """One value for two keys: the mode's where it was given (or neither was), else the split's."""
    if f"split.{split_key}" in given and f"mode.{mode_key}" not in given:
        tree["mode"][mode_key] = tree["split"][split_key]
    else:
        tree["split"][split_key] = tree["mode"][mode_key]


def _absolute(path: Any) -> str:
    """A path that still means the same when a run is continued from another folder."""
    return os.path.abspath(os.path.expanduser(str(path)))  # noqa: PTH100, PTH111


def _absolute_reuse(reuse: Any) -> None:
    """Make the paths among references absolute; names of projects stay."""
    for key in ("models", "parameters", "predictions", "blueprint") if isinstance(reuse, dict) else ():
        value = reuse.get(key)
        if isinstance(value, str):
            reuse[key] = _absolute_reference(value)
        elif isinstance(value, list):
            reuse[key] = [_absolute_reference(item) if isinstance(item, str) else item for item in value]


def _absolute_reference(text: str) -> str:
    path, number_sign, record = text.partition("#")
    is_path = "/" in path or path.startswith("~") or path.endswith((".safetensors", ".pt", ".pth", ".yaml", ".yml"))
    return f"{_absolute(path)}{number_sign}{record}" if is_path else text


def _first_line(error: Exception) -> str:
    return first_line(error).rstrip(".")
