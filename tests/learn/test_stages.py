"""A training in stages: each changes what it says, they add up to one history, and any of them resumes exactly."""

from __future__ import annotations

import csv
import dataclasses
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch import weights
from mlpipe.config.schema import Stage
from mlpipe.data import task
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Row
from mlpipe.errors import ConfigError, DataError, Interrupted
from mlpipe.learn import fit, per_pixel, stages
from mlpipe.learn.build.network import build_network
from mlpipe.learn.build.trial import try_recipe
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.module import FoldModule, draw_seed
from mlpipe.runs import integrity, records
from tests.learn.conftest import job
from tests.learn.test_fit import calls_in_epoch, history, stop_after

pytestmark = pytest.mark.program

TWO = ["stages.list=[{epochs:2,lr:1e-3,freeze:backbone},{epochs:2,lr:1e-2,loss:focal}]", "metrics.monitor=val/accuracy"]


def rows(one: FoldJob) -> list[dict[str, str]]:
    return list(csv.DictReader(history(one).splitlines()))


def stored(one: FoldJob) -> dict[str, torch.Tensor]:
    return weights.read(one.files.project.model_dir("digits", "record") / "weights.safetensors")


def test_the_history_counts_epochs_through_and_names_stages(tmp_path: Path) -> None:
    one = job(tmp_path, *TWO, "lr_scheduler=none")
    record = fit.fit(one, Watch())
    assert [(row["epoch"], row["stage"]) for row in rows(one)] == [("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")]
    assert [float(row["lr"]) for row in rows(one)] == pytest.approx([1e-3, 1e-3, 1e-2, 1e-2])
    assert (record.epochs, record.environment["stages"]) == (4, 2)
    accuracies = [float(row["val/accuracy"]) for row in rows(one)]
    assert accuracies[record.best_epoch] == max(accuracies)
    assert record.scores["val"]["accuracy"] == pytest.approx(max(accuracies), abs=1e-6)


def test_one_stage_is_the_training_without_stages(tmp_path: Path) -> None:
    plain = job(tmp_path / "plain", "trainer.max_epochs=2")
    listed = job(tmp_path / "listed", "stages.list=[{epochs:2}]", "trainer.max_epochs=9")
    assert fit.fit(listed, Watch()).weights == fit.fit(plain, Watch()).weights
    assert history(listed) == history(plain)


def test_a_frozen_stage_learns_heads_only_and_the_next_one_all(tmp_path: Path) -> None:
    base = ["lr_scheduler=none", "optimizer=sgd", "optimizer.lr=1e-2"]
    frozen = job(tmp_path / "a", *base, "stages.list=[{epochs:1,freeze:backbone}]", store_best=False)
    both = job(
        tmp_path / "b", *base, "stages.list=[{epochs:1,freeze:backbone},{epochs:1,freeze:false}]", store_best=False
    )
    first = build_network(frozen.recipe, frozen.task, frozen.pack, seed=draw_seed(42, 0, -1)).state_dict()
    for one in (frozen, both):
        fit.fit(one, Watch())
    after_one, after_two = stored(frozen), stored(both)
    body = [name for name in first if name.startswith("backbone.")]
    assert all(torch.equal(after_one[name], first[name]) for name in body)
    assert not torch.equal(after_one["heads.target.weight"], first["heads.target.weight"])
    moved = [name for name in body if not torch.equal(after_two[name], first[name])]
    assert moved == body
    assert after_two["backbone.bn1.running_mean"].ne(first["backbone.bn1.running_mean"]).any()


