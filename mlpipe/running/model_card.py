"""The card of a stored model: what it predicts, how well, from which inputs, and what its weights load into."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from mlpipe import stored as typed
from mlpipe.errors import ConfigError, counted, listing, printable, problem
from mlpipe.post import figures
from mlpipe.reports import markup, tables
from mlpipe.running.predictor import Predictor
from mlpipe.runs import costs
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mlpipe.arch.classifier import Classifier

_MODELS = ("network", "fold", "weight", "parameters", "held out")
# Characters with a meaning in Markdown or embedded HTML.
_MARKS = re.compile(r"[\\`*\[\]<>|&~]")


class Images(TypedDict):
    """The images that a model accepts."""

    channels: int
    type: Literal["uint8", "uint16", "float32"]


class CostFacts(TypedDict):
    """The cost per image, see `mlpipe.runs.costs`."""

    flops: int
    weights_bytes: int
    peak_bytes: int
    ms_1: float
    ms_32: float
    machine: str


class ModelFacts(TypedDict):
    """The facts of one record in a card."""

    id: str
    fold: int
    is_refit: bool
    weight: float
    arch: str
    parameters: int
    images: dict[str, int]
    scores: dict[str, dict[str, float | None]]
    preprocessing: dict[str, Any]
    environment: dict[str, Any]
    cost: NotRequired[CostFacts | None]


class EnsembleFacts(TypedDict):
    """The facts of an ensemble in a card."""

    id: str
    mixing: str
    calibration: str
    scores: dict[str, dict[str, Any]]
    notes: list[str]


class Card(TypedDict):
    """The result of `facts`, as far as it is read again; further keys are for people and other programs."""

    task: str
    kind: str
    classes: list[str]
    images: Images
    trained_on: dict[str, int]
    models: list[ModelFacts]
    ensemble: NotRequired[EnsembleFacts]


def checked(plain: Any) -> Card:
    """Return a card read from a file after checking it.

    Raises:
        TypeError: When it is not a card.
        ValueError: When it has no model.
    """
    card = typed.checked(Card, plain)
    if not card["models"]:
        raise ValueError("its card has no model")
    return card


def facts(predictor: Predictor) -> dict[str, Any]:
    """Return the facts that people and programs need to apply the model, as plain data.

    Args:
        predictor: The stored models.
    """
    stored, pivot = predictor.stored, predictor.pivot
    if stored.card is not None:
        return dict(stored.card)
    recipes = {name for name, _, _ in stored.members}
    rows = [row for row in tables.leaderboard(stored.project, stored.task) if row.get("recipe") in recipes]
    card: dict[str, Any] = {
        "task": stored.task,
        "kind": pivot.kind,
        "classes": list(pivot.classes),
        "images": {"channels": pivot.channels, "type": pivot.dtype},
        "trained_on": pivot.part_sizes(),
        "models": [
            _model(predictor, record, weight / len(several))
            for _, several, weight in stored.members
            for record in several
        ],
        "cross_validation": rows,
    }
    if (ensemble := stored.ensemble) is not None:
        card["ensemble"] = {
            "id": ensemble.id,
            "mixing": ensemble.mixing,
            "calibration": ensemble.stage,
            "prior": ensemble.prior,
            "scores": ensemble.scores,
            "decide": ensemble.decide,
            "notes": ensemble.notes,
        }
    return card


def _model(predictor: Predictor, record: ModelRecord, weight: float) -> dict[str, Any]:
    before, recipe = predictor.preprocessing(record.id), predictor.config(record.id).recipe
    cost = costs.load(predictor.stored.project, record)
    return {
        "id": record.id,
        "number": record.number,
        "fold": record.fold,
        "is_refit": bool(record.refit),
        "weight": weight,
        "arch": record.arch,
        "parameters": record.parameters,
        "weights": record.weights,
        "images": record.counts,
        "scores": record.scores,
        "preprocessing": {
            "size": before.sides,
            "resize": before.resize,
            "interpolation": before.interpolation,
            "channels": before.channels,
        },
        "normalization": recipe.augmentations.normalization,
        "notes": record.notes,
        "environment": record.environment,
        "cost": None if cost is None else asdict(cost),
    }


def timm_weights(network: nn.Module, record: ModelRecord) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a timm network with its head, under timm's names, and the arguments to create that network.

    Args:
        network: The record's network.
        record: The record.

    Returns:
        A state dict; and `name` and `options` for `timm.create_model`, with the `mean` and `std` (of raw pixels, 0 to
        their peak) with which its inputs are normalised.

    Raises:
        ConfigError: When it is not a timm network that ends with one linear head.
    """
    import timm
    import torch

    classifier, head = _classifier_and_head(network, record)
    weight, bias = head.weight.detach(), head.bias.detach()
    (name,) = classifier.heads
    buffers = dict(classifier.named_buffers(recurse=False))
    if (scale := buffers.get(f"{name}_std")) is not None:
        weight, bias = weight * scale[:, None], bias * scale + buffers[f"{name}_mean"]
    backbone = {key: value.detach() for key, value in classifier.backbone.state_dict().items()}
    options = {**classifier.timm_options, "num_classes": head.out_features}
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model(record.arch, pretrained=False, **options)
    own = model.state_dict()
    places = {"weight": weight, "bias": bias}
    free = [key for key in own if key not in backbone]
    layer = {key.rpartition(".")[2]: key for key in free}
    if (
        len(free) != 2
        or set(layer) != set(places)
        or any(own[layer[key]].shape != tensor.shape for key, tensor in places.items())
    ):
        raise _timm_error(record, f"its head takes other weights ({listing(free, most=4) or 'none'})")
    state = {**backbone, **{layer[key]: value.clone() for key, value in places.items()}}
    if wrong := [key for key in own if state[key].shape != own[key].shape]:
        raise _timm_error(record, f"{wrong[0]} has another shape there")
    mean, std = (getattr(classifier, attribute).flatten().tolist() for attribute in ("mean", "std"))
    return {key: state[key] for key in own}, {"name": record.arch, "options": options, "mean": mean, "std": std}


