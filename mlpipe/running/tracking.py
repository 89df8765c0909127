"""Report the results of a whole run to loggers: scores with intervals, the report and the model card."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlpipe import current_folder, files
from mlpipe.config import snapshot
from mlpipe.config.components import Component
from mlpipe.config.overrides import option_of, value_of
from mlpipe.config.recipe_file import as_text
from mlpipe.config.schema import RunConfig
from mlpipe.errors import MlpipeError, problem
from mlpipe.runs import ensembles, records, trackers
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.trackers import mlflow, tracker
from mlpipe.runs.trackers.tracker import Marks, Place, Tracked

log = logging.getLogger("mlpipe")

_URI = "logging.tracking_uri"


def without_passwords(overrides: Sequence[str]) -> tuple[str, ...]:
    """Remove user and password from server addresses in overrides, which are stored; both go to environment variables.

    Raises:
        ConfigError: When the password cannot be removed from the address.
    """
    words = []
    for text in overrides:
        address = value_of(_URI, [text]) if option_of(text) == _URI else None
        if address is not None:
            plain, secrets = tracker.address_without_login(address, _URI)
            os.environ.update(secrets)
            text = f"{_URI}={as_text(plain)}"
        words.append(text)
    return tuple(words)


def problems(config: RunConfig, words: Sequence[str]) -> list[str]:
    """Return a sentence for every problem of a command's loggers that can be found before any data is read.

    Args:
        config: The configuration.
        words: The command's own words.
    """
    sentences = missing(config)
    for logger in loggers(config):
        if isinstance(address := logger.params.get("tracking_uri"), str):
            # Also for Lightning's own MLflow logger.
            sentences += mlflow.problems(address) or _address_problems(address, words)
    return sentences


def missing(config: RunConfig) -> list[str]:
    """Return a sentence for every missing package of a configuration's loggers."""
    return [sentence for logger in loggers(config) for sentence in trackers.missing(logger.name)]


def _address_problems(address: str, words: Sequence[str]) -> list[str]:
    """Return problems of a server address from a file, because only the user decides where data is sent."""
    public_address = tracker.without_password(address)
    if address.startswith("sqlite:///") or any(option_of(word) == _URI for word in words):
        return []
    wrong = "is named by a file and not by this command, and would be told all of the training"
    return [problem(_URI, wrong, got=public_address, fix=f"add {_URI}={public_address} where you want that")]


def loggers(config: RunConfig) -> Iterator[Component]:
    """Return the loggers of a configuration as a list."""
    several = config.logging.params.get("loggers")
    yield from several.values() if isinstance(several, Mapping) else [config.logging]


@dataclass(frozen=True)
class _Result:
    """The result of a successful run.

    Attributes:
        config: The run's configuration.
        project: Its project.
        run: The run.
        facts: The facts that it collected: `final`, `scores`, `headline`, `report`, `task`.
    """

    config: RunConfig
    project: Project
    run: Run
    facts: Mapping[str, Any]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Return final scores by flat names; without tests, the means of the folds' validation scores."""
        values = tracker.final(self.facts.get("scores") or {})
        if headline := self.facts.get("final"):
            values |= tracker.final({headline["metric"]: headline}, "final/headline")
        for row in () if values else self.facts.get("leaderboard") or ():
            numbers = {key: value for key, value in row.items() if key.startswith(("val", "test"))}
            values |= {name: value for name, value in tracker.final(numbers).items() if name not in values}
        return values

    @cached_property
    def place(self) -> Place:
        """Return the tracked run of all folds: this run's, or that of an earlier training whose models it evaluated."""
        name = self.run.name
        if ensemble := self.facts.get("ensemble"):
            trained = {member.run for member in _members(self.project, str(self.facts["task"]), str(ensemble))}
            name = trained.pop() if len(trained) == 1 else name
        return Place(self.project.name, self.project.root, name, self.project.run_dir(name) / "logs")

    @cached_property
    def report(self) -> Path | None:
        """Return the report, if one was written."""
        path = Path(str(self.facts.get("report") or ""))
        return path if path.is_file() else None

    @cached_property
    def card(self) -> Path | None:
        """Return the card of the final model; None if there is none, for example without stored weights."""
        from mlpipe.running import model_card, predictor

        if not self.facts.get("task"):
            return None
        try:
            stored = predictor.stored_models(
                self.project.name,
                out_dir=self.config.out_dir,
                data_dir=self.config.data_dir,
                task_name=str(self.facts["task"]),
                ensemble=self.facts.get("ensemble"),
                trust=self.config.tree["trust"],
            )
            text = model_card.as_markdown(model_card.facts(predictor.Predictor(stored)))
        except MlpipeError as error:
            log.debug(f"no card of the model: {error}")
            return None
        files.write_text(self.place.logs / "model_card.md", text)
        return self.place.logs / "model_card.md"

    def is_new_to(self, marks: Marks) -> bool:
        """Return whether a logger did not receive these scores before, and record that it now does."""
        digest = files.digest(dict(self.scores))
        is_new = bool(marks.known.get("sent") != digest)
        if is_new:
            marks.keep(sent=digest)
        return is_new


