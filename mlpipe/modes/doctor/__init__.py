"""`mml doctor`: whether this machine and installation can train, and what differs from those of a stored run.

mml doctor [RUN] [proj=NAME] [out_dir=DIR] [data_dir=DIR] [--offline] [--json]

Versions, conflicts, extras, devices, threads, memory, disks, weights, and whether others can be downloaded. With RUN or proj=NAME
also what differs from a stored run (the newest of the project), and what that means for an exact replay.

--offline  do not ask whether weights can be downloaded
--json     the same facts as JSON

Exit code 0: nothing here stops a training; 1: something does, and it is said what to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from mlpipe import current_folder
from mlpipe.config.environment import base_folder, cores
from mlpipe.errors import STEP_FAILED, ConfigError, did_you_mean, listing, printable, problem
from mlpipe.modes.doctor import findings
from mlpipe.modes.doctor.findings import Check, Finding

_KEYS = ("proj", "out_dir", "data_dir")
_FLAGS = ("--offline", "--json")
_MOST_NAMES = 8


@dataclass(frozen=True)
class Question:
    """A parsed `mml doctor` command line.

    Attributes:
        out_dir: The folder of results.
        data_dir: The folder of tasks and caches.
        project: The project of the run to compare with.
        run: The run, or `latest`; empty: none.
        offline: Do not query the hub.
        json: Print JSON.
    """

    out_dir: Path
    data_dir: Path
    project: str
    run: str
    offline: bool
    json: bool


def main(words: Sequence[str]) -> int:
    """Run `mml doctor WORDS`.

    Args:
        words: The words after `doctor`.

    Returns:
        0 when nothing stops a training, 1 when something does.

    Raises:
        ConfigError: When the words are wrong.
        ProjectError: When there is no such project or run.
    """
    question = parse_question(words, os.environ)
    # Not a check, and done first: a missing run is the user's mistake.
    compare = _comparison(question) if question.run else None
    results = [*findings.run_checks(checks(question, os.environ)), *(compare() if compare else ())]
    print(json.dumps(facts(results), indent=1, default=str) if question.json else text(results))
    return STEP_FAILED if any(finding.level == "problem" for finding in results) else 0


def parse_question(words: Sequence[str], environment: Mapping[str, str]) -> Question:
    """Parse the words of the command line.

    Args:
        words: The words after `doctor`.
        environment: The environment variables.

    Raises:
        ConfigError: With one sentence for each wrong word.
    """
    values, wrong, runs = dict[str, str](), list[str](), list[str]()
    for word in words:
        key, equals, value = word.partition("=")
        if word in _FLAGS:
            continue
        if equals and key in _KEYS and value:
            values[key] = value
        elif equals or word.startswith("-"):
            fix = did_you_mean(key, [*_KEYS, *_FLAGS], otherwise=f"it takes {listing([*_KEYS, *_FLAGS, 'a run'])}")
            wrong.append(problem(word, "is nothing that mml doctor takes", fix=fix))
        else:
            runs.append(word)
    if len(runs) > 1:
        wrong.append(problem("doctor", "compares one run", got=" ".join(runs), fix="name one"))
    if wrong:
        raise ConfigError(wrong)
    run = runs[0] if runs else "latest" if "proj" in values else ""
    results, data = (
        current_folder.expanded(base_folder(key, values.get(key), environment)).absolute()
        for key in ("out_dir", "data_dir")
    )
    return Question(results, data, values.get("proj", "default"), run, "--offline" in words, "--json" in words)


# Each check imports what it needs itself, so that one missing library does not prevent the other checks.
def checks(question: Question, environment: Mapping[str, str]) -> list[tuple[str, Check]]:
    """Return all checks, in the order in which they are reported.

    Args:
        question: The folders, and whether to query the hub.
        environment: The environment variables.
    """
    from mlpipe.modes.doctor import machine, weights

    return [
        ("python", machine.python_and_system),
        ("packages", partial(_packages, "versions")),
        ("conflicts", partial(_packages, "conflicts")),
        ("extras", partial(_packages, "extras")),
        ("devices", partial(_devices, environment)),
        ("processor", machine.cores),
        ("threads", partial(machine.threads, environment, cores())),
        ("memory", machine.memory),
        ("shared memory", machine.shared_memory),
        ("processes", machine.start_methods),
        ("open files", machine.descriptors),
        ("encodings", machine.encodings),
        ("disks", partial(machine.disks, question.out_dir, question.data_dir)),
        ("weights", partial(weights.kept, environment)),
        ("hub", partial(weights.hub, environment, is_asked=not question.offline)),
    ]


def _packages(topic: str) -> Sequence[Finding]:
    try:
        from mlpipe.modes.doctor import packages
    except ImportError as error:
        text = problem(str(error.name), "is not installed", fix="install mlpipe with its dependencies")
        return [Finding("packages", str(error.name), None, "problem", text)] if topic == "versions" else []
    check = {"versions": packages.versions, "conflicts": packages.conflicts, "extras": packages.extras}[topic]
    return check(packages.declared_needs(), packages.installed())


@cache
def _torch_facts() -> dict[str, Any]:
    from mlpipe.modes.doctor import devices

    return devices.asked()


def _devices(environment: Mapping[str, str]) -> Sequence[Finding]:
    from mlpipe.modes.doctor import devices

    return devices.torch_findings(_torch_facts(), devices.hardware(), environment)


def _comparison(question: Question) -> Check:
    """Return the check that compares a stored run with this machine, once its devices are known."""
    from mlpipe.modes.doctor import stored_environment
    from mlpipe.runs.project import Project

    project = Project(question.out_dir / question.project)
    run, then = stored_environment.stored(project, question.run)
    return lambda: stored_environment.compared(run, project, then, stored_environment.machine_values(_torch_facts()))


def facts(results: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as plain data: `ok`, `problems`, `notes`, and the values by topic and name.

    Args:
        results: The findings; several with the same name become a list.
    """
    topics: dict[str, dict[str, Any]] = {}
    for finding in results:
        names = topics.setdefault(finding.topic, {})
        names[finding.name] = (
            [*_as_list(names[finding.name]), finding.value] if finding.name in names else finding.value
        )
    advice = {level: [entry.advice for entry in results if entry.level == level] for level in ("problem", "note")}
    return {"ok": not advice["problem"], "problems": advice["problem"], "notes": advice["note"], "facts": topics}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def text(results: Sequence[Finding]) -> str:
    """Format findings for a terminal: values by topic, then notes, then problems that stop a training.

    Args:
        results: The findings.
    """
    lines: list[str] = []
    width = max((len(finding.name) for finding in results), default=0)
    topics = dict.fromkeys(finding.topic for finding in results)
    for topic in topics:
        lines += ["", topic]
        lines += [
            f"  {finding.name:{width}}  {printable(_value_text(finding))}"
            for finding in results
            if finding.topic == topic
        ]
    for level, heading in (("note", "worth a look:"), ("problem", "this will stop a training:")):
        advice = [finding.advice for finding in results if finding.level == level]
        lines += ["", heading, *(f"  {sentence}" for sentence in advice)] if advice else []
    if not any(finding.level == "problem" for finding in results):
        lines += ["", "nothing here will stop a training"]
    return "\n".join(lines[1:])


def _value_text(finding: Finding) -> str:
    value = finding.value
    if isinstance(value, list):
        return listing(value, most=_MOST_NAMES) if value else "none"
    if finding.topic == "memory" and isinstance(value, int):
        return findings.size(value)
    return "not there" if value is None else str(value)
