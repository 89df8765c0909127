"""What an application of `mml serve` answers, by a model that is none."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from mlpipe.data.decoding import images
from mlpipe.errors import ConfigError, DataError
from mlpipe.modes.serve import app
from mlpipe.modes.serve.batching import Batches
from mlpipe.modes.serve.gate import Gate, Limits
from tests.modes.serve.clients import ask


def picture(size: tuple[int, int] = (4, 3), grey: int = 0, kind: str = "png") -> bytes:
    out = io.BytesIO()
    Image.new("L", size, grey).save(out, kind)
    return out.getvalue()


class Brightness:
    """A model of two classes: how bright the first pixel is."""

    classes = ("dark", "p(light)")
    kind = "classification"
    has_arrays = False

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def predict(self, x: Sequence[Any], **options: Any) -> pd.DataFrame:
        self.calls.append({"images": len(x), **options})
        if options["deploy_prior"] == [0.5]:
            raise ConfigError(["mode.deploy_prior: one", "and another"])
        if options["costs"] == [[0.0]]:
            raise RuntimeError("secret")
        if options["costs"] == [[1.0]]:
            raise MemoryError("no more")
        light = [float(self.value(one)) / 255 for one in x]
        cells = {"p(dark)": [1 - one for one in light], "p(p(light))": light, "size": np.arange(len(x)), "low": np.nan}
        names = [f"#{place}" for place in range(len(x))]
        return pd.DataFrame({"image": names, "problem": "", **cells})

    def explain(self, x: Sequence[Any], output: str | None = None) -> pd.DataFrame:
        (one,) = x
        if output not in (None, *self.classes):
            raise ConfigError("output: is nothing that the model predicts")
        whole = np.asarray(Image.open(io.BytesIO(one)))
        heat = np.linspace(0, 1, whole.size).reshape(whole.shape)
        return pd.DataFrame([{"output": output or "dark", "heat_map": heat}])

    def value(self, one: bytes) -> Any:
        return np.asarray(Image.open(io.BytesIO(one)))[0, 0]


class Arrays(Brightness):
    has_arrays = True

    def value(self, one: Any) -> Any:
        try:
            return np.load(one, allow_pickle=False).ravel()[0]
        except ValueError as error:
            raise DataError(f"{one}: cannot be read") from error


class Boxes(Brightness):
    """As many rows as the first pixel says, and for none of them an empty one."""

    kind = "detection"

    def predict(self, x: Sequence[Any], **options: Any) -> pd.DataFrame:
        rows = [
            {
                "image": f"#{place}",
                **({"x0": float(number), "score": number / 9, "class": self.classes[number % 2]} if number else {}),
            }
            for place, one in enumerate(x)
            for number in (range(1, int(self.value(one)) + 1) or [0])
        ]
        return pd.DataFrame(rows).assign(problem="")


class Masks(Brightness):
    """A mask, of which the first pixel says how much is not ground."""

    kind = "segmentation"
    classes = ("ground", "cat", "dog")

    def predict(self, x: Sequence[Any], **options: Any) -> pd.DataFrame:
        shares = np.array([float(self.value(one)) / 255 for one in x])
        each = {"share(ground)": 1 - shares, "share(cat)": shares / 3, "share(dog)": 2 * shares / 3}
        return pd.DataFrame({"image": [f"#{place}" for place in range(len(x))], "problem": "", **each})


@pytest.fixture
def model() -> Brightness:
    return Brightness()


def gate_of(model: Any, batches: Batches) -> Gate:
    card = {"task": "lamps", "kind": "classification", "classes": list(model.classes), "score": float("nan")}
    service = app.Service(model, card, batches, most_images=3, most_pixels=100)
    return Gate(app.made(service), Limits(100_000, None, 8, 5.0), (), None)


@pytest.fixture
def served(model: Brightness) -> Iterator[Gate]:
    batches = Batches(lambda images, options: app.answers(model, images, options), 8, 0.0)  # type: ignore[arg-type]
    yield gate_of(model, batches)
    batches.close()


def form(*contents: bytes, **fields: str) -> dict[str, Any]:
    return {
        "files": [("images", (f"folder/{place}.png", one)) for place, one in enumerate(contents)],
        "data": fields,
    }


def test_a_form_base64_and_a_file_as_it_is_give_the_same(served: Gate) -> None:
    content = picture(grey=51)
    text = base64.b64encode(content).decode()
    asked: list[dict[str, Any]] = [
        form(content),
        {"json": {"images": [text]}},
        {"json": {"images": [f"data:image/png;base64,{text}"]}},
        # As base64 and e-mails break lines, and as some browsers say it.
        {"json": {"images": [base64.encodebytes(content).decode().replace("\n", "\r\n")]}},
        {"json": {"images": [f"data:image/png;charset=utf-8;base64,{text}"]}},
        # As addresses and tokens hold it.
        {"json": {"images": [base64.urlsafe_b64encode(content).decode().rstrip("=")]}},
        {"content": content, "headers": {"content-type": "image/png"}},
        {"content": content, "headers": {"content-type": "application/octet-stream"}},
    ]
    rows = []
    for words in asked:
        answer = ask(served, "POST", "/predict", **words)
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
        rows += answer.json()["predictions"]
    assert [row.pop("image") for row in rows] == ["0.png", *["#0"] * 7]
    # Cells that are NaN say nothing.
    wanted = {"problem": "", "size": 0, "probabilities": {"dark": pytest.approx(0.8), "p(light)": pytest.approx(0.2)}}
    assert rows == [wanted] * 8


def test_several_images_of_which_one_cannot_be_read(served: Gate, model: Brightness) -> None:
    answer = ask(served, "POST", "/predict", **form(picture(grey=0), b"no image", picture(grey=255)))
    rows = answer.json()["predictions"]
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert rows[1] == {"image": "1.png", "problem": "not an image in a known format"}
    assert [rows[place]["probabilities"]["dark"] for place in (0, 2)] == [1.0, 0.0]
    assert model.calls == [{"images": 2, "deploy_prior": None, "costs": None, "alpha": None}]


def test_prevalence_and_costs_of_a_request(served: Gate, model: Brightness) -> None:
    costs = [[0.0, 1.0], [5.0, 0.0]]
    text = base64.b64encode(picture()).decode()
    for prior in ([0.2, 0.8], {"dark": 0.2, "p(light)": 0.8}, "estimate"):
        as_json = {"images": [text], "deploy_prior": prior, "costs": costs, "alpha": 0.2}
        assert ask(served, "POST", "/predict", json=as_json).status_code == 200
        fields = {
            "deploy_prior": prior if prior == "estimate" else json.dumps(prior),
            "costs": json.dumps(costs),
            "alpha": "0.2",
        }
        assert ask(served, "POST", "/predict", **form(picture(), **fields)).status_code == 200
        assert model.calls[-2:] == [{"images": 1, "deploy_prior": prior, "costs": costs, "alpha": 0.2}] * 2


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (form(b""), 422, "0.png: the file is empty"),
        (form(picture((20, 6))), 413, "images: have more than 100 pixels, got 120"),
        (form(picture((7, 7)), picture((7, 8))), 413, "images: have more than 100 pixels, got 105"),
        (form(*[picture()] * 4), 413, "images: there are more than 3, got 4"),
        (form(*[picture()] * 9), 413, "images: there are more than 3; send them in several requests"),
        (form(picture(), a="1", b="2", c="3", d="4", e="5", f="6"), 400, "body: Too many fields"),
        (form(picture(), deploy_prior="high"), 400, "deploy_prior: is no JSON"),
        (form(picture(), deploy_prior="[" * 5000), 400, "deploy_prior: is no JSON"),
        (form(picture(), deploy_prior="[NaN]"), 400, "deploy_prior.literal"),
        (
            form(picture(), prior="[1]"),
            400,
            "prior: is no option; use one of alpha, costs, deploy_prior, explain, output; the",
        ),
        # A file whose part does not say its name.
        (form(picture(), images="PNG"), 400, "images: is no option; use one of alpha"),
        (form(picture(), deploy_prior="[0.5]"), 422, "mode.deploy_prior: one"),
        ({"data": {"costs": "[[1]]"}, "files": {}}, 415, "Content-Type"),
        ({"content": b"", "headers": {"content-type": "image/png"}}, 422, "#0: the file is empty"),
        (
            {"content": b"x", "headers": {"content-type": "text/html"}},
            415,
            "Content-Type: is not read, got 'text/html'",
        ),
        ({"content": b"x"}, 415, "Content-Type: is not read, got ''"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "body: Missing boundary"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400, "body:"),
        (
            {"content": b"--y\r\nno header\r\n\r\n", "headers": {"content-type": "multipart/form-data; boundary=y"}},
            400,
            "body:",
        ),
        ({"content": b"[" * 50_000, "headers": {"content-type": "application/json"}}, 400, "body: Invalid JSON"),
        ({"content": b"\xff", "headers": {"content-type": "application/json"}}, 400, "body: Invalid JSON"),
        ({"json": {"images": []}}, 400, "images: List should have at least 1 item"),
        ({"json": {"images": [1]}}, 400, "images.0: Input should be a valid string"),
        ({"json": {"images": ["!!!"]}}, 422, "#0: is not base64"),
        (
            {"content": b'{"images": ["\\udcff"]}', "headers": {"content-type": "application/json"}},
            400,
            "body: Invalid JSON",
        ),
        ({"json": {"image": ["x"]}}, 400, "images: Field required"),
        ({"json": {"images": ["eA=="], "costs": [["1e999"]]}}, 400, "costs.0.0"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    served: Gate, model: Brightness, words: dict[str, Any], status: int, sentence: str
) -> None:
    answer = ask(served, "POST", "/predict", **words)
    assert answer.status_code == status and answer.json()["problems"][0].startswith(sentence), answer.text
    assert all(call["deploy_prior"] == [0.5] for call in model.calls)


def test_what_the_model_could_not_do(served: Gate) -> None:
    answer = ask(served, "POST", "/predict", **form(picture(), costs="[[0.0]]"))
    assert answer.status_code == 500 and answer.json() == {"problems": ["the server failed; its log says why"]}
    answer = ask(served, "POST", "/predict", **form(picture(), costs="[[1.0]]"))
    assert answer.status_code == 503 and "memory ran out" in answer.json()["problems"][0]
    assert ask(served, "POST", "/predict", **form(picture())).status_code == 200


def test_heat_maps_are_grey_images_of_the_images_own_shape(served: Gate) -> None:
    (row,) = ask(served, "POST", "/predict", **form(picture((4, 3)), explain="true")).json()["predictions"]
    head, _, text = row["heat_map"].partition(",")
    assert head == "data:image/png;base64" and row["explained"] == "dark"
    values = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    np.testing.assert_array_equal(values, np.rint(np.linspace(0, 255, 12)).reshape(3, 4))
    assert "heat_map" not in ask(served, "POST", "/predict", **form(picture())).json()["predictions"][0]


def test_a_heat_map_is_of_the_class_that_was_asked_for(served: Gate) -> None:
    answer = ask(served, "POST", "/predict", **form(picture(), explain="true", output="p(light)"))
    assert answer.json()["predictions"][0]["explained"] == "p(light)"
    answer = ask(served, "POST", "/predict", **form(picture(), explain="true", output="blue"))
    assert answer.status_code == 422 and answer.json()["problems"] == ["output: is nothing that the model predicts"]
    # Of a mask the class with most pixels apart from the ground, which is what is left where nothing else is there.
    model = Masks()
    batches = Batches(lambda images, options: app.answers(model, images, options), 8, 0.0)  # type: ignore[arg-type]
    try:
        for grey, output, wanted in ((100, "", "dog"), (0, "", "ground"), (100, "cat", "cat")):
            fields = {"explain": "true", **({"output": output} if output else {})}
            answer = ask(gate_of(model, batches), "POST", "/predict", **form(picture(grey=grey), **fields))
            assert answer.json()["predictions"][0]["explained"] == wanted
    finally:
        batches.close()


def test_a_heat_map_of_boxes_is_of_the_surest_one() -> None:
    model = Boxes()
    batches = Batches(lambda images, options: app.answers(model, images, options), 8, 0.0)  # type: ignore[arg-type]
    try:
        # So many boxes as the first pixel says, of one class after the other.
        for grey, wanted in ((3, model.classes[1]), (2, model.classes[0]), (0, model.classes[0])):
            answer = ask(gate_of(model, batches), "POST", "/predict", **form(picture(grey=grey), explain="true"))
            assert answer.json()["predictions"][0]["explained"] == wanted
    finally:
        batches.close()


def test_names_of_files_are_shown_and_mean_nothing(served: Gate) -> None:
    for name, shown in (
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\a.png", "a.png"),
        ("\x1b[31m", "\\x1b[31m"),
        ("..", ".."),
    ):
        answer = ask(served, "POST", "/predict", files=[("images", (name, picture()))])
        assert answer.json()["predictions"][0]["image"] == shown
    assert (
        app._name("\x1b]0;x", 0) == "\\x1b]0;x" and app._name(None, 3) == "#3" and len(app._name("a" * 999, 0)) == 200
    )


def test_arrays_come_as_files_of_numpy() -> None:
    model, out = Arrays(), io.BytesIO()
    np.save(out, np.full((2, 2), 51.0))
    batches = Batches(lambda images, options: app.answers(model, images, options), 8, 0.0)  # type: ignore[arg-type]
    try:
        answer = ask(gate_of(model, batches), "POST", "/predict", **form(out.getvalue()))
        assert answer.json()["predictions"][0]["probabilities"]["dark"] == pytest.approx(0.8)
        answer = ask(gate_of(model, batches), "POST", "/predict", **form(b"no array"))
        assert answer.status_code == 422 and answer.json() == {"problems": ["#0.npy: cannot be read"]}
    finally:
        batches.close()


def test_an_image_has_any_number_of_boxes() -> None:
    model = Boxes()
    batches = Batches(lambda images, options: app.answers(model, images, options), 8, 0.0)  # type: ignore[arg-type]
    try:
        answer = ask(
            gate_of(model, batches), "POST", "/predict", **form(*[picture(grey=number) for number in (2, 0, 1)])
        )
        box = [{"x0": float(number), "score": number / 9, "class": model.classes[number % 2]} for number in (1, 2)]
        assert [row["rows"] for row in answer.json()["predictions"]] == [box, [], box[:1]]
        assert [row["problem"] for row in answer.json()["predictions"]] == [""] * 3
    finally:
        batches.close()


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_masks_and_pictures_are_png(shape: tuple[int, ...], kind: type) -> None:
    value = np.arange(np.prod(shape)).reshape(shape).astype(kind) * (1 if kind is np.uint8 else 900)
    head, _, text = app._cell_value(value).partition(",")
    bits = 8 if kind is np.uint8 else 16
    got = images.decode(base64.b64decode(text), 3 if len(shape) == 3 else 1, bits)
    np.testing.assert_array_equal(got.reshape(shape), value)
    assert head == "data:image/png;base64" and app._cell_value(np.array([[0.5, np.nan]])) == [[0.5, None]]


def test_card_health_and_paths_that_are_none(served: Gate) -> None:
    assert ask(served, "GET", "/card").json()["task"] == "lamps" and ask(served, "GET", "/card").json()["score"] is None
    assert ask(served, "GET", "/health").json()["status"] == "ok"
    assert ask(served, "GET", "/nowhere").json()["problems"] == ["/nowhere: not found; see /openapi.json"]
    refused = ask(served, "DELETE", "/card")
    assert refused.status_code == 405 and refused.headers["allow"] == "GET"
    for path in ("/card", "/health", "/"):
        assert ask(served, "HEAD", path).headers["content-length"] == ask(served, "GET", path).headers["content-length"]
    for path in ("/docs", "/redoc", "/static/x", "/card/"):
        assert ask(served, "GET", path).status_code in (404, 405)


def test_openapi_tells_what_may_be_sent_and_what_comes(served: Gate) -> None:
    told = ask(served, "GET", "/openapi.json").json()
    predict = told["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/json", "image/*"}
    fields = predict["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert (
        set(fields) == {"images", "alpha", "deploy_prior", "costs", "explain", "output"}
        and "prevalence" in fields["deploy_prior"]["description"]
    )
    assert {"200", "401", "413", "422", "429", "503"} <= set(predict["responses"])
    assert set(told["components"]["schemas"]["Prediction"]["required"]) == {"image", "problem"}
    assert set(told["paths"]) == {"/predict", "/card", "/health"}


def test_the_page_is_one_file_that_runs_nothing_else(served: Gate) -> None:
    answer = ask(served, "GET", "/")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.findall(r"https?:|//[a-z]|\son\w+=|innerHTML|style=|eval\(", answer.text)
    assert answer.text.count("<script>") == answer.text.count("<style>") == 1 and "<script " not in answer.text


def test_plain_data() -> None:
    value = {1: np.float32(0.5), "a": (np.nan, np.inf), "b": np.arange(2), "c": {"d": None, "e": True}, "f": {3}}
    assert app.plain(value) == {"1": 0.5, "a": [None, None], "b": [0, 1], "c": {"d": None, "e": True}, "f": "{3}"}
