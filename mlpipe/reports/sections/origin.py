"""The origin of the results: runs, the newest configuration, versions and hardware."""

from __future__ import annotations

from pathlib import Path

from mlpipe import limits
from mlpipe.errors import ProjectError
from mlpipe.reports.differences import configuration
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, details_block, element, joined, paragraph, table
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import journal, records


def origin(facts: TaskFacts) -> Section:
    """The commands of runs, the newest recipe's stored configuration, and versions.

    Args:
        facts: The task.
    """
    damaged = [configuration(facts.project, folds[-1])[1] for folds in facts.recipes.values()]
    parts: list[Content | None] = [_runs(facts)]
    newest = facts.newest
    text, wrong = _text(facts, newest.recipe)
    parts += [paragraph(f"{sentence}.") for sentence in (*damaged, wrong) if sentence]
    if text:
        caption = paragraph(
            f"The configuration of recipe {facts.called(newest.recipe)} as it was stored with record {newest.id}."
        )
        parts.append(
            details_block(
                f"Configuration of recipe {facts.called(newest.recipe)}", joined([caption, element("pre", text)])
            )
        )
    parts.append(_versions(facts))
    return Section("Where this comes from", parts, is_wide=True)


def _runs(facts: TaskFacts) -> Content | None:
    names: dict[str, list[str]] = {}
    for folds in facts.recipes.values():
        for record in folds:
            names.setdefault(record.run, []).append(record.recipe)
    ensemble_ids = {ensemble.run: ensemble.id for ensemble in facts.ensembles}
    rows = []
    for name in sorted({*names, *ensemble_ids}, reverse=True):
        run = journal.Run(name, facts.project.run_dir(name))
        command, git = _command_and_commit(run)
        did = ", ".join(
            [
                *(f"recipe {facts.called(recipe)}" for recipe in dict.fromkeys(names.get(name, ()))),
                *([ensemble_ids[name]] if name in ensemble_ids else []),
            ]
        )
        rows.append([name, element("code", command) if command else "", did, git[:12]])
    caption = "Runs, the newest first; each run's folder holds its whole configuration (config.yaml) and log"
    return table(caption, ["run", "command", "made", "git commit"], rows, numbers=range(0))


def _command_and_commit(run: journal.Run) -> tuple[str, str]:
    """Return the command and the commit of a run; an error in place of the command if its plan cannot be read."""
    if not (run.folder / journal.PLAN_FILE).is_file():
        return "", ""
    try:
        plan = run.plan()
    except ProjectError as error:
        return error.problems[0], ""
    return plan.get("command", ""), str(plan.get("versions", {}).get("git") or "")


def _versions(facts: TaskFacts) -> Content | None:
    versions: dict[str, set[str]] = {}
    for folds in facts.recipes.values():
        for record in folds:
            for key, value in record.environment.items():
                versions.setdefault(key, set()).add(str(value))
    rows = [[key, ", ".join(sorted(values))] for key, values in versions.items()]
    version_table = table("Of the records", ["what", "value"], rows, numbers=range(0))
    return None if version_table is None else details_block("Versions and hardware", version_table)


def _text(facts: TaskFacts, recipe: str) -> tuple[str, str]:
    """Return the text of a recipe's configuration, and the error if it cannot be read."""
    path = _file(facts, recipe)
    try:
        return (limits.text(path), "") if path.is_file() else ("", "")
    except (OSError, ValueError):
        # The error is reported where its values are read.
        return "", ""


def _file(facts: TaskFacts, recipe: str) -> Path:
    record = facts.recipes[recipe][-1]
    return facts.project.model_dir(record.pivot, record.id) / records.CONFIG_FILE
