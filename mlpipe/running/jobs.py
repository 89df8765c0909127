"""The jobs of a command, for the command line and for Python: one run, the runs of a sweep, or a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe import plugins
from mlpipe.config import launcher, recipe_file
from mlpipe.config.launcher import Launcher
from mlpipe.config.overrides import key_of, value_of
from mlpipe.errors import ConfigError, problem
from mlpipe.running import launch, tracking
from mlpipe.running.launch import Command, Front, Prepared

if TYPE_CHECKING:
    from mlpipe.running.sweeps.combinations import Job
    from mlpipe.running.sweeps.search import Search

_TRAINING = ("train", "tl", "distill")


@dataclass(frozen=True)
class PreparedCommand:
    """A checked command; exactly one of `one`, `search` and `jobs` is set.

    Attributes:
        mode: The mode's name.
        one: A single run.
        search: A search.
        jobs: The jobs of a sweep.
        queue: The job queue; None: jobs run in this process.
    """

    mode: str
    one: Prepared | None = None
    search: Search | None = None
    jobs: Sequence[Job] = ()
    queue: Launcher | None = None


def prepare(
    command: Command, extra_dirs: Sequence[Path] = (), *, front: Front, multirun: bool = False
) -> PreparedCommand:
    """Compose and check everything that a command requests; nothing is written.

    Args:
        command: The command as typed.
        extra_dirs: Further folders of configuration files.
        front: Reads files of other programs, once for each job.
        multirun: Whether to combine comma-separated values.

    Raises:
        ConfigError: With a sentence for every problem.
        ProjectError: When a run to continue, or the project to read, does not exist.
    """
    command = replace(command, overrides=tracking.without_passwords(command.overrides))
    mode, extra_dirs = command.mode, plugins.folders(extra_dirs)
    launcher.refuse_sweepers(command.overrides)
    queue, own = launcher.split(command.overrides, extra_dirs)
    command = replace(command, overrides=own)
    searches = is_search(command, front)
    if queue is not None and (not multirun or searches):
        fix = "add -m, and for a search start its command in several jobs at one hpo.storage"
        raise ConfigError(problem(launcher.GROUP, "starts the jobs of a sweep", fix=fix))
    if searches:
        from mlpipe.running.sweeps import search

        return PreparedCommand(mode, search=search.prepare(command, extra_dirs, front=front))
    if multirun:
        from mlpipe.running.sweeps import combinations

        return PreparedCommand(mode, jobs=combinations.prepare(command, extra_dirs, front=front), queue=queue)
    native = front.native(command)
    prepared = launch.prepare(native, extra_dirs)
    # A file of another program determines what is done with it.
    is_own = value_of("recipe", native.overrides) == value_of("recipe", command.overrides)
    return PreparedCommand(mode, one=_with_ending(prepared) if is_own else prepared)


def is_search(command: Command, front: Front) -> bool:
    """Return whether a command, or the recipe file that it names, requests a search.

    Args:
        command: The command as typed.
        front: Reads files of other programs.

    Raises:
        ConfigError: When keys of a search are given without requesting one.
    """
    keys = [key_of(text) for text in command.overrides]
    if value_of("hpo", command.overrides) not in (None, "none"):
        return True
    # Recipe files are for trainings.
    if command.mode == "train" and (front.searches(command) or recipe_file.searches(command.overrides)):
        return True
    stray = [key for key in keys if key.split(".")[0] in recipe_file.SEARCH and key != "hpo"]
    stray = [key for key in stray if not (key == "hpo.storage" and "use_best_params" in keys)]
    if stray and "search_space" in stray and value_of("search_space", command.overrides) == "none":
        stray.remove("search_space")
    if stray:
        raise ConfigError([problem(key, "belongs to a search", fix="add hpo=optuna") for key in stray])
    return False


def _with_ending(prepared: Prepared) -> Prepared:
    """Return a training without explicit subroutines with predictions and its recipe's report added.

    Excluded are models without weights, which cannot predict; presets and `mode.eval_on`, which define their own
    ending; and continued runs, which keep theirs.
    """
    config = prepared.run_config
    mode, says_otherwise = config.tree["mode"], config.given is None or "mode.subroutines" in config.given
    if config.mode not in _TRAINING or says_otherwise or mode["subroutines"] != ["train"] or mode["eval_on"]:
        return prepared
    if not mode["store_parameters"] or (config.tree.get("preset") or {}).get("trees"):
        return prepared
    subroutines = ["train", "predict", "post"]
    tree = {**config.tree, "mode": {**mode, "subroutines": subroutines}}
    scheduler = replace(config.scheduler, params={**config.scheduler.params, "subroutines": subroutines})
    return replace(prepared, run_config=replace(config, tree=tree, scheduler=scheduler))


def execute(command: PreparedCommand, *, stop: Any = None, started: float | None = None) -> dict[str, Any]:
    """Execute a prepared command.

    Args:
        command: The result of `prepare`.
        stop: Whether the user asked to stop; None makes one.
        started: The start time of the command, on the clock of `time.monotonic`; None: now.

    Returns:
        The facts that `--json` prints.

    Raises:
        MlpipeError: When a step fails, or the user asked to stop.
    """
    if command.search is not None:
        from mlpipe.running.sweeps import trials

        return trials.execute(command.search, stop=stop, started=started)
    if command.one is not None:
        return launch.execute(command.one, stop=stop, started=started)
    if command.queue is not None:
        from mlpipe.running.sweeps import cluster

        return cluster.execute(command.mode, command.jobs, command.queue)
    from mlpipe.running.sweeps import combinations

    return combinations.execute(command.mode, command.jobs, stop=stop, started=started)
