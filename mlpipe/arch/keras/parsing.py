"""Parse the JSON of a Keras network, version 2 or 3, into a plain description of its layers and calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlpipe import files, limits
from mlpipe.arch.keras import layers as keras_layers
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

MODELS = ("Functional", "Model", "Sequential")
INPUTS = ("InputLayer", "Input")
_TENSOR = "__keras_tensor__"
# Minor version of Keras 2 from which batch normalisations use step masks.
_MARKED_NORMS = 13
# Operations that Keras 3 computes step masks with.
_OF_MARKS = frozenset(
    (
        *("NotEqual", "Any", "ZerosLike", "OnesLike", "ExpandDims", "LogicalOr", "LogicalAnd", "Cast", "Concatenate"),
        *("GetItem", "Squeeze", "ConvertToTensor"),
    )
)


@dataclass(frozen=True)
class Ref:
    """A reference to one output tensor of a layer.

    Attributes:
        layer: Name of the layer.
        call: Number of its call.
        tensor: Number of the tensor among the outputs of the call.
    """

    layer: str
    call: int = 0
    tensor: int = 0


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        inputs: The input tensors.
        inference: Whether the layer always runs in inference mode (`training=False`).
        constants: Numbers among the inputs, with their positions.
        flags: Other arguments of the call that the layer is built with.
    """

    inputs: tuple[Ref, ...]
    inference: bool = False
    constants: tuple[tuple[int, float], ...] = ()
    flags: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class Spec:
    """One layer in the file.

    Attributes:
        name: Its name.
        kind: Its class; one of `MODELS` for a nested network, or a wrapper that applies a network to each step.
        config: Its configuration.
        calls: Its calls.
        inside: The nested network, if it is one.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    inside: Description | None = None


@dataclass(frozen=True)
class Description:
    """A network in its file.

    Attributes:
        name: Its name; `Unknown` for a list of layers.
        layers: Its layers, including inputs.
        inputs: Names of the inputs, in order.
        outputs: The output tensors.
        shapes: The shape of each input, channels last, without the batch; None if the file does not specify it.
        trainable: Whether it is trained.
        keras: The major version of Keras that it was written for.
        norms_by_marks: Whether that version's batch normalisations exclude masked steps from their statistics.
    """

    name: str
    layers: tuple[Spec, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Ref, ...]
    shapes: Mapping[str, tuple[int | None, ...] | None] = field(default_factory=dict)
    trainable: bool = True
    keras: int = 3
    norms_by_marks: bool = True


def decoded(text: str, place: str) -> Any:
    """Parse a JSON text.

    Args:
        text: The text.
        place: The key or file, for error messages.

    Raises:
        ConfigError: When it is not JSON, with line and column, or an object has a duplicate key.
    """
    try:
        return files.plain_json(text, unique=True)
    except json.JSONDecodeError as error:
        wrong = f"is not JSON ({error.msg}, line {error.lineno}, column {error.colno})"
        fix = "correct it there, or just before"
        raise ConfigError(problem(place, wrong, fix=fix)) from error
    except ValueError as error:
        raise ConfigError(problem(place, f"is not JSON that can be read ({error})", fix="correct it")) from error


def describe(content: Any) -> Description:
    """Return the description of a network.

    Args:
        content: A Functional, Model or Sequential of Keras, or a list of layers.

    Raises:
        ConfigError: When it is not a network, or layers are invalid (one sentence for each).
    """
    problems: list[str] = []
    keras = _version(content)
    if isinstance(content, list):
        content = {"class_name": "Sequential", "config": {"name": "Unknown", "layers": content}}
    if not isinstance(content, Mapping) or str(content.get("class_name")).split(">")[-1] not in MODELS:
        got = content.get("class_name") if isinstance(content, Mapping) else type(content).__name__
        fix = f"give a list of layers, or what model.to_json() writes ({listing(MODELS)})"
        raise ConfigError(problem("arch.layers", "is no network of Keras", got=got, fix=fix))
    described = _network(content, keras, problems)
    if problems:
        raise ConfigError(problems)
    return replace(described, norms_by_marks=keras == 3 or _minor_version(content) >= _MARKED_NORMS)


def _version(content: Any) -> int:
    """Return the major version of Keras from the file, or from its structure; hand-written files count as Keras 2."""
    version = content.get("keras_version") if isinstance(content, Mapping) else None
    if isinstance(version, str) and version[:1].isdigit():
        return 2 if version[0] in "12" else 3
    return 3 if any(word in json.dumps(content) for word in (_TENSOR, '"registered_name"')) else 2


def _minor_version(content: Mapping[str, Any]) -> int:
    """Return the minor version of Keras 2 from the file; 0 if it has none."""
    match = re.match(r"2\.(\d+)", str(content.get("keras_version")))
    return int(match[1]) if match else 0


def _network(node: Mapping[str, Any], keras: int, problems: list[str]) -> Description:
    config = node.get("config")
    if isinstance(config, list):
        # Keras 1 and early versions of 2 wrote a Sequential as a list.
        config = {"layers": config}
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list) or not config["layers"]:
        name = config.get("name", "") if isinstance(config, Mapping) else ""
        raise ConfigError(
            problem(f"arch.layers: {name or 'the network'}", "has no list of layers", fix="add config.layers")
        )
    if (count := len(config["layers"])) > limits.LAYERS:
        fix = f"at most {limits.LAYERS:,} are built"
        raise ConfigError(problem("arch.layers", f"there are {count:,} layers", fix=fix))
    nodes = _named_layers(_without_marks(config["layers"]), problems)
    if not nodes:
        raise ConfigError(problems)
    chain = not config.get("output_layers")
    specs = list(_specs(nodes, chain, keras, problems))
    _check_names(specs, problems)
    inputs, outputs = _inputs_and_outputs(config, specs, chain, problems)
    shapes = {spec.name: _input_shape(spec.config, problems, spec.name) for spec in specs if spec.kind in INPUTS}
    if chain and not inputs:
        # The input shape is on the first layer, or missing.
        first = specs[0]
        name = "input" if all(spec.name != "input" for spec in specs) else "the_input"
        shape = _input_shape(first.config, problems, first.name)
        if shape is None and first.inside is not None:
            shape = first.inside.shapes.get(first.inside.inputs[0])
        if shape is None:
            shape = _input_shape({"batch_shape": config.get("build_input_shape")}, problems, first.name)
        specs.insert(0, Spec(name, "InputLayer", {}, (Call(()),)))
        specs[1] = Spec(first.name, first.kind, first.config, (Call((Ref(name),)), *first.calls[1:]), first.inside)
        inputs, shapes = (name,), {name: shape}
    name = str(config.get("name") or node.get("name") or "Unknown")
    return Description(name, tuple(specs), inputs, outputs, shapes, config.get("trainable") is not False, keras)


def _without_marks(layers: Sequence[Any]) -> list[Any]:
    """Return the layers without operations that only compute step masks, and their calls without these masks.

    Keras 3 writes the masks that follow from Masking and Embedding as separate operations; the layers themselves imply them.
    """
    by_name = {_name_in(node): node for node in layers if _name_in(node)}

    def givers(node: Mapping[str, Any], *, of_marks: bool) -> list[str]:
        listed = node.get("inbound_nodes")
        calls = [call for call in listed if isinstance(call, Mapping)] if isinstance(listed, list) else []
        words = [call["kwargs"] for call in calls if isinstance(call.get("kwargs"), Mapping)]
        arguments = [keywords.get("mask") for keywords in words]
        if not of_marks:
            arguments = [call.get("args") for call in calls] + [
                value for keywords in words for key, value in keywords.items() if key != "mask"
            ]
        return [ref.layer for argument in arguments for ref in _tensors_in(argument)]

    marking = {
        name
        for node in by_name.values()
        if str(node.get("class_name")).split(">")[-1] in ("Masking", "Embedding")
        for name in givers(node, of_marks=False)
    }
    dropped: set[str] = set()
    waiting = [name for node in by_name.values() for name in givers(node, of_marks=True)]
    while waiting:
        name = waiting.pop()
        node = by_name.get(name)
        if node is None or name in dropped or str(node.get("class_name")) not in _OF_MARKS:
            continue
        before = givers(node, of_marks=False)
        if node["class_name"] == "NotEqual" and not set(before) <= marking:
            # A mask of the user's own.
            continue
        dropped.add(name)
        waiting += before
    used = {name for key, node in by_name.items() if key not in dropped for name in givers(node, of_marks=False)}
    dropped -= used
    return [_unmarked(node, dropped) for node in layers if _name_in(node) not in dropped]


def _name_in(node: Any) -> str:
    """Return the name of a layer; empty if it has none."""
    name = node.get("name") if isinstance(node, Mapping) else None
    return name if isinstance(name, str) else ""


def _unmarked(node: Any, dropped: set[str]) -> Any:
    """Return a layer whose calls have no masks from dropped operations."""
    if not isinstance(node, Mapping) or not isinstance(node.get("inbound_nodes"), list):
        return node
    calls = []
    for call in node["inbound_nodes"]:
        words = call.get("kwargs") if isinstance(call, Mapping) else None
        refs = _tensors_in(words.get("mask")) if isinstance(words, Mapping) else []
        if refs and all(ref.layer in dropped for ref in refs):
            assert isinstance(words, Mapping)
            call = {**call, "kwargs": {key: value for key, value in words.items() if key != "mask"}}
        calls.append(call)
    return {**node, "inbound_nodes": calls}


def _tensors_in(value: Any) -> list[Ref]:
    """Return the Keras 3 tensors in an argument, at any depth."""
    if isinstance(value, Mapping):
        if value.get("class_name") == _TENSOR:
            return _history_of(value)
        return [ref for item in value.values() for ref in _tensors_in(item)]
    return [ref for item in value for ref in _tensors_in(item)] if isinstance(value, list) else []


def _history_of(tensor: Mapping[str, Any]) -> list[Ref]:
    """Return the origin of a Keras 3 tensor; empty if the file does not specify it."""
    config = tensor.get("config")
    return _refs(config.get("keras_history")) if isinstance(config, Mapping) else []


def _named_layers(layers: Sequence[Any], problems: list[str]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return name, class and node of each layer; layers without a name get one as in Keras."""
    counts: dict[str, int] = {}
    nodes = []
    for number, node in enumerate(layers):
        if not isinstance(node, Mapping) or not isinstance(node.get("class_name"), str):
            fix = "write {class_name: ..., config: {...}}"
            problems.append(problem(f"arch.layers: layer {number + 1}", "is no layer", got=node, fix=fix))
            continue
        kind, config = node["class_name"], node.get("config", {})
        if not isinstance(config, Mapping | list):
            problems.append(
                problem(f"arch.layers: layer {number + 1} ({kind})", "config must be a mapping", got=config)
            )
            continue
        name = (config.get("name") if isinstance(config, Mapping) else None) or node.get("name")
        if not name:
            stem = _snake(kind)
            counts[stem] = counts.get(stem, -1) + 1
            name = stem if not counts[stem] else f"{stem}_{counts[stem]}"
        nodes.append((str(name), kind.split(">")[-1], node))
    return nodes


