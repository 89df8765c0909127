"""Compose command-line overrides into a checked `RunConfig`: every mistake is found before anything is read or written.

Hydra stops at the first bad override. Here each one is checked against the groups, the composed keys and the
components' signatures, bad ones are set aside with a sentence, and composing goes on without them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config import catalog, resolve, rules, signatures
from mlpipe.config.assemble import assemble
from mlpipe.config.composer import Composer, Refused
from mlpipe.config.overrides import Change, name_and_tags, parse, quoted
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, did_you_mean, first_line, listing, problem
from mlpipe.names import name_of

# Sections whose keys are defined by the user.
_FREE = ("given.", "search_space.params")
_FREE_SECTIONS = (
    *("preset.recipes", "preset.pretrained", "preset.common", "preset.sizes", "search_space.params"),
    *catalog.ALIASES,
)
# Sections whose values are always mappings, each with one of its keys.
_MAPPINGS = {
    "given": "given.NAME=VALUE",
    "recommend": "recommend.lr=0.001",
    "search_space.params": "search_space.params.KEY='choice(1,2)'",
}
# An upper bound that no folder of configurations reaches, unlike a whole disk.
_MOST_FILES = 1000


@dataclass(frozen=True)
class Facts:
    """Facts from outside the configuration that composing needs, as plain values.

    Attributes:
        architectures: Returns the names of all networks that `arch=NAME` accepts besides the group's options.
        tasks: The names of tasks created earlier.
        out_dir: The default results folder.
        data_dir: The default data folder.
        extra_dirs: Further folders of configuration files.
        tag_problems: Returns problems of the tags in a task's name.
        network_tags: Returns the tags of a network's weights.
        is_network: Returns whether timm has a network of that name.
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
    """Return the checked configuration of one run.

    Args:
        mode: The mode's name.
        texts: Overrides in Hydra's grammar, without the mode.
        facts: The required facts about tasks and networks.

    Raises:
        ConfigError: With a sentence for every problem of every override and section.
    """
    _check_files(facts.extra_dirs)
    changes, problems = parse(texts)
    groups = catalog.groups(facts.extra_dirs)
    # Three rounds, because each determines the keys known in the next: options of groups add sections, a `_target_`
    # adds the parameters of its component, values fill them in.
    chosen, targets, values = dict[str, list[str]](), [], []
    for change in changes:
        if change.key.split(".")[0] in rules.LATER_KEYS:
            problems += [] if change.value in (None, False, "none") else [rules.hydra_key_problem(change.key)]
        elif change.key in groups:
            # What an option adds is removed with it if another option is chosen later.
            chosen[change.key], wrong = _choice(change, facts)
            problems += wrong
        elif change.key.endswith("._target_"):
            targets.append(_forced_callback_key(change))
        elif change.key in _MAPPINGS and not isinstance(change.value, dict) and not change.deletes:
            fix = f"write {_MAPPINGS[change.key]}"
            problems.append(problem(change.key, "is a section of several keys", got=change.value, fix=fix))
        elif change.key in _TEXTS and isinstance(change.value, list | dict):
            problems.append(problem(change.key, "must be text", got=change.value, fix="give it such a value"))
        else:
            values.append(_named(_forced_free_key(change)))
    choices = [f"mode={mode}", *(text for of_group in chosen.values() for text in of_group)]
    if any(text.startswith("tags=") for text in choices):
        fix = "write all of them in one place"
        twice = [change.value for change in values if change.key == "tags"]
        problems += [problem("tags", "the task's name has tags already", got=value, fix=fix) for value in twice]
    known = tuple(dict.fromkeys([*catalog.options("task", facts.extra_dirs), *facts.tasks]))
    unsure = {sentence.partition(":")[0] for sentence in problems}
    composed, wrong = _with_values(
        [*choices, *(change.text for change in targets)], values, facts.extra_dirs, (mode, known, groups)
    )
    # The keys of a wrong option are unknown.
    problems += [
        complaint for complaint in wrong if not (": unknown key" in complaint and complaint.partition(".")[0] in unsure)
    ]
    tree = resolve.resolved(composed, mode, changes, {"out_dir": facts.out_dir, "data_dir": facts.data_dir}, problems)
    # References in them are now resolved.
    problems += list(facts.tag_problems(str(tree.get("tags") or "")))
    tree["logging"] = _loggers(tree["logging"], changes, facts.extra_dirs)
    problems += _network_problems(tree["arch"], facts)
    _drop_parameters_of_replaced(tree, targets, {change.key for change in values})
    # Assembled even after errors, so that the user sees the problems of both stages at once.
    try:
        run_config = assemble(tree)
    except ConfigError as error:
        raise ConfigError(_without_promised([*problems, *error.problems], unsure)) from None
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return run_config


