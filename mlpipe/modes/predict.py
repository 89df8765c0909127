"""`mml predict`: predictions of every stored model of a cross-validation, or of all of them together for new images."""

from __future__ import annotations

from typing import Any, Literal

from mlpipe.config.schema import RunConfig
from mlpipe.modes.train import TrainingScheduler
from mlpipe.running.new_data import NewData, PredictionRequest
from mlpipe.running.steps import RunContext, Step


class PredictScheduler(TrainingScheduler):
    """Stores each fold's logits of its validation, test and unlabelled images, or writes predictions of new images.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        source: New images to predict, see `mlpipe.running.new_data`; None: the task's own.
        ensemble: With `source`, the ensemble to predict them with.
        deploy_prior: With `source`, the prevalence where they are from.
        training: The keys of `mml train`.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        source: str | None = None,
        ensemble: str | None = None,
        deploy_prior: Literal["estimate"] | list[float] | None = None,
        **training: Any,
    ) -> None:
        super().__init__(run_config, context, **training)
        self._new_data = None if source is None else PredictionRequest(source, ensemble, deploy_prior)

    def plan(self) -> list[Step]:
        """With new images their own plan, else that of the stored models."""
        if self._new_data is None:
            return super().plan()
        return NewData(self.run_config, self.context, self.pivot(), self._new_data, self.request.folds).plan()
