"""Translation of an rmldnn configuration, section by section, to a native one with a report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.dialects.rmldnn import network, schema
from mlpipe.dialects.rmldnn.sections import drawn
from mlpipe.dialects.rmldnn.sections.data import translate_data
from mlpipe.dialects.rmldnn.sections.training import translate_loss, translate_optimizer
from mlpipe.dialects.rmldnn.state import State
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError, counted, problem

# Values of `--app` by native loss.
APPS = {"burgers": "pde", "poisson": "pde", "yolov3": "obj", "wasserstein": "gan"}


def translate(source: Mapping[str, Any], *, lenient: bool = False) -> Translation:
    """Return the native configuration of an rmldnn one; paths in it are relative to the current folder.

    Args:
        source: The content of its file.
        lenient: Allow unknown keys.

    Raises:
        ConfigError: With a sentence for every problem: first those of single keys and values; if there are none, all others.
    """
    inside = source.get("neural_network")
    saved = inside.get("checkpoints") if isinstance(inside, Mapping) and "layers" not in inside else None
    if isinstance(saved, Mapping) and "load" in saved:
        fix = "add layers, what model.to_json() writes, and load weights that model.save_weights('weights.h5') writes"
        wrong = "a SavedModel of TensorFlow, which has its own network, cannot be read"
        raise ConfigError(problem("neural_network.checkpoints.load", wrong, got=saved["load"], fix=fix))
    sentences, passed = schema.problems(source, lenient=lenient)
    if sentences:
        raise ConfigError(sentences)
    content = source["neural_network"]
    both = drawn.pair(content["layers"])
    state = State(content, network.look(content["layers"] if both is None else both[0]))
    for sentence in passed:
        key, _, rest = sentence.partition(": ")
        state.say(key, "lint", note=f"{rest} (not used)")
    _network(state)
    translate_data(state)
    if state.trains:
        _training(state)
    else:
        _evaluation(state)
    _files(state)
    _note_unused_keys(state)
    state.require_none_wrong()
    return Translation("rmldnn", state.whole(), tuple(state.lines), mode="" if state.trains else "evaluate")


def _note_unused_keys(state: State) -> None:
    """Note every key without a line in the report as unused."""
    noted_keys = {re.sub(r"\[\d+\]", "", line.key) for line in state.lines}
    # Keys of an unused section need no lines of their own; other notes on a section do not cover its keys.
    unused = {line.key for line in state.lines if line.fate == "ignored"}
    for section, inside in state.source.items():
        is_section = isinstance(inside, Mapping) and section != "layers"
        keys = [f"{section}.{name}" for name in inside] if is_section else [section]
        for key in keys if section not in unused else []:
            if not any(noted_key == key or noted_key.startswith(f"{key}.") for noted_key in noted_keys):
                note = "nothing is trained" if key == "num_epochs" else "nothing here uses it"
                state.say(key, "ignored", note=note)


def _network(state: State) -> None:
    """Translate layers, given as a file or directly, and initial weights."""
    if state.draws:
        drawn.translate_networks(state)
        return
    layers = state.source["layers"]
    if drawn.pair(layers) is not None or (isinstance(layers, list) and isinstance(layers[0], str | list)):
        state.refuse("layers", "several networks learn by the loss Wasserstein only", fix="give one network")
        return
    state.options["arch"] = "keras_json"
    if isinstance(layers, str):
        state.same("layers", "arch.file", layers)
        state.set("arch.name", state.network.name or Path(layers).stem)
    else:
        state.same("layers", "arch.layers", json.dumps(layers, separators=(",", ":")))
        state.set("arch.name", state.network.name or "Unknown")
    state.set("arch.always_affine", True)
    if state.network.regularized:
        subject = counted(state.network.regularized, "layer has a regularizer", "layers have a regularizer")
        note = f"{subject}, which adds nothing to the loss here; an optimizer's weight_decay of twice an L2 has its gradient"
        state.say("layers", "lint", note=note)
    load = state.section("checkpoints").get("load")
    if load is not None:
        state.same("checkpoints.load", "arch.weights", load)
        state.set("arch.weights_by_layer", True)


def _training(state: State) -> None:
    for name in ("optimizer", "loss"):
        if not state.source.get(name):
            key = "num_examples" if state.is_generated else "input_path"
            state.refuse(name, "is needed to train", fix=f"add it, or leave {key} out")
    state.options["split"] = "on_test"
    # The task compares class folders; a part may lack some class numbers.
    state.set("split.rare", "allow")
    for key, value in {"mode.nested": False, "mode.store_best": False, "healing.rollbacks": 0}.items():
        state.set(key, value)
    state.set("trainer.precision", "32-true")
    state.set("trainer.max_epochs", int(state.source.get("num_epochs", 1)))
    if "num_epochs" in state.source:
        state.say("num_epochs", "same", "trainer.max_epochs")
    state.set("metrics.train", ["accuracy"])
    state.set("metrics.monitor", "val/loss")
    if state.source.get("optimizer"):
        translate_optimizer(state)
    if state.source.get("loss"):
        translate_loss(state)


def _evaluation(state: State) -> None:
    """Translate an evaluation without training: the loss is computed if there are targets."""
    if state.draws:
        fix = "add input_path and num_epochs; trained ones draw with mml predict mode.samples=64"
        state.refuse("loss.function", "Wasserstein is for training", fix=fix)
        return
    if state.evaluates and state.has_targets and state.source.get("loss"):
        translate_loss(state)
    elif state.source.get("loss"):
        state.say("loss", "ignored", note="there are no targets")
    if state.evaluates and state.has_targets and not state.source.get("loss"):
        state.refuse("loss", "is needed where there are targets", fix="add it, or leave the targets out")
    if state.source.get("optimizer"):
        state.say("optimizer", "ignored", note="nothing is trained")
    if not state.section("checkpoints").get("load"):
        state.say("checkpoints", "lint", note="no weights are loaded: the network answers at random")
    state.set("trainer.precision", "32-true")


def _files(state: State) -> None:
    """Translate output files, and the look of the terminal."""
    state.set("sys.console", "rmldnn")
    if "outfile" in state.source:
        state.same("outfile", "sys.outfile", state.source["outfile"])
    saving, chosen = state.section("checkpoints"), list[str]()
    if "save" in saving and state.trains:
        chosen.append("layer_files")
        state.same("checkpoints.save", "callbacks.checkpoints.folder", saving["save"])
        state.same("checkpoints.interval", "callbacks.checkpoints.interval", int(saving.get("interval", 1)))
    output = state.section("data").get("test_output_path")
    if output is not None and state.evaluates:
        precision = state.section("data").get("hdf5_precision", "single").lower()
        if state.trains:
            chosen.append("output_files" if precision == "single" else "output_files_half")
        elif precision != "single":
            state.set("mode.precision", precision)
        if "hdf5_precision" in state.section("data"):
            state.say(
                "data.hdf5_precision", "same", "callbacks.outputs.precision" if state.trains else "mode.precision"
            )
        place = "callbacks.outputs.folder" if state.trains else "mode.outputs"
        state.same("data.test_output_path", place, output)
    if state.trains and {"slicers", "hdf5_outfile"} <= set(state.section("data")):
        chosen.append("volume_file")
    if state.source.get("debug") and state.trains:
        chosen.append("graph_file")
        state.same("debug", "callbacks.graph.file", f"{state.network.name or 'network'}.dot")
        if "debug_interval" in state.source:
            state.say("debug_interval", "ignored", note="the graph stays the same in every epoch")
    elif state.source.get("debug"):
        state.say("debug", "ignored", note="the graph is written as a training begins")
    if chosen:
        state.options["callbacks"] = chosen[0] if len(chosen) == 1 else chosen
