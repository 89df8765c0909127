"""Detection of the program that a recipe file was written for, and its translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe.config import recipe_file
from mlpipe.config.overrides import key_of, parse
from mlpipe.data import user_code
from mlpipe.dialects import barrage, mml_core, musket, rmldnn
from mlpipe.dialects.translation import NATIVE, Translation
from mlpipe.errors import ConfigError, problem

MUSKET, RMLDNN, BARRAGE, MML_CORE = "musket", "rmldnn", "barrage", mml_core.NAME


def translated(
    path: Path,
    *,
    lenient: bool = False,
    also: frozenset[str] = frozenset(),
    values: Mapping[str, Any] | None = None,
) -> Translation:
    """Return the native configuration of a recipe file.

    Args:
        path: A Musket YAML, an rmldnn JSON, a Barrage JSON, a pipeline of mml-core or a native YAML.
        lenient: Allow unknown keys, and monitors that nothing computes, as Keras does.
        also: Names of functions that a Python program registered.
        values: Values of searched names, for the formulas in the file's strings.

    Raises:
        ConfigError: When the file cannot be read or is of no known dialect, or with a sentence for each problem in it.
    """
    text = recipe_file.text_of(path)
    source = recipe_file.contents(path, text)
    dialect = dialect_of(text, source)
    if dialect == MUSKET:
        musket.check_header(text)
        return musket.translate(source, musket.Home.of(path, also), lenient=lenient, values=values)
    if dialect == BARRAGE:
        return barrage.translate(source)
    if dialect == MML_CORE:
        return mml_core.translate(source)
    if dialect == RMLDNN:
        return rmldnn.translate(source, lenient=lenient)
    return Translation(NATIVE, recipe_file.native(source))


def command_translation(recipe: str, overrides: Sequence[str]) -> Translation:
    """Translate the file of a command line, with the functions that a Python program registered.

    Args:
        recipe: The file, as in `recipe=`.
        overrides: Overrides of the command line, with the values of searched names and `lenient`.

    Raises:
        ConfigError: As for `translated`.
    """
    of_own_names = [text for text in overrides if key_of(text).startswith("given.")]
    values = {change.key.partition(".")[2]: change.value for change in parse(of_own_names)[0]}
    path, lenient = recipe_file.path_of(recipe), recipe_file.is_lenient(overrides)
    return translated(path, lenient=lenient, also=frozenset(user_code.custom_objects()), values=values)


def dialect_of(text: str, source: Mapping[str, Any]) -> str:
    """Return the program that a file was written for.

    Args:
        text: Its text; the first line of a Musket file may name the program.
        source: Its content.

    Raises:
        ConfigError: When the program cannot be determined.
    """
    if musket.header(text) is not None or {"architecture"} & set(source):
        return MUSKET
    if "neural_network" in source:
        return RMLDNN
    if mml_core.is_pipeline(source):
        return MML_CORE
    if isinstance(source.get("dataset"), Mapping) and "loader" in source["dataset"]:
        return BARRAGE
    if {"dataset", "model"} <= set(source) or {"model", "solver"} <= set(source):
        return BARRAGE
    if recipe_file.is_native(source):
        return NATIVE
    if {"activation", "shape"} & set(source) or isinstance(source.get("stages"), list):
        return MUSKET
    fix = "a Musket file has `architecture`, an rmldnn file `neural_network`, a Barrage file `dataset`, `model` and "
    raise ConfigError(problem("recipe", "speaks no known language", fix=fix + "`solver`, a native one `defaults`"))