def _snake(kind: str) -> str:
    """Return a class name in Keras's style for layer names: `Conv2D` is `conv2d`, `MaxPooling2D` is `max_pooling2d`."""
    apart = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind.split(">")[-1])
    return re.sub("([a-z])([A-Z])", r"\1_\2", apart).lower()


def _specs(
    nodes: Sequence[tuple[str, str, Mapping[str, Any]]], chain: bool, keras: int, problems: list[str]
) -> Iterator[Spec]:
    before: str | None = None
    for name, class_name, node in nodes:
        kind = class_name if class_name in (*MODELS, *INPUTS) else keras_layers.known(class_name)
        if not kind:
            problems.append(_unknown(name, class_name))
            kind = class_name
        calls = _calls(node.get("inbound_nodes"), name, class_name, problems)
        if any(call.constants for call in calls) and (len(calls) != 1 or not keras_layers.is_joining(kind)):
            fix = "give layers tensors only"
            problems.append(problem(f"arch.layers: {name} ({class_name}): inbound_nodes", "a number goes in", fix=fix))
        if kind in INPUTS:
            calls = (Call(()),)
        elif not calls and chain:
            calls = (Call((Ref(before),) if before is not None else ()),)
        elif not calls:
            fix = "name what goes in, or leave out all inbound_nodes, output_layers and input_layers"
            problems.append(problem(f"arch.layers: {name} ({class_name}): inbound_nodes", "names nothing", fix=fix))
        config = node.get("config", {})
        whole = _network_of_steps(node) if kind == keras_layers.STEPS else node if kind in MODELS else None
        inside = _network(whole, keras, problems) if whole is not None else None
        yield Spec(name, kind, config if isinstance(config, Mapping) else {}, calls, inside)
        before = name