def _classifier_and_head(network: nn.Module, record: ModelRecord) -> tuple[Classifier, nn.Linear]:
    from torch import nn

    from mlpipe.arch.classifier import Classifier

    if not isinstance(network, Classifier) or not network.timm_options:
        raise _timm_error(record, "its network is none of timm with a linear head")
    if network.mirrored:
        raise _timm_error(record, "it also looks at the mirror image (optimizer.flips)")
    if network.stages is not None:
        raise _timm_error(record, "its head reads the features of every stage (arch.pool=stages)")
    heads = list(network.heads.values())
    if len(heads) != 1 or type(heads[0]) is not nn.Linear:
        raise _timm_error(record, "it does not end with one linear head")
    return network, heads[0]


def _timm_error(record: ModelRecord, why: str) -> ConfigError:
    return ConfigError(problem(record.id, f"its weights fit no network of timm: {why}", fix="use model.torch()"))


def as_markdown(card: Mapping[str, Any]) -> str:
    """Format a card as text for people; special characters in names are escaped.

    Args:
        card: The result of `facts`.
    """
    lines = [f"# {_text(card['task'])}: {_text(card['kind'])}", ""]
    lines += [f"Predicts {counted(len(card['classes']), 'output')}: {_text(listing(card['classes'], most=20))}.", ""]
    counts = ", ".join(f"{count} {_text(part)}" for part, count in card["trained_on"].items())
    channels = counted(card["images"]["channels"], "channel")
    lines += ["## Data", "", f"{counts} images, {channels}, {card['images']['type']}.", ""]
    lines += [
        "## Models",
        "",
        f"| model | {' | '.join(_MODELS)} |",
        "|---|---|---|---|---|---|",
    ]
    for model in card["models"]:
        fold = "all" if model["is_refit"] else model["fold"]
        lines.append(
            f"| {_text(model['id'])} | {_text(model['arch'])} | {fold} | {model['weight']:.3g} | {model['parameters']:,} "
            f"| {_text(_held_out_scores(model))} |"
        )
    lines += _costs(card["models"])
    lines += _ensemble(card["ensemble"], card["models"]) if card.get("ensemble") else []
    first = card["models"][0]
    lines += ["", "## Input", "", _text(first["preprocessing"]), "", "## Made with", ""]
    lines += [f"- {_text(name)}: {_text(value)}" for name, value in first["environment"].items()]
    return "\n".join(lines) + "\n"


def _held_out_scores(model: Mapping[str, Any]) -> str:
    """Return the scores of a model on images that it was not trained on."""
    known = {name: value for name, value in model["scores"].get("val", {}).items() if value is not None}
    return ", ".join(f"{name} {figures.number(value, model['images'].get('val'))}" for name, value in known.items())


