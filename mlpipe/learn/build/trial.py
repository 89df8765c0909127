"""A trial construction of every part of a recipe, so that mistakes are found before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.arch.classifier import RAW
from mlpipe.arch.gan import Gan
from mlpipe.arch.initial_weights import Start
from mlpipe.config.schema import Recipe
from mlpipe.data.augment import batches
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, first_line, problem
from mlpipe.learn import exact_heads, kind
from mlpipe.learn.build import smallest_batch
from mlpipe.learn.build.callbacks import build_callbacks
from mlpipe.learn.build.loaders import batch_size, device_steps, fold_data
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.build.network import seen_shape, started_network, target_sides
from mlpipe.learn.build.optimizer import build_optimizers
from mlpipe.learn.losses import equations
from mlpipe.learn.machine.quiet import prepare_torch
from mlpipe.learn.module import TARGET
from mlpipe.learn.own_parts import own_metrics


def try_recipe(
    recipe: Recipe, task: Task, pack: Pack, rows: Rows, start: Start | None = None, *, beside: int = 0
) -> nn.Module:
    """Build every part once and push one batch through.

    Args:
        recipe: The recipe.
        task: The task.
        pack: Its cached images.
        rows: The training rows of a fold.
        start: Weights that training starts from.
        beside: Number of other tasks trained together with it; each has at least one image in every step.

    Returns:
        The network that was tried; the network of a fold is built with the fold's own seed.

    Raises:
        DataError: When the network cannot take images of this size, or a part does not fit the task.
        MlpipeError: When pretrained weights are not available.
    """
    prepare_torch(recipe.threads)
    predicted = kinds.decide(task.kind, recipe.loss)
    network, _ = started_network(recipe, task, pack, 0, rows, start)
    network.eval()
    _try_shapes(recipe, task, pack, network)
    if (views := recipe.tta.build(pack.peak)) is not None:
        *sides, channels = seen_shape(recipe, pack)
        views.predict(lambda images: _outputs(network, images), torch.zeros(1, channels, *sides), task.kind)
    recipe.tune.build()
    loss = build_loss(recipe, task, rows)
    own_metrics.measures(recipe.metrics, predicted, len(task.classes))
    data = fold_data(recipe, task, View(task.name, 0, rows, rows[:1], rows[:0], rows[:0]), pack, 0)
    if not exact_heads.has_no_steps(recipe):
        build_optimizers(recipe, len(data.batch_sizes(0)[0]), "min")(network)
    batch = next(iter(data.train_dataloader()))
    part = kind.of(predicted)
    if part.CHECKS_OUTPUTS or recipe.loss.is_users:
        # Uses real images, because the answer to an all-black image may be zeros.
        part.check(recipe, task, batch, _loss_inputs(network, batch), loss)
    if not recipe.stages and not exact_heads.has_no_steps(recipe):
        sizes = [size + beside for size in data.batch_sizes(0)[0]]
        smallest_batch.check(network, batch["images"][:1].float(), sizes, batch_size(recipe), recipe.arch.title)
    if steps := device_steps(recipe, pack.peak):
        target = batch["target"]
        if kinds.of(predicted).has_classes:
            target = nn.functional.one_hot(target, len(task.classes)).float()
        batches.apply(steps, batch["images"], target, 1)
    build_callbacks(recipe, "min")
    return network


def _try_shapes(recipe: Recipe, task: Task, pack: Pack, network: nn.Module) -> None:
    """Check that the network takes the task's images, and returns outputs of the targets' shape."""
    arch = recipe.arch.title
    *sides, channels = seen_shape(recipe, pack)
    try:
        outputs = _outputs(network, torch.zeros(1, channels, *sides))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = first_line(error)
        size = " x ".join(map(str, sides))
        if len(sides) != 2:
            wrong = f"{arch} cannot take samples of {size} ({reason})"
            raise DataError(problem("arch", wrong, fix="use a network for samples of this size")) from error
        wrong = f"{arch} cannot take images of {size} pixels ({reason})"
        raise DataError(problem("preprocessing.size", wrong, fix="choose another size or arch")) from error
    if kinds.of(kinds.decide(task.kind, recipe.loss)).draws:
        if not isinstance(network, Gan):
            wrong = "a generator and a critic learn by this loss"
            raise ConfigError(problem("loss", wrong, got=f"arch={arch}", fix="add arch=gan"))
        return
    # The network decides the number of times of a solution.
    solves = equations.is_over_time(task.kind, recipe.loss) and outputs.ndim == 4
    image_sides = (outputs.shape[2], *sides[1:]) if solves else tuple(sides)
    aim = image_sides if solves else target_sides(recipe, task, pack) or image_sides
    target_shape = (1, *kind.of(task.kind).answer_shape(len(task.classes), aim))
    if outputs.shape[2:] != target_shape[2:] and aim != image_sides:
        wrong = (
            f"{arch} gives maps of {list(outputs.shape[2:])} for images of {list(image_sides)}, targets are {list(aim)}"
        )
        fix = "use arch=keras_json with a network that ends at their size, or targets of the images' size"
        raise ConfigError(problem("arch", wrong, fix=fix))
    if outputs.shape != target_shape:
        wrong = f"gives outputs of {list(outputs.shape[1:])}, the task has {list(target_shape[1:])}"
        fix = "give each head as many as its `size`"
        if outputs.shape[:2] == target_shape[:2]:
            fix = "use another arch.encoder, since this one does not halve images evenly, or another size"
        raise ConfigError(problem("arch", f"{arch} {wrong}", fix=fix))


def _loss_inputs(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the loss's inputs for a batch, with the network in evaluation mode."""
    images = batch["images"].float()
    if not getattr(network, "takes_targets", False):
        return _outputs(network, images)
    with torch.no_grad():
        raw: Tensor = network(images, batch["target"])[TARGET + RAW]
    return raw


def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = network(images)[TARGET]
    return outputs
