"""Losses, composites of them and metrics, by Musket's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects import names
from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.musket.sections import heads, masks
from mlpipe.dialects.musket.state import Work
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# Splits at `+`, but not inside an exponent such as 1e+1.
_TERMS = re.compile(r"(?<![\d.][eE])\+")
_LESS_IS_BETTER = re.compile(r"(^|_)(loss|nll|mse|mae)$|^(out\d+_)?loss_")
_PLAIN = {"classification": "ce", "multilabel": "bce", "regression": "mse"}


def component(work: Work, key: str, given: Any) -> dict[str, Any] | None:
    """The native loss that a name or a composite such as `binary_crossentropy+0.1*dice_loss` means, or a list of them.

    Args:
        work: Notes what is wrong.
        key: Where it stands in the source.
        given: The name or composite; a list of one for each head; None: the usual one of the activation.
    """
    if isinstance(given, list) and len(given) not in (1, len(work.heads)):
        fix = "give loss, classes and activation one length"
        work.refuse(key, f"there are {len(work.heads)} heads", got=given, fix=fix)
        return None
    if work.has_parts:
        return _of_parts(work, key, given)
    text = given[0] if isinstance(given, list) else given
    if text is None:
        return {"_target_": path_of("loss", "auto")}
    expression = _expression(work, key, str(text), work.kind)
    if expression is None:
        return None
    if work.is_of_masks:
        return masks.component(expression)
    if work.are_joined:
        # A Keras network adds the losses of its heads.
        return {"_target_": path_of("loss", "composite"), "expression": f"{len(work.heads)}*{expression}"}
    if any(work.is_own(term.rpartition("*")[2]) for term in expression.split("+")):
        return {"_target_": path_of("loss", "own"), "expression": expression, **work.code()}
    if expression == _PLAIN[work.kind] or (work.kind == "regression" and expression == "squared_error"):
        return {"_target_": path_of("loss", _PLAIN[work.kind])}
    return {"_target_": path_of("loss", "composite"), "expression": expression}


def _of_parts(work: Work, key: str, given: Any) -> dict[str, Any] | None:
    """A loss for each head; one that is given is that of all."""
    texts = given if isinstance(given, list) else [given]
    texts = texts * len(work.heads) if len(texts) == 1 else texts
    found: list[str] = []
    for text, (activation, _) in zip(texts, work.heads, strict=True):
        expression = "auto" if text is None else _expression(work, key, str(text), heads.kind_of(activation))
        if expression is None:
            return None
        found.append(expression)
    own = any(work.is_own(term.rpartition("*")[2]) for expression in found for term in expression.split("+"))
    return {
        "_target_": path_of("loss", "heads"),
        "parts": heads.parts(work, found),
        **(work.code() if own else {}),
    }


def _expression(work: Work, key: str, text: str, kind: str) -> str | None:
    terms = [_term(work, key, part.strip(), kind) for part in _TERMS.split(text)]
    return None if None in terms else "+".join(str(term) for term in terms)


def _term(work: Work, key: str, text: str, kind: str) -> str | None:
    factors = [factor.strip() for factor in text.split("*")]
    words = [factor for factor in factors if not _NUMBER.fullmatch(factor)]
    weight = 1.0
    for factor in factors:
        weight *= float(factor) if _NUMBER.fullmatch(factor) else 1.0
    if len(words) != 1:
        fix = "write terms such as 0.1*dice_loss, joined by +"
        work.refuse(key, "each term needs exactly one loss", got=text, fix=fix)
        return None
    name = _native_term(work, key, words[0], kind)
    return None if name is None else name if weight == 1.0 else f"{weight:g}*{name}"


def _native_term(work: Work, key: str, word: str, kind: str) -> str | None:
    if work.is_of_masks:
        return masks.native_term(work, key, word)
    if work.is_own(word):
        return word
    known = {name.lower(): term for name, term in names.LOSSES.items()}
    term = known.get(word.lower())
    if term is None:
        fix = did_you_mean(
            word, [*work.own_names(), *names.LOSSES], otherwise=f"known: {listing(names.LOSSES, most=40)}"
        )
        work.refuse(key, "unknown loss", got=word, fix=fix)
    elif term == "bce" and kind == "classification":
        note = "on softmax each class counts as a yes-or-no question of its own; categorical_crossentropy is usual"
        work.say(key, "lint", note=note)
        return "elementwise_bce"
    elif term == "ce" and kind == "multilabel" and not word.lower().startswith("sparse"):
        note = "after a sigmoid the probabilities are divided by their sum, as Keras does; softmax is usual"
        work.say(key, "lint", note=note)
        return "normalized_ce"
    elif term in ("ce", "bce") and kind != "classification" and (term == "ce" or kind == "regression"):
        fix = "use activation: softmax" if term == "ce" else "use activation: sigmoid"
        work.refuse(key, f"{word} needs probabilities of another activation than {work.activation}", fix=fix)
        return None
    return term


def metric(work: Work, key: str, name: str) -> str | None:
    """The native name of a metric that is computed on validation images; notes a problem when there is none.

    Args:
        work: Notes what is wrong.
        key: Where it stands in the source.
        name: Musket's name, without `val_` and `_holdout`.
    """
    if name == "loss":
        return "loss"
    if work.is_of_masks:
        return masks.metric(work, key, name)
    table = names.METRICS[work.kind]
    if (number := heads.number_of(name)) is not None and work.is_own(heads.plain(name)) and len(work.heads) > 1:
        if not 0 <= number < len(work.heads):
            work.refuse(key, f"there are {len(work.heads)} heads", got=name, fix="heads are out0, out1, ...")
            return None
        work.measure(heads.plain(name))
        return f"out{number}_{heads.plain(name)}"
    if work.is_own(name):
        work.measure(name)
        return name
    if name.lower() == "binary_accuracy" and "softmax" in {one for one, _ in work.heads}:
        note = (
            "on softmax binary_accuracy counts each class as an answer of its own; categorical_accuracy counts images"
        )
        if not any(line.note == note for line in work.lines):
            work.say(key, "lint", note=note)
    if work.has_parts:
        return heads.metric(work, key, name)
    native = table.get(name.lower())
    if native is None:
        known = [*work.own_names(), *table]
        fix = did_you_mean(name, known, otherwise=f"known with {work.activation}: {listing(table, most=20)}")
        work.refuse(key, "unknown metric", got=name, fix=fix)
    return native


def bare(work: Work, key: str, name: str) -> str:
    """A metric's name without its affixes; both together are a mistake."""
    if name.startswith("val_") and name.endswith("_holdout"):
        work.refuse(key, "has both val_ and _holdout", got=name, fix="keep one of them")
    return name.removeprefix("val_").removesuffix("_holdout")