def test_draws_of_a_second_stage_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[int]] = []
    step = FoldModule.training_step

    def spy(self: FoldModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if batch_idx == 0:
            orders.append(batch["row"].tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FoldModule, "training_step", spy)
    fit.fit(job(tmp_path / "two", "stages.list=[{epochs:1},{epochs:2}]"), Watch())
    two = list(orders)
    orders.clear()
    fit.fit(job(tmp_path / "one", "trainer.max_epochs=3"), Watch())
    assert two == orders and len({tuple(order) for order in two}) == 3


THREE = [
    "stages.list=[{epochs:3,callbacks:[early]},{epochs:2,lr:1e-3,lr_scheduler:step},{epochs:1,freeze:2}]",
    "cbs=ema",
    "optimizer.layer_decay=0.7",
]


# The second stage takes the optimizer of the first over, whose rate has halved twice, and ramps from that rate.
CARRIED = [
    "lr_scheduler=exponential",
    "lr_scheduler.gamma=0.5",
    "stages.list=[{epochs:2},{epochs:3,carry:true,lr_scheduler:variator}]",
]


@pytest.mark.parametrize(
    ("overrides", "store_best"),
    [
        (TWO, True),
        (THREE, False),
        (CARRIED, False),
    ],
)
def test_resumed_inside_any_stage_is_bit_identical(
    overrides: list[str], store_best: bool, saves_every_epoch: None, tmp_path: Path
) -> None:
    whole = job(tmp_path / "whole", *overrides, store_best=store_best)
    cut = job(tmp_path / "cut", *overrides, store_best=store_best)
    expected, epoch = fit.fit(whole, Watch()), calls_in_epoch(cut)
    # In the first epoch, in the second one; then in the first stage or, before a state of it is saved, the second one; in
    # the second stage after its first epoch, twice.
    for stop in (3, epoch + 4, epoch + 3, 2 * epoch + 2, epoch - 1):
        with pytest.raises(Interrupted):
            fit.fit(cut, stop_after(stop))
    record = fit.fit(cut, Watch())
    assert record.weights == expected.weights
    assert history(cut) == history(whole)
    assert (record.scores, record.best_epoch) == (expected.scores, expected.best_epoch)


@pytest.fixture
def epochs_of_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of time limits goes on by 10 s at the start of every epoch, and not otherwise."""
    now, begin = 0.0, FoldModule.on_train_epoch_start

    def on_train_epoch_start(self: FoldModule) -> None:
        nonlocal now
        now += 10.0
        begin(self)

    monkeypatch.setattr(FoldModule, "on_train_epoch_start", on_train_epoch_start)
    monkeypatch.setattr("mlpipe.learn.callbacks.time_limit.time.monotonic", lambda: now)


def test_a_time_limit_of_the_recipe_is_one_of_all_stages(epochs_of_ten_seconds: None, tmp_path: Path) -> None:
    """Epochs of 10 s within 25 s: two of the first stage, and of the second one a batch. Each stage had 25 s of its own."""
    limited = ["cbs=time_limit", "cbs.time_limit.seconds=25"]
    one = job(tmp_path / "a", "stages.list=[{epochs:2},{epochs:4}]", *limited)
    assert fit.fit(one, Watch()).epochs == 3
    # A stage's own is one of the stage.
    own = "callbacks:{time_limit:{_target_:mlpipe.learn.callbacks.time_limit.time_limit,seconds:25}}"
    other = job(tmp_path / "b", f"stages.list=[{{epochs:2}},{{epochs:4,{own}}}]", *limited)
    assert fit.fit(other, Watch()).epochs == 4


@pytest.mark.parametrize("resumed", [False, True])
def test_a_time_limit_of_the_recipe_goes_on_in_a_stage_with_callbacks_of_its_own(
    epochs_of_ten_seconds: None, saves_every_epoch: None, tmp_path: Path, resumed: bool
) -> None:
    """Epochs of 10 s within 45 s: one, two of a stage with own callbacks, and one. After a resume there, all began anew."""
    limited = ["cbs=time_limit", "cbs.time_limit.seconds=45"]
    one = job(tmp_path, "stages.list=[{epochs:1},{epochs:2,callbacks:{}},{epochs:9}]", *limited)
    if resumed:
        with pytest.raises(Interrupted):
            fit.fit(one, stop_after(2 * calls_in_epoch(one) + 1))
        assert stages.position(one.files.checkpoint).stage == 1
    assert fit.fit(one, Watch()).epochs == 4


def test_a_time_limit_of_the_recipe_counts_a_first_stage_with_callbacks_of_its_own(
    epochs_of_ten_seconds: None, tmp_path: Path
) -> None:
    """Epochs of 10 s within 45 s: two of a stage with own callbacks, and two. The limit began with the second stage."""
    limited = ["cbs=time_limit", "cbs.time_limit.seconds=45"]
    assert fit.fit(job(tmp_path, "stages.list=[{epochs:2,callbacks:{}},{epochs:9}]", *limited), Watch()).epochs == 4


def test_batches_of_an_earlier_stage_are_kept_when_a_later_one_is_resumed(
    saves_every_epoch: None, tmp_path: Path
) -> None:
    """They were in no state but that of their own stage, and the record had no table of batches."""
    asked = ["stages.list=[{epochs:1},{epochs:2}]", "logging.batches=[0]"]
    whole, cut = job(tmp_path / "whole", *asked), job(tmp_path / "cut", *asked)
    fit.fit(whole, Watch())
    with pytest.raises(Interrupted):
        fit.fit(cut, stop_after(2 * calls_in_epoch(cut) + 1))
    assert stages.position(cut.files.checkpoint).stage == 1
    fit.fit(cut, Watch())
    table, again = (
        (one.files.project.model_dir("digits", "record") / records.BATCHES_FILE).read_text() for one in (whole, cut)
    )
    assert {row["stage"] for row in csv.DictReader(table.splitlines())} == {"0"}
    assert again == table


def test_negatives_are_chosen_by_what_is_learned_and_what_is_true() -> None:
    """Of labels with wrong ones, training rows are positive as training sees them, validation rows as they are."""
    rows = [Row(str(number), "train", (1.0,) if number < 4 else (0.0,), str(number)) for number in range(8)]
    of = task.make("labels", ["x"], rows, channels=1, source={"type": "none"}, kind="multilabel")
    wrong = 1 - of.samples.targets
    of = dataclasses.replace(of, samples=dataclasses.replace(of.samples, noisy=wrong))
    every = np.arange(8)
    view = stages.view_of(
        View("labels", 0, every, every, every[:0], every[:0]), of, Stage(1, negatives=0, val_negatives=0)
    )
    assert (view.train.tolist(), view.val.tolist()) == ([4, 5, 6, 7], [0, 1, 2, 3])


def test_images_without_a_target_are_no_negatives() -> None:
    targets = [(1.0,), (1.0,), (0.0,), (0.0,), (0.0,), (float("nan"),), (float("nan"),)]
    rows = [
        Row(str(number), "unlabelled" if number > 4 else "train", target, str(number))
        for number, target in enumerate(targets)
    ]
    of = task.make("labels", ["x"], rows, channels=1, source={"type": "none"}, kind="multilabel")
    every = np.arange(7)
    view = View("labels", 0, every, every[:5], every[:0], every[:0])
    for ratio, count in ((0, 4), (1, 6), (None, 7)):
        chosen = stages.view_of(view, of, Stage(1, negatives=ratio)).train.tolist()
        assert len(chosen) == count and {0, 1, 5, 6} <= set(chosen)


def test_a_stage_starts_from_the_best_weights_so_far_or_from_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    seen: list[dict[str, torch.Tensor]] = []
    one = job(tmp_path, "stages.list=[{epochs:2,lr:1.0},{epochs:1}]", "optimizer=sgd", "lr_scheduler=none")
    prepare = stages.prepare

    def spy(network: torch.nn.Module, *given: Any) -> None:
        prepare(network, *given)
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "prepare", spy)
        fit.fit(one, Watch())
        file = tmp_path / "w.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in seen[0].items()}, file)
        other = job(tmp_path / "b", f"stages.list=[{{epochs:1,lr:1.0}},{{epochs:1,initial_weights:'{file}'}}]")
        fit.fit(other, Watch())
    assert not all(torch.equal(seen[1][name], seen[0][name]) for name in seen[0])
    assert all(torch.equal(seen[3][name], seen[0][name]) for name in seen[0])
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r"stages.list\[1\].initial_weights: does not fit the network"):
        fit.fit(
            dataclasses.replace(other, files=dataclasses.replace(other.files, checkpoint=tmp_path / "none")), Watch()
        )


def test_freeze_then_finetune(tmp_path: Path) -> None:
    one = job(tmp_path, "stages=freeze_then_finetune", "stages.head_epochs=1", "trainer.max_epochs=2", "stages.lr=1e-4")
    assert [(stage.epochs, stage.freeze, stage.lr) for stage in one.recipe.stages] == [
        (1, "backbone", one.recipe.optimizer.params["lr"]),
        (2, False, 1e-4),
    ]
    fit.fit(one, Watch())
    assert [row["stage"] for row in rows(one)] == ["0", "1", "1"]


def test_a_stage_that_carries_on_is_one_training(tmp_path: Path) -> None:
    base = ["lr_scheduler=none", "optimizer=adam"]
    whole = job(tmp_path / "whole", *base, "trainer.max_epochs=3", store_best=False)
    parts = job(tmp_path / "parts", *base, "stages.list=[{epochs:1},{epochs:2,carry:true}]", store_best=False)
    anew = job(tmp_path / "anew", *base, "stages.list=[{epochs:1},{epochs:2}]", store_best=False)
    first, second, third = (fit.fit(one, Watch()).weights for one in (whole, parts, anew))
    assert first == second and first != third


@pytest.mark.parametrize(
    ("listed", "more", "fits"),
    [
        ("[{epochs:2},{epochs:1,carry:true}]", [], False),
        ("[{epochs:2},{epochs:1,carry:true}]", ["lr_scheduler.min_ratio=0.1"], True),
        ("[{epochs:2},{epochs:1,carry:true,lr:1e-3}]", [], True),
        ("[{epochs:2},{epochs:1}]", [], True),
        ("[{epochs:2,lr_scheduler:none},{epochs:1,carry:true}]", [], True),
        ("[{epochs:2,lr_scheduler:none},{epochs:2,carry:true},{epochs:1,carry:true,lr_scheduler:none}]", [], False),
        ("[{epochs:2},{epochs:1,carry:true}]", ["lr_scheduler=plateau"], True),
        ("[{epochs:5},{epochs:1,carry:true}]", ["lr_scheduler=one_cycle", "+trainer.max_steps=3"], True),
    ],
)
def test_a_stage_that_would_go_on_with_a_rate_of_nothing_is_refused(
    tmp_path: Path, listed: str, more: list[str], fits: bool
) -> None:
    """The cosine of the stage before ends at 0, so that such a stage learned nothing and nobody was told."""
    base = job(tmp_path, f"stages.list={listed}", *more)
    network = build_network(base.recipe, base.task, base.pack, seed=1)
    sentence = (
        r"stages.list\[\d\].carry: goes on with the rate that the stage before ends at, which is 0; give this stage"
    )
    with nullcontext() if fits else pytest.raises(ConfigError, match=sentence):
        stages.check(base.recipe, base.task, base.pack, base.view.train, network)


def test_layers_that_learn_anew_have_their_share_of_the_rate_that_goes_on() -> None:
    """Halved and halved again by a plateau, the heads' rate went on, and the layers below them began at four times theirs."""
    network = torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(3)])
    groups = [
        {"params": list(part.parameters()), "lr": rate} for part, rate in zip(network, (1.0, 0.5, 0.25), strict=True)
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    stages.OptimizerMemory({}, [0.25]).load_into(network, optimizer, rates=True)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.125, 0.0625]
    stages.OptimizerMemory({}, [4.0, 3.0, 2.0]).load_into(network, optimizer, rates=False)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.125, 0.0625]
    stages.OptimizerMemory({}, [4.0, 3.0, 2.0]).load_into(network, optimizer, rates=True)
    assert [group["lr"] for group in optimizer.param_groups] == [4.0, 3.0, 2.0]


