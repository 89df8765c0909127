"""What a model costs, measured once on a machine and kept beside its record: `cost.json`."""

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
        parameters: How many numbers it learned.
        weights_bytes: The size of its stored weights.
        flops: Floating-point operations of one image, a multiplication and an addition counted as two.
        peak_bytes: The most memory that its weights and what lies between its layers take at once, with one image.
        ms_1: Milliseconds of an image that is predicted alone.
        ms_32: Milliseconds of an image among 32.
        input: Channels and shape of an image, as the network is given it.
        machine: Where it was measured: device and processor threads.
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
    """Keep a cost beside a record, durably.

    Args:
        project: The record's.
        record: The record.
        cost: Its cost.
    """
    files.write_json(project.model_dir(record.pivot, record.id) / FILE, asdict(cost))


def load(project: Project, record: ModelRecord) -> Cost | None:
    """The cost that was measured of a record; None where none was.

    Args:
        project: The record's.
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
    """The records of which no cost was measured.

    Args:
        project: Their project.
        models: The records.
    """
    return [record for record in models if load(project, record) is None]


def milliseconds(project: Project, models: Sequence[ModelRecord]) -> float:
    """Milliseconds of an image that all of some records predict, one after another.

    Args:
        project: Their project.
        models: Records of which costs were measured.
    """
    costs = [load(project, record) for record in models]
    return sum(cost.ms_1 for cost in costs if cost is not None)
