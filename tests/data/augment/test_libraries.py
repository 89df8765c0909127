"""Foreign transforms as steps: exact for a seed, whatever the batch; what they may not do."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
import torch
import yaml
from albumentations.pytorch import ToTensorV2
from scipy import stats
from torchvision.transforms import v2

from mlpipe.data.augment import batches, libraries, samples
from mlpipe.errors import DataError

torch.set_num_threads(1)

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 12, 3), np.uint8)
SEEDS = np.arange(6, dtype=np.uint64) * np.uint64(2**62 + 7)
CONF = Path(__file__).parents[3] / "conf" / "augmentations"


class Noise(torch.nn.Module):
    """A module of a user's own that draws from every global generator."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        drawn = torch.rand(1) + np.random.rand() + random.random()
        return (image + (drawn * 80).to(image.dtype)).to(image.dtype)


class Failing(torch.nn.Module):
    """Draws, then fails."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"no luck with {torch.rand(1) + np.random.rand() + random.random()}")


def makers() -> list[Any]:
    return [
        albumentations.Affine(rotate=(-30, 30), p=1.0),
        albumentations.Compose([albumentations.RandomBrightnessContrast(p=1.0), albumentations.CoarseDropout(p=1.0)]),
        albumentations.OneOf([albumentations.HorizontalFlip(p=1.0), albumentations.Transpose(p=0.0)]),
        albumentations.GaussNoise(p=1.0),
        albumentations.ElasticTransform(p=1.0),
        v2.RandAugment(num_ops=2, magnitude=15),
        v2.TrivialAugmentWide(),
        v2.AugMix(),
        v2.ColorJitter(0.5, 0.5),
        v2.RandomAffine(30, translate=(0.2, 0.2)),
        v2.RandomApply([v2.GaussianNoise()], p=0.5),
        v2.RandomErasing(p=1.0, inplace=True),
        Noise(),
    ]


TRANSFORMS = makers()


@pytest.mark.parametrize("number", range(len(TRANSFORMS)), ids=[type(one).__name__ for one in TRANSFORMS])
def test_an_image_depends_on_its_own_seed_only(number: int) -> None:
    step = libraries.adapt(TRANSFORMS[number])
    before, many = IMAGES.copy(), SEEDS + np.uint64(1)
    whole = step(IMAGES, SEEDS)
    assert whole.shape == IMAGES.shape and whole.dtype == np.uint8
    assert (before == IMAGES).all()
    order = [4, 0, 5]
    assert (step(IMAGES[order], SEEDS[order]) == whole[order]).all()
    # Another object, as another loader process has it, after draws of its own.
    other = libraries.adapt(makers()[number])
    other(IMAGES, many)
    assert (other(IMAGES, SEEDS) == whole).all()
    assert (whole != IMAGES).any()


def test_epochs_differ() -> None:
    for transform in makers():
        if not isinstance(transform, albumentations.OneOf):
            step = libraries.adapt(transform)
            assert (step(IMAGES, SEEDS) != step(IMAGES, SEEDS + np.uint64(1))).any()


@pytest.mark.parametrize("transform", [v2.RandAugment(2, 15), v2.RandomAffine(30), v2.ColorJitter(0.5)])
def test_torchvision_is_called_with_the_seed(transform: Any) -> None:
    whole = libraries.adapt(transform)(IMAGES, SEEDS)
    for index, seed in enumerate(SEEDS.tolist()):
        torch.manual_seed(seed % 2**63)
        alone = transform(torch.from_numpy(IMAGES[index]).permute(2, 0, 1))
        np.testing.assert_array_equal(whole[index], alone.permute(1, 2, 0).numpy())


def test_albumentations_without_chance_are_themselves() -> None:
    for transform in (albumentations.HorizontalFlip(p=1.0), albumentations.Solarize((0.5, 0.5), p=1.0)):
        whole = libraries.adapt(transform)(IMAGES, SEEDS)
        for index in range(6):
            np.testing.assert_array_equal(whole[index], transform(image=IMAGES[index])["image"])


def test_the_parts_of_a_compose_draw_independently() -> None:
    both = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)])
    images = np.zeros((1000, 2, 2, 1), np.uint8)
    images[:, 0, 0] = 1
    turned = libraries.adapt(both)(images, samples.mix(np.arange(1000, dtype=np.uint64), 0))
    corners = turned.sum(axis=0).ravel()
    assert corners.sum() == 1000 and stats.chisquare(corners).pvalue > 1e-3


def test_the_share_of_changed_images_is_p() -> None:
    images = np.repeat(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1), 1000, axis=0)
    seeds = samples.mix(np.arange(1000, dtype=np.uint64), 0)
    for transform in (albumentations.HorizontalFlip(p=0.3), v2.RandomHorizontalFlip(p=0.3)):
        changed = (libraries.adapt(transform)(images, seeds) != images).any(axis=(1, 2, 3))
        assert stats.binomtest(int(changed.sum()), 1000, 0.3).pvalue > 1e-3


def global_draws() -> tuple[Any, ...]:
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]


@pytest.mark.parametrize("transform", [*makers(), Failing()], ids=lambda transform: type(transform).__name__)
def test_global_generators_are_left_as_they_were(transform: Any) -> None:
    def start() -> None:
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)

    start()
    expected = global_draws()
    start()
    try:
        libraries.adapt(transform)(IMAGES, SEEDS)
    except DataError:
        assert isinstance(transform, Failing)
    assert global_draws() == expected


def test_images_of_several_sizes_keep_them_or_get_one() -> None:
    ragged = [IMAGES[0], IMAGES[1, :9], IMAGES[2, :, :7]]
    changed = libraries.adapt(v2.RandomHorizontalFlip(p=1.0))(ragged, SEEDS[:3])
    assert [image.shape for image in changed] == [image.shape for image in ragged]
    assert (changed[1] == ragged[1][:, ::-1]).all()
    steps = [samples.horizontal_flip(p=1.0), libraries.adapt(albumentations.Resize(8, 8))]
    together = samples.apply(steps, ragged, SEEDS[:3])
    assert isinstance(together, np.ndarray) and together.shape == (3, 8, 8, 3)
    crop = samples.random_resized_crop(size=10)
    assert samples.apply([samples.vertical_flip(p=1.0), crop], ragged, SEEDS[:3])[0].shape == (10, 10, 3)


def test_images_that_may_not_be_written_to_are_taken() -> None:
    mapped = IMAGES.copy()
    mapped.flags.writeable = False
    step = libraries.adapt(v2.RandomErasing(p=1.0, inplace=True))
    np.testing.assert_array_equal(step(list(mapped), SEEDS)[2], step(IMAGES, SEEDS)[2])


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_other_types_and_channels_keep_them(channels: int, dtype: str) -> None:
    images = np.random.default_rng(0).random((3, 8, 8, channels))
    images = images.astype(dtype) if dtype == "float32" else (images * 255).astype(dtype)
    for transform in (albumentations.HorizontalFlip(p=1.0), v2.RandomHorizontalFlip(p=1.0)):
        changed = libraries.adapt(transform)(images, SEEDS[:3])
        assert changed.dtype == dtype
        np.testing.assert_array_equal(changed, images[:, :, ::-1])


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (albumentations.Normalize(), "Normalize does not belong here; leave it out: mlpipe normalises"),
        (ToTensorV2(), "ToTensorV2 does not belong here; leave it out: mlpipe normalises"),
        (albumentations.Compose([albumentations.ToFloat()]), "ToFloat does not belong here"),
        (v2.ToDtype(torch.float32, scale=True), "ToDtype does not belong here"),
        (v2.Compose([v2.RandomHorizontalFlip(), v2.Normalize([0.5], [0.5])]), "Normalize does not belong here"),
        (v2.Lambda(lambda image: image.float()), "Lambda turns uint8 pixels into float32; leave it out: mlpipe"),
        (v2.Grayscale(1), "Grayscale gives an array of shape (16, 12, 1) for an image of shape (16, 12, 3)"),
        (v2.FiveCrop(4), "FiveCrop gives a tuple for an image of shape (16, 12, 3); leave it out or use another one"),
    ],
)
def test_what_a_step_may_not_do(transform: object, sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        libraries.adapt(transform)(IMAGES, SEEDS)
    assert refused.value.problems[0].startswith(f"augmentations.cpu.pipeline: {sentence}")


def test_images_of_one_size_may_get_several() -> None:
    changed = libraries.adapt(v2.RandomChoice([v2.Resize((5, 5)), v2.Resize((6, 6))]))(IMAGES, SEEDS)
    assert isinstance(changed, list) and {image.shape for image in changed} == {(5, 5, 3), (6, 6, 3)}


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (v2.RandAugment(), "RandAugment"),
        (albumentations.HueSaturationValue(p=1.0), "HueSaturationValue"),
        (albumentations.CLAHE(p=1.0), "CLAHE"),
    ],
)
def test_images_that_a_transform_cannot_take_give_a_sentence(transform: Any, name: str) -> None:
    images = np.zeros((2, 8, 8, 5), np.uint8)
    with pytest.raises(DataError, match=rf"pipeline: {name} cannot take images of shape \(8, 8, 5\) and type uint8 \("):
        libraries.adapt(transform)(images, SEEDS[:2])


def test_a_step_of_ours_is_returned() -> None:
    step = samples.horizontal_flip()
    assert libraries.adapt(step) is step


def test_no_library_is_imported_to_recognise_it() -> None:
    program = (
        "import sys; from mlpipe.data.augment import libraries, samples; libraries.adapt(samples.rotate90()); "
        "print([name for name in ('albumentations', 'torchvision', 'torch', 'kornia', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_option_changes_grey_and_coloured_images(file: Path) -> None:
    tree = yaml.safe_load(file.read_text("utf-8"))
    assert set(tree) == {"normalization", "cpu", "device"}

    def built(node: dict[str, Any]) -> Any:
        module, _, name = node["_target_"].rpartition(".")
        params = {key: 24 if value == "${preprocessing.size}" else value for key, value in node.items()}
        del params["_target_"]
        return getattr(importlib.import_module(module), name)(**params)

    cpu = [libraries.adapt(built(node)) for node in tree["cpu"]["pipeline"]]
    device = [batches.adapt(built(node)) for node in tree["device"]["pipeline"]]
    torch.manual_seed(0)
    for channels in (1, 3):
        images = np.random.default_rng(0).integers(0, 256, (16, 24, 24, channels), np.uint8)
        changed = samples.apply(cpu, images, np.arange(16, dtype=np.uint64))
        assert isinstance(changed, np.ndarray) and changed.shape == images.shape and changed.dtype == np.uint8
        tensor = torch.from_numpy(changed).permute(0, 3, 1, 2)
        final, target = batches.apply(device, tensor, torch.eye(16), 10)
        assert final.shape == tensor.shape and target.shape == (16, 16)
        assert bool((final.permute(0, 2, 3, 1).numpy() != images).any()) == (file.stem != "none")