def test_negatives_are_chosen_for_training_and_validation(tmp_path: Path) -> None:
    one = job(tmp_path)
    positives = one.task.samples.targets == 3
    of = dataclasses.replace(one.task, samples=dataclasses.replace(one.task.samples, positives=positives))
    view = stages.view_of(one.view, of, Stage(1, negatives=2, val_negatives=0))
    count = int(positives[one.view.train].sum())
    assert positives[view.train].sum() == count and len(view.train) == 3 * count
    assert set(view.train) <= set(one.view.train) and positives[view.val].all()
    with pytest.raises(DataError, match="nobody said which images are positive"):
        stages.view_of(one.view, one.task, Stage(1, negatives=2))


def test_a_stage_of_few_negatives_trains_and_is_judged_on_all_images(tmp_path: Path) -> None:
    one = job(tmp_path, "stages.list=[{epochs:1,negatives:1,val_negatives:0}]")
    positives = one.task.samples.targets == 3
    one = dataclasses.replace(
        one, task=dataclasses.replace(one.task, samples=dataclasses.replace(one.task.samples, positives=positives))
    )
    record = fit.fit(one, Watch())
    assert sum(row["images"] for row in record.details["val"]["classes"]) == len(one.view.val)


def test_a_stage_that_keeps_its_own_weights_is_what_the_next_one_starts_from(tmp_path: Path) -> None:
    base = ["lr_scheduler=none", "optimizer=sgd", "metrics.monitor=val/loss"]
    # The second stage breaks what the first one learned, and the third one moves nothing.
    listed = "stages.list=[{epochs:1,lr:1e-2,keep:true},{epochs:1,lr:10.0,keep:true},{epochs:1,lr:1e-12,keep:true}]"
    one = job(tmp_path, *base, listed)
    record = fit.fit(one, Watch())
    folder = one.files.project.model_dir("digits", "record")
    assert records.kept_stages(folder) == [0, 1, 2]
    first, second, third = (weights.read(records.stage_weights(folder, stage)) for stage in range(3))
    assert all(torch.equal(first[name], stored(one)[name]) for name in first)
    head = "heads.target.weight"
    assert not torch.equal(first[head], second[head])
    torch.testing.assert_close(third[head], second[head])
    losses = [float(row["val/loss"]) for row in rows(one)]
    assert losses[1] > losses[0] and record.best_epoch == 0
    assert {"weights.stage0.safetensors", "weights.stage2.safetensors"} <= set(record.checksums)
    assert not [found for found in integrity.of_record(one.files.project, record) if found.is_wrong]
    records.without_weights(one.files.project, record, "taken away")
    assert records.kept_stages(folder) == []