def _text(value: Any) -> str:
    """Escape a name or value so that Markdown shows it unchanged, on one line."""
    return _MARKS.sub(r"\\\g<0>", printable(str(value)))


def _ensemble(ensemble: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> list[str]:
    mixing, calibration = _text(ensemble["mixing"]), _text(ensemble["calibration"])
    lines = ["", "## Ensemble", "", f"{_text(ensemble['id'])}: the mean of {mixing}, calibration: {calibration}."]
    for split, name, value, ends in _scores(ensemble, models):
        lines.append(f"- {_text(split)} {_text(name)}: {_text(value)}" + (f" ({ends})" if ends else ""))
    return [*lines, *(f"- {_text(note)}" for note in ensemble["notes"])]


def _scores(ensemble: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return images, metric, value and interval of each score, with digits justified by the number of images."""
    rows = []
    for split, by_name in ensemble["scores"].items():
        counts = [
            model["images"].get("test" if split == "test" else "val", 0) for model in models if not model["is_refit"]
        ]
        # Folds are tested on the same test images, but each is validated on its own.
        count = (max if split == "test" else sum)(counts or [0]) or None
        for name, score in by_name.items():
            if isinstance(score, Mapping) and score.get("value") is not None:
                ends = [score.get(key) for key in ("low", "high")]
                are_numbers = all(isinstance(end, int | float) for end in ends)
                interval = figures.interval(ends[0], ends[1], count) if are_numbers else ""
                # Images that chose an ensemble, or validated folds, were not used to train networks.
                title = "held-out" if split == "chosen on" else split
                rows.append((title, name, _figure(score["value"], count), interval))
    return rows


def _figure(value: Any, count: int | None) -> str:
    return figures.number(value, count) if isinstance(value, int | float) else str(value)


def _costs(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cost per image of models that were measured (`mml info mode.subroutines=[cost]`)."""
    measured = [(model["id"], model["cost"]) for model in models if model.get("cost")]
    if not measured:
        return []
    header = [
        "",
        "## Cost",
        "",
        "| model | FLOPs | weights | memory | ms alone | ms of 32 |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        f"| {_text(name)} | {cost['flops']:,} | {cost['weights_bytes'] / 1e6:.1f} MB | {cost['peak_bytes'] / 1e6:.1f} MB "
        f"| {cost['ms_1']:.3g} | {cost['ms_32']:.3g} |"
        for name, cost in measured
    ]
    return [*header, *rows, "", f"Of one image, on {_text(measured[0][1]['machine'])}."]


def as_html(card: Mapping[str, Any]) -> str:
    """Format a card for a notebook: what is predicted, how well, by which models; the rest is collapsed.

    Args:
        card: The result of `facts`.
    """

    def plain(value: Any) -> str:
        return printable(str(value))

    counts = ", ".join(f"{count} {plain(part)}" for part, count in card["trained_on"].items())
    outputs = f"{counted(len(card['classes']), 'output')}: {plain(listing(card['classes'], most=20))}"
    ensemble = card.get("ensemble") or {"scores": {}, "notes": ()}
    scores = [[plain(text) for text in row] for row in _scores(ensemble, card["models"])]
    models = [
        [plain(model["id"]), plain(model["arch"]), plain("all" if model["is_refit"] else model["fold"]), f"{model['weight']:.3g}",
         f"{model['parameters']:,}", plain(_held_out_scores(model))]
        for model in card["models"]
    ]  # fmt: skip
    first = card["models"][0]
    rest = [f"Input: {plain(first['preprocessing'])}", *(plain(note) for note in ensemble["notes"])]
    rest += [f"{plain(name)}: {plain(value)}" for name, value in first["environment"].items()]
    parts = [
        markup.heading(4, plain(f"{card['task']}: {card['kind']}")),
        markup.paragraph(f"Predicts {outputs}. Learned from {counts} images."),
        markup.table("Scores", ["images", "metric", "value", "95 % interval"], scores, numbers=range(2, 4)),
        markup.table("Models", ["model", *_MODELS], models, numbers=range(2, 5)),
        markup.details_block("Input, notes and what it was made with", markup.bullets(rest) or ""),
    ]
    return markup.for_notebook(parts).html
