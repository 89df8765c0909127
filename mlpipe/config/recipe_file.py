"""Recipe files (`recipe=FILE.yaml`): a native configuration in front of the command line's own overrides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe import files, limits
from mlpipe.config import snapshot
from mlpipe.config.overrides import key_of, parse, value_of
from mlpipe.errors import ConfigError, no_such_file, problem

KEY, LENIENT = "recipe", "mode.lenient"
SEARCH = frozenset({"hpo", "search_space"})
# Only these have the keys of a training.
_TRAINING = ("train", "predict", "test", "tl", "distill", "lr_find", "evaluate")
# Mappings whose keys no configuration knows, so that they are given as one value.
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
    """The file that overrides name by `recipe=`, as they write it; None where they name none."""
    return value_of(KEY, overrides)


def is_lenient(overrides: Sequence[str]) -> bool:
    """Whether overrides let unknown keys of the file pass."""
    return value_of(LENIENT, overrides) == "true"


def applied(mode: str, overrides: Sequence[str]) -> list[str]:
    """The overrides with those of a native `recipe=FILE` in front of them.

    Args:
        mode: The mode's name.
        overrides: The command line's.

    Raises:
        ConfigError: When the file cannot be read, is no native configuration, or says what only the command line may.
    """
    recipe = named(overrides)
    if recipe is None:
        return list(overrides)
    source = contents(path_of(recipe))
    if not is_native(source):
        fix = "begin it with `defaults: []`, or run it by mml"
        raise ConfigError(problem("recipe", "is no native configuration", got=recipe, fix=fix))
    tree = native(source)
    # What remains of a search in other modes is what follows it.
    return joined(mode, tree, overrides, leaving=() if mode == "train" else SEARCH)


def check_code(where: str, tree: Any, overrides: Sequence[str]) -> None:
    """Refuse what a file says where it names code of the user's own that the command line does not name.

    A recipe in the current folder itself is the user's own as the code beside it is. One of a project names that project's
    folder `modules`.

    Args:
        where: The file, for the sentence.
        tree: What it says.
        overrides: The command line's.

    Raises:
        ConfigError: With one sentence that lists what would run.
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
    """Whether a native file that overrides name asks for a search, and they do not say otherwise."""
    recipe = named(overrides)
    if recipe is None or not path_of(recipe).is_file() or {"hpo", "use_best_params"} & set(map(key_of, overrides)):
        return False
    source = contents(path_of(recipe))
    return is_native(source) and chosen(native(source)).get("hpo", "none") != "none"


def joined(mode: str, tree: Mapping[str, Any], overrides: Sequence[str], *, leaving: Collection[str] = ()) -> list[str]:
    """Overrides with those of a configuration in front; a group whose option they name is theirs alone.

    Args:
        mode: The mode's name; the keys of a training's mode are for trainings only.
        tree: `defaults`, a list of one-key mappings from group to option, and the sections' values.
        overrides: The command line's.
        leaving: Further groups of which nothing is taken.

    Raises:
        ConfigError: When the configuration says whom to trust, or names code that is not the command line's.
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
    # An option that the file chooses too is no other choice: its keys stay the file's.
    own = own_words(tree, overrides)
    sections = {key: value for key, value in tree.items() if key != "mode" or mode in _TRAINING}
    return [*as_overrides(sections, {*groups_of(own), *leaving}), *own]


def own_words(tree: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """The words of the command line besides the file, as far as they differ from it."""
    of_file = [f"{group}={option}" for group, option in chosen(tree).items()]
    return [text for text in overrides if key_of(text) not in (KEY, LENIENT) and text not in of_file]


def groups_of(overrides: Sequence[str]) -> set[str]:
    """The keys and groups that overrides name."""
    return {"callbacks" if key_of(text) == "cbs" else key_of(text) for text in overrides}


def chosen(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The options of groups that a configuration's `defaults` choose."""
    return {group: option for entry in tree.get("defaults", []) for group, option in entry.items()}


def path_of(recipe: str) -> Path:
    """The file that `recipe=` names."""
    return Path(recipe).expanduser().absolute()


def text_of(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        ConfigError: When it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(no_such_file("recipe", path))
    try:
        return limits.text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(problem("recipe", f"cannot be read ({error})", got=str(path))) from error


def contents(path: Path, text: str | None = None) -> Mapping[str, Any]:
    """The contents of a recipe file, YAML or JSON.

    Args:
        path: The file.
        text: Its text; None: it is read.

    Raises:
        ConfigError: When it cannot be read, or holds no mapping.
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
    """Whether a file holds a native configuration."""
    return "defaults" in source


def native(source: Mapping[str, Any]) -> dict[str, Any]:
    """A native file as it is; both forms of Hydra's `defaults` are taken.

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
    """A configuration as overrides in Hydra's grammar.

    Args:
        tree: As for `joined`.
        chosen_already: Groups of which all that it says is left out.

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
    """A value in Hydra's grammar; every text is quoted but plain words."""
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
