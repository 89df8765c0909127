"""The protocol of `mlpipe.kinds.*.predict`: rows and maps of stored samples, and columns or files of new ones."""

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

# From outputs, shape (n, outputs) or (n, outputs, *spatial), and the number of the output to explain in each sample, shape
# (n,), to a score of each sample, shape (n,), which rises with the evidence for that output.
Score = Callable[[Tensor, Tensor], Tensor]


class Part(Protocol):
    """The prediction part of a kind.

    Attributes:
        NEW: What is written for new samples, in a word, which is also the name of the step that writes it.
        SCORE: What a heat map explains; None: no single answer.
        TABLE: The table of new samples; None: there is a file for each sample, or a row for each box.
        TENSORS: The operations on a network's outputs in an exported file; None: nothing is exported.
        NOT_EXPORTED: Why networks of the kind cannot be exported as one file; empty: they can.
        NOT_IN_HAND: Why samples in memory cannot be predicted; empty: they can.
    """

    NEW: str
    TABLE: Table | None
    SCORE: Score | None
    TENSORS: Tensors | None
    NOT_EXPORTED: str
    NOT_IN_HAND: str

    def places(self, task: Task, pack: Pack, sizes: Sizes | None = None) -> Places | None:
        """Return the maps from pixels of the files to pixels of the cached samples, for `Batch.places`; None: not needed.

        Args:
            task: The task.
            pack: Its cached samples.
            sizes: Width and height of each sample's file, shape (n, 2); None: read from the files.
        """

    def kept(self, outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
        """Return the part of a batch's predictions that is stored.

        Args:
            outputs: The model's outputs, shape (n, outputs) or (n, outputs, *spatial), on its device.
            batch: The samples, on the same device.
            loss: The loss, where rows are losses; else None.
        """

    def measured(self, outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Return the values for metrics, for samples with known targets.

        Args:
            outputs: As for `kept`.
            target: As in a batch.
            loss: The loss.

        Returns:
            A row of outputs and a row of targets for each sample, and the mean loss; NaN if it cannot be computed from outputs.
        """

    def mean(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return the weighted mean of the outputs of several models for the same samples.

        Args:
            parts: Each of shape (n, outputs) or (n, outputs, *spatial).
            weights: One number for each, summing to one.
            mixing: What is averaged, `logits` or `probabilities`; for numbers both are the same.
        """

    def shown(self, new: InHand) -> Shown:
        """Mix the predictions of several models for samples in memory, and decide.

        Args:
            new: The samples and the models.
        """

    def write_new(self, new: NewSamples) -> dict[str, Any]:
        """Mix the predictions of several models for new samples, and write a table, or a file for each sample.

        Args:
            new: The samples and the models.

        Returns:
            The facts for machine-readable output.
        """


def no_places(task: Task, pack: Pack, sizes: Sizes | None = None) -> Places | None:
    """Return None: predictions have no places in a file, or have the sample's own places."""
    return None


def of(name: str) -> Part:
    """Return the prediction part of a kind.

    Args:
        name: The kind's.
    """
    return cast(Part, kinds.part(name, "predict"))