def unknown_keys(mode: str, texts: Sequence[str], extra_dirs: tuple[Path, ...] = ()) -> list[str]:
    """Return a sentence for every override whose key has a first word that no configuration of a mode has.

    Args:
        mode: The mode's name.
        texts: Overrides, in Hydra's grammar or not.
        extra_dirs: Further folders of configuration files.
    """
    # Imported only after an error.
    from mlpipe.config.keys import WORDS

    changes, _ = parse(texts)
    groups, base = catalog.groups(extra_dirs), Composer([f"mode={mode}"], extra_dirs).base
    heads = {*groups, *catalog.ALIASES, *base, *WORDS, *rules.LATER_KEYS}
    known = mode, catalog.options("task", extra_dirs), groups
    odd = [change for change in changes if change.key.partition(".")[0] not in heads]
    return [wrong for change in odd if (wrong := _placed_override(change, base, known)[1])]


def _loggers(section: Any, changes: Sequence[Change], extra_dirs: Sequence[Path]) -> Any:
    """Return the section of several loggers, `logging=[mlflow,csv]`, each with the keys of its own file.

    Args:
        section: The composed section: the last option's `_target_` with the keys of all options.
        changes: The command's overrides.
        extra_dirs: Further folders of configuration files.
    """
    value = next((change.value for change in reversed(changes) if change.key == "logging"), None)
    known = catalog.options("logging", tuple(extra_dirs))
    names = [str(name) for name in value if name != "none"] if isinstance(value, list) else []
    if len(set(names)) < 2 or not isinstance(section, dict) or not set(names) <= set(known):
        return section
    parts = {}
    for name in names:
        keys = files.plain_yaml(catalog.option_text("logging", name, extra_dirs))
        parts[name] = {key: section.get(key, default) for key, default in keys.items()} | {"_target_": keys["_target_"]}
    common = {key: section[key] for key in ("every_n_steps", "examples", "batches") if key in section}
    return {"_target_": "mlpipe.learn.logging.several", "loggers": parts, **common}


def _without_promised(sentences: Sequence[str], unsure: Collection[str]) -> list[str]:
    """Drop sentences about a missing key that another sentence says to set, or whose option is wrong."""
    keys = {key for text in sentences for key in re.findall(r"([a-z_]+\.[a-z_]+)=", text.partition("write ")[2])}

    def is_promised(sentence: str) -> bool:
        key, _, rest = sentence.partition(": ")
        return rest.startswith("a value is needed") and (key in keys or key.partition(".")[0] in unsure)

    return [text for text in dict.fromkeys(sentences) if not is_promised(text)]


def _named(change: Change) -> Change:
    """Read a number in the place of a name as it was typed: folders and projects are called 2024."""
    is_number = isinstance(change.value, int | float) and not isinstance(change.value, bool)
    if change.key not in _NAMES or not is_number:
        return change
    typed, _, word = change.text.partition("=")
    return replace(change, value=word.strip(), text=f"{typed}={quoted(word.strip())}")


def _forced_free_key(change: Change) -> Change:
    """Force a new key for Hydra: below `given`, and in a search space, every name is new."""
    if not change.key.startswith(_FREE) or change.deletes:
        return change
    return replace(change, text=f"++{change.text.lstrip('+')}")


def _forced_callback_key(change: Change) -> Change:
    """Force a callback's target for Hydra: users choose the names of callbacks, so they may be new."""
    is_new = change.key.count(".") == 2 and change.key.startswith("callbacks.") and not change.deletes
    return replace(change, text=f"++{change.text.lstrip('+')}") if is_new else change


def _check_files(folders: Iterable[Path]) -> None:
    """Refuse option files that are unsafe to read.

    Raises:
        ConfigError: With a sentence for each of them.
    """
    problems: list[str] = []
    for folder in folders:
        for file in itertools.islice(folder.rglob("*.yaml"), _MOST_FILES):
            try:
                files.read_yaml(file)
            except (OSError, ValueError) as error:
                problems.append(
                    problem(file.name, f"cannot be read ({error})", fix=f"correct it, or remove it from {folder}")
                )
    if problems:
        raise ConfigError(problems)


