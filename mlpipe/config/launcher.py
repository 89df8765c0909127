"""Options of the launcher (`hydra/launcher=slurm hydra.launcher.KEY=VALUE`), which decides where a sweep's jobs run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mlpipe import files
from mlpipe.config import catalog, signatures
from mlpipe.config.overrides import parse
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

GROUP, PREFIX = "hydra/launcher", "hydra.launcher."
# Hydra's name for running jobs sequentially in this process.
_BASIC = "basic"
# Hydra's names for available launchers, and the counterparts here of other launchers.
_HYDRAS = {"submitit_slurm": "slurm"}
_ONE_MACHINE = "leave it out: jobs run one after the other, and the folds of each side by side with sys.fold_workers=4"
_HERE = {
    **dict.fromkeys(("joblib", "submitit_local", "local", "loky", "multiprocessing"), _ONE_MACHINE),
    **dict.fromkeys(("ray", "ray_aws", "rq"), f"use {GROUP}=slurm on a cluster, or {_ONE_MACHINE}"),
}
_SWEEPER, _SWEEPER_KEYS = "hydra/sweeper", "hydra.sweeper."
_SEARCH = "write hpo=optuna search_space=basic, without -m (mml help hpo, docs/sweeps.md)"
# mlpipe's names for keys of Hydra's Optuna sweeper, by prefix.
_NATIVE = {
    "n_trials": "write hpo=optuna hpo.trials={}",
    "study_name": "write hpo=optuna hpo.study={}",
    "storage": "write hpo=optuna hpo.storage={}",
    "sampler": "write hpo=optuna hpo.sampler=NAME",
    "direction": "write hpo=optuna; metrics.direction says it",
    "n_jobs": "write hpo=optuna, and start the same command in several processes at one hpo.storage",
    "params": "write hpo=optuna search_space=basic, or keys of search_space",
}


@dataclass(frozen=True)
class Launcher:
    """Settings of jobs on a Slurm cluster; the keys of `conf/hydra/launcher/slurm.yaml`.

    Attributes:
        name: The name of the jobs in the queue.
        partition: The Slurm partition; None, as for all keys that follow: the cluster's default.
        qos: The quality of service.
        account: The account that is charged.
        constraint: Required features of nodes.
        exclude: Nodes to exclude.
        gres: Generic resources (Slurm's `--gres`).
        comment: The comment of the job.
        timeout_min: The time limit of a job in minutes, after which it is queued again.
        cpus_per_task: Cores per job; None: the number that its configuration uses.
        gpus_per_node: GPUs per job.
        mem_gb: Memory per job in GB.
        array_parallelism: The maximum number of jobs that run at the same time.
        signal_delay_s: Seconds before the time limit at which a job is asked to stop.
        max_num_timeout: How often a job is queued again after reaching its time limit.
        setup: Shell lines at the start of each job's script.
        additional_parameters: Further options for sbatch.
        submitit_folder: The folder of the launcher's own files; None: a folder of its own in the user's cache.
    """

    name: str
    partition: str | None
    qos: str | None
    account: str | None
    constraint: str | None
    exclude: str | None
    gres: str | None
    comment: str | None
    timeout_min: Annotated[int, ">= 1"]
    cpus_per_task: Annotated[int, ">= 1"] | None
    gpus_per_node: Annotated[int, ">= 0"] | None
    mem_gb: Annotated[float, "> 0"] | None
    array_parallelism: Annotated[int, ">= 1"]
    signal_delay_s: Annotated[int, ">= 1"]
    max_num_timeout: Annotated[int, ">= 0"]
    setup: list[str]
    additional_parameters: dict[str, Any]
    submitit_folder: str | None


def split(overrides: Sequence[str], extra_dirs: Sequence[Path] = ()) -> tuple[Launcher | None, list[str]]:
    """Return the launcher that overrides request (None: jobs run in this process) and the other overrides.

    Args:
        overrides: Overrides in Hydra's grammar, sweeps included.
        extra_dirs: Further folders of configuration files.

    Raises:
        ConfigError: With a sentence for every problem.
    """
    own = [text for text in overrides if text.lstrip("+").startswith((f"{GROUP}=", PREFIX))]
    rest = [text for text in overrides if text not in own]
    changes, problems = parse(own)
    chosen = [str(change.value) for change in changes if change.key == GROUP]
    keys = {change.key.removeprefix(PREFIX): change.value for change in changes if change.key != GROUP}
    name = _HYDRAS.get(chosen[-1], chosen[-1]) if chosen else _BASIC
    if name == _BASIC:
        problems += [problem(PREFIX + key, "belongs to a launcher", fix=f"add {GROUP}=slurm") for key in keys]
        if problems:
            raise ConfigError(problems)
        return None, rest
    options = catalog.options(GROUP, tuple(extra_dirs))
    if name not in options:
        fix = _HERE.get(name) or did_you_mean(
            name, [*options, _BASIC], otherwise=f"options: {listing([*options, _BASIC])}"
        )
        raise ConfigError([*problems, problem(GROUP, "unknown option", got=name, fix=fix)])
    section = _options(name, extra_dirs) | keys
    signature = signatures.read(f"{__name__}.Launcher")
    assert signature is not None
    problems += signature.problems(GROUP.replace("/", "."), section)
    if not problems and section["signal_delay_s"] >= 60 * section["timeout_min"]:
        wrong, fix = "is not before the end of the time limit", "make it shorter than hydra.launcher.timeout_min"
        problems.append(problem(f"{PREFIX}signal_delay_s", wrong, got=section["signal_delay_s"], fix=fix))
    if problems:
        raise ConfigError(problems)
    return Launcher(**section), rest


def refuse_sweepers(overrides: Sequence[str]) -> None:
    """Refuse Hydra's own search options, and name mlpipe's in the error.

    Args:
        overrides: Overrides in Hydra's grammar.

    Raises:
        ConfigError: When an override chooses a sweeper or sets one of its keys.
    """
    problems = []
    for text in overrides:
        key, _, value = text.lstrip("+~").partition("=")
        if key == _SWEEPER:
            fix = "leave it out" if value == _BASIC else _SEARCH
            problems.append(
                problem(key, "is a choice of Hydra, of which mlpipe has groups of its own", got=value, fix=fix)
            )
        elif key.replace("/", ".").startswith(_SWEEPER_KEYS):
            name = key.replace("/", ".").removeprefix(_SWEEPER_KEYS)
            native = next((template for start, template in _NATIVE.items() if name.startswith(start)), "")
            fix = native.format(value) if native else _SEARCH
            problems.append(problem(key, "belongs to a sweeper of Hydra", got=value, fix=fix))
    if problems:
        raise ConfigError(problems)


def _options(name: str, extra_dirs: Sequence[Path]) -> dict[str, Any]:
    """Return the keys of a launcher's file.

    Raises:
        ConfigError: When it is not a mapping of keys.
    """
    places = [folder / GROUP / f"{name}.yaml" for folder in (*reversed(extra_dirs), catalog.conf_dir())]
    path = next(place for place in places if place.is_file())
    try:
        content = files.read_yaml(path)
    except (OSError, ValueError) as error:
        raise ConfigError(problem(GROUP, f"cannot be read ({error})", got=str(path), fix="correct the file")) from error
    if not isinstance(content, dict):
        raise ConfigError(problem(GROUP, "must be a mapping of keys", got=str(path), fix="correct the file"))
    return content
