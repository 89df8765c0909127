"""Results at the end of a run: the leaderboard of its task and the final result, on the screen, as CSV and as facts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config import rules
from mlpipe.config.schema import RunConfig
from mlpipe.post.ensembling import evaluation
from mlpipe.post.figures import number
from mlpipe.reports import facts, progress, tables
from mlpipe.reports.headline import headline
from mlpipe.running import next_command
from mlpipe.running.steps import RunContext
from mlpipe.runs import records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project

log = logging.getLogger("mlpipe")


def show(context: RunContext, task: str, *more: str) -> None:
    """Write and print the leaderboard of a task, or of several heads of one."""
    tell = _teller(context)
    _print(_board(context, [task, *more]), context.project, tell)
    tell(f"results: {context.project.root}")


def tell_result(context: RunContext, config: RunConfig, names: Sequence[str], command: str) -> None:
    """Report the end of a training that evaluated its models: result, comparisons, report, and two next commands.

    With several recipes, the leaderboard is printed first.

    Args:
        context: The project, and the facts that receive the result.
        config: The run's configuration.
        names: The task, or the heads of one.
        command: The command that predicts new images; empty if there is none.
    """
    board, known, tell = _board(context, names), context.facts, _teller(context)
    final: Mapping[str, Any] = known.get("final") or {}
    if not final or len([row for row in board if not row["ensemble"]]) > 1:
        _print(board, context.project, tell)
    else:
        log.debug("\n" + tables.as_text(board))
    more = " ".join(part for part in (final.get("against", ""), _head_sentence(context, board, final)) if part)
    lines = [final["sentence"], more] if final else [f"results: {context.project.root}"]
    lines += [f"report: {known['report']}"] if known.get("report") else []
    lines += [f"all figures: {next_command.info_command(config, context.project)}"] if final else []
    if command:
        known["next"] = command
        lines.append(f"new images: {command}")
    tell("\n".join(line for line in lines if line))


def print_several(projects: Iterable[tuple[Project, str]]) -> None:
    """Print the leaderboards at the end of several runs, each once.

    Args:
        projects: The project and the task of each successful run.
    """
    for project, task in dict.fromkeys(projects):
        _print(tables.leaderboard(project, task), project, log.info)


def _teller(context: RunContext) -> Callable[[str], None]:
    """Return the function that tells the user or, within a larger command, only the log."""
    return log.debug if context.is_part else log.info


def _board(context: RunContext, names: Sequence[str]) -> list[dict[str, Any]]:
    board = [row for name in names for row in tables.leaderboard(context.project, name)]
    path = tables.write_csv(board, context.project)
    context.facts.update(task=names[0], leaderboard=board, leaderboard_file=str(path))
    return board


def _print(board: Sequence[dict[str, Any]], project: Project, tell: Callable[[str], None]) -> None:
    tell("\n" + tables.as_text(tables.for_people(board, project), progress.columns()))
    for note in tables.notes(board, project):
        tell(note)


def _head_sentence(context: RunContext, board: Sequence[dict[str, Any]], final: Mapping[str, Any]) -> str:
    """Return the score of a linear head on frozen features, if one is stored beside the model that predicts."""
    key = "test" if final.get("where") == "test" else "out_of_fold"
    # An ensemble of a single head is that head.
    alone = next((row["records"] for row in board if row["ensemble"] and row["ensemble"] == final.get("ensemble")), "")
    for row in board:
        file = context.project.model_dir(row["task"], row["records"].split()[0]) / records.CONFIG_FILE
        is_final = row["recipe"] == final.get("recipe") or row["records"] == alone
        if row["ensemble"] or row[key] is None or is_final or not file.is_file():
            continue
        if rules.is_exact(files.read_yaml(file)):
            figure = number(row[key], final.get("images"))
            return f"A head on frozen features alone ({row['called'] or row['recipe']}) has {row['metric']} {figure}."
    return ""


def figures(record: EnsembleRecord, count: int) -> str:
    """Return all figures of an ensemble: scores with intervals, comparisons, decisions and notes.

    Args:
        record: The ensemble.
        count: The number of images of the scores.
    """
    split = "test" if "test" in record.scores else "chosen on"
    chose = "images that chose the ensemble, so that these are optimistic" if record.is_chosen else "out-of-fold images"
    title = "test images" if split == "test" else chose
    sentences = [*record.comparisons, *evaluation.sentences(record.decide, count, record.classes), *record.notes]
    return "\n".join([f"\n{title}:", tables.scores(record.scores[split], count), *sentences])


def final(
    context: RunContext,
    task: str,
    data_dir: Path,
    old_sentences: Collection[str] = (),
    *,
    with_figures: bool = False,
    board: Sequence[dict[str, Any]] | None = None,
) -> None:
    """Report which model finally predicts and how well, as in the report; before any predictions, the newest score.

    Args:
        context: The project; its facts receive the same result.
        task: The task.
        data_dir: The folder of all tasks.
        old_sentences: Sentences that were printed already.
        with_figures: Whether all figures of the final ensemble were printed above.
        board: The task's rows of the leaderboard, if known.
    """
    tell = _teller(context)
    of_task = facts.of_task(context.project, data_dir, task, board)
    outcome = None if of_task is None else headline(of_task)
    if outcome is None or not outcome.short:
        short = "" if of_task is None else tables.headline(of_task.board)
        context.facts["headline"] = short
        for sentence in (short, "" if outcome is None else outcome.sentence):
            if sentence:
                tell(sentence)
        return
    context.facts.update(headline=outcome.short, final=outcome.as_plain())
    subject = None if of_task is None else of_task.shown
    if with_figures and subject is not None and subject.ensemble is not None and subject.rows is not None:
        log.info(figures(subject.ensemble, len(subject.rows)))
        old_sentences = [*old_sentences, *subject.ensemble.notes]
    for sentence in (outcome.sentence, outcome.against, *outcome.left_out, outcome.short):
        if sentence and sentence not in old_sentences:
            tell(sentence)