# Groups whose options can replace another group's.
_OF_ONE = (
    "task", "split", "arch", "optimizer", "loss", "lr_scheduler", "preset", "preprocessing", "sampling", "hpo", "stages",
    "augmentations",
)  # fmt: skip
# Top-level keys with one text, from which the folders of results and data are made before any check.
_TEXTS = ("out_dir", "data_dir", "tags", "time_limit")
# Keys of names and paths, which may look like numbers.
_NAMES = ("proj", "task.root", "task.file", "task.name", "task.targets", "mode.source", "mode.file", "hpo.study")


def _choice(change: Change, facts: Facts) -> tuple[list[str], list[str]]:
    """Return the Hydra overrides for a group's choice, and its problems."""
    group = change.key
    known = catalog.options(group, facts.extra_dirs)
    if group == "task" and "+" in str(change.value) and not change.deletes:
        return _tagged_choice(change, [*known, *facts.tasks], facts)
    if group == "mode":
        is_mode = str(change.value) in known
        fix = f"write mml {change.value} ..." if is_mode else "leave it out here"
        if str(change.value) in ("max", "min"):
            fix = f"write metrics.direction={change.value}"
        return [], [problem("mode", "is the first word of the command", fix=fix)]
    if group in _OF_ONE and isinstance(change.value, list) and len(change.value) > 1:
        listed = ",".join(map(str, change.value))
        fix = f"write {group}={listed} -m to run each of them"
        if group == "loss":
            fix += f", or their sum: loss=composite loss.expression={listed.replace(',', '+')}"
        if group == "augmentations":
            fix += ", or choose one and write the steps of all into augmentations.cpu.pipeline and augmentations.device.pipeline"
        return [], [problem(group, "is one option, no list", got=change.value, fix=fix)]
    if isinstance(change.value, dict) and change.value:
        keys = " ".join(f"{group}.{name}={item}" for name, item in change.value.items())
        return [], [problem(group, "takes the name of an option, no mapping", got=change.value, fix=f"write {keys}")]
    if group in _OF_ONE and change.value == []:
        return [], [problem(group, "is one option, no list", got="[]", fix=f"leave it out, or see mml help {group}")]
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
    # Imported only after an error, like its other imports.
    from mlpipe.config import suggestions

    options = [*known, *(facts.tasks if group == "task" else ())]
    fix = suggestions.for_option(group, name, options)
    match = re.fullmatch(r"did you mean '(.*)'\?", fix)
    # Continue with the intended option, so that its keys are checked as well.
    texts = [f"{group}={match[1]}"] if match and match[1] in known else []
    return texts, [problem(catalog.named(group), "unknown option", got=name, fix=fix)]


def _unknown_network(key: str, name: str, facts: Facts, options: Sequence[str] = ()) -> str:
    """Explain what is wrong with a network's name, with or without the tag of its weights; empty if nothing is."""
    networks = facts.architectures()
    network, dot, tag = name.partition(".")
    if name in networks or tag in (tags := facts.network_tags(network) if dot else ()):
        return ""
    if tags:
        fix = did_you_mean(
            name, [f"{network}.{other_tag}" for other_tag in tags], otherwise=f"its tags are {listing(tags, most=20)}"
        )
        return problem(key, f"{network} has no weights with the tag {tag}", got=name, fix=fix)
    return problem(key, "unknown network", got=name, fix=_network_fix(name, [*options, *networks]))


_SEARCH = "use the name of a timm network or an option of arch; mml models WORD searches"


def _network_fix(name: str, known: Sequence[str]) -> str:
    """Return what to write instead of an unknown network."""
    from mlpipe.config import suggestions

    # Prefixes that other programs add to a name: an owner, or a marker for timm.
    bare = re.sub(r"^(?:[\w-]+:)?(?:[\w-]+/)?", "", name)
    if bare != name and not bare.endswith((".pt", ".pth", ".ckpt", ".safetensors")):
        if bare.partition(".")[0] in known:
            return f"did you mean {bare!r}?"
        near = suggestions.option_meant("arch", name, known) or suggestions.option_meant("arch", bare, known)
        return f"did you mean {near!r}?" if near in known else did_you_mean(bare, known, otherwise=_SEARCH)
    if "," in name or "/" in name or name.endswith((".pt", ".pth", ".ckpt", ".safetensors")):
        fix = suggestions.for_option("arch", name, known)
        if not fix.startswith("options"):
            return fix
    suggestion = suggestions.option_meant("arch", name, known)
    return f"did you mean {suggestion!r}?" if suggestion in known else did_you_mean(name, known, otherwise=_SEARCH)


