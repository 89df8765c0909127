"""Recipe files (`recipe=FILE.yaml`): a native configuration placed before the command line's overrides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe import current_folder, files, limits
from mlpipe.config import snapshot
from mlpipe.config.overrides import key_of, parse, value_of
from mlpipe.errors import ConfigError, no_such_file, problem

KEY, LENIENT = "recipe", "mode.lenient"
SEARCH = frozenset({"hpo", "search_space"})
# The only modes with the keys of a training.
_TRAINING = ("train", "predict", "test", "tl", "distill", "lr_find", "evaluate")
# Mappings with arbitrary keys, which are therefore given as one value.
_WHOLE = (
    "arch.arguments",
    "arch.network",
    "loss.params",
    "optimizer.params",
    "lr_scheduler.params",
    "task.loader",
    "task.transformer",
    "task.augmenter",
    "task.holdout",
    "task.after_holdout",
    "task.strata",
    "search_space.params",
)


def named(overrides: Sequence[str]) -> str | None:
    """Return the file that overrides name by `recipe=`, as written; None if there is none."""
    return value_of(KEY, overrides)


def is_lenient(overrides: Sequence[str]) -> bool:
    """Return whether overrides allow unknown keys in the file."""
    return value_of(LENIENT, overrides) == "true"


def applied(mode: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides with those of a native `recipe=FILE` before them.

    Args:
        mode: The mode's name.
        overrides: The command line's overrides.

    Raises:
        ConfigError: When the file is unreadable, is not a native configuration, or sets what only the command line may
            set.
    """
    recipe = named(overrides)
    if recipe is None:
        return list(overrides)
    source = contents(path_of(recipe))
    if not is_native(source):
        fix = "begin it with `defaults: []`, or run it by mml"
        raise ConfigError(problem("recipe", "is no native configuration", got=recipe, fix=fix))
    tree = native(source)
    # In other modes, only the later post-processing remains of a search.
    return joined(mode, tree, overrides, leaving=() if mode == "train" else SEARCH)


def check_code(where: str, tree: Any, overrides: Sequence[str]) -> None:
    """Refuse a file that names code of the user's own that the command line does not name.

    A recipe directly in the current folder is the user's own, like the code beside it. A recipe of a project names that
    project's folder `modules`.

    Args:
        where: The file, for the message.
        tree: The contents of the file.
        overrides: The command line's overrides.

    Raises:
        ConfigError: With one sentence that lists the code that would run.
    """
    recipe = named(overrides)
    place = path_of(recipe).resolve() if recipe is not None else None
    if place is not None and place.parent == Path.cwd().resolve() and where == recipe:
        return
    changes, _ = parse([text for text in overrides if key_of(text) != KEY])
    own: list[Any] = [{change.key.rpartition(".")[2]: change.value} for change in changes]
    own += [{"modules": str(folder / "modules")} for folder in (place.parents if place is not None else ())]
    trust: Any = next((change.value for change in changes if change.key == "trust"), [])
    snapshot.check_code(where, tree, own, trust)


def searches(overrides: Sequence[str]) -> bool:
    """Return whether a native file named by overrides requests a search, and they do not override that."""
    recipe = named(overrides)
    if recipe is None or not path_of(recipe).is_file() or {"hpo", "use_best_params"} & set(map(key_of, overrides)):
        return False
    source = contents(path_of(recipe))
    return is_native(source) and chosen(native(source)).get("hpo", "none") != "none"


def joined(mode: str, tree: Mapping[str, Any], overrides: Sequence[str], *, leaving: Collection[str] = ()) -> list[str]:
    """Return overrides with those of a configuration before them; groups chosen by the overrides are theirs alone.

    Args:
        mode: The mode's name; the keys of a training's mode are for trainings only.
        tree: `defaults`, a list of one-key mappings from group to option, and the sections' values.
        overrides: The command line's overrides.
        leaving: Further groups that are not taken from the configuration.

    Raises:
        ConfigError: When the configuration sets trusted code, or names code that the command line does not name.
    """
    for key in ("trust", "trust_paths"):
        if tree.get(key):
            wrong, fix = (
                "must be said on the command line, not in a file",
                f"read that file, then add {key}=[...] yourself",
            )
            raise ConfigError(problem(key, wrong, got=tree[key], fix=fix))
    if mode != "convert" and (recipe := named(overrides)) is not None:
        check_code(recipe, tree, overrides)
    # An option that the file chooses as well does not replace it: the file's keys stay.
    own = own_words(tree, overrides)
    sections = {key: value for key, value in tree.items() if key != "mode" or mode in _TRAINING}
    return [*as_overrides(sections, {*groups_of(own), *leaving}), *own]