def translate_losses(work: Work) -> None:
    """The root's `loss`; where it is missing, the usual one of the activation."""
    given = work.source.get("loss")
    found = component(work, "loss", given)
    if found is None:
        return
    option = found["_target_"].rpartition(".")[2]
    work.options["loss"] = option
    for name, value in found.items():
        if name != "_target_":
            work.set(f"loss.{name}", value)
    if given is None:
        work.say("loss", "same", "loss", "missing, so the usual one of the activation")
    elif option == "own":
        note = "functions of the modules are given torch's tensors: y_true and the probabilities y_pred"
        work.say("loss", "differs", "loss", note)
    elif option == "heads":
        work.say("loss", "same", "loss.parts")
    elif work.is_of_masks:
        if not any(line.key == "loss" for line in work.lines):
            work.say("loss", "same", "loss")
    elif work.kind == "regression":
        work.say("loss", "differs", "loss", "computed on targets in standard deviations of the training images")
    else:
        work.say("loss", "same", "loss")


def translate_metrics(work: Work) -> None:
    """`metrics`, `final_metrics`, `primary_metric`, its mode, and `experiment_result`."""
    train = _listed(work, "metrics")
    final = _listed(work, "final_metrics")
    train += [name for name in final if name in _for_validation(work.source.get("final_metrics"))]
    if (result := work.source.get("experiment_result")) is not None:
        name = metric(work, "experiment_result", bare(work, "experiment_result", str(result)))
        final += [name] if name else []
        work.say("experiment_result", "same", "metrics.final", "mml fit reports it")
    primary = work.source.get("primary_metric")
    key = "primary_metric"
    usual = "val_loss" if work.has_parts else "val_binary_accuracy"
    monitored = monitor(work, key, str(primary) if primary is not None else usual, given=bool(primary))
    if primary is not None and not str(primary).startswith("val_"):
        work.say(key, "lint", "metrics.monitor", f"taken as val_{primary}: a log has no other key to choose epochs by")
    if monitored is not None:
        work.say(key, "same", work.set("metrics.monitor", monitored))
        work.set("metrics.direction", direction(work, "primary_metric_mode", monitored))
        if "primary_metric_mode" in work.source:
            work.say("primary_metric_mode", "same", "metrics.direction")
        train += [monitored.removeprefix("val/")]
    if work.has_parts:
        # Those of the heads are with their losses.
        own = {
            *work.own_metrics,
            *(f"out{number}_{name}" for number in range(len(work.heads)) for name in work.own_metrics),
        }
        train, final = ([name for name in given if name in own] for given in (train, final))
        work.set("metrics.train", list(dict.fromkeys(train)))
        work.set("metrics.final", list(dict.fromkeys([*train, *final])))
        return
    work.set("metrics.train", [name for name in dict.fromkeys(train) if name != "loss"] or "auto")
    work.set("metrics.final", [name for name in dict.fromkeys([*train, *final]) if name != "loss"] or "auto")


