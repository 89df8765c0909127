"""`mml verify`: check that a run's files are intact, and that training its folds again gives identical results."""

from __future__ import annotations

import logging
from dataclasses import asdict

from mlpipe.config.schema import RunConfig
from mlpipe.errors import counted
from mlpipe.reports import tables
from mlpipe.running import replay as replaying
from mlpipe.running import soups
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs import integrity, journal, records
from mlpipe.runs.integrity import Finding
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class VerifyScheduler(Scheduler):
    """Check and replay one run; nothing in the project is changed.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        run: `latest`, a run's name or the end of one.
        replay: Train the run's folds again, in a temporary project.
    """

    def __init__(self, run_config: RunConfig, context: RunContext, *, run: str, replay: bool) -> None:
        super().__init__(run_config, context)
        self._run_name, self._replay = run, replay
        self._findings: list[Finding] = []

    def plan(self) -> list[Step]:
        """Plan the checks of the files, the replay, and the table.

        Raises:
            ProjectError: When there is no such run, or a process is running it.
        """
        self._run = journal.find(self.context.project, self._run_name, key="mode.run")
        self._run.refuse_if_running()
        self._folds, self._ensembles, self._findings = integrity.records_of_run(self.context.project, self._run.name)
        steps = [Step("check the files", self._check, in_project=False)]
        self._trained_folds = [record for record in self._folds if not record.averaged]
        if len(self._trained_folds) < len(self._folds):
            steps.append(Step("average the weights", self._average_again, in_project=False))
        if self._replay and self._trained_folds:
            steps.append(Step("replay the folds", self._train_again, in_project=False))
        return [*steps, Step("compare", self._tell, in_project=False)]

    def _check(self, run: Run | None) -> None:
        project = self.context.project
        for record in self._folds:
            self.context.stop.check()
            self._findings += integrity.of_record(project, record)
        for ensemble in self._ensembles:
            self._findings += integrity.of_ensemble(project, ensemble)

    def _average_again(self, run: Run | None) -> None:
        self._findings += [soups.compared(self.context.project, record) for record in self._folds if record.averaged]

    def _train_again(self, run: Run | None) -> None:
        log.info(f"replays {counted(len(self._trained_folds), 'fold')} of run {self._run.name} in a temporary project")
        with replaying.replayed_run(self.run_config, self.context, self._run, self._trained_folds) as project:
            for record in self._trained_folds:
                self._findings += replaying.compared(self.context.project, record, project)

    def _tell(self, run: Run | None) -> None:
        rows = [[finding.of, finding.what, finding.verdict, finding.why] for finding in self._findings]
        wrong = [finding for finding in self._findings if finding.is_wrong]
        self.context.facts.update(
            verified=self._run.name,
            findings=[asdict(finding) for finding in self._findings],
            exit_code=int(bool(wrong)),
        )
        if not rows:
            run_names = [record.run for record in records.load_all(self.context.project)]
            other = f"; the newest record is of mode.run={run_names[-1]}" if run_names else ""
            log.info(f"run {self._run.name} left no record and no ensemble: there is nothing to verify{other}")
            return
        log.info(tables.grid(["record", "what", "result", "why"], rows))
        if wrong:
            log.error(f"run {self._run.name}: {len(wrong)} of {len(rows)} do not agree")
        else:
            log.info(f"run {self._run.name}: everything that can be compared agrees")
