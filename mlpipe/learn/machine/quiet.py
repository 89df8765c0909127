"""Torch threads, and a terminal without the hints printed by torch and Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mlpipe.errors import ConfigError, Interrupted, first_line, problem
from mlpipe.learn.machine import memory

# Hints of Lightning and torch that are of no use to users of mlpipe.
_NOISE = (
    ".*does not have many workers.*", ".*LeafSpec.*", ".*lr_scheduler.step.*", ".*srun. command is available.*",
    ".*Grad strides do not match bucket view strides.*",
)  # fmt: skip


def prepare_torch(threads: int) -> None:
    """Set torch's number of threads, let it reuse memory, and silence Lightning's own output."""
    torch.set_num_threads(threads)
    memory.keep_freed()
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's hints about workers and logging intervals, and convert its exit at a SIGTERM sent by us.

    Raises:
        Interrupted: When Lightning saw a SIGTERM before `Guard` did; Lightning would end the process with 0.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        except SIGTERMException as error:
            raise Interrupted("stopped as asked") from error
        except MisconfigurationException as error:
            fix = "correct it; what writes to a logger needs one (logging=csv or logging=tensorboard)"
            wrong = f"Lightning refuses what trainer and callbacks ask for ({first_line(error)})"
            raise ConfigError(problem("trainer", wrong, fix=fix)) from error
