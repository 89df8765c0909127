"""Compare a stored run's versions and device with this machine's, and say what differences mean for an exact replay."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import mlpipe
from mlpipe.errors import ProjectError, problem
from mlpipe.modes.doctor.findings import Finding
from mlpipe.runs import journal, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

# The meaning of each difference. Values not listed describe the recipe, which a replay takes from the run.
_MEANINGS = {
    "mlpipe": "another version may train otherwise; install that one for an exact replay",
    "torch": "kernels round otherwise: scores agree to some digits, weights do not",
    "device": "kernels of another device round otherwise: scores agree to some digits, weights do not",
    "pytorch_lightning": "the loop around training steps may differ",
    "timm": "networks and their start may differ",
    "numpy": "random draws and statistics may differ",
    "python": "the order of draws is the same, libraries may be others",
    "system": "libraries of another system round otherwise",
}
_LIBRARIES = {"torch": "torch", "pytorch_lightning": "pytorch-lightning", "timm": "timm", "numpy": "numpy"}


@dataclass(frozen=True)
class Difference:
    """A value that differs from the stored one.

    Attributes:
        name: The name of the value.
        then: The stored value.
        now: The current value; None: missing here.
        meaning: What the difference means for an exact replay.
    """

    name: str
    then: str
    now: str | None
    meaning: str


def machine_values(torch_facts: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the values of this machine under the names that records use.

    Args:
        torch_facts: The facts about torch and its devices.
    """
    gpus = torch_facts.get("gpus") or []
    values: dict[str, str | None] = {name: _version(library) for name, library in _LIBRARIES.items()}
    values |= {"torch": torch_facts.get("torch", values["torch"]), "mlpipe": mlpipe.__version__}
    values |= {"python": platform.python_version(), "system": platform.system()}
    return values | {"device": gpus[0]["name"] if gpus else platform.processor() or platform.machine()}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def differences(then: Mapping[str, Any], now: Mapping[str, str | None]) -> list[Difference]:
    """Return the values that differ, the most important first.

    Args:
        then: The stored values of a run; values that it lacks are not compared.
        now: The current values.
    """
    return [
        Difference(name, str(then[name]), now.get(name), meaning)
        for name, meaning in _MEANINGS.items()
        if then.get(name) is not None and str(then[name]) != now.get(name)
    ]


def stored(project: Project, wanted: str) -> tuple[Run, dict[str, Any]]:
    """Return a run and its environment, from a record that it made or else from its plan.

    Args:
        project: The project.
        wanted: The run, or a unique ending of its name; `latest`: the run of the newest record, else the newest run.

    Raises:
        ProjectError: When there is no such project or run.
    """
    if not project.root.is_dir():
        others = sorted(path.parent.name for path in project.root.parent.glob("*/runs")) if project.root.parent else []
        fix = f"projects there: {', '.join(others)}" if others else "name its folder with out_dir=DIR"
        raise ProjectError(problem("proj", f"there is no project {project.name} in {project.root.parent}", fix=fix))
    known_records = records.load_all(project)
    if wanted == "latest" and known_records:
        wanted = known_records[-1].run
    run = journal.find(project, wanted, "doctor")
    of_plan = {name: value for name, value in run.plan().get("versions", {}).items() if name != "git"}
    own = [record for record in known_records if record.run == run.name]
    return run, of_plan | (own[-1].environment if own else {})


def compared(run: Run, project: Project, then: Mapping[str, Any], now: Mapping[str, str | None]) -> list[Finding]:
    """Return the findings of a comparison; a difference never stops a training.

    Args:
        run: The run.
        project: The run's project.
        then: The stored values.
        now: The current values.
    """
    topic = f"run {run.name} of project {project.name}"
    changes = differences(then, now)
    if not changes:
        command = f"mml verify mode.run={run.name} proj={project.name}"
        value = f"versions and device are the same: it can be repeated exactly, {command} does so"
        return [Finding(topic, "environment", value)]
    rows = [
        Finding(topic, change.name, f"{change.then} then, {change.now or 'not installed'} now: {change.meaning}")
        for change in changes
    ]
    exact = problem(topic, "an exact replay cannot be expected here", fix="predictions with its weights stay valid")
    return [*rows, Finding(topic, "exact replay", "not to be expected", "note", exact)]
