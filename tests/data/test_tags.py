"""Tags: what a variant trains on, what stays as it was, and a sentence for every tag that does not fit."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data import tags, task
from mlpipe.data.splits import methods, variants
from mlpipe.data.tags import World
from mlpipe.data.task import Row, Task, origins
from mlpipe.errors import DataError

few = settings(max_examples=30, deadline=None, derandomize=True)


def made(name: str = "made", n: int = 90, classes: int = 3, channels: int = 1) -> Task:
    rows = [
        Row(
            f"{index:03d}",
            "train" if index % 10 else "unlabelled",
            index % classes if index % 10 else -1,
            f"{name}{index}",
        )
        for index in range(n)
    ]
    return task.make(name, "abcdef"[:classes], rows, channels=channels, source={"type": "none"})


def split_of(fraction: float, of: Task) -> methods.Split:
    return methods.kfold(of.samples, folds=3, test_fraction=0.0 if of.bases else fraction)


def derived(text: str, base: Task | None = None, fraction: float = 0.2) -> Task:
    others = {"other": made("other", 40, 4), "colour": made("colour", channels=3)}
    return tags.derive(base or made(), tags.parse(text), World(partial(split_of, fraction), others.__getitem__))


def pool(of: Task) -> list[str]:
    return [of.samples.ids[row] for row in np.flatnonzero(of.samples.in_part("train"))]


def held_out(of: Task) -> list[str]:
    return [of.samples.ids[row] for row in np.flatnonzero(of.samples.in_part("test"))]


def problem_of(text: str, base: Task | None = None) -> str:
    with pytest.raises(DataError) as caught:
        derived(text, base)
    return str(caught.value)


@pytest.mark.parametrize("text", ["subset?0.5", "noise?0.2", "bootstrap?3", "shrink?20", "subset?0.5+noise?0.3"])
def test_a_variant_is_tested_on_what_the_pivot_is_tested_on(text: str) -> None:
    plain = methods.kfold(made().samples, folds=3, test_fraction=0.2)
    wanted = [made().samples.ids[row] for row in np.flatnonzero(plain.fold == methods.TEST)]
    variant = derived(text)
    assert variant.name == f"made+{text}"
    assert held_out(variant) == wanted and len(wanted) > 10
    rows = variant.samples.in_part("test", "unlabelled")
    truth = dict(zip(made().samples.ids, made().samples.targets.tolist(), strict=True))
    assert all(truth[name] == target for name, target in zip(variant.samples.ids, variant.samples.targets, strict=True))
    assert (variant.samples.learned[rows] == variant.samples.targets[rows]).all()


def test_smaller_subsets_lie_in_larger_ones_and_keep_the_shares_of_classes() -> None:
    sizes = {share: set(pool(derived(f"subset?{share}"))) for share in (0.1, 0.3, 0.31, 0.9)}
    whole = set(pool(derived("noise?0")))
    assert sizes[0.1] < sizes[0.3] <= sizes[0.31] < sizes[0.9] < whole
    assert all(len(names) == round(share * len(whole)) for share, names in sizes.items())
    assert set(pool(derived("shrink?20"))) < set(pool(derived("shrink?30")))
    counts = derived("shrink?30").class_counts(np.flatnonzero(derived("shrink?30").samples.in_part("train")))
    assert counts.sum() == 30 and np.ptp(counts) <= 2
    assert set(pool(derived("shrink?20"))) != set(pool(derived("shrink?20?1")))


@few
@given(st.floats(0, 1).map(lambda share: round(share, 3)), st.integers(0, 50))
def test_noise_changes_the_rounded_share_of_training_labels_and_nothing_else(share: float, seed: int) -> None:
    variant = derived(f"noise?{share:.3f}?{seed}")
    wrong = variant.samples.learned != variant.samples.targets
    training = variant.samples.in_part("train")
    assert wrong.sum() == round(share * training.sum()) and not wrong[~training].any()
    assert set(variant.samples.learned[training]) <= {0, 1, 2}
    again = derived(f"noise?{share:.3f}?{seed}")
    assert (again.samples.learned == variant.samples.learned).all()


def test_noise_is_learned_but_never_validated() -> None:
    variant = derived("noise?0.5")
    split = split_of(0.0, variant)
    assert split.fold.tolist() == list(methods.kfold(made().samples, folds=3, test_fraction=0.2).fold.tolist())
    view = variants.plain(variant, split, 1)
    counted = variant.class_counts(view.train, learned=True)
    assert counted.tolist() == np.bincount(variant.samples.learned[view.train]).tolist()
    assert counted.tolist() != variant.class_counts(view.train).tolist()


def test_noisy_numbers_and_labels_are_exchanged() -> None:
    rows = [Row(f"{index:02d}", "train", (float(index), float(index % 2)), f"d{index}") for index in range(40)]
    base = task.make("numbers", ["x", "y"], rows, channels=1, source={"type": "none"}, kind="regression")
    variant = derived("noise?0.5", base, 0.0)
    wrong = (variant.samples.learned != variant.samples.targets).any(axis=1)
    assert wrong.sum() == 20
    assert sorted(variant.samples.learned[:, 0]) == sorted(variant.samples.targets[:, 0])
    assert derived("remove?x", base, 0.0).samples.targets.ravel().tolist() == base.samples.targets[:, 1].tolist()


def test_nested_is_the_nested_view_of_the_pivot() -> None:
    base = made()
    split = split_of(0.2, base)
    for fold in range(3):
        wanted = variants.nested(base, split, fold)
        variant = derived(f"nested?{fold}")
        view = variants.plain(variant, split_of(0.0, variant), 0)
        part, row = origins(variant)
        assert set(part.tolist()) == {0}
        assert [row[view.train].tolist(), row[view.val].tolist(), row[view.test].tolist()] == [
            wanted.train.tolist(), wanted.val.tolist(), wanted.test.tolist(),
        ]  # fmt: skip
        assert view.unlabelled.tolist() == []


def test_nested_learns_the_extra_part_and_validates_nothing_of_it() -> None:
    """Its samples were a fold of their own, which a fourth model was judged by."""
    rows = [Row(f"{index:03d}", "train" if index % 10 else "extra", index % 3, f"d{index}") for index in range(90)]
    base = task.make("made", "abc", rows, channels=1, source={"type": "none"})

    def split(of: Task) -> methods.Split:
        return methods.with_extra(of.samples, methods.kfold(of.samples, folds=3))

    for fold in range(3):
        wanted = variants.nested(base, split(base), fold)
        variant = tags.derive(base, tags.parse(f"nested?{fold}"), World(split, {}.__getitem__))
        own = split(variant)
        assert (own.n_folds, own.validated) == (3, (0, 1, 2))
        view, row = variants.plain(variant, own, 0), origins(variant)[1]
        assert [row[view.train].tolist(), row[view.val].tolist(), row[view.test].tolist()] == [
            wanted.train.tolist(), wanted.val.tolist(), wanted.test.tolist(),
        ]  # fmt: skip


def test_bring_keeps_strata_and_orders() -> None:
    base = made()
    n = len(base.samples)
    own = dataclasses.replace(
        base.samples, strata=tuple("xy"[index % 2] for index in range(n)), orders=np.arange(n) * 1.0
    )
    samples = derived("bring?other:d", dataclasses.replace(base, samples=own)).samples
    found = dict(zip(samples.ids, zip(samples.strata, samples.orders.tolist(), strict=True), strict=True))  # type: ignore[union-attr]
    assert all(found[name] == (own.strata[index], index) for index, name in enumerate(own.ids))
    brought = [found[name] for name in found if name.startswith("other:")]
    assert brought and all(stratum == "" and order != order for stratum, order in brought)


def test_nested_twice_sets_aside_a_fold_of_the_inner_ones() -> None:
    variant = derived("nested?0+nested?1")
    outer = derived("nested?0")
    assert set(held_out(variant)) < set(pool(outer)) and not set(held_out(variant)) & set(held_out(outer))


def test_remove_takes_a_class_from_every_part_and_renumbers() -> None:
    variant = derived("noise?0.5+remove?b")
    assert variant.classes == ("a", "c")
    names = dict(zip(made().samples.ids, made().samples.targets, strict=True))
    for name, target, learned in zip(
        variant.samples.ids, variant.samples.targets, variant.samples.learned, strict=True
    ):
        assert names[name] != 1
        assert target == {0: 0, 2: 1, -1: -1}[int(names[name])]
        assert learned in (0, 1) or target == -1
    assert "there is no" in problem_of("remove?b+remov?c") or "no such tag" in problem_of("remove?b+remov?c")
    assert "a single class would be left" in problem_of("remove?b+remove?c")


def test_bring_adds_the_images_of_a_class_with_their_own_parts() -> None:
    variant = derived("bring?other:d")
    assert variant.classes == ("a", "b", "c", "d")
    part, row = origins(variant)
    brought = np.flatnonzero(part == 1)
    other = made("other", 40, 4)
    assert {variant.samples.ids[place] for place in brought} == {
        f"other:{name}" for name, target in zip(other.samples.ids, other.samples.targets, strict=True) if target == 3
    }
    assert (variant.samples.targets[brought] == 3).all()
    assert [variant.samples.digests[place] for place in brought] == [
        other.samples.digests[place] for place in row[brought]
    ]
    assert {variant.samples.parts[place] for place in brought} == {"train", "test"}
    assert list(variant.samples.ids) == sorted(variant.samples.ids)
    assert derived("bring?other:a").classes == ("a", "b", "c")
    assert derived("bring?colour:a").channels == 3
    both = derived("bring?other:d+bring?other:c+noise?0.1")
    assert [base.name for base in both.bases] == ["made", "other"]


def test_bootstrap_draws_training_rows_again_and_leaves_the_rest() -> None:
    variant, base = derived("bootstrap?1"), made()
    split = split_of(0.0, variant)
    for make in (variants.plain, variants.nested):
        before, after = make(base, split_of(0.2, base), 1), make(variant, split, 1)
        assert after.val.tolist() == before.val.tolist() and after.test.tolist() == before.test.tolist()
        assert len(after.train) == len(before.train) and set(after.train) < set(before.train)
        assert after.train.tolist() == make(derived("bootstrap?1"), split, 1).train.tolist()
        assert after.train.tolist() != make(derived("bootstrap?2"), split, 1).train.tolist()
        left = 1 - len(set(after.train)) / len(before.train)
        assert 0.2 < left < 0.55  # 1/e in expectation


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subst?0.1", "there is no such tag, got '+subst?0.1'; did you mean 'subset'?"),
        ("subset", "tag subset needs a share of the training images, got '+subset'; write +subset?0.1"),
        ("subset?x", "tag subset needs a share"),
        ("subset?2", "the share must lie in 0 to 1"),
        ("subset?0.01", "no training image is left of a, b; keep more images"),
        ("shrink?1000", "there are only 66 training images, got '+shrink?1000'; use fewer"),
        ("noise?1.5", "the share must lie in 0 to 1"),
        ("noise?0.1?2?3", "an argument too many, got '+noise?0.1?2?3'; a seed may follow"),
        ("remove?z", "made has no 'z', got '+remove?z'; made has a, b, c"),
        ("bring?other", "tag bring needs a task and a class"),
        ("bring?other:a+bring?other:a", "the class was brought before"),
        ("nested?5", "there is no such fold, got '+nested?5'; the folds are 0 to 2"),
    ],
)
def test_what_does_not_fit(text: str, sentence: str) -> None:
    assert sentence in problem_of(text)


def test_names_are_canonical_and_classes_may_be_quoted() -> None:
    assert tags.canonical("confuse?0.20+noise?.5?0") == "noise?0.2+noise?0.5"
    assert tags.problems("subset?0.1+what?1+shrnk?2") == [
        "task: there is no such tag, got '+what?1'; tags: nested, subset, shrink, noise, remove, bring, bootstrap, head",
        "task: there is no such tag, got '+shrnk?2'; did you mean 'shrink'?",
    ]
    base = dataclasses.replace(made(), classes=("a", "b+?", "c d"))
    assert derived("remove?b%2B%3F", base).classes == ("a", "c d")
    assert derived("remove?c d", base).classes == ("a", "b+?")


def test_a_subset_keeps_whole_groups() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 40)
    names = np.repeat([f"p{number:02}" for number in range(40)], sizes)
    rows = [Row(f"{row:03}", "train", int(name[1:]) % 2, f"d{row}", str(name)) for row, name in enumerate(names)]
    clinic = task.make("clinic", ["a", "b"], rows, channels=1, source={"type": "none"})
    before: set[str] = set()
    for share in (0.1, 0.25, 0.5, 0.8, 1.0):
        kept = derived(f"subset?{share}", clinic, 0.0).samples
        assert abs(len(kept) - share * len(rows)) <= sizes.max() / 2
        assert all((np.array(kept.groups) == name).sum() == (names == name).sum() for name in set(kept.groups))
        shares = [(kept.targets == number).sum() / (clinic.samples.targets == number).sum() for number in (0, 1)]
        assert np.ptp(shares) <= 2 * sizes.max() / np.bincount(clinic.samples.targets).min()
        assert before <= set(kept.ids)
        before = set(kept.ids)