def publish(config: RunConfig, project: Project, run: Run, facts: Mapping[str, Any]) -> None:
    """Send the scores, the report and the model card of a successful run to its loggers.

    Nothing is sent twice, even if a finished run is continued.

    Args:
        config: The run's configuration.
        project: The run's project.
        run: The run.
        facts: The facts that the run collected: `final`, `scores`, `headline`, `report`, `task`.
    """
    result = _Result(config, project, run, facts)
    for logger in loggers(config):
        tell = _TOLD.get(logger.name)
        if tell is None or not result.scores:
            continue
        try:
            tell(logger, result)
        except Exception as error:
            log.debug(f"logging={logger.name} failed", exc_info=True)
            log.warning(f"logging={logger.name}: the result was not written ({tracker.without_password(str(error))})")


def _to_server(logger: Component, result: _Result) -> None:
    """Send the scores as points of the run of all folds, with the report and the card as its files."""
    place, tree = result.place, result.config.tree
    marks = Marks(place.logs / f"{logger.name}_result.json")
    documents = [path for path in (result.report, result.card) if path is not None]

    def write(tracked: Tracked) -> None:
        if result.run.name == place.run:
            tracked.configure(tree, snapshot.stored(tree))
        if result.is_new_to(marks):
            tracked.points(result.scores, 0)
        for path in documents:
            tracked.file(path)

    guarded = trackers.run_of(logger.name, logger.params, place)
    guarded.attempt(write)
    guarded.close(tracker.FINISHED)


def _to_table(logger: Component, result: _Result) -> None:
    """Write the scores as a table beside the folds' curves."""
    rows = [{"score": name, "value": value} for name, value in result.scores.items()]
    files.write_text(result.place.logs / "scores.csv", files.csv_text(rows, ["score", "value"]))


def _to_tensorboard(logger: Component, result: _Result) -> None:
    """Write scores as points, headline and configuration as texts, to a folder `result` beside those of the folds."""
    from torch.utils.tensorboard import SummaryWriter

    logs, own = result.place.logs, logger.params.get("log_dir")
    folder = (
        logs / "result" if own is None else current_folder.expanded(own) / f"result-{files.safe_name(result.run.name)}"
    )
    if not result.is_new_to(Marks(logs / "tensorboard_result.json")):
        return
    with SummaryWriter(str(folder)) as writer:
        for name, value in result.scores.items():
            writer.add_scalar(name, value, 0)
        writer.add_text("headline", str(result.facts.get("headline") or ""), 0)
        writer.add_text("configuration", f"```\n{snapshot.stored(result.config.tree)}\n```", 0)
        if result.report is not None:
            writer.add_text("report", str(result.report), 0)


_TOLD: dict[str, Callable[[Component, _Result], None]] = {
    "csv": _to_table,
    "mlflow": _to_server,
    "tensorboard": _to_tensorboard,
    "wandb": _to_server,
}


def _members(project: Project, task: str, ensemble: str) -> list[records.ModelRecord]:
    stored = [candidate for candidate in ensembles.load_all(project, task) if candidate.id == ensemble]
    names = {name for candidate in stored for member in candidate.members for name in member["records"]}
    return [record for record in records.load_all(project, task) if record.id in names]