def test_a_stage_may_start_from_an_earlier_one(tmp_path: Path) -> None:
    base = ["lr_scheduler=none", "optimizer=sgd", "metrics.monitor=val/loss"]
    # The second stage breaks what the first one learned, the third one goes back and moves nothing.
    stages_of = "{epochs:1,lr:1e-2,keep:true},{epochs:1,lr:10.0,keep:true},{epochs:1,lr:1e-12,keep:true,start_from:0}"
    one = job(tmp_path, *base, f"stages.list=[{stages_of}]")
    fit.fit(one, Watch())
    folder = one.files.project.model_dir("digits", "record")
    first, second, third = (weights.read(records.stage_weights(folder, stage)) for stage in range(3))
    head = "heads.target.weight"
    assert not torch.equal(first[head], second[head])
    torch.testing.assert_close(third[head], first[head])


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ("[{epochs:1},{epochs:1,start_from:0}]", "stages.list\\[1\\].start_from: stage 0 does not keep its weights"),
        ("[{epochs:1,keep:true},{epochs:1,start_from:1}]", "must be the number of an earlier stage, got 1"),
        (
            "[{epochs:1,keep:true},{epochs:1,start_from:0,initial_weights:a}]",
            "stages.list\\[1\\].initial_weights names a file",
        ),
    ],
)
def test_what_a_stage_cannot_start_from(tmp_path: Path, listed: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        job(tmp_path, f"stages.list={listed}")


def test_what_stages_keep_survives_an_interruption(saves_every_epoch: None, tmp_path: Path) -> None:
    listed = "stages.list=[{epochs:2,lr:1e-2,keep:true},{epochs:2,lr:1e-3,keep:true}]"
    whole, cut = job(tmp_path / "whole", listed), job(tmp_path / "cut", listed)
    fit.fit(whole, Watch())
    with pytest.raises(Interrupted):
        fit.fit(cut, stop_after(calls_in_epoch(cut) * 3 + 2))
    fit.fit(cut, Watch())
    for stage in (0, 1):
        one, other = (
            weights.read(records.stage_weights(each.files.project.model_dir("digits", "record"), stage))
            for each in (whole, cut)
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_fine_tuning_begins_at_the_exact_head(tmp_path: Path) -> None:
    # Images are changed at random in the second stage alone: the head is of the images as they are.
    plain = ["arch=test_vit", "preprocessing.size=32"]
    tuned = job(
        tmp_path / "a", "stages=linear_then_finetune", "stages.epochs=2", "stages.lr=1e-6", "augmentations=default",
        "optimizer=sgd", "lr_scheduler=none", *plain,
    )  # fmt: skip
    exact = job(tmp_path / "b", "arch.freeze=true", "augmentations=none", "optimizer=linear", *plain)
    record, linear = fit.fit(tuned, Watch()), fit.fit(exact, Watch())
    found = rows(tuned)
    assert [(row["epoch"], row["stage"]) for row in found] == [("0", "0"), ("1", "1"), ("2", "1")]
    assert float(found[0]["val/loss"]) == pytest.approx(linear.scores["val"]["loss"], rel=1e-4)
    # A random head begins at log 10 at the least.
    assert float(found[1]["val/loss"]) == pytest.approx(float(found[0]["val/loss"]), rel=0.25)
    assert float(found[1]["val/loss"]) < 1.5
    assert record.epochs == 3


def test_batch_statistics_keep_what_the_exact_head_fits_to(tmp_path: Path) -> None:
    # Nothing moves by steps of such a rate, so that what the validation after the head shows is the statistics' doing.
    still = ["augmentations=none", "optimizer=sgd", "lr_scheduler=none", "metrics.monitor=val/loss"]
    kept = job(tmp_path / "a", "stages=linear_then_finetune", "stages.epochs=1", "stages.lr=1e-12", *still)
    listed = "[{epochs:1,freeze:backbone,head:linear},{epochs:1,lr:1e-12,freeze:false}]"
    moved = job(tmp_path / "b", f"stages.list={listed}", *still)
    losses = []
    for one in (kept, moved):
        fit.fit(one, Watch())
        losses.append([float(row["val/loss"]) for row in rows(one)])
    assert losses[0][1] == pytest.approx(losses[0][0], rel=1e-4)
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-4) and losses[1][1] > 2 * losses[1][0]


def test_batch_statistics_follow_the_images_again_in_a_stage_that_does_not_keep_them(tmp_path: Path) -> None:
    listed = "[{epochs:1,lr:1e-12,batch_statistics:frozen},{epochs:1,lr:1e-12}]"
    one = job(tmp_path, f"stages.list={listed}", "optimizer=sgd", "lr_scheduler=none", store_best=False)
    first = build_network(one.recipe, one.task, one.pack, seed=draw_seed(42, 0, -1)).state_dict()
    seen: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldModule, "on_train_epoch_end", _spied(seen, first, FoldModule.on_train_epoch_end))
        fit.fit(one, Watch())
    assert seen == [True, False]


