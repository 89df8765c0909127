"""An rmldnn configuration, section by section, as a native one with a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.dialects.rmldnn import network, schema
from mlpipe.dialects.rmldnn.sections.data import translate_data
from mlpipe.dialects.rmldnn.sections.training import translate_loss, translate_optimizer
from mlpipe.dialects.rmldnn.state import Work
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError


def translate(source: Mapping[str, Any], *, lenient: bool = False) -> Translation:
    """The native configuration of an rmldnn one; paths in it are relative to the current folder.

    Args:
        source: What its file holds.
        lenient: Let unknown keys pass.

    Raises:
        ConfigError: With a sentence for every problem: first of the keys and values by themselves, where there are none,
            for everything else.
    """
    found, passed = schema.problems(source, lenient=lenient)
    if found:
        raise ConfigError(found)
    inside = source["neural_network"]
    work = Work(inside, network.look(inside["layers"]))
    for sentence in passed:
        key, _, rest = sentence.partition(": ")
        work.say(key, "lint", note=f"{rest} (not used)")
    _network(work)
    translate_data(work)
    if work.trains:
        _training(work)
    else:
        _evaluation(work)
    _files(work)
    work.require_none_wrong()
    return Translation("rmldnn", work.whole(), tuple(work.lines), mode="" if work.trains else "evaluate")


def _network(work: Work) -> None:
    """Layers as a file, or as they are; weights to begin with."""
    layers = work.source["layers"]
    work.options["arch"] = "keras_json"
    if isinstance(layers, str):
        work.same("layers", "arch.file", layers)
        work.set("arch.name", work.network.name or Path(layers).stem)
    else:
        work.same("layers", "arch.layers", json.dumps(layers, separators=(",", ":")))
        work.set("arch.name", work.network.name or "Unknown")
    work.set("arch.always_affine", True)
    load = work.section("checkpoints").get("load")
    if load is not None:
        work.same("checkpoints.load", "arch.weights", load)
        work.set("arch.weights_by_layer", True)


def _training(work: Work) -> None:
    for name in ("optimizer", "loss"):
        if not work.source.get(name):
            key = "num_examples" if work.is_generated else "input_path"
            work.refuse(name, "is needed to train", fix=f"add it, or leave {key} out")
    work.options["split"] = "on_test"
    for key, value in {"mode.nested": False, "mode.store_best": False, "healing.rollbacks": 0}.items():
        work.set(key, value)
    work.set("trainer.precision", "32-true")
    work.set("trainer.max_epochs", int(work.source.get("num_epochs", 1)))
    if "num_epochs" in work.source:
        work.say("num_epochs", "same", "trainer.max_epochs")
    work.set("metrics.train", ["accuracy"])
    work.set("metrics.monitor", "val/loss")
    if work.source.get("optimizer"):
        translate_optimizer(work)
    if work.source.get("loss"):
        translate_loss(work)


def _evaluation(work: Work) -> None:
    """No training: the loss is computed where there are targets."""
    if work.evaluates and work.has_targets and work.source.get("loss"):
        translate_loss(work)
    elif work.source.get("loss"):
        work.say("loss", "ignored", note="there are no targets")
    if work.evaluates and work.has_targets and not work.source.get("loss"):
        work.refuse("loss", "is needed where there are targets", fix="add it, or leave the targets out")
    if work.source.get("optimizer"):
        work.say("optimizer", "ignored", note="nothing is trained")
    if not work.section("checkpoints").get("load"):
        work.say("checkpoints", "lint", note="no weights are loaded: the network answers at random")
    work.set("trainer.precision", "32-true")


def _files(work: Work) -> None:
    """Translate the files to write, and the look of the terminal."""
    work.set("sys.console", "rmldnn")
    if "outfile" in work.source:
        work.same("outfile", "sys.outfile", work.source["outfile"])
    saving, chosen = work.section("checkpoints"), list[str]()
    if "save" in saving and work.trains:
        chosen.append("layer_files")
        work.same("checkpoints.save", "callbacks.checkpoints.folder", saving["save"])
        work.same("checkpoints.interval", "callbacks.checkpoints.interval", int(saving.get("interval", 1)))
    output = work.section("data").get("test_output_path")
    if output is not None and work.evaluates:
        if work.trains:
            chosen.append("output_files")
        place = "callbacks.outputs.folder" if work.trains else "mode.outputs"
        work.same("data.test_output_path", place, output)
    if work.trains and {"slicers", "hdf5_outfile"} <= set(work.section("data")):
        chosen.append("volume_file")
    if work.source.get("debug") and work.trains:
        chosen.append("graph_file")
        work.same("debug", "callbacks.graph.file", f"{work.network.name or 'network'}.dot")
        if "debug_interval" in work.source:
            work.say("debug_interval", "ignored", note="the graph stays the same in every epoch")
    elif work.source.get("debug"):
        work.say("debug", "ignored", note="the graph is written as a training begins")
    if chosen:
        work.options["callbacks"] = chosen[0] if len(chosen) == 1 else chosen
