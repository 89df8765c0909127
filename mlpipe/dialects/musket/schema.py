"""Schema of a Musket file: a rule for every key, all checked before anything is translated.

An invalid value is reported with its own key and removed from the input of the translation, so that the other mistakes of
the file are found in the same run. The translation checks dependencies between keys, and that names exist.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from mlpipe.dialects.rules import Block, Rule, either, fitting, flag, many, maybe, number, one_of, text, whole, word
from mlpipe.errors import printable

# Keys whose entries other keys refer to -> the error message for an unknown name.
_NAMED_IN = {
    "metrics": "nothing computes it",
    "final_metrics": "nothing computes it",
    "datasets": "there is no such data set",
    "declarations": "no function of the project's modules has this name",
}
# Keys with a string or a list of strings.
_LISTED = ("imports", "import_tasks", "run_tasks")
# Keys that map callbacks to their parameters.
_OF_CALLBACKS = re.compile(r"(^|\.)((extra_)?callbacks(\[\d+\])?|then)$")


def read(source: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration without invalid values, and a sentence for each removed value.

    Args:
        source: The experiment's configuration merged with common.yaml, with numeric strings converted to numbers.
    """
    wrong = _ROOT("", source)
    configuration: dict[str, Any] = _without_keys({key_of(sentence) for sentence in wrong}, "", source)
    # Some removed values are replaced by valid ones, so that keys that depend on them are not reported, too.
    if "architecture" in source and "architecture" not in configuration:
        configuration["architecture"] = "Unet" if "backbone" in configuration else "MobileNet"
    if "classes" in source and "classes" not in configuration:
        configuration["classes"] = (
            [2] * len(configuration["activation"]) if isinstance(configuration.get("activation"), list) else 2
        )
    if "activation" in source and "activation" not in configuration:
        sizes = configuration.get("classes")
        configuration["activation"] = (
            ["softmax"] * len(sizes) if isinstance(sizes, list) else "sigmoid" if sizes == 1 else "softmax"
        )
    return {
        name: [value] if name in _LISTED and isinstance(value, str) else value for name, value in configuration.items()
    }, wrong


def key_of(sentence: str) -> str:
    """Return the key at the start of a sentence about a file."""
    return sentence.partition(": ")[0]


def together(broken: list[str], ill_typed: list[str]) -> list[str]:
    """Join errors of formulas without a value and type errors, except the type errors that such formulas cause.

    Args:
        broken: A sentence for each such formula.
        ill_typed: The sentences of `read`.
    """
    keys = set(map(key_of, broken))
    return [*broken, *(sentence for sentence in ill_typed if key_of(sentence) not in keys)]


def _without_keys(gone: Collection[str], key: str, value: Any) -> Any:
    """Return a value without the entries at some keys, given as in error messages; names are strings."""

    def is_gone(inner: str) -> bool:
        return printable(inner) in gone

    if isinstance(value, Mapping):
        dotted = {name: f"{key}.{name}" if key else str(name) for name in value}
        # A callback stays without its parameters, so that it is not reported as missing.
        return {
            str(name): None if is_gone(dotted[name]) else _without_keys(gone, dotted[name], item)
            for name, item in value.items()
            if not is_gone(dotted[name]) or (_OF_CALLBACKS.search(key) and str(name).lower() in _BY_NAME)
        }
    if not isinstance(value, list):
        return value
    places = [f"{key}[{number}]" for number in range(len(value))]
    # The positions of stages matter.
    if key == "stages":
        return [
            {"epochs": 1} if is_gone(at) else _without_keys(gone, at, item)
            for at, item in zip(places, value, strict=True)
        ]
    return [_without_keys(gone, at, item) for at, item in zip(places, value, strict=True) if not is_gone(at)]


def without_consequences(sentences: list[str], problems: list[str]) -> list[str]:
    """Return the problems of a translation without those that only follow from removed values.

    Args:
        sentences: The problems.
        problems: The sentences of `read`.
    """
    gone = [key_of(problem) for problem in problems]
    lost = [subject for key, subject in _NAMED_IN.items() if any(re.split(r"[.\[]", place)[0] == key for place in gone)]

    def follows(sentence: str) -> bool:
        key, _, rest = sentence.partition(": ")
        return any(place == key or place.startswith((f"{key}.", f"{key}[")) for place in gone) or any(
            rest.startswith(subject) for subject in lost
        )

    return [problem for problem in sentences if not follows(problem)]


def _count(least: int, most: int | None = None) -> Rule:
    """Accept an integer that is written as one."""
    return whole(least, most, is_written_so=True)


