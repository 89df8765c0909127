"""What `Model.predict` takes for an image: all of it becomes the same pixels."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mlpipe.data import task
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.task import Dtype, Task
from mlpipe.errors import ConfigError, DataError, MlpipeError, ProjectError
from mlpipe.predicting.in_hand import Shown
from mlpipe.running import loaded_model
from mlpipe.running.loaded_model import Model
from mlpipe.running.predictor import Sample

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def of(channels: int = 3, dtype: Dtype = "uint8", **source: object) -> Task:
    return task.make(
        "t", ["a", "b"], [], channels=channels, dtype=dtype, source={"type": "folder", "root": "", **source}
    )


def pixels(x: object, like: Task) -> list[np.ndarray]:
    return [read(like.channels, None) for _, read in loaded_model._image_samples(x, like, 0, True)]


def test_a_file_its_bytes_a_picture_and_an_array_are_the_same(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "one.png")
    content = (tmp_path / "one.png").read_bytes()
    for x in (tmp_path / "one.png", str(tmp_path / "one.png"), content, Image.fromarray(COLOUR), COLOUR, tmp_path):
        (got,) = pixels(x, of())
        np.testing.assert_array_equal(got, COLOUR)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_means_what_its_file_means(tmp_path: Path, mode: str, channels: int) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.save(path := tmp_path / ("one.tif" if mode == "CMYK" else "one.png"))
    np.testing.assert_array_equal(pixels(picture, of(channels))[0], pixels(path, of(channels))[0])


def test_a_picture_that_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).save(out, "JPEG", quality=100, exif=exif)
    (got,) = pixels(Image.open(io.BytesIO(out.getvalue())), of())
    (wanted,) = pixels(out.getvalue(), of())
    assert got.shape == wanted.shape == (5, 6, 3)
    assert np.abs(got.astype(int) - wanted).max() <= 2


@pytest.mark.parametrize("turn", [1, 6])
def test_a_large_jpeg_is_decoded_alike_as_a_file_and_as_a_picture_that_is_not_loaded(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(COLOUR).resize((480, 320), Image.Resampling.BICUBIC).save(path := tmp_path / "a.jpg", exif=exif)

    def seen(x: object) -> np.ndarray:
        ((_, read),) = loaded_model._image_samples(x, of(), 0, True)
        return read(3, 40)

    wanted = seen(path)
    assert wanted.shape == ((40, 60, 3) if turn == 1 else (60, 40, 3))
    picture = Image.open(path)
    np.testing.assert_array_equal(seen(picture), wanted)
    np.testing.assert_array_equal(seen(Image.open(io.BytesIO(path.read_bytes()))), wanted)
    # How it is turned may be said anew.
    (turned := Image.open(path)).getexif()[0x0112] = 3
    upright = np.asarray(Image.open(path))
    np.testing.assert_array_equal(seen(turned), upright[::-1, ::-1])
    # It is still there to be loaded, and what was done to it then counts.
    picture.load()
    assert seen(picture).shape == ((320, 480, 3) if turn == 1 else (480, 320, 3))
    (drafted := Image.open(path)).draft("RGB", (240, 160))
    assert seen(drafted).shape == ((160, 240, 3) if turn == 1 else (240, 160, 3))


def test_arrays_of_other_channels_go_the_way_of_files() -> None:
    grey = COLOUR[:, :, 0]
    np.testing.assert_array_equal(pixels(grey, of())[0], np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(pixels(COLOUR, of(1))[0][:, :, 0], np.asarray(Image.fromarray(COLOUR).convert("L")))
    assert len(pixels(np.stack([COLOUR, COLOUR]), of())) == 2
    for value, (got,) in zip((grey, grey.T), (pixels(one, of(1)) for one in (grey, grey.T)), strict=True):
        np.testing.assert_array_equal(got[..., 0], value)
    assert [one.shape for one in pixels(np.stack([grey, grey]), of(1))] == [(6, 5, 1)] * 2


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (3, "x: must be a path, an open file, bytes"),
        (np.zeros((4, 4)), "x: is an array of another type than the task's images, got 'float64'; scale it to uint8"),
        (np.zeros((4, 4, 2, 2), np.uint8), r"x: is no image: an array of shape \[4, 2, 2\]"),
        (np.zeros((0, 4, 3), np.uint8), "x: is no image"),
        ("nowhere.png", "x: there is no such file or folder, got 'nowhere.png'"),
    ],
)
def test_what_is_no_image_is_said(x: object, sentence: str) -> None:
    with pytest.raises(MlpipeError, match=sentence):
        loaded_model._image_samples(x, of(), 0, True)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB", "RGBa", "PA"])
def test_a_picture_of_a_mode_that_no_file_has_keeps_its_colours(mode: str) -> None:
    plain = Image.fromarray(COLOUR)
    between = {"RGBa": "RGBA", "PA": "P"}.get(mode)
    picture = (plain.convert(between) if between else plain).convert(mode)
    wanted = np.asarray(picture.convert("RGBA" if mode in ("RGBa", "PA") else "RGB"))[..., :3]
    np.testing.assert_array_equal(pixels(picture, of())[0], wanted)


def test_a_picture_whose_file_is_torn_is_unreadable_and_no_end(tmp_path: Path) -> None:
    for name in ("whole.jpg", "whole.png"):
        Image.fromarray(np.tile(COLOUR, (40, 40, 1))).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        torn = whole[: len(whole) // 2]
        with pytest.raises(UnreadableImageError):
            pixels(torn, of())
        with pytest.raises(UnreadableImageError):
            pixels(Image.open(io.BytesIO(torn)), of())


class Blank:
    """Predicts the same of every sample, and keeps how many there were."""

    kind, task, pivot, has_arrays = "classification", "t", of(), False

    def predict(
        self,
        samples: Sequence[Sample],
        deploy_prior: str | list[float] | None = None,
        *,
        alpha: float | None = None,
        only_values: bool = False,
    ) -> tuple[dict[int, str], Shown]:
        del deploy_prior, alpha, only_values
        self.seen = [sample(3, None).shape for sample in samples]
        rows = [np.array([0.25, 0.75])] * len(samples)
        return {}, Shown([[{}] for _ in samples], rows, np.log(rows))


def test_bytes_of_any_kind_are_one_image_and_arrays_of_paths_a_list(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "one.png")
    content = (tmp_path / "one.png").read_bytes()
    model = Model(Blank(), dict)
    for x in (content, bytearray(content), memoryview(content)):
        assert model.predict_values(x).shape == (1, 2)
    assert model.predict_values(np.array([str(tmp_path / "one.png")] * 3)).shape == (3, 2)
    assert model.predict_values([bytearray(content), COLOUR]).shape == (2, 2)


class Elsewhere(os.PathLike[str]):
    """A path of another library."""

    def __fspath__(self) -> str:
        return "one.png"


def test_open_files_and_paths_of_other_libraries_are_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(COLOUR).save("one.png")
    content, model = Path("one.png").read_bytes(), Model(Blank(), dict)
    stream = io.BytesIO(content)
    # What was read of it before is read again.
    stream.read(9)
    with Path("one.png").open("rb") as handle:
        for x in (stream, handle, Elsewhere(), COLOUR[..., 0].view(np.matrix)):
            for images in (x, [x]):
                assert model.predict(images)["problem"].tolist() == [""] and len(model.predict(images)) == 1
                assert model._predictor.seen == [COLOUR.shape]  # type: ignore[attr-defined]
    with (
        Path("one.png").open(encoding="latin1") as handle,
        pytest.raises(ConfigError, match="x: is a file that is open for"),
    ):
        model.predict(handle)


def test_a_name_that_begins_with_a_tilde_is_one_and_an_empty_one_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(COLOUR).save("~copy.png")
    model = Model(Blank(), dict)
    for x in ("~copy.png", ["~copy.png"], Path("~copy.png"), "."):
        assert model.predict_values(x).shape == (1, 2)
    for name in ("", "x" * 5000, "a\0b"):
        with pytest.raises(DataError, match="x: there is no such file or folder, got '"):
            model.predict(name)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, np.float32("nan"), ""])
def test_an_empty_cell_of_a_column_is_an_image_that_cannot_be_read(tmp_path: Path, missing: object) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "one.png")
    column = pd.Series([str(tmp_path / "one.png"), missing], index=["a", "b"], dtype=object)
    names, samples, index = Model(Blank(), dict)._samples(column)
    assert index is not None and index.tolist() == ["a", "b"] and names[1] == "#1"
    assert samples[0](3, None).shape == COLOUR.shape
    with pytest.raises(UnreadableImageError, match="is missing"):
        samples[1](3, None)


@pytest.mark.parametrize(
    ("x", "prior", "sentence"),
    [
        (pd.DataFrame({"path": ["a.png"]}), None, r"x: must be .*, got 'DataFrame'; give one column, such as frame"),
        ({"a": COLOUR}, None, "x: must be .*, got 'dict'"),
        (COLOUR, 0.3, "deploy_prior: is no prevalence, got '0.3'; use 'estimate', or a number for each class"),
        (COLOUR, ["a", "b"], "deploy_prior: is no prevalence"),
        (COLOUR, {"a": 0.5, "b": None}, "deploy_prior: is no prevalence"),
    ],
)
def test_what_is_no_list_of_images_or_no_prevalence_is_said(x: Any, prior: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Model(Blank(), dict).predict(x, deploy_prior=prior)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "one.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, (tmp_path / "new.png").open("wb") as written:
        closed = (tmp_path / "one.png").open("rb")
        closed.close()
        for x in (closed, [closed], written, archive):
            with pytest.raises(ConfigError, match=r"x: is a file that cannot be read \(.+\); open it with 'rb'"):
                Model(Blank(), dict).predict(x)  # type: ignore[arg-type]


def test_names_that_nothing_has_are_told(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="where: there is no such project, got 'xxx"):
        loaded_model.load("x" * 300, out_dir=tmp_path)
    with pytest.raises(ConfigError, match="ensemble: must be a name, got 3; use ensemble='latest'"):
        loaded_model.load("p", ensemble=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", [None, 3, b"a.onnx"])
def test_what_is_loaded_is_a_name_or_a_path(where: Any) -> None:
    with pytest.raises(ConfigError, match="where: must be a name or a path"):
        loaded_model.load(where)


def test_a_file_of_another_ending_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# digits")
    with pytest.raises(
        ProjectError, match=r"where: is no exported model by its ending, got '.*card.md'; give FILE.onnx"
    ):
        loaded_model.load(tmp_path / "card.md")


def test_an_empty_folder_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        loaded_model._image_samples(tmp_path, of(), 0, True)
    with pytest.raises(UnreadableImageError):
        pixels(b"no image", of())


def test_arrays_of_a_task_of_arrays() -> None:
    like = of(2, "float32", type="samples", layout="chw", axes=1)
    value = np.arange(8.0).reshape(2, 4)
    ((_, read),) = loaded_model._array_samples(value, like, 0, True)
    np.testing.assert_array_equal(read(2, None), value.T)
    assert [name for name, _ in loaded_model._array_samples(np.stack([value] * 3), like, 5, False)] == [
        "#5",
        "#6",
        "#7",
    ]
    with pytest.raises(DataError, match="has 3 channels, the samples of t have 2"):
        loaded_model._array_samples(np.zeros((3, 4)), like, 0, True)
    with pytest.raises(DataError, match="NaN or infinite"):
        loaded_model._array_samples(value * np.nan, like, 0, True)
    with pytest.raises(ConfigError, match="must be an array"):
        loaded_model._array_samples(b"", like, 0, True)


def test_arrays_of_numbers_are_taken_as_the_files_of_the_task_hold_them() -> None:
    values = np.linspace(-2, 6, 30, dtype=np.float64).reshape(6, 5)
    like = of(1, "float32", range=[-2.0, 6.0])
    np.testing.assert_allclose(pixels(values, like)[0][..., 0], (values + 2) / 8, atol=1e-6)
    assert pixels(np.stack([values, values]), like)[0].dtype == np.float32
    np.testing.assert_allclose(pixels(np.array([[-2, 6]], np.int16), like)[0][..., 0], [[0, 1]])
    np.testing.assert_allclose(pixels(values / 8, of(1, "float32"))[0][..., 0], values / 8, atol=1e-6)
    for x, sentence in (
        (values * 2, "x: has values from -4 to 12, outside -2 to 6; give what the task's files hold"),
        (values * np.nan, "x: has values that are NaN or infinite"),
        (values > 1, "x: is no array of numbers, got 'bool'"),
        (
            b"",
            "x: must be an array: the images of t are arrays of numbers, which no file of an image holds, got 'bytes'",
        ),
        ("a.png", "x: must be an array"),
        (Image.new("L", (3, 3)), "x: must be an array"),
    ):
        with pytest.raises(MlpipeError, match=sentence):
            pixels(x, like)
    with pytest.raises(DataError, match="outside 0 to 1"):
        pixels(values, of(1, "float32", range=None))


def test_arrays_have_as_many_channels_as_the_task() -> None:
    many = np.random.default_rng(0).integers(0, 256, (6, 7, 5), np.uint8)
    (got,) = pixels(many, of(5))
    np.testing.assert_array_equal(got, many)
    assert len(pixels(np.stack([many] * 2), of(5))) == 2 and len(pixels(many, of(3))) == 6
    ((_, read),) = loaded_model._image_samples(many, of(5), 0, True)
    with pytest.raises(UnreadableImageError, match="has 5 channels, the model's images have 3"):
        read(3, None)
    deep = np.arange(30, dtype=np.uint16).reshape(6, 5)
    np.testing.assert_array_equal(pixels(deep.astype(">u2"), of(1, "uint16"))[0][..., 0], deep)
