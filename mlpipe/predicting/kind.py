"""The protocol of `mlpipe.kinds.*.predict`: rows and maps of stored samples, columns or files of new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.predicting.batches import Batch, Places, Sizes
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.predicting.output_tensors import Tensors
from mlpipe.predicting.tables import Table
from mlpipe.runs.sinks import Predicted

# Of outputs, shape (n, outputs) or (n, outputs, *spatial), and the number of the output that is asked for of each sample, shape
# (n,): the number of each sample, shape (n,), that rises where places of it speak for that output.
Score = Callable[[Tensor, Tensor], Tensor]


class Part(Protocol):
    """The part of a kind that this package calls.

    Attributes:
        NEW: What new samples get, in a word, which is the name of the step that writes it.
        SCORE: What a heat map explains; None: no single answer.
        TABLE: What a table says of new samples; None: there is a file for each, or a row for each box.
        TENSORS: What happens to a network's outputs in a file that is applied without this program; None: nothing is exported.
        NOT_EXPORTED: Why networks of the kind are not written as one file; empty: they are.
        NOT_IN_HAND: Why samples at hand are not predicted; empty: they are.
    """

    NEW: str
    TABLE: Table | None
    SCORE: Score | None
    TENSORS: Tensors | None
    NOT_EXPORTED: str
    NOT_IN_HAND: str

    def places(self, task: Task, pack: Pack, sizes: Sizes | None = None) -> Places | None:
        """Where the cached samples of a task show points of their files, for `Batch.places`; None: nobody asks.

        Args:
            task: The task.
            pack: Its cached samples.
            sizes: Width and height of each sample's file, shape (n, 2); None: the files say.
        """

    def kept(self, outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
        """The stored part of a batch.

        Args:
            outputs: What a model gives, shape (n, outputs) or (n, outputs, *spatial), on its device.
            batch: The samples, on the same device.
            loss: The loss, where rows are losses; else None.
        """

    def measured(self, outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """The values that metrics are computed of, for samples whose targets are known.

        Args:
            outputs: As for `kept`.
            target: As a batch has it.
            loss: The loss.

        Returns:
            A row of outputs and a row of targets for each sample, and the mean loss; NaN where outputs do not tell it.
        """

    def mean(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """The weighted mean of what several models give for the same samples.

        Args:
            parts: Each of shape (n, outputs) or (n, outputs, *spatial).
            weights: One number for each, summing to one.
            mixing: Of what the mean is, `logits` or `probabilities`; for numbers both are the same.
        """

    def shown(self, new: InHand) -> Shown:
        """Mix what several models predict for samples at hand, and decide.

        Args:
            new: The samples and the models.
        """

    def write_new(self, new: NewSamples) -> dict[str, Any]:
        """Mix what several models predict for new samples, and write a table, or a file for each sample.

        Args:
            new: The samples and the models.

        Returns:
            What was done, for machines.
        """


def no_places(task: Task, pack: Pack, sizes: Sizes | None = None) -> Places | None:
    """None: what is predicted is no place in a file, or has the sample's own places."""
    return None


def of(name: str) -> Part:
    """The predictions part of a kind.

    Args:
        name: The kind's.
    """
    return cast(Part, kinds.part(name, "predict"))