_WORDY = fitting("0, 1 or 2", lambda value: value in (0, 1, 2) or isinstance(value, bool))
_TEXTS = many(text, "text or a list of texts")
_CALLS = Block(is_open=True, expected="a function with its arguments, for example {getTrain: [false]}")
_SET = either("the name of a data set or a function with its arguments", text, _CALLS)
_MEASURED = Block(others=maybe(Block(optional={"for_validation": flag})))


def _text_or_texts(key: str, value: Any) -> list[str]:
    return [] if isinstance(value, str) else _TEXTS(key, value)


def _metrics(key: str, value: Any) -> list[str]:
    """Accept names, some of them with options."""

    def entry(key: str, value: Any) -> list[str]:
        return (_MEASURED if isinstance(value, Mapping) else text)(key, value)

    return [] if isinstance(value, str) else many(entry, "the name of a metric or a list of such")(key, value)


_WATCHING: dict[str, Rule] = {"monitor": text, "mode": word("auto", "min", "max"), "verbose": _WORDY}
_PLATEAU: dict[str, Rule] = {
    **_WATCHING,
    "factor": number(above=0, below=1),
    "patience": _count(0),
    **dict.fromkeys(("min_delta", "epsilon"), number(least=0)),
    "cooldown": _count(0),
    "min_lr": number(least=0),
}
_CURVES = ("linear", "const", "sin", "sin+", "sin-", "cos", "cos+", "cos-")
_STYLE = either(f"{', '.join(_CURVES)} or a number > 0", one_of(*_CURVES), number(above=0))


def _next_callback(key: str, value: Any) -> list[str]:
    """Accept the callback after a ramp: its name, or the parameters of another ramp."""
    if isinstance(value, Mapping) and len(value) == 1 and str(next(iter(value))).lower() in _BY_NAME:
        return _callback_map(key, value)
    return Block(optional=_CALLBACKS["LRVariator"], is_open=True, expected="a callback with its parameters")(key, value)


# Parameters of each callback; the translation reports unknown callbacks.
_CALLBACKS: dict[str, dict[str, Rule]] = {
    "EarlyStopping": {
        **_WATCHING,
        "patience": _count(0),
        "min_delta": number(least=0),
        "baseline": maybe(number()),
        "restore_best_weights": flag,
    },
    "ReduceLROnPlateau": _PLATEAU,
    "CyclicLR": {
        "base_lr": number(least=0),
        "max_lr": number(above=0),
        "step_size": _count(1),
        "mode": text,
        "gamma": number(above=0),
    },
    "LRVariator": {
        "fromVal": maybe(number(least=0)),
        "toVal": number(least=0),
        "style": _STYLE,
        "absSize": maybe(_count(1)),
        "relSize": maybe(number(above=0)),
        "periodEpochs": maybe(number(above=0)),
        "periodSteps": maybe(_count(1)),
        "then": maybe(_next_callback),
    },
    "TensorBoard": {
        "log_dir": text,
        "histogram_freq": _count(0),
        "batch_size": _count(1),
        **dict.fromkeys(("write_graph", "write_grads", "write_images"), flag),
        "embeddings_freq": _count(0),
        "embeddings_layer_names": maybe(many(text, "a list of names")),
        "embeddings_metadata": maybe(either("a file or a map from layers to files", text, Block(others=text))),
        "update_freq": either("epoch, batch or a number of images", word("epoch", "batch"), _count(1)),
    },
    **{name: {} for name in ("TerminateOnNaN", "ModelCheckpoint", "CSVLogger", "History", "ProgbarLogger")},
}
_BY_NAME = {name.lower(): name for name in _CALLBACKS}


