"""`mml tl`: train a task from the body of a model trained on another task, or train only new heads on top of it."""

from __future__ import annotations

from typing import Any, Literal

from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, problem
from mlpipe.modes.train import TrainingScheduler
from mlpipe.running.steps import RunContext, Step


class TransferScheduler(TrainingScheduler):
    """Train like `mml train`, every fold from the weights of one stored model.

    `mlpipe.running.launch` chooses the model before anything runs and writes it to `reuse.parameters`, so that a
    continued run starts from the same model.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        pretrain_task: The task that the model was trained on.
        model_selection: How it is chosen among the models of `reuse.models`.
        freeze: Train only the heads; in the body, batch statistics are fixed and dropout is off.
        training: The keys of `mml train`.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        pretrain_task: str,
        model_selection: Literal["performance", "created", "random"],
        freeze: bool,
        **training: Any,
    ) -> None:
        super().__init__(run_config, context, **training)
        self.origin = f"{model_selection} of mode.pretrain_task={pretrain_task}{', body frozen' * freeze}"

    def plan(self) -> list[Step]:
        """Return the plan of `mml train`.

        Raises:
            ConfigError: When no model was chosen.
        """
        if self.run_config.reuse.parameters is None:
            fix = "let mlpipe.running.launch.prepare choose one"
            raise ConfigError(problem("reuse.parameters", "names no model to start from", fix=fix))
        return super().plan()
