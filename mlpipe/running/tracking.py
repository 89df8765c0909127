"""What loggers are told of a whole run: the scores with their intervals, the report and the model card."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config import snapshot
from mlpipe.config.components import Component
from mlpipe.config.overrides import option_of, value_of
from mlpipe.config.recipe_file import as_text
from mlpipe.config.schema import RunConfig
from mlpipe.errors import MlpipeError, not_installed, problem
from mlpipe.runs import ensembles, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.trackers import mlflow, tracker, wandb
from mlpipe.runs.trackers.tracker import Guarded, Marks, Place, Tracked

log = logging.getLogger("mlpipe")

_URI = "logging.tracking_uri"
_PACKAGES = ("mlflow", "tensorboard", "wandb")


def without_passwords(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides with a server's address as it may be stored; its user and password go to the environment.

    Raises:
        ConfigError: When the password cannot be taken out of the address.
    """
    found = []
    for text in overrides:
        address = value_of(_URI, [text]) if option_of(text) == _URI else None
        if address is not None:
            plain, secrets = tracker.taken_apart(address, _URI)
            os.environ.update(secrets)
            text = f"{_URI}={as_text(plain)}"
        found.append(text)
    return tuple(found)


def problems(config: RunConfig, words: Sequence[str]) -> list[str]:
    """A sentence for everything that a command's loggers lack, which can be told before any data is read.

    Args:
        config: The configuration.
        words: The command's own words.
    """
    found = []
    for one in loggers(config):
        if one.name in _PACKAGES and one.target.startswith("mlpipe.") and importlib.util.find_spec(one.name) is None:
            found.append(not_installed(f"logging={one.name}", one.name))
        if isinstance(address := one.params.get("tracking_uri"), str):
            # Also of Lightning's own logger for MLflow.
            found += mlflow.problems(address) or _untrusted(address, words)
    return found


def _untrusted(address: str, words: Sequence[str]) -> list[str]:
    """What is wrong with a server's address that a file names: only a person decides who is told."""
    shown = tracker.without_password(address)
    if address.startswith("sqlite:///") or any(option_of(one) == _URI for one in words):
        return []
    wrong = "is named by a file and not by this command, and would be told all of the training"
    return [problem(_URI, wrong, got=shown, fix=f"add {_URI}={shown} where you want that")]


def loggers(config: RunConfig) -> Iterator[Component]:
    """The loggers of a configuration, also where they are several."""
    several = config.logging.params.get("loggers")
    yield from several.values() if isinstance(several, Mapping) else [config.logging]


def publish(config: RunConfig, project: Project, run: Run, facts: Mapping[str, Any]) -> None:
    """Tell the loggers of a run that ended well its scores, and give them the report and the card of the model.

    Nothing is told twice, also where a run is continued that had ended.

    Args:
        config: The run's configuration.
        project: Where it lies.
        run: The run.
        facts: What the run said of itself: `final`, `scores`, `headline`, `report`, `task`.
    """
    scores = _scores(config, facts)
    for one in loggers(config):
        share = _SHARES.get(one.name) if one.target.startswith("mlpipe.") else None
        if share is None or not scores:
            continue
        try:
            share(one, config, project, run, facts, scores)
        except Exception as error:
            log.debug(f"logging={one.name} failed", exc_info=True)
            log.warning(f"logging={one.name}: the result was not written ({tracker.without_password(str(error))})")


def _scores(config: RunConfig, facts: Mapping[str, Any]) -> dict[str, float]:
    """Final scores by flat names; where nothing was judged, the means of the folds' validation."""
    found = tracker.final(facts.get("scores") or {})
    if headline := facts.get("final"):
        found |= tracker.final({headline["metric"]: headline}, "final/headline")
    for row in () if found else facts.get("leaderboard") or ():
        numbers = {key: value for key, value in row.items() if key.startswith(("val", "test"))}
        found |= {name: value for name, value in tracker.final(numbers).items() if name not in found}
    return found


def _to_tracker(
    opens: Callable[..., Tracked],
    label: str,
    one: Component,
    config: RunConfig,
    project: Project,
    run: Run,
    facts: Mapping[str, Any],
    scores: Mapping[str, float],
) -> None:
    place = _place(config, project, run, facts)
    marks = Marks(place.logs / f"{one.name}_result.json")
    documents = [path for path in (_report(facts), _card(config, project, facts, place.logs)) if path is not None]
    digest = files.digest(dict(scores))

    def write(tracked: Tracked) -> None:
        if run.name == place.run:
            tracked.configure(config.tree, snapshot.stored(config.tree))
        if marks.known.get("sent") != digest:
            marks.keep(sent=digest)
            tracked.points(scores, 0)
        for path in documents:
            tracked.file(path)

    guarded = Guarded(label, opens, place)
    guarded.attempt(write)
    guarded.close(tracker.FINISHED)