def direction(work: Work, key: str, monitored: str, given: Any = None) -> str:
    """`min` or `max` as the source says; `auto` is the metric's own, with lint where Keras would have gone by its name.

    Args:
        work: The translation.
        key: The key of the mode; the root's is looked up.
        monitored: The native monitor.
        given: The mode as a callback says it.
    """
    mode = str(given if given is not None else work.source.get(key, "auto")).lower()
    name = monitored.removeprefix("val/")
    if name in work.own_metrics or (len(work.heads) > 1 and heads.plain(name) in work.own_metrics):
        return _direction_of_own(work, key, name, mode)
    natural = "min" if _LESS_IS_BETTER.search(name) else "max"
    if mode not in ("auto", "min", "max"):
        work.refuse(key, "must be auto, min or max", got=mode)
        return natural
    keras = "max" if "acc" in name else "min"
    if mode == "auto":
        if keras != natural:
            note = f"auto: {name} is better when it is larger; Keras goes by the name and would have minimised it"
            work.say(key, "lint", note=note)
        return natural
    if mode != natural:
        work.say(key, "lint", note=f"{mode} is the wrong way for {name}; it is done as the file says")
    return mode


def _direction_of_own(work: Work, key: str, name: str, mode: str) -> str:
    """The way that is better for a function of the project's own: as the file says, else by its name, as Keras goes."""
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        work.refuse(key, "must be auto, min or max", got=mode)
    by_name = "max" if "acc" in name or name.startswith("fmeasure") else "min"
    work.say(key, "lint", note=f"auto: by the name of {name}, as Keras goes, {by_name}; say min or max")
    return by_name


def monitor(work: Work, key: str, name: str, *, given: bool = True) -> str | None:
    """The native monitor of a log key such as `val_loss`; one that nothing computes is a problem unless lenient."""
    plain = bare(work, key, name)
    if name != f"val_{plain}" and plain == "loss" and name == "loss":
        work.refuse(key, "the training loss cannot be monitored", got=name, fix="use val_loss")
        return None
    native = metric(work, key, plain)
    if native == "":
        fix = "name a head's own, for example val_out0_" + plain
        work.refuse(key, "not all heads have this metric, so there is no mean of it", got=name, fix=fix)
        return None
    listed = [*_names(work.source.get("metrics")), *_for_validation(work.source.get("final_metrics"))]
    if key == "primary_metric":
        listed += _names(work.source.get("final_metrics"))
    if native not in (None, "loss") and given and heads.plain(plain) not in (*listed, "loss"):
        if work.lenient:
            work.say(key, "lint", note=f"nothing computes {name}; it is computed here")
        else:
            fix = f"add {plain} to metrics (mode.lenient=true adds it)"
            work.refuse(key, "nothing computes it", got=name, fix=fix)
            return None
    return None if native is None else f"val/{native}"


def _listed(work: Work, key: str) -> list[str]:
    if key not in work.source:
        return []
    found = [metric(work, key, bare(work, key, name)) for name in _names(work.source[key])]
    work.say(key, "same", "metrics.train" if key == "metrics" else "metrics.final", "over all images, not batch means")
    return [name for name in found if name is not None]


def _names(given: Any) -> list[str]:
    entries = given if isinstance(given, list) else [] if given is None else [given]
    return [str(next(iter(entry)) if isinstance(entry, dict) and entry else entry) for entry in entries]


def _for_validation(given: Any) -> list[str]:
    """The final metrics that are measured after every epoch too."""
    entries = [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []
    named = [(str(name), options) for entry in entries for name, options in entry.items()]
    return [name for name, options in named if isinstance(options, dict) and options.get("for_validation") is True]


def names_of(source: Mapping[str, Any], home: Home) -> dict[str, str]:
    """Musket's name of each native metric that an experiment names, in its order.

    Args:
        source: The experiment's configuration, common.yaml merged in.
        home: Where it lies.
    """
    work = Work(source, home, lenient=True)
    table = {**(masks.metrics(work) if work.is_of_masks else names.METRICS[work.kind]), "loss": "loss"}
    found: dict[str, str] = {}
    if work.has_parts:
        keys = ("metrics", "primary_metric", "final_metrics", "experiment_result")
        named = [bare(work, key, name) for key in keys for name in _names(source.get(key))]
        table, found = {"loss": "loss"}, heads.names_of(work, [name for name in named if not work.is_own(name)])
    for key in ("metrics", "primary_metric", "final_metrics", "experiment_result"):
        for name in _names(source.get(key)):
            plain = name.removeprefix("val_").removesuffix("_holdout")
            if work.is_own(plain):
                found.setdefault(plain, plain)
            elif plain.lower() in table:
                found.setdefault(table[plain.lower()], plain)
    return found