def _network_problems(arch: Any, facts: Facts) -> list[str]:
    """Return problems of the timm networks that a section `arch` names in any way."""
    if not isinstance(arch, dict):
        return []
    # The name of another architecture is chosen by its user.
    key = "encoder" if "encoder" in arch else "name" if name_of(str(arch.get("_target_"))) == "timm" else None
    name = arch.get(key) if key else None
    if not isinstance(name, str) or name == "???" or facts.is_network(name):
        return []
    wrong = _unknown_network(f"arch.{key}", name, facts)
    return [wrong] if wrong else []


def _tagged_choice(change: Change, known: list[str], facts: Facts) -> tuple[list[str], list[str]]:
    """Return the choice of a task whose name may have tags."""
    base, tags = name_and_tags(str(change.value), known)
    if base not in known:
        from mlpipe.config import suggestions

        fix = suggestions.for_option("task", base, known)
        return [], [problem("task", "unknown option", got=change.value, fix=fix)]
    if not tags:
        return ["task=created", f"task.name='{base}'"], []
    texts, wrong = _choice(Change("task", base, f"task={base}"), facts)
    return [*texts, f"tags={quoted(tags)}"], wrong


def _with_values(
    choices: list[str],
    values: list[Change],
    extra_dirs: Sequence[Path],
    known: tuple[str, Sequence[str], Collection[str]],
) -> tuple[dict[str, Any], list[str]]:
    """Compose with all values; if Hydra refuses, find the invalid ones and continue without them.

    Args:
        choices: Overrides that choose options and targets.
        values: All others.
        extra_dirs: Further folders of configuration files.
        known: The mode, the tasks and the groups that there are.
    """
    try:
        composer = Composer(choices, extra_dirs)
    except Refused as error:
        raise ConfigError(
            problem("configuration", _first_line(error), fix="check the options of the groups")
        ) from error
    good, problems = list[str](), list[str]()
    # Hydra would add unknown top-level keys, which nothing reads.
    new = [change for change in values if change.key.split(".")[0] not in composer.base and change.text.startswith("+")]
    problems += [_placed_override(change, composer.base, known)[1] for change in new]
    values = [change for change in values if change not in new]
    # First all at once, which is fast and usually succeeds; one by one only to find the invalid ones.
    try:
        return composer.put([change.text for change in values]), problems
    except Refused:
        pass
    for change in values:
        text, wrong = _placed_override(change, composer.base, known)
        if wrong:
            problems.append(wrong)
            continue
        try:
            composer.put([*good, text])
            good.append(text)
        except Refused as error:
            problems += _refusals(change, composer.base, error, known)
    return composer.put(good), problems


def _refusals(
    change: Change, base: dict[str, Any], error: Refused, world: tuple[str, Sequence[str], Collection[str]]
) -> list[str]:
    """Return sentences for a value that Hydra refuses: for a mapping, one for each of its unknown keys."""
    key, value, here = change.key, change.value, _node(base, change.key.split("."))
    if change.deletes:
        return [problem(key, "has another value than the one that is to be deleted", got=value, fix=f"write ~{key}")]
    if change.text.startswith("+") and "already at" in str(error):
        return [problem(key, "is there already", got=value, fix=f"write {change.text.lstrip('+')}")]
    if isinstance(here, dict) and isinstance(value, dict):
        inner = (Change(f"{key}.{name}", item, f"{key}.{name}={item}") for name, item in value.items())
        if problems := [wrong for part in inner if (wrong := _placed_override(part, base, world)[1])]:
            return problems
    if isinstance(here, dict) and not isinstance(value, dict):
        name = next((name for name in here if not name.startswith("_")), "KEY")
        return [problem(key, "is a section of several keys", got=value, fix=f"write {key}.{name}=VALUE")]
    if isinstance(here, list) and not isinstance(value, list):
        return [problem(key, "must be a list", got=value, fix=f"write {key}=[...]")]
    # Hydra names the override, OmegaConf's error below it the reason.
    reason = (error.__cause__ and error.__cause__.__cause__) or error
    return [problem(key, f"cannot be set so ({_first_line(reason)})", got=value)]


