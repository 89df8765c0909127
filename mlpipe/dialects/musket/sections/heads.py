"""Several heads, and heads with unusual activations: a native loss, and metrics, for each of them."""

from __future__ import annotations

import re
from typing import Any

from mlpipe.dialects import names
from mlpipe.dialects.musket.sections import masks
from mlpipe.dialects.musket.state import ACTIVATIONS, State
from mlpipe.errors import did_you_mean, listing

# Names of outputs in Keras's logs, counted from 1, and here, counted from 0.
_OF_HEAD = re.compile(r"(?:out(?P<out>\d+)|dense_(?P<dense>\d+))_(?P<name>.+)")
# Names of metrics that apply to all kinds, so that their mean over heads can be computed.
_ALIKE = {"accuracy": "elementwise_accuracy", "nll": "elementwise_nll"}


def kind_of(activation: str) -> str:
    """Return the kind of a head: classes, labels or numbers."""
    return {"softmax": "classification", "sigmoid": "multilabel", "hard_sigmoid": "multilabel"}.get(
        activation, "regression"
    )


def check(state: State) -> None:
    """Check that `classes` and `activation` fit each other."""
    classes, activation = state.source.get("classes"), state.source.get("activation")
    if classes is None:
        state.refuse("classes", "is missing", fix="say how many classes there are")
    for size in classes if isinstance(classes, list) else [classes]:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            state.refuse("classes", "must be a whole number >= 1", got=size)
    if activation is None:
        state.refuse("activation", "is missing", fix="use sigmoid for labels, softmax for classes, none for numbers")
        return
    for head_activation in dict.fromkeys(activation if isinstance(activation, list) else [activation]):
        name = str(head_activation).lower()
        if name not in (*ACTIVATIONS, "none"):
            fix = did_you_mean(name, ACTIVATIONS, otherwise=f"known: {listing((*ACTIVATIONS, 'none'), most=20)}")
            state.refuse("activation", "there is no such activation", got=head_activation, fix=fix)
    sizes = len(classes) if isinstance(classes, list) else 1
    if isinstance(activation, list) and len(activation) != sizes:
        reason = "there is one head" if sizes == 1 else f"there are {sizes} heads"
        state.refuse("activation", reason, got=activation, fix="give one for each number in classes")
    if classes == 1 and state.activation == "softmax":
        state.refuse("activation", "a softmax over one class is always 1", fix="use activation: sigmoid")
    if state.is_of_masks:
        masks.check(state)
        return
    if state.are_joined:
        state.say("classes", "differs", "task.outputs", "the sigmoid heads are one head with all labels")
    elif state.has_parts and state.kind == "regression":
        note = "predictions hold what the activations give, side by side, as numbers"
        state.say("classes", "differs", "task.heads", note)
    else:
        state.say("classes", "same", "task.outputs")
    state.say("activation", "same", "task.heads" if state.has_parts else "task.kind")


def task_keys(state: State) -> dict[str, Any]:
    """Return the keys of a native task for the heads."""
    if not state.has_parts or state.kind != "regression":
        return {}
    return {"heads": [{"outputs": size, "activation": name} for name, size in state.heads]}


def parts(state: State, expressions: list[str]) -> list[dict[str, Any]]:
    """Return `loss.parts` for the losses of the heads, each with the metrics in the file.

    Args:
        state: The state of the translation.
        expressions: The native loss of each head.
    """
    loss_parts = []
    for number, ((activation, size), expression) in enumerate(zip(state.heads, expressions, strict=True)):
        part = {"name": f"out{number}", "outputs": size, "activation": activation, "expression": expression}
        part["metrics"] = list(dict.fromkeys(state.of_heads[number])) if number < len(state.of_heads) else []
        loss_parts.append(part)
    return loss_parts


def metric(state: State, key: str, name: str) -> str | None:
    """Return the native name of a metric of all heads (their mean), or of one (`out0_macro_f1`, in Keras `dense_1_macro_f1`).

    Args:
        state: Collects the heads that need the metric, and problems.
        key: The key in the source.
        name: Musket's name, without `val_` and `_holdout`.
    """
    match, number = _OF_HEAD.fullmatch(name), number_of(name)
    if match is not None and number is not None:
        if not 0 <= number < len(state.heads):
            state.refuse(key, f"there are {len(state.heads)} heads", got=name, fix="heads are out0, out1, ...")
            return None
        if match["name"] == "loss":
            return f"out{number}_loss"
        native = native_metric(state, number, match["name"])
        return f"out{number}_{native}" if _note_head_metric(state, key, name, [native], [number]) else None
    natives = [native_metric(state, number, name) for number in range(len(state.heads))]
    if not _note_head_metric(state, key, name, natives, range(len(natives))):
        return None
    native_names = {native for native in natives if native is not None}
    return native_names.pop() if len(native_names) == 1 and None not in natives else ""


def _note_head_metric(state: State, key: str, name: str, natives: list[str | None], numbers: Any) -> bool:
    for number, native in zip(numbers, natives, strict=True):
        if native is not None:
            state.of_heads[number].append(native)
    if any(native is not None for native in natives):
        return True
    known = sorted({name for activation, _ in state.heads for name in names.METRICS[kind_of(activation)]})
    fix = did_you_mean(name, known, otherwise=f"known: {listing(known, most=30)}")
    state.refuse(key, "unknown metric", got=name, fix=fix)
    return False


def native_metric(state: State, number: int, name: str) -> str | None:
    """Return the native name of a metric of one head; None if its kind does not have it."""
    activation = state.heads[number][0]
    native = names.METRICS[kind_of(activation)].get(name.lower())
    if native is None or activation != "softmax":
        return None if native is None else _ALIKE.get(native, native)
    if name.lower() == "categorical_accuracy" and {head_activation for head_activation, _ in state.heads} != {
        "softmax"
    }:
        return "top1_accuracy"
    return native


def number_of(name: str) -> int | None:
    """Return the number of the head in a metric's name, counted from 0; None if there is none."""
    match = _OF_HEAD.fullmatch(name)
    return None if match is None else int(match["out"]) if match["out"] else int(match["dense"]) - 1


def plain(name: str) -> str:
    """Return a metric's name without that of its head."""
    match = _OF_HEAD.fullmatch(name)
    return match["name"] if match else name


def names_of(state: State, listed: list[str]) -> dict[str, str]:
    """Return Musket's name of each native metric of the heads.

    Args:
        state: The state of the translation.
        listed: Metrics in the file, without affixes.
    """
    musket_names: dict[str, str] = {"heads": "heads"}
    for name in listed:
        whole = plain(name)
        for number in range(len(state.heads)):
            native = native_metric(state, number, whole)
            if native is not None:
                musket_names.setdefault(f"out{number}_{native}", f"out{number}_{whole}")
                musket_names.setdefault(native, whole)
    return musket_names