def _mlflow(one: Component, *rest: Any) -> None:
    keys = {"tracking_uri": "tracking_uri", "experiment": "experiment", "run_tags": "tags"}
    given: dict[str, Any] = {to: one.params.get(key) for key, to in keys.items()}
    _to_tracker(partial(mlflow.MlflowRun, **given), mlflow.LABEL, one, *rest)


def _wandb(one: Component, *rest: Any) -> None:
    keys = {"project": "project", "entity": "entity", "wandb_mode": "wandb_mode", "wandb_tags": "tags"}
    given: dict[str, Any] = {to: one.params[key] for key, to in keys.items() if key in one.params}
    _to_tracker(partial(wandb.WandbRun, **given), wandb.LABEL, one, *rest)


def _csv(
    one: Component, config: RunConfig, project: Project, run: Run, facts: Mapping[str, Any], scores: Mapping[str, float]
) -> None:
    """The scores as a table beside the folds' curves."""
    logs = _place(config, project, run, facts).logs
    rows = [{"score": name, "value": value} for name, value in scores.items()]
    files.write_text(logs / "scores.csv", files.csv_text(rows, ["score", "value"]))


def _tensorboard(
    one: Component, config: RunConfig, project: Project, run: Run, facts: Mapping[str, Any], scores: Mapping[str, float]
) -> None:
    """The scores as points, the headline and the configuration as texts, in a folder `result` beside the folds' own."""
    from torch.utils.tensorboard import SummaryWriter

    logs = _place(config, project, run, facts).logs
    own = one.params.get("log_dir")
    folder = logs / "result" if own is None else Path(own).expanduser() / f"result-{files.safe_name(run.name)}"
    marks = Marks(logs / "tensorboard_result.json")
    if marks.known.get("sent") == (digest := files.digest(dict(scores))):
        return
    marks.keep(sent=digest)
    with SummaryWriter(str(folder)) as writer:
        for name, value in scores.items():
            writer.add_scalar(name, value, 0)
        writer.add_text("headline", str(facts.get("headline") or ""), 0)
        writer.add_text("configuration", f"```\n{snapshot.stored(config.tree)}\n```", 0)
        if (path := _report(facts)) is not None:
            writer.add_text("report", str(path), 0)


_SHARES: dict[str, Callable[..., None]] = {"csv": _csv, "mlflow": _mlflow, "tensorboard": _tensorboard, "wandb": _wandb}


def _place(config: RunConfig, project: Project, run: Run, facts: Mapping[str, Any]) -> Place:
    """The run of all folds that a result is of: this one, or the training's where it judged one that had ended before."""
    name = run.name
    if ensemble := facts.get("ensemble"):
        trained = {one.run for one in _members(project, str(facts["task"]), str(ensemble))}
        name = trained.pop() if len(trained) == 1 else name
    logs = project.run_dir(name) / "logs"
    return Place(project.name, project.root, name, logs)


def _members(project: Project, task: str, ensemble: str) -> list[records.ModelRecord]:
    stored = [one for one in ensembles.load_all(project, task) if one.id == ensemble]
    names = {name for one in stored for member in one.members for name in member["records"]}
    return [one for one in records.load_all(project, task) if one.id in names]


def _report(facts: Mapping[str, Any]) -> Path | None:
    path = Path(str(facts.get("report") or ""))
    return path if path.is_file() else None


def _card(config: RunConfig, project: Project, facts: Mapping[str, Any], logs: Path) -> Path | None:
    """The card of the model that predicts in the end; None where there is none, such as of weights that were not kept."""
    from mlpipe.running import model_card, predictor

    if not facts.get("task"):
        return None
    try:
        stored = predictor.found(
            project.name,
            out_dir=config.out_dir,
            data_dir=config.data_dir,
            task_name=str(facts["task"]),
            ensemble=facts.get("ensemble"),
            trust=config.tree["trust"],
        )
        text = model_card.as_markdown(model_card.facts(predictor.Predictor(stored)))
    except MlpipeError as error:
        log.debug(f"no card of the model: {error}")
        return None
    files.write_text(logs / "model_card.md", text)
    return logs / "model_card.md"