def _node(base: dict[str, Any], parts: Sequence[str]) -> Any:
    """Return the value at a key; None if there is none."""
    node: Any = base
    for part in parts:
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return node


def _placed_override(
    change: Change, base: dict[str, Any], world: tuple[str, Sequence[str], Collection[str]]
) -> tuple[str, str]:
    """Return the override, forced if a signature knows its key, or a sentence if the key is unknown."""
    if change.key.startswith(_FREE):
        return change.text, ""
    node: Any = base
    parts = change.key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, dict) and part in node:
            node = node[part]
            continue
        section = ".".join(parts[:depth])
        if isinstance(node, list):
            if part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
                continue
            return "", problem(change.key, "names no entry of a list", got=part, fix=f"write {section}=[...]")
        if _is_free(base, parts[:depth]):
            return f"++{change.text.lstrip('+')}", ""
        known = _known_keys(section, node)
        if depth == len(parts) - 1 and part in known:
            return f"++{change.text.lstrip('+')}", ""
        prefix = f"{section}." if section else ""
        if not isinstance(node, dict):
            return "", problem(f"{prefix}{part}", "unknown key", fix=f"{section} holds one value, no keys")
        from mlpipe.config import suggestions

        mode, tasks, groups = world
        context = suggestions.Here(mode, _names(base), tasks, groups)
        fix = suggestions.for_key(change.key, change.text.partition("=")[2], context)
        otherwise = f"known keys: {listing(known, most=20)}" if section else f"mml help {part} searches the keys"
        if section and not known:
            # A group of stackable options, of which none is chosen.
            options = [option for option in catalog.options(section) if option != "none"] if section in groups else []
            chosen = f"keys come with a chosen option: {section}=NAME, one of {listing(options, most=8)}"
            otherwise = chosen if options else f"{section} has no keys"
        key = change.key if fix else f"{prefix}{part}"
        return "", problem(key, "unknown key", fix=fix or did_you_mean(part, known, otherwise=otherwise))
    if isinstance(change.value, dict) and _is_free(base, parts):
        # Hydra does not accept keys in a mapping that its default does not have.
        return f"++{change.text.lstrip('+')}", ""
    return change.text, ""


def _names(node: dict[str, Any], section: str = "") -> list[str]:
    """Return the full names of all keys below a node that users set."""
    names = []
    for key in _known_keys(section, node):
        name, child = f"{section}.{key}".lstrip("."), node.get(key)
        if key in ("scheduler", "given", "recommend", "trust") or name in _FREE_SECTIONS:
            continue
        names += _names(child, name) if isinstance(child, dict) and child else [name]
    return names


def _is_free(base: dict[str, Any], parts: Sequence[str]) -> bool:
    """Return whether a key may hold a mapping with arbitrary keys, also if it is null or missing.

    The signature of its component decides; the contents of the mapping are checked by the component.
    """
    node: Any = base
    target: str | None = None
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return False
        target, node = _target(node), node[part]
    if target is None or not (node in (None, "???") or (isinstance(node, dict) and "_target_" not in node)):
        return False
    return signatures.takes_mapping(target, parts[-1])


def _target(node: Any) -> str | None:
    """Return the component that a mapping names; None if it names none, or requires the user to."""
    target = node.get("_target_") if isinstance(node, dict) else None
    return target if isinstance(target, str) and target != "???" else None


def _known_keys(section: str, node: Any) -> list[str]:
    keys = [str(key) for key in node] if isinstance(node, dict) else []
    target = _target(node)
    if section == "trainer":
        target = "pytorch_lightning.trainer.trainer.Trainer"
    signature = signatures.read(target) if target is not None else None
    known = [*keys, *(signature.parameters if signature else ())]
    if not section:
        known = [*known, *catalog.ALIASES]
    return [key for key in dict.fromkeys(known) if key != "_target_"]


def _drop_parameters_of_replaced(tree: dict[str, Any], targets: Iterable[Change], changed_keys: set[str]) -> None:
    """If a `_target_` was replaced, drop the old one's parameters unless the new one has them or they were given."""
    for change in targets:
        section = change.key.removesuffix("._target_")
        node: Any = tree
        for part in section.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        signature = signatures.read(str(change.value))
        if signature is None or not isinstance(node, dict):
            continue
        for key in list(node):
            if key not in ("_target_", *signature.parameters) and f"{section}.{key}" not in changed_keys:
                del node[key]


def _first_line(error: BaseException) -> str:
    return first_line(error).rstrip(".")
