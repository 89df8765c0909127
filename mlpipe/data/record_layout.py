"""How the named arrays of a data record lie in one vector, and what its target is; and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.data.records import DataRecord
from mlpipe.data.task import Kind
from mlpipe.errors import DataError, listing, problem

Form = Literal["one_hot", "number", "values"]
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Layout:
    """The inputs' names and shapes in their order, and what y is.

    Attributes:
        inputs: (name, shape) of each input.
        output: The output's name.
        shape: The shape of its y.
        form: Whether y is one-hot, a class number, or values.
        kind: What is predicted.
        weighted: Whether data records have weights.
    """

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    output: str
    shape: tuple[int, ...]
    form: Form
    kind: Kind
    weighted: bool

    @property
    def width(self) -> int | None:
        """How many numbers a target has; None: class numbers do not say how many classes there are."""
        return None if self.form == "number" else math.prod(self.shape)

    def vector(self, x: Mapping[str, Any], where: str) -> npt.NDArray[np.float32]:
        """The inputs of a data record as one vector, float32.

        Raises:
            DataError: When there are others, or they have other shapes or no finite numbers.
        """
        if set(x) != {name for name, _ in self.inputs}:
            wanted = listing(name for name, _ in self.inputs)
            raise DataError(problem(where, f"has the inputs {listing(x)}, others {wanted}", fix="give all the same"))
        parts = []
        for name, shape in self.inputs:
            values = _numbers(x[name], f"{where}: input {name}")
            if values.shape != shape:
                wrong = f"its input {name} has the shape {list(values.shape)}, others {list(shape)}"
                raise DataError(problem(where, wrong, fix="let a transformer give all the same"))
            parts.append(values.ravel())
        joined = np.concatenate(parts).astype(np.float32)
        if not np.isfinite(joined).all():
            raise DataError(problem(where, "has inputs that are no finite numbers", fix="fill what is missing"))
        return joined

    def target(self, data_record: DataRecord, where: str) -> int | tuple[float, ...]:
        """The target of a data record: a class number, or numbers.

        Raises:
            DataError: When it is not what the kind needs.
        """
        values = _target_values(data_record, self.output, where)
        if values.shape != self.shape:
            wrong = f"its y has the shape {list(values.shape)}, others {list(self.shape)}"
            raise DataError(problem(where, wrong, fix="give all the same"))
        flat = values.ravel().astype(np.float64)
        if self.kind == "regression":
            return tuple(flat.tolist())
        if self.kind == "multilabel":
            if not np.isin(flat, (0, 1)).all():
                raise DataError(problem(where, "its y is not 0 and 1", got=flat.tolist(), fix="use 0 and 1"))
            return tuple(flat.tolist())
        if self.form == "number":
            if flat[0] != int(flat[0]) or flat[0] < 0:
                raise DataError(
                    problem(where, "its y is no class number", got=flat.tolist(), fix="count classes from 0")
                )
            return int(flat[0])
        if np.abs(np.sort(flat)[:-1]).max(initial=0) > _ROUNDING or abs(flat.max() - 1) > _ROUNDING:
            raise DataError(problem(where, "its y is not one-hot", got=flat.tolist(), fix="give one 1 among zeros"))
        return int(flat.argmax())

    def weight(self, data_record: DataRecord, where: str) -> float:
        """How much a data record counts; 1 where there are no weights.

        Raises:
            DataError: When it is no number >= 0.
        """
        if len(data_record) < 3 or self.output not in data_record[2]:
            return 1.0
        values = _numbers(data_record[2][self.output], f"{where}: w")
        if values.size != 1:
            fix = "give one number for each record; weights of single steps in time are not available"
            raise DataError(problem(where, "its w is no number", got=list(values.shape), fix=fix))
        number = float(values.ravel()[0])
        if not math.isfinite(number) or number < 0:
            raise DataError(problem(where, "its w is no number >= 0", got=number, fix="give such a number"))
        return number

    def data_record(self, vector: npt.NDArray[Any], target: Any, weight: float) -> DataRecord:
        """The data record that a vector, a target and a weight come from.

        Args:
            vector: Shape (length,).
            target: A class number, or numbers.
            weight: How much it counts.
        """
        x, start = {}, 0
        for name, shape in self.inputs:
            size = math.prod(shape)
            x[name] = vector[start : start + size].reshape(shape).copy()
            start += size
        if self.form == "one_hot":
            values = np.zeros(math.prod(self.shape), np.float32)
            values[int(target)] = 1
        else:
            values = np.array(target, np.int64 if self.form == "number" else np.float32)
        found: DataRecord = (x, {self.output: values.reshape(self.shape)})
        return (*found, {self.output: np.array(weight)}) if self.weighted else found

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        inputs = [[name, list(shape)] for name, shape in self.inputs]
        return {
            "inputs": inputs, "output": self.output, "shape": list(self.shape), "form": self.form, "kind": self.kind,
            "weighted": self.weighted,
        }  # fmt: skip

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Layout:
        """What `as_plain` gave."""
        inputs = tuple((str(name), tuple(int(side) for side in shape)) for name, shape in plain["inputs"])
        shape = tuple(int(side) for side in plain["shape"])
        return Layout(inputs, plain["output"], shape, plain["form"], plain["kind"], plain["weighted"])


def of(data_record: DataRecord, output: str, kind: Kind, where: str) -> Layout:
    """The layout of a first data record, which all others must have.

    Args:
        data_record: It: (X, y) or (X, y, w).
        output: The output that is learned.
        kind: What is predicted.
        where: Names it in sentences.

    Raises:
        DataError: When it is no such tuple, has other outputs, or inputs that are no numbers.
    """
    parts = data_record if isinstance(data_record, tuple) else ()
    if len(parts) not in (2, 3) or not all(isinstance(part, Mapping) for part in parts):
        fix = "let the loader return a tuple of dictionaries, (X, y) or (X, y, w)"
        raise DataError(problem(where, "is no data record to learn from", got=type(data_record).__name__, fix=fix))
    if not parts[0]:
        raise DataError(problem(where, "has no inputs", fix="let X have an array for each input of the network"))
    inputs = tuple((str(name), _numbers(value, f"{where}: input {name}").shape) for name, value in parts[0].items())
    shape = _target_values(data_record, output, where).shape
    form: Form = "values"
    if kind == "classification":
        form = "one_hot" if math.prod(shape) > 1 else "number"
    return Layout(inputs, output, shape, form, kind, len(parts) == 3)


def _target_values(data_record: DataRecord, output: str, where: str) -> npt.NDArray[Any]:
    y = data_record[1]
    if set(y) != {output}:
        fix = "let the loader's outputs be those of the configuration"
        raise DataError(problem(where, f"its y has the outputs {listing(y)}, the network {output}", fix=fix))
    return _numbers(y[output], f"{where}: y")


def _numbers(value: Any, where: str) -> npt.NDArray[Any]:
    values = np.asarray(value)
    if values.dtype.kind not in "biuf":
        fix = "let the loader or a transformer make numbers of it"
        raise DataError(problem(where, "is no array of numbers", got=str(values.ravel()[:3].tolist()), fix=fix))
    return values
