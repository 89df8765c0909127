"""The complete configuration of a run: command line, reused parts of stored records, recipes of a preset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mlpipe.config.assemble import assemble
from mlpipe.config.compose import Facts, compose
from mlpipe.config.overrides import key_of
from mlpipe.config.presets import with_recipes
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, problem

# Gives the tree of a checked configuration with what it takes from stored records, and what a person should know.
Reuse = Callable[[RunConfig], tuple[dict[str, Any], list[str]]]


def completed(mode: str, texts: Sequence[str], facts: Facts, reuse: Reuse) -> tuple[RunConfig, list[str]]:
    """The configuration of one run, which nothing changes afterwards but what the data decides.

    Args:
        mode: The mode's name.
        texts: Overrides in Hydra's grammar, without the mode.
        facts: What must be known of tasks and networks.
        reuse: Looks into stored records.

    Returns:
        The configuration, and what a person should know.

    Raises:
        ConfigError: With a sentence for every problem.
        ProjectError: When a record that it names is not there.
    """
    config = compose(mode, texts, facts)
    if config.tree["preset"]["recipes"] and mode != "train":
        raise ConfigError(problem("preset", f"is for mml train, not for mml {mode}", fix="leave it out"))
    tree, notes = reuse(config)
    if tree != config.tree:
        config = assemble(tree)
    config = with_recipes(config, texts, facts)
    return replace(config, given=frozenset(key_of(text) for text in texts)), notes