def _callback_map(key: str, value: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, parameters in value.items():
        if known := _BY_NAME.get(str(name).lower()):
            rule = Block(optional=_CALLBACKS[known], is_open=True, expected="a map of its parameters")
            problems += maybe(rule)(f"{key}.{name}", parameters)
    return problems


def _callbacks(key: str, value: Any) -> list[str]:
    """Accept a map of callbacks, or a list of maps and names."""

    def entry(key: str, value: Any) -> list[str]:
        if isinstance(value, Mapping):
            return _callback_map(key, value)
        return fitting("a callback with its parameters", lambda item: isinstance(item, str))(key, value)

    if isinstance(value, Mapping):
        return _callback_map(key, value)
    return many(entry, "a map of callbacks, for example {EarlyStopping: {patience: 3}}")(key, value)


_LOSS = maybe(_text_or_texts)
_STAGE = Block(
    optional={
        "epochs": _count(1),
        "lr": maybe(number(above=0)),
        "loss": _LOSS,
        "callbacks": maybe(_callbacks),
        "extra_callbacks": maybe(_callbacks),
        "initial_weights": maybe(text),
        **dict.fromkeys(("unfreeze_encoder", "freeze_encoder", "logAll"), flag),
    },
    is_open=True,
    expected="a mapping, for example {epochs: 10}",
)
_SHAPE = many(_count(1, 8192), "[height, width, channels]")
_OPERATIONS = fitting("a map of operations", lambda value: isinstance(value, Mapping | list))
_DECLARED = either(
    "a chain of functions",
    text,
    many(fitting("a function", lambda value: isinstance(value, str | Mapping)), "a chain"),
    Block(optional={"parameters": maybe(many(text, "a list of names"))}, is_open=True),
)
_FUNCTION = either("the name of a function", text, Block(others=maybe(Block(is_open=True))))
_STEP = fitting("a function with its arguments", lambda value: isinstance(value, str | Mapping))


def _data(key: str, value: Any) -> list[str]:
    """Accept `dataset`: a data set, or one for each part of the training."""
    is_parts = isinstance(value, Mapping) and value and set(map(str, value)) <= {"train", "validation", "holdout"}
    return (Block(others=_SET) if is_parts else _SET)(key, value)


_HEADS_SIZES = either(
    "a whole number >= 1, or a list of one for each head", _count(1), many(_count(1), "a list of whole numbers")
)
_ROOT = Block(
    is_open=True,
    optional={
        **dict.fromkeys(("architecture", "optimizer", "datasets_path"), text),
        **dict.fromkeys(("weights", "encoder_weights", "pooling", "backbone", "add_to_train"), maybe(text)),
        **dict.fromkeys(("primary_metric", "experiment_result"), maybe(text)),
        "primary_metric_mode": word("auto", "min", "max"),
        "classes": _HEADS_SIZES,
        "activation": either("text or a list of texts", text, many(maybe(text), "a list")),
        "loss": _LOSS,
        **dict.fromkeys(("metrics", "final_metrics"), maybe(_metrics)),
        **dict.fromkeys(("shape", "input_shape"), _SHAPE),
        "dropout": number(least=0, below=1),
        **dict.fromkeys(("batch", "inference_batch", "folds_count", "num_seeds", "max_evals"), _count(1)),
        **dict.fromkeys(("crops", "maxEpochSize"), maybe(_count(1))),
        "lr": maybe(number(above=0)),
        **dict.fromkeys(("clipnorm", "clipvalue"), maybe(number(above=0))),
        "validationSplit": number(above=0, below=1),
        "testSplit": number(least=0, below=1),
        **dict.fromkeys(("testSplitSeed", "random_state"), _count(0)),
        **dict.fromkeys(
            ("copyWeights", "freeze_encoder", "manualResize", "stratified", "noTrain", "bgr", "dumpPredictionsToCSV",
             "showDataExamples", "separatePredictions", "needsSessionForPrediction", "compressPredictionsAsInts", "saveLast"),
            flag,
        ),
        "callbacks": maybe(_callbacks),
        "stages": maybe(many(_STAGE, "a list of stages, for example [{epochs: 10}]")),
        **dict.fromkeys(("augmentation", "transforms"), maybe(_OPERATIONS)),
        "imgaug_lists": word("range", "choice"),
        "dataset": maybe(_data),
        "datasets": maybe(Block(others=_SET)),
        "holdout": _SET,
        "extra_train_data": maybe(_SET),
        "dataset_augmenter": maybe(
            Block(optional={"name": text}, is_open=True, expected="a mapping, for example {name: TheAugmenter}")
        ),
        **dict.fromkeys(("groupFunc", "pretrain_transform"), maybe(_FUNCTION)),
        "imports": maybe(_text_or_texts),
        "declarations": maybe(Block(others=maybe(_DECLARED))),
        "preprocessing": maybe(either("a chain of functions", text, Block(is_open=True), many(_STEP, "a list"))),
        "testTimeAugmentation": maybe(either("text, true or false", text, flag)),
        "tasks": maybe(fitting("a map or a list of tasks", lambda value: isinstance(value, Mapping | list))),
        **dict.fromkeys(("import_tasks", "run_tasks"), maybe(_text_or_texts)),
        "verbose": _WORDY,
        "gpus": _count(0),
        "compressScale": maybe(number()),
        "rate": maybe(number()),
        "hyperparameters": maybe(fitting("a map of names", lambda value: isinstance(value, Mapping | list))),
    },
)  # fmt: skip
