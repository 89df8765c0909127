"""The cost of a model, measured once on a machine and stored with its record: `cost.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mlpipe import files, stored
from mlpipe.errors import ProjectError, problem
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

FILE = "cost.json"


@dataclass(frozen=True)
class Cost:
    """The cost of one network.

    Attributes:
        parameters: The number of learned parameters.
        weights_bytes: The size of its stored weights.
        flops: Floating-point operations per image, a multiply-add counted as two.
        peak_bytes: The peak memory of its weights and activations, with one image.
        ms_1: Milliseconds per image in batches of 1.
        ms_32: Milliseconds per image in batches of 32.
        input: Channels and shape of the network's input.
        machine: The machine of the measurement: device and processor threads.
    """

    parameters: int
    weights_bytes: int
    flops: int
    peak_bytes: int
    ms_1: float
    ms_32: float
    input: list[int]
    machine: str


def save(project: Project, record: ModelRecord, cost: Cost) -> None:
    """Durably store a cost with a record.

    Args:
        project: The record's project.
        record: The record.
        cost: Its cost.
    """
    files.write_json(project.model_dir(record.pivot, record.id) / FILE, asdict(cost))


def load(project: Project, record: ModelRecord) -> Cost | None:
    """Return the measured cost of a record; None if it was not measured.

    Args:
        project: The record's project.
        record: The record.

    Raises:
        ProjectError: When the file is damaged.
    """
    path = project.model_dir(record.pivot, record.id) / FILE
    if not path.exists():
        return None
    fix = "delete it, and run mml info mode.subroutines=[cost]"
    cost = stored.read(path, Cost, fix)
    if not cost.ms_1 >= 0:
        raise ProjectError(problem(str(path), "has no time", got=cost.ms_1, fix=fix))
    return cost


def records_without_cost(project: Project, models: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Return the records whose cost was not measured.

    Args:
        project: Their project.
        models: The records.
    """
    return [record for record in models if load(project, record) is None]


def milliseconds(project: Project, models: Sequence[ModelRecord]) -> float:
    """Return the milliseconds per image of some records run one after another.

    Args:
        project: Their project.
        models: Records with measured costs.
    """
    costs = [load(project, record) for record in models]
    return sum(cost.ms_1 for cost in costs if cost is not None)
