"""A recipe file in place of native options: translated, then the command line's own overrides on top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlpipe.config.overrides import parse
from mlpipe.data import user_code
from mlpipe.dialects import detect, translation
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError, problem

_KEYS = ("recipe", "mode.lenient")
# Only these have the keys of a training.
_TRAINING = ("train", "predict", "test", "tl", "lr_find", "evaluate")


def redirected(mode: str, overrides: Sequence[str]) -> tuple[str, list[str], Translation | None]:
    """The mode and overrides of a command.

    `predict` with a folder of artifacts as its recipe is the mode `score`; `train` with a file that trains nothing is
    what the file asks for.

    Args:
        mode: The command's first word.
        overrides: The command line's.

    Returns:
        The mode, the overrides, and the translated file where it had to be read for this.

    Raises:
        ConfigError: When the file cannot be read or translated.
    """
    given = _value("recipe", overrides)
    if mode == "train" and given is not None and Path(given).expanduser().is_file():
        found = _translated(Path(given).expanduser().absolute(), overrides)
        return found.mode or mode, list(overrides), found
    if mode != "predict" or given is None or not Path(given).expanduser().is_dir():
        return mode, list(overrides), None
    rest = [text.replace("task.file=", "mode.file=", 1) for text in overrides if _key(text) != "recipe"]
    return "score", [*rest, f"mode.folder={translation.as_text(given)}"], None


def searches(overrides: Sequence[str]) -> bool:
    """Whether the recipe file that overrides name asks for a search, and they do not say otherwise.

    Args:
        overrides: The command line's; with `hpo=none`, `use_best_params` or a value for each name nothing is searched.

    Raises:
        ConfigError: When the file cannot be translated.
    """
    given = _value("recipe", overrides)
    path = Path(given or "").expanduser().absolute()
    if given is None or not path.is_file() or {"hpo", "use_best_params"} & {_key(text) for text in overrides}:
        return False
    found = _translated(path, overrides)
    return found.chosen().get("hpo", "none") != "none" and (found.dialect == "native" or bool(found.needed))


def applied(mode: str, overrides: Sequence[str], found: Translation | None = None) -> tuple[list[str], list[str]]:
    """The overrides with those of `recipe=FILE` in front of them, and notes on what a person should know.

    A group whose option the command line names is the command line's alone.

    Args:
        mode: The mode; `convert` gets to know the file itself.
        overrides: The command line's.
        found: The translated file, where it has been read.

    Raises:
        ConfigError: When the file cannot be read or translated, or describes no data and no task is named.
    """
    given = _value("recipe", overrides)
    if given is None:
        if mode == "convert":
            raise ConfigError(problem("recipe", "there is nothing to convert", fix="mml convert recipe=FILE"))
        return list(overrides), []
    path = Path(given).expanduser().absolute()
    found = found or _translated(path, overrides)
    if found.native.get("trust"):
        wrong, fix = "must be said on the command line, not in a file", "read that file, then add trust=[...] yourself"
        raise ConfigError(problem("trust", wrong, got=found.native["trust"], fix=fix))
    rest = [text for text in overrides if _key(text) not in _KEYS]
    of_file = [f"{group}={option}" for group, option in found.chosen().items()]
    # An option that the file chooses too is no other choice: its keys stay the file's.
    rest = [text for text in rest if text not in of_file]
    chosen = {"callbacks" if _key(text) == "cbs" else _key(text) for text in rest}
    if (
        mode not in ("convert", "post", "info")
        and "task" not in {*found.chosen(), *chosen}
        and found.dialect != "native"
        # Slices of a volume need no task.
        and not found.native.get("mode", {}).get("slices")
    ):
        fix = "add a task, for example task=folder task.root=DIR"
        raise ConfigError(problem("recipe", f"{path.name} names no data", fix=fix))
    if mode != "convert" and "hpo=optuna" not in overrides:
        _require_values(path, found, overrides)
        if mode != "train" or found.dialect != "native":
            # What remains is one training, or what follows it.
            chosen |= {"hpo", "search_space"}
    native = {key: value for key, value in found.native.items() if key != "mode" or mode in _TRAINING}
    texts = translation.overrides(native, chosen)
    if mode == "convert":
        lenient = "true" if _value("mode.lenient", overrides) == "true" else "false"
        texts += [f"{key}={value}" for key, value in found.needed.items() if key not in chosen]
        return [*texts, *rest, f"mode.recipe={translation.as_text(str(path))}", f"mode.lenient={lenient}"], []
    return [*texts, *rest], _notes(given, path, found)


def _translated(path: Path, overrides: Sequence[str]) -> Translation:
    """A file as the command line wants it read, with the functions that a program in Python gave."""
    lenient = _value("mode.lenient", overrides) == "true"
    given = {change.key: change.value for change in parse([text for text in overrides if _is_own_name(text)])[0]}
    values = {key.partition(".")[2]: value for key, value in given.items()}
    return detect.translated(path, lenient=lenient, also=frozenset(user_code.custom()), values=values)


def _is_own_name(text: str) -> bool:
    return _key(text).startswith("given.")


def _require_values(path: Path, found: Translation, overrides: Sequence[str]) -> None:
    """Refuse to go on with a file whose search's names have no values.

    Raises:
        ConfigError: With a sentence for each of them.
    """
    there, fix = {_key(text) for text in overrides}, "mml train recipe=FILE searches it"
    missing = [key for key in found.needed if key.startswith("given.") and key not in there]
    if missing:
        wrong = f"{path.name} searches it, so it has no value"
        raise ConfigError([problem(key, wrong, fix=f"add {key}=VALUE; {fix}") for key in missing])


def _notes(given: str, path: Path, found: Translation) -> list[str]:
    if found.dialect == "native":
        return []
    lint = [f"recipe {line}" for line in found.of_fate("lint")]
    differing = len(found.of_fate("differs"))
    return [
        f"recipe {path.name} ({found.dialect}): {differing} keys differ; mml convert recipe={given} says how",
        *lint,
    ]


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _value(key: str, overrides: Sequence[str]) -> str | None:
    values = [text.partition("=")[2] for text in overrides if _key(text) == key]
    value = values[-1].strip("'\"") if values else ""
    return value if value and value != "null" else None
