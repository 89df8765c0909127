"""Train classifiers: the outputs are logits of classes, of which one is true."""

from __future__ import annotations

from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_positives as positives
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.losses.cross_entropy import ce
from mlpipe.learn.per_image import answer_shape, check, class_counts, kept, rows, validated
from mlpipe.learn.per_image import logits as head

__all__ = [
    "answer_shape",
    "check",
    "class_counts",
    "head",
    "kept",
    "known_counts",
    "positives",
    "rows",
    "scale",
    "validated",
]

FITTING_LOSSES = ("auto", "ce", "bce", "focal")
TARGETS_HAVE_OWN_SHAPE = False
NEEDS_ALL_DIGITS = False
USUAL_LOSS = ce
OF_NUMBERS = False
VIEWS_HAVE_MEAN = True
CHECKS_OUTPUTS = False
