"""Layout of a row's named arrays in one vector, and of its targets; both directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from mlpipe import stored
from mlpipe.data import kind as kind_data
from mlpipe.data.records import DataRecord
from mlpipe.errors import DataError, listing, problem

Form = Literal["one_hot", "number", "values"]
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Output:
    """One output of a network.

    Attributes:
        name: Its name.
        shape: The shape of its y.
        form: Whether y is one-hot, a class number, or values.
        kind: What is predicted.
        numbers: The class number of each class, if y is one; empty: they are 0, 1, 2, ...
        classes: With several outputs, the number of classes of an output whose y is a class number; its target is one-hot.
    """

    name: str
    shape: tuple[int, ...]
    form: Form
    kind: str
    numbers: tuple[int, ...] = ()
    classes: int | None = None

    @property
    def width(self) -> int:
        """Return the number of values in a target."""
        return self.classes or math.prod(self.shape)

    def values(self, y: Mapping[str, Any], where: str) -> npt.NDArray[np.float64]:
        """Return its y as numbers that fit its kind, shape (width,).

        Raises:
            DataError: If it does not fit the kind.
        """
        numbers = _numbers(y[self.name], f"{where}: y")
        if numbers.shape != self.shape:
            wrong = f"its y has the shape {list(numbers.shape)}, others {list(self.shape)}"
            raise DataError(problem(where, wrong, fix="give all the same"))
        flat = np.asarray(numbers.ravel().astype(np.float64))
        if not np.isfinite(flat).all():
            fix = "fill what is missing, or leave the record out"
            raise DataError(problem(where, "its y is no finite number", got=flat.tolist(), fix=fix))
        if kind_data.of(self.kind).IS_LABELS and not np.isin(flat, (0, 1)).all():
            raise DataError(problem(where, "its y is not 0 and 1", got=flat.tolist(), fix="use 0 and 1"))
        if self.form == "number" and (flat[0] != int(flat[0]) or flat[0] < 0):
            raise DataError(problem(where, "its y is no class number", got=flat.tolist(), fix="count classes from 0"))
        zeros = np.sort(flat)[:-1]
        if self.form == "one_hot" and (np.abs(zeros).max(initial=0) > _ROUNDING or abs(flat.max() - 1) > _ROUNDING):
            raise DataError(problem(where, "its y is not one-hot", got=flat.tolist(), fix="give one 1 among zeros"))
        return flat

    def place(self, number: int, where: str) -> int:
        """Return the class index of a class number.

        Raises:
            DataError: If it is not the number of a class.
        """
        if not self.numbers:
            return number
        if number not in self.numbers:
            fix = f"the class numbers of training records are {listing(self.numbers)}"
            raise DataError(problem(where, "its y is a class number that no training record has", got=number, fix=fix))
        return self.numbers.index(number)

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for JSON; class numbers only if they are not 0, 1, 2, ..."""
        numbers: dict[str, Any] = {"numbers": list(self.numbers)} if self.numbers else {}
        numbers |= {} if self.classes is None else {"classes": self.classes}
        return {"name": self.name, "shape": list(self.shape), "form": self.form, "kind": self.kind, **numbers}

    def target(self, values: npt.NDArray[np.float64], where: str) -> npt.NDArray[np.float64]:
        """Return the target of one of several outputs for its y, shape (width,).

        Raises:
            DataError: If y is a class number beyond the classes.
        """
        if self.classes is None:
            return values
        if values[0] >= self.classes:
            wrong = f"its y of {self.name} is a class number beyond the {self.classes} classes"
            raise DataError(problem(where, wrong, got=int(values[0]), fix="count from 0, or give task.outputs"))
        return np.asarray(np.eye(self.classes)[int(values[0])], np.float64)


class PlainOutput(TypedDict):
    """An output in the form of `Output.as_plain`."""

    name: str
    shape: list[int]
    form: Form
    kind: str
    numbers: NotRequired[list[int]]
    classes: NotRequired[int | None]


