"""Gradient accumulation: how much each batch counts, so that a step equals that of one batch with all their images.

Lightning divides the loss of every batch by `trainer.accumulate_grad_batches`. That is the mean over the batches of a step
where there are so many and all have as many images; the last step of an epoch often has fewer, and its last batch is often
smaller. Here every batch counts by its share of the images that are learned in its step.
"""

from __future__ import annotations

from collections.abc import Sequence


def share(sizes: Sequence[int], number: int, group: int) -> float:
    """The factor of a batch's mean loss before it is divided by `group`; 1 where all batches of its step are alike.

    Args:
        sizes: Images in each batch of the epoch that is learned from, of all processes.
        number: The batch's, counted from 0 in the epoch.
        group: `trainer.accumulate_grad_batches`, how many batches a step has at most.
    """
    first = number - number % group
    return group * sizes[number] / sum(sizes[first : first + group])


def step_factor(batches: int, number: int, group: int) -> float:
    """The factor, in each batch, of a term that every step has once, before it is divided by `group`.

    Args:
        batches: How many the epoch has.
        number: The batch's, counted from 0 in the epoch.
        group: As for `share`.
    """
    return group / min(group, batches - (number - number % group))
