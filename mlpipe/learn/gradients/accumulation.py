"""Gradient accumulation: the weight of each batch, so that a step equals that of one batch with all their images.

Lightning divides the loss of every batch by `trainer.accumulate_grad_batches`. That gives the mean over the batches of a
step only if it has that many batches of equal size; the last step of an epoch often has fewer, and its last batch is often
smaller. Here every batch is weighted by its share of the images in its step.
"""

from __future__ import annotations

from collections.abc import Sequence


def share(sizes: Sequence[int], number: int, group: int) -> float:
    """Return the factor of a batch's mean loss before the division by `group`; 1 if all batches of its step are equal.

    Args:
        sizes: Images in each batch of the epoch, over all processes.
        number: The number of the batch in the epoch, counted from 0.
        group: `trainer.accumulate_grad_batches`, the largest number of batches in a step.
    """
    first = number - number % group
    return group * sizes[number] / sum(sizes[first : first + group])


def step_factor(batches: int, number: int, group: int) -> float:
    """Return the factor, in each batch, of a term that occurs once per step, before the division by `group`.

    Args:
        batches: Number of batches in the epoch.
        number: The number of the batch in the epoch, counted from 0.
        group: As for `share`.
    """
    return group / min(group, batches - (number - number % group))