def own_words(tree: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the command line's words in addition to the file, as far as they differ from it."""
    of_file = [f"{group}={option}" for group, option in chosen(tree).items()]
    return [text for text in overrides if key_of(text) not in (KEY, LENIENT) and text not in of_file]


def groups_of(overrides: Sequence[str]) -> set[str]:
    """Return the keys and groups that overrides name."""
    return {"callbacks" if key_of(text) == "cbs" else key_of(text) for text in overrides}


def chosen(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of groups chosen by a configuration's `defaults`."""
    return {group: option for entry in tree.get("defaults", []) for group, option in entry.items()}


def path_of(recipe: str) -> Path:
    """Return the file that `recipe=` names."""
    return current_folder.expanded(recipe).absolute()


def text_of(path: Path) -> str:
    """Read the text of a recipe file.

    Raises:
        ConfigError: When it is unreadable.
    """
    if not path.is_file():
        raise ConfigError(no_such_file("recipe", path))
    try:
        return limits.text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(problem("recipe", f"cannot be read ({error})", got=str(path))) from error


def contents(path: Path, text: str | None = None) -> Mapping[str, Any]:
    """Return the contents of a recipe file, YAML or JSON.

    Args:
        path: The file.
        text: Its text; None: read it.

    Raises:
        ConfigError: When it is unreadable, or does not contain a mapping.
    """
    text = text_of(path) if text is None else text
    try:
        source = files.plain_json(text, unique=True) if path.suffix == ".json" else files.plain_yaml(text)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(problem("recipe", f"cannot be read ({reason})", got=str(path))) from error
    if not isinstance(source, Mapping):
        raise ConfigError(problem("recipe", "must be a mapping", got=str(path), fix="see docs/from_musket.md"))
    return source


def is_native(source: Mapping[str, Any]) -> bool:
    """Return whether a file contains a native configuration."""
    return "defaults" in source


def native(source: Mapping[str, Any]) -> dict[str, Any]:
    """Read a native file; both forms of Hydra's `defaults` are accepted.

    Raises:
        ConfigError: When `defaults` has another form.
    """
    entries = source.get("defaults") or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) or entry == "_self_" for entry in entries):
        fix = "write a list such as [{arch: resnet50}]"
        raise ConfigError(problem("recipe: defaults", "must be a list of mappings", got=entries, fix=fix))
    plain = [
        {str(group).removeprefix("override ").lstrip("/"): option for group, option in entry.items()}
        for entry in entries
        if entry != "_self_"
    ]
    return {**{str(key): value for key, value in source.items()}, "defaults": plain}


def as_overrides(tree: Mapping[str, Any], chosen_already: Collection[str]) -> list[str]:
    """Return a configuration as overrides in Hydra's grammar.

    Args:
        tree: As in `joined`.
        chosen_already: Groups to omit completely.

    Raises:
        ConfigError: When it sets more keys than `limits.SETTINGS`.
    """
    texts = []
    for entry in tree.get("defaults", []):
        texts += [f"{group}={as_text(option)}" for group, option in entry.items() if group not in chosen_already]
    for key, value in tree.items():
        if key != "defaults" and key not in chosen_already:
            texts += _flat_overrides(key, value)
    if len(texts) > limits.SETTINGS:
        fix = f"a recipe has at most {limits.SETTINGS:,}"
        raise ConfigError(problem("recipe", f"sets {len(texts):,} keys", fix=fix))
    return texts


def as_text(value: Any) -> str:
    """Format a value in Hydra's grammar; all texts except plain words are quoted."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(as_text(item) for item in value) + "]"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if text.isidentifier() and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _flat_overrides(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping) and value and key not in _WHOLE:
        return [text for part, item in value.items() for text in _flat_overrides(f"{key}.{part}", item)]
    return [f"{key}={as_text(value)}"]
