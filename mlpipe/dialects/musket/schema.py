"""Schema of a Musket file: the type of every key, checked in one reading before anything is translated.

A value that cannot be meant is named by its own key, and left out of what is translated, so that the other mistakes of the
file are found in the same go. What depends on several keys, and names that must exist, the translation checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe.errors import problem

# Stands for a value that is left out.
_NOTHING = object()
# Keys that hold what others name -> what is said of a name that is not there.
_NAMED_IN = {
    "datasets": "there is no such data set",
    "declarations": "no function of the project's modules has this name",
}
# (dotted key, value, what is wrong so far) to the value as it is translated.
Reader = Callable[[str, Any, list[str]], Any]


def read(source: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A configuration without what cannot be meant, and a sentence for everything that was left out.

    Args:
        source: The experiment's configuration, common.yaml merged in, texts that are numbers as numbers.
    """
    wrong: list[str] = []
    found = _ROOT("", source, wrong)
    # In place of some that is left out stands one that fits, so that what depends on it is not wrong, too.
    if "architecture" in source and "architecture" not in found:
        found["architecture"] = "Unet" if "backbone" in found else "MobileNet"
    if "classes" in source and "classes" not in found:
        found["classes"] = [2] * len(found["activation"]) if isinstance(found.get("activation"), list) else 2
    if "activation" in source and "activation" not in found:
        sizes = found.get("classes")
        found["activation"] = (
            ["softmax"] * len(sizes) if isinstance(sizes, list) else "sigmoid" if sizes == 1 else "softmax"
        )
    return found, wrong


def follow_from(sentences: list[str], problems: list[str]) -> list[str]:
    """The problems of a translation without those that only follow from what was left out.

    Args:
        sentences: The problems.
        problems: What `read` found.
    """
    gone = [one.partition(": ")[0] for one in problems]
    lost = [what for key, what in _NAMED_IN.items() if any(one.partition(".")[0] == key for one in gone)]

    def follows(sentence: str) -> bool:
        key, _, told = sentence.partition(": ")
        return any(one == key or one.startswith((f"{key}.", f"{key}[")) for one in gone) or any(
            told.startswith(what) for what in lost
        )

    return [one for one in sentences if not follows(one)]


def _refused(problems: list[str], key: str, expected: str, value: Any, fix: str = "give it such a value") -> Any:
    problems.append(problem(key, f"must be {expected}", got="null" if value is None else value, fix=fix))
    return _NOTHING


