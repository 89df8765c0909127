"""Training on all training samples and validation on the test part, as in programs without a validation part."""

from __future__ import annotations

import numpy as np

from mlpipe.data.splits.methods import UNLABELLED, Rare, Split
from mlpipe.data.task import Samples


def on_test(samples: Samples, *, rare: Rare = "refuse") -> Split:
    """All training samples (and those of a validation part) in fold 1, the test part in fold 0, which is validated.

    A task without a test part is learned and not judged. Scores on the test part stay honest as long as nothing is
    chosen by them: with the last epoch's weights, and neither an early stop nor a plateau schedule.

    Args:
        samples: The task's samples.
        rare: As for `mlpipe.data.splits.methods.kfold`.
    """
    fold = np.full(len(samples), UNLABELLED, np.int64)
    fold[samples.in_part("train", "val") & samples.labelled] = 1
    fold[samples.in_part("test") & samples.labelled] = 0
    return Split(fold, 2, (0,), True, 0, is_given=True, rare=rare)