def _spied(seen: list[bool], first: dict[str, torch.Tensor], then: Any) -> Any:
    def spy(self: FoldModule) -> None:
        mean = "backbone.bn1.running_mean"
        seen.append(torch.equal(self.network.state_dict()[mean], first[mean]))
        then(self)

    return spy


def test_fine_tuning_from_the_exact_head_resumes_bit_identically(saves_every_epoch: None, tmp_path: Path) -> None:
    tuned = ["stages=linear_then_finetune", "stages.epochs=2", "stages.lr=1e-3"]
    whole, cut = job(tmp_path / "whole", *tuned), job(tmp_path / "cut", *tuned)
    expected, epoch = fit.fit(whole, Watch()), calls_in_epoch(cut)
    # While the head is made or validated; in the first epoch after it, of which nothing is saved; in the second one, from
    # the state of the first, which has the head's row of the history and its weights as the best so far.
    for stop in (1, epoch, 2 * epoch - 2):
        with pytest.raises(Interrupted):
            fit.fit(cut, stop_after(stop))
    at = stages.position(cut.files.checkpoint)
    assert (at.stage, at.before) == (1, 1)
    record = fit.fit(cut, Watch())
    assert record.weights == expected.weights
    assert history(cut) == history(whole)
    assert (record.scores, record.best_epoch) == (expected.scores, expected.best_epoch)