def _one(expected: str, fits: Callable[[Any], bool], fix: str = "give it such a value") -> Reader:
    """A value that a test lets pass."""
    return lambda key, value, wrong: value if fits(value) else _refused(wrong, key, expected, value, fix)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(*, above: float | None = None, least: float | None = None, below: float | None = None) -> Reader:
    bounds = {">": above, ">=": least, "<": below}
    wanted = " and".join(f" {sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)

    def fits(value: Any) -> bool:
        inside = _is_number(value) and (above is None or value > above) and (least is None or value >= least)
        return inside and (below is None or value < below)

    return _one(f"a number{wanted}", fits)


def _whole(least: int, most: int | None = None) -> Reader:
    def fits(value: Any) -> bool:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and value >= least and (most is None or value <= most)

    return _one(f"a whole number >= {least}" + ("" if most is None else f" and <= {most}"), fits)


def _word(*options: str) -> Reader:
    fix = "choose one of them"
    return _one(" or ".join(options), lambda value: isinstance(value, str) and value.lower() in options, fix)


def _maybe(reader: Reader) -> Reader:
    """Null, which says nothing, or a value."""
    return lambda key, value, wrong: None if value is None else reader(key, value, wrong)


def _either(expected: str, *readers: Reader) -> Reader:
    """A value that one of several readers takes."""

    def read(key: str, value: Any, problems: list[str]) -> Any:
        for reader in readers:
            unheard: list[str] = []
            found = reader(key, value, unheard)
            if not unheard:
                return found
        return _refused(problems, key, expected, value)

    return read


def _each(item: Reader, expected: str, instead: Any = _NOTHING) -> Reader:
    """A list; a wrong entry has something in its place where places count."""

    def read(key: str, value: Any, problems: list[str]) -> Any:
        if not isinstance(value, list):
            return _refused(problems, key, expected, value)
        found = [item(f"{key}[{number}]", one, problems) for number, one in enumerate(value)]
        return [instead if one is _NOTHING else one for one in found if one is not _NOTHING or instead is not _NOTHING]

    return read


@dataclass(frozen=True)
class _Keys:
    """A mapping: known keys have their readers, `others` that of all the rest."""

    known: Mapping[str, Reader] = field(default_factory=dict)
    others: Reader | None = None
    wanted: str = "a mapping"

    def __call__(self, key: str, value: Any, problems: list[str]) -> Any:
        if not isinstance(value, Mapping):
            return _refused(problems, key, self.wanted, value)
        found = {}
        for name, one in value.items():
            reader = self.known.get(str(name), self.others)
            read = one if reader is None else reader(f"{key}.{name}" if key else str(name), one, problems)
            if read is not _NOTHING:
                found[str(name)] = read
        return found


_FLAG = _one("true or false", lambda value: isinstance(value, bool), "write it without quotes")
_TEXT = _one("text", lambda value: isinstance(value, str))
_WORDY = _one("0, 1 or 2", lambda value: value in (0, 1, 2) or isinstance(value, bool))
_TEXTS = _each(_TEXT, "text or a list of texts")


def _text_or_texts(key: str, value: Any, problems: list[str]) -> Any:
    return value if isinstance(value, str) else _TEXTS(key, value, problems)


_CALLS = _Keys(wanted="a function with its arguments, for example {getTrain: [false]}")
_SET = _either("the name of a data set or a function with its arguments", _TEXT, _CALLS)
_MEASURED = _Keys(others=_maybe(_Keys({"for_validation": _FLAG})))


def _metrics(key: str, value: Any, problems: list[str]) -> Any:
    """Names, some perhaps with options."""
    if isinstance(value, str):
        return value

    def entry(key: str, value: Any, problems: list[str]) -> Any:
        if isinstance(value, Mapping):
            return _MEASURED(key, value, problems)
        return _TEXT(key, value, problems)

    return _each(entry, "the name of a metric or a list of such")(key, value, problems)


_WATCHING: dict[str, Reader] = {"monitor": _TEXT, "mode": _word("auto", "min", "max"), "verbose": _WORDY}
_PLATEAU: dict[str, Reader] = {
    **_WATCHING,
    "factor": _number(above=0, below=1),
    "patience": _whole(0),
    "min_delta": _number(least=0),
    "cooldown": _whole(0),
    "min_lr": _number(least=0),
}
_CURVES = ("linear", "const", "sin", "sin+", "sin-", "cos", "cos+", "cos-")
_STYLE = _either(f"{', '.join(_CURVES)} or a number > 0", _one("", lambda value: value in _CURVES), _number(above=0))


def _then(key: str, value: Any, problems: list[str]) -> Any:
    """The callback that follows a ramp: by its name, or the parameters of another ramp."""
    if isinstance(value, Mapping) and len(value) == 1 and str(next(iter(value))).lower() in _BY_NAME:
        return _callback_map(key, value, problems)
    return _Keys(_CALLBACKS["LRVariator"], wanted="a callback with its parameters")(key, value, problems)


# Each callback's parameters; which others there are not, the translation says.
_CALLBACKS: dict[str, dict[str, Reader]] = {
    "EarlyStopping": {**_WATCHING, "patience": _whole(0), "min_delta": _number(least=0)},
    "ReduceLROnPlateau": _PLATEAU,
    "CyclicLR": {
        "base_lr": _number(least=0),
        "max_lr": _number(above=0),
        "step_size": _whole(1),
        "mode": _TEXT,
        "gamma": _number(above=0),
    },
    "LRVariator": {
        "fromVal": _maybe(_number(least=0)),
        "toVal": _number(least=0),
        "style": _STYLE,
        "absSize": _maybe(_whole(1)),
        "relSize": _maybe(_number(above=0)),
        "periodEpochs": _maybe(_number(above=0)),
        "periodSteps": _maybe(_whole(1)),
        "then": _maybe(_then),
    },
    "TensorBoard": {
        "log_dir": _TEXT,
        "histogram_freq": _whole(0),
        "batch_size": _whole(1),
        **dict.fromkeys(("write_graph", "write_grads", "write_images"), _FLAG),
        "embeddings_freq": _whole(0),
        "embeddings_layer_names": _maybe(_each(_TEXT, "a list of names")),
        "embeddings_metadata": _maybe(_either("a file or a map from layers to files", _TEXT, _Keys(others=_TEXT))),
        "update_freq": _either("epoch, batch or a number of images", _word("epoch", "batch"), _whole(1)),
    },
    "TerminateOnNaN": {},
    "ModelCheckpoint": {},
}
_BY_NAME = {name.lower(): name for name in _CALLBACKS}


def _callback_map(key: str, value: Any, problems: list[str]) -> Any:
    found = {}
    for name, parameters in value.items():
        full = _BY_NAME.get(str(name).lower())
        keys = _Keys(_CALLBACKS.get(full or "", {}), wanted="a map of its parameters")
        read = parameters if full is None else _maybe(keys)(f"{key}.{name}", parameters, problems)
        # Without its parameters, so that what is watched and turned is not known to be missing.
        found[str(name)] = None if read is _NOTHING else read
    return found


def _callbacks(key: str, value: Any, problems: list[str]) -> Any:
    """A map of callbacks, or a list of maps and names."""
    if isinstance(value, Mapping):
        return _callback_map(key, value, problems)

    def entry(key: str, value: Any, problems: list[str]) -> Any:
        if isinstance(value, Mapping):
            return _callback_map(key, value, problems)
        return _one("a callback with its parameters", lambda found: isinstance(found, str))(key, value, problems)

    return _each(entry, "a map of callbacks, for example {EarlyStopping: {patience: 3}}")(key, value, problems)


_LOSS = _maybe(_text_or_texts)
_STAGE = _Keys(
    {
        "epochs": _whole(1),
        "lr": _maybe(_number(above=0)),
        "loss": _LOSS,
        "callbacks": _maybe(_callbacks),
        "extra_callbacks": _maybe(_callbacks),
        "initial_weights": _maybe(_TEXT),
        **dict.fromkeys(("unfreeze_encoder", "freeze_encoder", "logAll"), _FLAG),
    },
    wanted="a mapping, for example {epochs: 10}",
)
_SHAPE = _each(_whole(1, 8192), "[height, width, channels]")
_OPERATIONS = _one("a map of operations", lambda value: isinstance(value, Mapping | list))
_DECLARED = _either(
    "a chain of functions",
    _TEXT,
    _each(_one("a function", lambda value: isinstance(value, str | Mapping)), "a chain"),
    _Keys({"parameters": _maybe(_each(_TEXT, "a list of names"))}),
)
_STEP = _one("a function with its arguments", lambda value: isinstance(value, str | Mapping))


def _data(key: str, value: Any, problems: list[str]) -> Any:
    """`dataset`: a set, or those of the parts of training."""
    if isinstance(value, Mapping) and value and set(map(str, value)) <= {"train", "validation", "holdout"}:
        return _Keys(others=_SET)(key, value, problems)
    return _SET(key, value, problems)


def _imports(key: str, value: Any, problems: list[str]) -> Any:
    return [value] if isinstance(value, str) else _TEXTS(key, value, problems)


_HEADS_SIZES = _either(
    "a whole number >= 1, or a list of one for each head", _whole(1), _each(_whole(1), "a list of whole numbers")
)
_ROOT = _Keys(
    {
        **dict.fromkeys(("architecture", "optimizer", "datasets_path"), _TEXT),
        **dict.fromkeys(("weights", "encoder_weights", "pooling", "backbone", "add_to_train"), _maybe(_TEXT)),
        **dict.fromkeys(("primary_metric", "experiment_result"), _maybe(_TEXT)),
        "primary_metric_mode": _word("auto", "min", "max"),
        "classes": _HEADS_SIZES,
        "activation": _either("text or a list of texts", _TEXT, _each(_maybe(_TEXT), "a list")),
        "loss": _LOSS,
        **dict.fromkeys(("metrics", "final_metrics"), _maybe(_metrics)),
        **dict.fromkeys(("shape", "input_shape"), _SHAPE),
        "dropout": _number(least=0, below=1),
        **dict.fromkeys(("batch", "inference_batch", "folds_count", "num_seeds", "max_evals"), _whole(1)),
        **dict.fromkeys(("crops", "maxEpochSize"), _maybe(_whole(1))),
        "lr": _maybe(_number(above=0)),
        **dict.fromkeys(("clipnorm", "clipvalue"), _maybe(_number(above=0))),
        "validationSplit": _number(above=0, below=1),
        "testSplit": _number(least=0, below=1),
        **dict.fromkeys(("testSplitSeed", "random_state"), _whole(0)),
        **dict.fromkeys(
            ("copyWeights", "freeze_encoder", "manualResize", "stratified", "noTrain", "bgr", "dumpPredictionsToCSV",
             "showDataExamples", "separatePredictions", "needsSessionForPrediction", "compressPredictionsAsInts", "saveLast"),
            _FLAG,
        ),
        "callbacks": _maybe(_callbacks),
        "stages": _maybe(_each(_STAGE, "a list of stages, for example [{epochs: 10}]", instead={"epochs": 1})),
        **dict.fromkeys(("augmentation", "transforms"), _maybe(_OPERATIONS)),
        "imgaug_lists": _word("range", "choice"),
        "dataset": _maybe(_data),
        "datasets": _maybe(_Keys(others=_SET)),
        "holdout": _SET,
        "extra_train_data": _maybe(_SET),
        "dataset_augmenter": _maybe(_Keys({"name": _TEXT}, wanted="a mapping, for example {name: TheAugmenter}")),
        **dict.fromkeys(
            ("groupFunc", "pretrain_transform"), _maybe(_either("the name of a function", _TEXT, _Keys(others=_maybe(_Keys()))))
        ),
        "imports": _maybe(_imports),
        "declarations": _maybe(_Keys(others=_maybe(_DECLARED))),
        "preprocessing": _maybe(_either("a chain of functions", _TEXT, _Keys(), _each(_STEP, "a list"))),
        "testTimeAugmentation": _maybe(_either("text, true or false", _TEXT, _FLAG)),
        "tasks": _maybe(_one("a map or a list of tasks", lambda value: isinstance(value, Mapping | list))),
        **dict.fromkeys(("import_tasks", "run_tasks"), _maybe(_imports)),
        "verbose": _WORDY,
        "gpus": _whole(0),
        "compressScale": _maybe(_number()),
        "rate": _maybe(_number()),
        "hyperparameters": _maybe(_one("a map of names", lambda value: isinstance(value, Mapping | list))),
    }
)  # fmt: skip