class Plain(TypedDict):
    """The result of `Layout.as_plain`."""

    inputs: list[tuple[str, list[int]]]
    outputs: list[PlainOutput]
    weighted: bool


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the inputs in their order, and the outputs.

    With one output, its weight is the sample's; with several, the weights follow the inputs in the vector.

    Attributes:
        inputs: (name, shape) of each input.
        outputs: The outputs.
        weighted: Whether data records have weights.
    """

    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[Output, ...]
    weighted: bool

    @property
    def is_single(self) -> bool:
        """Return whether there is one output."""
        return len(self.outputs) == 1

    @property
    def width(self) -> int | None:
        """Return the number of values in a target; None: class numbers do not determine the number of classes."""
        is_open = self.is_single and self.outputs[0].form == "number"
        return None if is_open else sum(output.width for output in self.outputs)

    @property
    def tail(self) -> int:
        """Return the number of weights at the vector's end."""
        return 0 if self.is_single or not self.weighted else len(self.outputs)

    def vector(self, data_record: DataRecord, where: str) -> npt.NDArray[np.float32]:
        """Return the inputs of a data record as one vector, float32, followed by the weights of several outputs.

        Raises:
            DataError: If inputs differ in name or shape, or have non-finite numbers.
        """
        x = _parts(data_record, where, least=1)[0]
        if set(x) != {name for name, _ in self.inputs}:
            names = listing(name for name, _ in self.inputs)
            raise DataError(problem(where, f"has the inputs {listing(x)}, others {names}", fix="give all the same"))
        parts = []
        for name, shape in self.inputs:
            values = _numbers(x[name], f"{where}: input {name}")
            if values.shape != shape:
                wrong = f"its input {name} has the shape {list(values.shape)}, others {list(shape)}"
                raise DataError(problem(where, wrong, fix="let a transformer give all the same"))
            parts.append(values.ravel())
        if self.tail and len(data_record) > 1:
            parts.append(np.array([_weight(data_record, output.name, where) for output in self.outputs]))
        joined = np.concatenate(parts).astype(np.float32)
        if not np.isfinite(joined).all():
            raise DataError(problem(where, "has inputs that are no finite numbers", fix="fill what is missing"))
        return joined

    def y(self, data_record: DataRecord, where: str) -> Mapping[str, Any]:
        """Return the y of a data record, which must have the outputs.

        Raises:
            DataError: If it has others, or is not a data record with targets.
        """
        y = _parts(data_record, where, least=2)[1]
        if set(y) != {output.name for output in self.outputs}:
            names = listing(output.name for output in self.outputs)
            raise DataError(
                problem(where, f"its y has the outputs {listing(y)}, others {names}", fix="give all the same")
            )
        return y

    def target(self, data_record: DataRecord, where: str) -> int | tuple[float, ...]:
        """Return the target of a data record: a class number, or the concatenated numbers of all outputs.

        Raises:
            DataError: If it does not fit the kinds.
        """
        y = self.y(data_record, where)
        vectors = [output.values(y, where) for output in self.outputs]
        if self.is_single and kind_data.of(self.outputs[0].kind).IS_CLASS_NUMBER:
            output = self.outputs[0]
            return int(vectors[0].argmax()) if output.form == "one_hot" else output.place(int(vectors[0][0]), where)
        pairs = zip(self.outputs, vectors, strict=True)
        return tuple(np.concatenate([output.target(values, where) for output, values in pairs]).tolist())

    def with_classes(self, classes: Mapping[str, int]) -> Layout:
        """Return the layout with numbers of classes, by name, for those of several outputs whose y are class numbers."""
        return replace(
            self, outputs=tuple(replace(output, classes=classes.get(output.name)) for output in self.outputs)
        )

    @property
    def of_class_numbers(self) -> list[str]:
        """Return those of several outputs whose y are class numbers, whose numbers of classes come from the records."""
        return [] if self.is_single else [output.name for output in self.outputs if output.form == "number"]

    def counted(self, numbers: Sequence[int]) -> Layout:
        """Return the layout whose classes are these class numbers, in this order."""
        return replace(self, outputs=(replace(self.outputs[0], numbers=tuple(numbers)),))

    def weight(self, data_record: DataRecord, where: str) -> float:
        """Return the weight of a row; 1 if there are no weights, or several outputs with a weight each.

        Raises:
            DataError: If it is not a number >= 0.
        """
        return _weight(data_record, self.outputs[0].name, where) if self.is_single else 1.0

    def data_record(self, vector: npt.NDArray[Any], target: Any, weight: float) -> DataRecord:
        """Return the data record that a vector, a target and a weight come from.

        Args:
            vector: Shape (length,).
            target: A class number, or numbers.
            weight: The weight, with one output.
        """
        x, start = {}, 0
        for name, shape in self.inputs:
            size = math.prod(shape)
            x[name] = vector[start : start + size].reshape(shape).copy()
            start += size
        y, begin, flat = {}, 0, np.atleast_1d(np.asarray(target))
        for output in self.outputs:
            values = flat[begin : begin + output.width].astype(np.float32)
            if self.is_single and output.form == "one_hot":
                values = np.zeros(output.width, np.float32)
                values[int(flat[0])] = 1
            elif output.form == "number":
                number = int(flat[begin]) if output.classes is None else int(values.argmax())
                values = np.array([output.numbers[number] if output.numbers else number], np.int64)
            y[output.name] = values.reshape(output.shape)
            begin += output.width
        if not self.weighted:
            return (x, y)
        weights = vector[start:] if self.tail else [weight]
        return (
            x,
            y,
            {target_output.name: np.array(value) for target_output, value in zip(self.outputs, weights, strict=True)},
        )

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        inputs = [[name, list(shape)] for name, shape in self.inputs]
        outputs = [output.as_plain() for output in self.outputs]
        return {"inputs": inputs, "outputs": outputs, "weighted": self.weighted}

    @staticmethod
    def from_plain(plain: Any) -> Layout:
        """Return the layout that `as_plain` described.

        Raises:
            DataError: If it is not a layout.
        """
        try:
            stored.checked(Plain, plain)
        except TypeError as error:
            raise DataError(
                problem("layout", f"is none of named arrays ({error})", fix="create the task again")
            ) from error
        inputs = tuple((str(name), _sizes(shape)) for name, shape in plain["inputs"])
        outputs = tuple(
            Output(
                str(entry["name"]),
                _sizes(entry["shape"]),
                entry["form"],
                entry["kind"],
                _sizes(entry.get("numbers", ())),
                entry.get("classes"),
            )
            for entry in plain["outputs"]
        )
        return Layout(inputs, outputs, bool(plain["weighted"]))