def test_a_stage_learns_from_smaller_images_and_is_validated_on_whole_ones(tmp_path: Path) -> None:
    one = job(tmp_path, "stages.list=[{epochs:1,size:[8,12]},{epochs:1,lr:1e-3}]", "augmentations=mixup")
    seen: list[tuple[bool, tuple[int, ...]]] = []
    through = FoldModule._outputs_by_head

    def spy(self: FoldModule, images: torch.Tensor, *target: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append((torch.is_grad_enabled(), tuple(images.shape[2:])))
        return through(self, images, *target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldModule, "_outputs_by_head", spy)
        fit.fit(one, Watch())
    learned = [size for is_learned, size in seen if is_learned]
    assert learned == [(8, 12)] * (len(learned) // 2) + [(16, 16)] * (len(learned) // 2)
    assert {size for is_learned, size in seen if not is_learned} == {(16, 16)}


def test_a_stage_of_a_size_that_the_network_does_not_take(tmp_path: Path) -> None:
    one = job(tmp_path, "arch=test_vit", "preprocessing.size=32", "stages.list=[{epochs:1,size:24},{epochs:1}]")
    network = build_network(one.recipe, one.task, one.pack, seed=1)
    sentence = r"arch: test_vit cannot learn from images of 24 x 24 .*; choose another size \(stages.list\[0\].size\)"
    with pytest.raises(DataError, match=sentence):
        stages.check(one.recipe, one.task, one.pack, one.view.train, network)


@pytest.mark.parametrize(
    ("listed", "more", "sentence"),
    [
        ("{epochs:1,head:linear}", [], "head: is fitted on a frozen backbone; add freeze: backbone to the stage"),
        ("{epochs:1,head:linear,freeze:backbone,negatives:1}", [], "head: learns from all images"),
        ("{epochs:1,head:linear,freeze:backbone,size:8}", [], "head: is fitted to the images as they are cached"),
        ("{epochs:1,head:linear,freeze:backbone}", ["trainer.devices=2"], "head: is fitted on one device, got 2"),
        (
            "{epochs:1,head:linear,freeze:backbone}",
            ["slicing=crops"],
            "head: is fitted on whole images of a plain backbone; use slicing=none",
        ),
        (
            "{epochs:1,head:linear}",
            ["peft=lora", "peft.layers=[conv1]"],
            "head: is fitted on whole images of a plain backbone; use peft=none",
        ),
    ],
)
def test_what_an_exact_head_in_a_stage_cannot_go_with(
    tmp_path: Path, listed: str, more: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as found:
        job(tmp_path, f"stages.list=[{listed},{{epochs:1}}]", *more)
    assert any(sentence in one for one in found.value.problems), found.value.problems


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        (
            Stage(1, head="linear", freeze="backbone"),
            "stages.list[1].head: is not for masks; use stages=freeze_then_finetune",
        ),
        (Stage(1, size=8), "stages.list[1].size: resizes images and not their masks; leave it out"),
    ],
)
def test_what_stages_of_pixels_cannot_have(tmp_path: Path, stage: Stage, sentence: str) -> None:
    recipe = dataclasses.replace(job(tmp_path).recipe, stages=(Stage(1), stage))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        per_pixel.refuse_parts(recipe, "masks")


def test_an_exact_head_is_of_a_network_of_timm(tmp_path: Path) -> None:
    one = job(tmp_path, "stages=linear_then_finetune")
    with pytest.raises(ConfigError, match=r"stages.list\[0\].head: fits the head of one of timm's networks"):
        stages.check(one.recipe, one.task, one.pack, one.view.train, torch.nn.Linear(1, 1))


def test_the_exact_head_is_kept_where_nothing_is_better(tmp_path: Path) -> None:
    listed = "stages.list=[{epochs:1,freeze:backbone,head:linear},{epochs:1,lr:30.0,freeze:false}]"
    one = job(tmp_path / "a", listed, "optimizer=sgd")
    exact = job(tmp_path / "b", "arch.freeze=true", "augmentations=none", "optimizer=linear")
    record, linear = fit.fit(one, Watch()), fit.fit(exact, Watch())
    assert record.best_epoch == 0
    assert record.scores["val"] == pytest.approx(linear.scores["val"], rel=1e-4)
    kept, expected = stored(one), stored(exact)
    assert all(torch.allclose(kept[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.parametrize(
    "schedule",
    [
        ["lr_scheduler=cosine_restart", "lr_scheduler.period_epochs=0.3"],
        ["lr_scheduler=cyclic", "lr_scheduler.up_epochs=0.1"],
    ],
)
def test_periods_within_an_epoch_are_checked_with_as_many_steps_as_the_epoch_has(
    tmp_path: Path, schedule: list[str]
) -> None:
    """They were checked as if an epoch had two steps, and 0.3 epochs of many steps refused as shorter than one."""
    base = job(tmp_path, "stages.list=[{epochs:1}]", "sampling.batch_size=4", *schedule)
    network = build_network(base.recipe, base.task, base.pack, seed=1)
    assert len(base.view.train) >= 20
    stages.check(base.recipe, base.task, base.pack, base.view.train, network)
    try_recipe(base.recipe, base.task, base.pack, base.view.train)