def _network_of_steps(node: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the network that is applied to each step; None for a single layer."""
    config = node.get("config")
    inner = config.get("layer") if isinstance(config, Mapping) else None
    is_network = isinstance(inner, Mapping) and str(inner.get("class_name")).split(">")[-1] in MODELS
    return inner if isinstance(inner, Mapping) and is_network else None


def _unknown(name: str, kind: str) -> str:
    place = f"arch.layers: {name}"
    if kind in ("Lambda", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        fix = "replace it by layers of Keras, such as Rescaling, Reshape or Activation, and export again"
        return problem(place, f"{kind} layers hold code, which is not run", fix=fix)
    near = did_you_mean(kind, [*keras_layers.KINDS, *MODELS], otherwise="docs/from_rmldnn.md lists the layers")
    return problem(place, "unknown layer class", got=kind, fix=near)


def _check_names(specs: Sequence[Spec], problems: list[str]) -> None:
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(problem("arch.layers", f"two layers are called {twice[0]}", fix="give each its own name"))
    for spec in specs:
        for ref in [ref for call in spec.calls for ref in call.inputs]:
            if ref.layer not in names:
                fix = did_you_mean(ref.layer, names, otherwise="name a layer of the network")
                place = f"arch.layers: {spec.name} ({spec.kind}): inbound_nodes"
                problems.append(problem(place, "there is no such layer", got=ref.layer, fix=fix))


def _inputs_and_outputs(
    config: Mapping[str, Any], specs: Sequence[Spec], chain: bool, problems: list[str]
) -> tuple[tuple[str, ...], tuple[Ref, ...]]:
    """Return the names of the inputs, and the output tensors."""
    spec_inputs = [spec.name for spec in specs if spec.kind in INPUTS]
    inputs = [ref.layer for ref in _refs(config.get("input_layers"))]
    outputs = tuple(_refs(config.get("output_layers"))) or (Ref(specs[-1].name, max(len(specs[-1].calls) - 1, 0)),)
    names = {spec.name for spec in specs}
    for key, references in (("input_layers", inputs), ("output_layers", [ref.layer for ref in outputs])):
        for name in references:
            if name not in names:
                fix = did_you_mean(name, names, otherwise="name a layer of the network")
                problems.append(problem(f"arch.layers: {key}", "there is no such layer", got=name, fix=fix))
    if not chain and not (inputs or spec_inputs):
        problems.append(problem("arch.layers", "the network has no input", fix="add an InputLayer"))
    return tuple(inputs or spec_inputs), outputs


def _refs(value: Any) -> list[Ref]:
    """Return the tensors in `["name", 0, 0]`, in lists and mappings of such, and in plain names."""
    if isinstance(value, str):
        return [Ref(value)]
    if isinstance(value, Mapping):
        return [ref for item in value.values() for ref in _refs(item)]
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], str) and len(value) >= 3 and isinstance(value[1], int) and isinstance(value[2], int):
        return [Ref(value[0], value[1], value[2])]
    return [ref for item in value for ref in _refs(item)]


def _calls(value: Any, name: str, kind: str, problems: list[str]) -> tuple[Call, ...]:
    """Return a layer's calls from `inbound_nodes`, in the form of Keras 2 or 3."""
    place = f"arch.layers: {name} ({kind}): inbound_nodes"
    if not isinstance(value, list):
        if value is not None:
            problems.append(problem(place, "must be a list", got=value))
        return ()
    if value and all(isinstance(item, str) for item in value):
        # Hand-written: the names of all input layers.
        return (Call(tuple(Ref(item) for item in value)),)
    calls = []
    for node in value:
        if isinstance(node, Mapping):
            calls.append(_new_call(node, kind, place, problems))
        elif isinstance(node, list):
            tensors = [node] if node and isinstance(node[0], str) else node
            keywords: dict[str, Any] = {}
            for tensor in tensors:
                if isinstance(tensor, list) and len(tensor) > 3 and isinstance(tensor[3], Mapping):
                    keywords |= tensor[3]
            placed = [ref for tensor in tensors for ref in _refs(tensor)]
            calls.append(_call(kind, placed, (), keywords, place, problems))
        else:
            problems.append(problem(place, "is no call of a layer", got=node))
    return tuple(calls)


def _new_call(node: Mapping[str, Any], kind: str, place: str, problems: list[str]) -> Call:
    """Return a call in the form of Keras 3: arguments that contain tensor objects."""
    refs: list[Ref] = []
    constants: list[tuple[int, float]] = []
    for item in _flat(node.get("args", [])):
        if item is None:
            continue
        if isinstance(item, int | float) and not isinstance(item, bool):
            constants.append((len(refs) + len(constants), float(item)))
            continue
        giving = _history_of(item) if isinstance(item, Mapping) and item.get("class_name") == _TENSOR else []
        if not giving:
            fix = "give layers tensors only"
            problems.append(problem(place, "an argument is no tensor of a layer", got=item, fix=fix))
            continue
        refs += giving
    kwargs = node.get("kwargs")
    keywords = dict(kwargs) if isinstance(kwargs, Mapping) else {}
    return _call(kind, refs, tuple(constants), keywords, place, problems)


def _call(
    kind: str,
    placed: Sequence[Ref],
    constants: tuple[tuple[int, float], ...],
    keywords: Mapping[str, Any],
    place: str,
    problems: list[str],
) -> Call:
    """Return a call from its listed tensors and its keyword arguments, which may be tensors or flags."""
    kind = keras_layers.known(kind) or kind
    arguments, known = keras_layers.ARGUMENTS.get(kind, ()), keras_layers.FLAGS.get(kind, ())
    # Surplus tensors, such as states, belong to the last argument.
    refs = [(min(number, len(arguments) - 1), ref) for number, ref in enumerate(placed)]
    rest: dict[str, Any] = {}
    for key, value in keywords.items():
        tensors = _marked_tensors(value) if key in arguments else []
        refs += [(arguments.index(key), ref) for ref in tensors]
        if not tensors and not (key in known and isinstance(value, bool)):
            rest[key] = value
    inference = _is_inference_call(_effective_kwargs(kind, rest), place, problems)
    flags = tuple((key, keywords[key]) for key in known if keywords.get(key) is True)
    inputs = [ref for _, ref in sorted(refs, key=lambda pair: pair[0])] if arguments else list(placed)
    return Call(tuple(inputs), inference, constants, flags)


def _marked_tensors(value: Any) -> list[Ref]:
    """Return the tensors of an argument, in the form of Keras 2 or 3."""
    if isinstance(value, Mapping):
        return _history_of(value)
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [ref for item in value for ref in _marked_tensors(item)]
    return _refs(value)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, Mapping) and "class_name" not in value:
        yield from _flat(list(value.values()))
    else:
        yield value


