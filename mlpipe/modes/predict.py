"""`mml predict`: predictions of stored models for the task's images or for new images, or drawn images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mlpipe.config.schema import RunConfig
from mlpipe.modes.train import TrainingScheduler
from mlpipe.running.drawn_samples import DrawnSamples
from mlpipe.running.new_data import NewData, PredictionRequest
from mlpipe.running.steps import RunContext, Step


class PredictScheduler(TrainingScheduler):
    """Store each fold's logits of its validation, test and unlabelled images, or write predictions of new images.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        source: New images to predict, see `mlpipe.running.new_data`; None: the task's own.
        ensemble: With `source`, the ensemble that predicts them.
        deploy_prior: With `source`, the prevalence of the classes where the images come from.
        alpha: With `source`, the miss rate of prediction sets and intervals.
        samples: The number of images to draw with models of `loss=wasserstein`; None: none.
        seed: With `samples`, the seed of the draws.
        training: The keys of `mml train`.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        source: str | None = None,
        ensemble: str | None = None,
        deploy_prior: Literal["estimate"] | list[float] | dict[str, float] | None = None,
        alpha: Annotated[float, "> 0", "< 1"] | None = None,
        samples: Annotated[int, ">= 1", "<= 1000000"] | None = None,
        seed: Annotated[int, ">= 0", "<= 4294967295"] = 0,
        **training: Any,
    ) -> None:
        super().__init__(run_config, context, **training)
        self._new_data = None if source is None else PredictionRequest(source, ensemble, deploy_prior, alpha)
        self._samples, self._seed = samples, seed

    def plan(self) -> list[Step]:
        """Return the plan for new or drawn images if requested, else that of the stored models."""
        if self._samples is not None:
            return DrawnSamples(
                self.run_config, self.context, self.pivot(), self._samples, self._seed, self.request.folds
            ).plan()
        if self._new_data is None:
            return super().plan()
        return NewData(self.run_config, self.context, self.pivot(), self._new_data, self.request.folds).plan()
