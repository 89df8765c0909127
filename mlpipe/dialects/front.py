"""`recipe=FILE` of another program: translation to native overrides, followed by the command line's own overrides.

`cli` and `api` call this module once per job; a search and a sweep receive it as their `Front`. No code below them sees a
file of another program. Native recipe files are read by `mlpipe.config.recipe_file`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlpipe import current_folder
from mlpipe.config import recipe_file
from mlpipe.config.overrides import key_of, value_of
from mlpipe.config.recipe_file import SEARCH, as_text, groups_of
from mlpipe.dialects import sentences
from mlpipe.dialects.translation import NATIVE, Translation
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.running import launch
from mlpipe.running.launch import Command, Prepared


def native(command: Command) -> Command:
    """Return a command in native terms.

    `predict` with a folder of artifacts as its recipe becomes the mode `score`; `train` with a file that trains nothing becomes
    the mode that the file asks for. If the command line chooses a group's option, the file's settings of that group are dropped.

    Args:
        command: The command as typed; `convert` receives the file itself.

    Raises:
        ConfigError: When the file cannot be read or translated, or describes no data and no task is named.
    """
    words = command.words or (command.mode, *command.overrides)
    # The values that a study found may belong to names in the file's formulas.
    overrides, notes = launch.with_best_trial(command.overrides)
    command = Command(command.mode, overrides, (*command.notes, *notes), words)
    recipe = recipe_file.named(overrides)
    if command.mode == "predict" and recipe is not None and current_folder.expanded(recipe).is_dir():
        return _scoring(command, recipe)
    translation = None
    if command.mode == "train" and recipe is not None and recipe_file.path_of(recipe).is_file():
        translation = _recipe_translation(recipe, overrides)
        command = replace(command, mode=translation.mode or command.mode)
    if "continue=" in overrides or value_of("continue", overrides) is not None:
        # A resumed run uses its own configuration, and refuses another.
        return command
    if recipe is None:
        if command.mode == "convert":
            raise ConfigError(problem("recipe", "there is nothing to convert", fix="mml convert recipe=FILE"))
        return command
    translation = translation or _recipe_translation(recipe, overrides)
    if command.mode == "convert":
        return _conversion(command, recipe, translation)
    return command if translation.dialect == NATIVE else _translation(command, recipe, translation)


def searches(command: Command) -> bool:
    """Return whether the file of another program in a command asks for a search that the command does not disable.

    Args:
        command: `hpo=none`, `use_best_params` or a value for each searched name disable the search.

    Raises:
        ConfigError: When the file cannot be translated.
    """
    overrides = command.overrides
    recipe = recipe_file.named(overrides)
    if recipe is None or not recipe_file.path_of(recipe).is_file():
        return False
    if {"hpo", "use_best_params"} & set(map(key_of, overrides)):
        return False
    translation = _recipe_translation(recipe, overrides)
    return (
        translation.dialect != NATIVE and translation.chosen().get("hpo", "none") != "none" and bool(translation.needed)
    )


def check_app(app: str, overrides: Sequence[str]) -> None:
    """Require that the loss of a file suits `--app`.

    Args:
        app: The value of `--app`.
        overrides: Overrides of the command line, which name the file.

    Raises:
        ConfigError: When it is another program's file, or the loss is for another application.
    """
    from mlpipe.dialects.detect import RMLDNN
    from mlpipe.dialects.rmldnn import APPS

    recipe = recipe_file.named(overrides)
    if recipe is None or not recipe_file.path_of(recipe).is_file():
        return
    translation = _recipe_translation(recipe, overrides)
    loss = translation.chosen().get("loss")
    # A file without a loss applies a network, whatever loss that was trained with.
    if translation.dialect != RMLDNN or (loss is not None and APPS.get(str(loss), "") != app):
        right_app = APPS.get(str(loss), "") if translation.dialect == RMLDNN else ""
        fix = f"write --app={right_app}" if right_app else "leave it out"
        raise ConfigError(problem("--app", f"the loss of {Path(recipe).name} is not for it", got=app, fix=fix))


def prepared(mode: str, overrides: Sequence[str]) -> Prepared:
    """Return one checked run for a caller in Python; its recipe file may be of any program.

    Args:
        mode: The mode's name.
        overrides: In Hydra's grammar.

    Raises:
        ConfigError: With a sentence for every problem.
        ProjectError: When the run to continue does not exist.
    """
    command = native(Command(mode, overrides))
    with sentences.of_file(overrides):
        return launch.prepare(command)


def _scoring(command: Command, folder: str) -> Command:
    """Return `mml predict recipe=DIR task.file=FILE` as `mml score`.

    Raises:
        ConfigError: When no file is named.
    """
    if not {"task.file", "mode.file"} & set(map(key_of, command.overrides)):
        fix = f"mml predict recipe={folder} task.file=FILE.csv"
        raise ConfigError(problem("task.file", "what is to be scored is not named", fix=fix))
    rest = [text.replace("task.file=", "mode.file=", 1) for text in command.overrides if key_of(text) != "recipe"]
    return replace(command, mode="score", overrides=[*rest, f"mode.folder={as_text(folder)}"])


def _conversion(command: Command, recipe: str, translation: Translation) -> Command:
    """Return `mml convert` with the native configuration of the file, and the file."""
    own = groups_of(recipe_file.own_words(translation.native, command.overrides))
    lenient = str(recipe_file.is_lenient(command.overrides)).lower()
    needed = [f"{key}={value}" for key, value in translation.needed.items() if key not in own]
    texts = recipe_file.joined("convert", translation.native, command.overrides)
    path = as_text(str(recipe_file.path_of(recipe)))
    return replace(command, overrides=[*needed, *texts, f"mode.recipe={path}", f"mode.lenient={lenient}"])


def _translation(command: Command, recipe: str, translation: Translation) -> Command:
    """Return a command with the settings of another program's file."""
    path = recipe_file.path_of(recipe)
    own = groups_of(recipe_file.own_words(translation.native, command.overrides))
    if (
        command.mode not in ("post", "info")
        and "task" not in {*translation.chosen(), *own}
        # Slices of a volume need no task.
        and not translation.native.get("mode", {}).get("slices")
    ):
        fix = "add a task, for example task=folder task.root=DIR"
        raise ConfigError(problem("recipe", f"{path.name} names no data", fix=fix))
    leaving = frozenset[str]()
    if "hpo=optuna" not in command.overrides:
        _require_values(path, translation, command.overrides)
        # The rest is a single training, or a mode that follows one.
        leaving = SEARCH
    texts = recipe_file.joined(command.mode, translation.native, command.overrides, leaving=leaving)
    return replace(command, overrides=texts, notes=[*command.notes, *_notes(recipe, path, translation)])


def _recipe_translation(recipe: str, overrides: Sequence[str]) -> Translation:
    from mlpipe.dialects import detect

    return detect.command_translation(recipe, overrides)


def _require_values(path: Path, translation: Translation, overrides: Sequence[str]) -> None:
    """Refuse a file whose searched names have no values.

    Raises:
        ConfigError: With a sentence for each of them.
    """
    keys, fix = set(map(key_of, overrides)), "mml train recipe=FILE searches it"
    missing = [key for key in translation.needed if key.startswith("given.") and key not in keys]
    if missing:
        wrong = f"{path.name} searches it, so it has no value"
        raise ConfigError([problem(key, wrong, fix=f"add {key}=VALUE; {fix}") for key in missing])


def _notes(recipe: str, path: Path, translation: Translation) -> list[str]:
    lint = [f"recipe {line}" for line in translation.of_fate("lint")]
    clause = counted(len(translation.of_fate("differs")), "key differs", "keys differ")
    return [
        f"recipe {path.name} ({translation.dialect}): {clause}; mml convert recipe={recipe} says how",
        *lint,
    ]