def _effective_kwargs(kind: str, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a call's keywords without those that Keras writes for image layers but ignores."""
    is_said = kwargs.get("training") is True and kind.split(">")[-1] in keras_layers.OF_IMAGES
    return {key: value for key, value in kwargs.items() if key != "training"} if is_said else kwargs


def _is_inference_call(kwargs: Mapping[str, Any], place: str, problems: list[str]) -> bool:
    """Return whether a call has `training=False`; other values that change results are refused."""
    for key, value in kwargs.items():
        if value is not None and (key != "training" or value not in (False, 0)):
            problems.append(problem(f"{place}: {key}", "is not supported", got=value, fix="export without it"))
    return "training" in kwargs and kwargs["training"] is not None


def _input_shape(config: Mapping[str, Any], problems: list[str], name: str) -> tuple[int | None, ...] | None:
    """Return the input shape in a layer's configuration, without the batch; None if there is none."""
    for key in ("batch_shape", "batch_input_shape", "input_shape", "shape"):
        value = config.get(key)
        if value is None:
            continue
        if isinstance(value, Mapping):
            # Form of a tuple in early versions of Keras 3.
            value = value.get("items")
        shape = value[1:] if isinstance(value, list) and key.startswith("batch") else value
        fits = (
            isinstance(shape, list)
            and shape
            and all(
                item is None or (isinstance(item, int) and not isinstance(item, bool) and item > 0) for item in shape
            )
        )
        if not fits or not isinstance(shape, list):
            problems.append(problem(f"arch.layers: {name}: {key}", "must be a list of sizes", got=config[key]))
            return None
        if shape[-1] is None:
            fix = "say how many channels there are"
            problems.append(
                problem(f"arch.layers: {name}: {key}", "the channels are not known", got=config[key], fix=fix)
            )
            return None
        return tuple(shape)
    # In an Embedding `input_dim` is the size of the vocabulary.
    size = config.get("input_length" if "output_dim" in config else "input_dim")
    return (size,) if isinstance(size, int) else None