def of(data_record: DataRecord, outputs: Sequence[tuple[str, str]], where: str) -> Layout:
    """Return the layout of a first data record, which all others must have.

    Args:
        data_record: The data record: (X, y) or (X, y, w).
        outputs: Name and kind of each output.
        where: The record's name in error messages.

    Raises:
        DataError: If it is not such a tuple, has other outputs, or inputs that are not numeric.
    """
    parts = _parts(data_record, where, least=2)
    if not parts[0]:
        raise DataError(problem(where, "has no inputs", fix="let X have an array for each input of the network"))
    names = [name for name, _ in outputs]
    if set(parts[1]) != set(names):
        fix = "let the loader's outputs be those of the configuration"
        wrong = f"its y has the outputs {listing(parts[1])}, the network {listing(names)}"
        raise DataError(problem(where, wrong, fix=fix))
    inputs = tuple((str(name), _numbers(value, f"{where}: input {name}").shape) for name, value in parts[0].items())
    entries = []
    for name, kind in outputs:
        shape = _numbers(parts[1][name], f"{where}: y").shape
        form: Form = "values"
        if kind_data.of(kind).IS_CLASS_NUMBER:
            form = "one_hot" if math.prod(shape) > 1 else "number"
        entries.append(Output(name, shape, form, kind))
    return Layout(inputs, tuple(entries), len(parts) == 3)


def _parts(data_record: Any, where: str, *, least: int) -> DataRecord:
    """Return the dictionaries of a data record.

    Raises:
        DataError: If it is not a tuple of at least `least` dictionaries.
    """
    parts = data_record if isinstance(data_record, tuple) else ()
    if not least <= len(parts) <= 3 or not all(isinstance(part, Mapping) for part in parts):
        wrong = "is no data record" if least < 2 else "is no data record to learn from"
        fix = "let it be a tuple of dictionaries, (X, y) or (X, y, w)" + (", to score (X,)" if least < 2 else "")
        raise DataError(problem(where, wrong, got=type(data_record).__name__, fix=fix))
    return parts


def _weight(data_record: DataRecord, output: str, where: str) -> float:
    if len(data_record) < 3 or output not in data_record[2]:
        return 1.0
    values = _numbers(data_record[2][output], f"{where}: w")
    if values.size != 1:
        fix = "give one number for each record; weights of single steps in time are not available"
        raise DataError(problem(where, "its w is no number", got=list(values.shape), fix=fix))
    number = float(values.ravel()[0])
    if not math.isfinite(number) or number < 0:
        raise DataError(problem(where, "its w is no number >= 0", got=number, fix="give such a number"))
    return number


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in shape)


def _numbers(value: Any, where: str) -> npt.NDArray[Any]:
    values = np.asarray(value)
    if values.dtype.kind not in "biuf":
        fix = "let the loader or a transformer make numbers of it"
        raise DataError(problem(where, "is no array of numbers", got=str(values.ravel()[:3].tolist()), fix=fix))
    return values
