"""The HTTP endpoints of `mml serve`: predictions of images, the model's card, health, and the page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import logging
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import pandas as pd
from fastapi import FastAPI, Request, Response
from PIL import Image as Picture
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

import mlpipe
from mlpipe import files, kinds
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.errors import DataError, MlpipeError, counted, in_short, is_out_of_memory, printable, problem
from mlpipe.modes.serve import batching
from mlpipe.modes.serve.batching import Answer, Batches
from mlpipe.modes.serve.gate import Refusal
from mlpipe.running.loaded_model import Model

log = logging.getLogger("mlpipe")

_PAGE = Path(__file__).with_name("page.html")
_FIELDS = ("alpha", "costs", "deploy_prior", "explain", "output")
_DATA_URL = re.compile(r"\s*data:[\w.+/;=-]*;base64,")
# From the alphabet of base64 for addresses to the usual one.
_PLAIN_ALPHABET = str.maketrans("-_", "+/")
_LONGEST_NAME = 200
# The beginning of the form parser's message about too many files.
_TOO_MANY = "Too many files"
# The maximum length of the prefix of a data: address.
_LONGEST_PREFIX = 200
# Pixels of the longer side of a heat map.
_LARGEST_MAP = 512


class Options(BaseModel):
    """Options of a prediction."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    deploy_prior: Literal["estimate"] | list[float] | dict[str, float] | None = Field(
        default=None,
        description="The prevalence where the images are from: a number for each class, in order or by name; estimate: by the "
        "images of this request; null: probabilities stay as they were calibrated.",
    )
    costs: list[list[float]] | None = Field(
        default=None,
        description="What it costs to decide for a class (columns) where another is true (rows); null: the model's own.",
    )
    alpha: float | None = Field(
        default=None,
        description="How often sets of classes and intervals of numbers may miss; null: as often as the model's own.",
    )
    explain: bool = Field(
        default=False,
        description="Add a heat map of each image: the places that speak for what is predicted; where the card says that the "
        "model explains.",
    )
    output: str | None = Field(
        default=None,
        description="The class, label or number that heat maps are of; null: the most probable one, of boxes that of "
        "the surest box, of a mask the class with most pixels apart from the first, which is the ground in most tasks.",
    )


class Question(Options):
    """Images in a JSON body, with options of the prediction."""

    images: list[str] = Field(min_length=1, description="Files in base64, or as data: addresses.")


_Known = TypeVar("_Known", bound=Options)


class Prediction(BaseModel):
    """The prediction of one image; further keys are the columns of mml predict's table for the model's kind."""

    model_config = ConfigDict(extra="allow")

    image: str = Field(description="The file's name, or # and its place.")
    problem: str = Field(description="Why it cannot be read; empty for others.")
    probabilities: dict[str, float] = Field(default={}, description="By class or label.")
    heat_map: str | None = Field(
        default=None, description="A grey image as a data: address, white where the image speaks for `explained`."
    )
    explained: str | None = Field(default=None, description="The class, label or number that the heat map is of.")


class Predictions(BaseModel):
    """One answer for each image, in their order."""

    predictions: list[Prediction]


class Problems(BaseModel):
    """The reasons why a request is not answered, one sentence each."""

    problems: list[str]


@dataclass(frozen=True)
class Image:
    """An image of a request: its name, and its bytes or the reason why it is not predicted."""

    name: str
    content: bytes
    problem: str = ""


@dataclass(frozen=True)
class Service:
    """The state behind the endpoints.

    Attributes:
        model: The model; only the thread of `batches` calls it.
        card: Facts about the model.
        batches: The queue of images for the model.
        most_images: The maximum number of images of one request.
        most_pixels: The maximum number of pixels of all images of one request.
    """

    model: Model
    card: Mapping[str, Any]
    batches: Batches
    most_images: int
    most_pixels: int

    async def predict(self, request: Request) -> Response:
        """Predict images: files of a form, base64 in JSON, or one raw file."""
        uploads, options = await self._question(request)
        if not uploads:
            raise Refusal(422, problem("images", "there is none", fix="send a file"))
        self._require_few(len(uploads))
        if not self.model.has_arrays:
            uploads = await asyncio.to_thread(self._checked_images, uploads)
        readable = [upload.content for upload in uploads if not upload.problem]
        if not readable:
            return _json({"problems": [f"{upload.name}: {upload.problem}" for upload in uploads]}, 422)
        plainly = Options(deploy_prior=options.deploy_prior, costs=options.costs, alpha=options.alpha)
        try:
            replies = await self._model_answers(readable, plainly)
            if options.explain:
                replies = await self._answers_with_heat_maps(readable, replies, options.output)
        except Exception as error:
            return _failed(error)
        left = iter(replies)
        rows = [{"problem": upload.problem} if upload.problem else next(left) for upload in uploads]
        predicted = [{"image": upload.name, **row} for upload, row in zip(uploads, rows, strict=True)]
        return _json({"predictions": predicted})

    async def _model_answers(self, images: Sequence[bytes], options: Options) -> Sequence[Answer]:
        """Return the model's answers."""
        request = batching.Request(
            images, options.model_dump_json(), options.deploy_prior != "estimate", options.explain
        )
        self.batches.submit(request)
        return await asyncio.wrap_future(request.answers)

    async def _answers_with_heat_maps(
        self, images: Sequence[bytes], replies: Sequence[Answer], output: str | None
    ) -> Sequence[Answer]:
        """Return answers with heat maps one by one: each image is decoded in full size; predictions run in between."""
        explanations = []
        for content, reply in zip(images, replies, strict=True):
            options = Options(explain=True, output=output or _largest(self.model, reply))
            explanations.append(
                reply if reply["problem"] else reply | (await self._model_answers([content], options))[0]
            )
        return explanations

    async def the_card(self) -> Response:
        """Return what the model predicts, what it was trained on, and how well it predicts."""
        return _json(self.card)

    async def health(self) -> Response:
        """Return whether the server is alive, without facts about the model."""
        return _json({"status": "ok", "version": mlpipe.__version__})

    async def page(self) -> Response:
        """Return the page on which a user drops an image."""
        text, policy = page()
        return Response(text, media_type="text/html; charset=utf-8", headers={"content-security-policy": policy})

    async def _question(self, request: Request) -> tuple[list[Image], Options]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await self._form(request)
        if kind == "application/json":
            question = _validate(Question, await request.body())
            # Checked before decoding, which would block all other requests.
            self._require_few(len(question.images))
            return [_decoded(f"#{place}", text) for place, text in enumerate(question.images)], question
        if kind.startswith("image/") or kind == "application/octet-stream":
            return [Image("#0", await request.body())], Options()
        fix = "send multipart/form-data, application/json, or one file as image/*"
        raise Refusal(415, problem("Content-Type", "is not read", got=kind, fix=fix))

    def _require_few(self, count: int) -> None:
        if count > self.most_images:
            wrong = f"there are more than {self.most_images}"
            raise Refusal(413, problem("images", wrong, got=count, fix="send them in several requests"))

    async def _form(self, request: Request) -> tuple[list[Image], Options]:
        uploads, fields = list[Image](), dict[str, Any]()
        try:
            async with request.form(max_files=self.most_images + 1, max_fields=len(_FIELDS)) as form:
                for key, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        uploads.append(Image(_name(value.filename, len(uploads)), await value.read()))
                    elif key not in _FIELDS:
                        fix = f"use one of {', '.join(_FIELDS)}; the part of a file says its filename"
                        raise Refusal(400, problem(printable(key)[:_LONGEST_NAME], "is no option", fix=fix))
                    else:
                        fields[key] = value if value == "estimate" or key == "output" else _parsed_field(key, value)
        except HTTPException as error:
            if error.detail.startswith(_TOO_MANY):
                reason, fix = f"there are more than {self.most_images}", "send them in several requests"
                raise Refusal(413, problem("images", reason, fix=fix)) from error
            raise Refusal(400, problem("body", error.detail)) from error
        return uploads, _validate(Options, fields)

    def _checked_images(self, uploads: Sequence[Image]) -> list[Image]:
        """Return the images, with problems found in their headers.

        Raises:
            Refusal: When they have too many pixels.
        """
        results, pixels = list[Image](), 0
        for upload in uploads:
            wrong = upload.problem
            try:
                header = None if wrong else images.look(upload.content)
            except UnreadableImageError as error:
                header, wrong = None, str(error)
            pixels += header.width * header.height if header is not None else 0
            results.append(Image(upload.name, upload.content, wrong))
        if pixels > self.most_pixels:
            reason = f"have more than {self.most_pixels:,} pixels"
            raise Refusal(413, problem("images", reason, got=pixels, fix="send smaller ones, or fewer at a time"))
        return results


def made(service: Service) -> FastAPI:
    """Create the application of a service; it takes requests that a `Gate` let through.

    Args:
        service: The state behind the endpoints.
    """
    summary = f"{service.card['kind']}, {counted(len(service.model.classes), 'output')}"
    app = FastAPI(
        title=f"mml serve: {service.card['task']}",
        description=f"Predictions of images by a trained model ({summary}).",
        version=mlpipe.__version__,
        docs_url=None,
        redoc_url=None,
        # Redirects of almost correct addresses would contain the name in `Host`.
        redirect_slashes=False,
    )
    refused: dict[int | str, dict[str, Any]] = {
        status: {"model": Problems} for status in (400, 401, 403, 408, 413, 415, 422, 429, 503)
    }
    app.add_api_route(
        "/predict",
        service.predict,
        methods=["POST"],
        responses={200: {"model": Predictions}, **refused},
        openapi_extra={"requestBody": {"required": True, "content": _bodies()}},
    )
    app.add_api_route("/card", service.the_card, methods=["GET"])
    app.add_api_route("/health", service.health, methods=["GET"])
    app.add_api_route("/", service.page, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _unknown)
    return app


def answers(model: Model, contents: Sequence[bytes], options: str) -> list[Answer]:
    """Return the table cells of images as JSON values; only those of heat maps if requested.

    Args:
        model: The model.
        contents: The bytes of each image.
        options: `Options` as JSON.

    Raises:
        MlpipeError: When none can be predicted.
    """
    settings = Options.model_validate_json(options)
    with _model_inputs(model, contents) as inputs:
        if settings.explain:
            return [heat_map(model, image, settings.output) for image in inputs]
        frame = model.predict(inputs, deploy_prior=settings.deploy_prior, costs=settings.costs, alpha=settings.alpha)
        of_image: dict[str, list[Answer]] = {}
        for row in frame.to_dict("records"):
            of_image.setdefault(row["image"], []).append(_cells(row, model.classes))
        return [_answer_of_rows(rows) if kinds.of(model.kind).columns else rows[0] for rows in of_image.values()]


def _largest(model: Model, answer: Answer) -> str | None:
    """Return the class of the most pixels in a mask apart from the first class, the class of the surest box, else None."""
    if kinds.of(model.kind).columns:
        return str(max(answer["rows"], key=lambda row: row["score"])["class"]) if answer["rows"] else model.classes[0]
    if not kinds.of(model.kind).is_dense:
        return None
    shares = {name: answer.get(f"share({name})", 0.0) for name in model.classes[1:]}
    return max(shares, key=shares.__getitem__) if any(shares.values()) else model.classes[0]


def _answer_of_rows(rows: Sequence[Answer]) -> Answer:
    """Merge several rows of an image into one answer; an image without findings has a row without cells."""
    entries = [{name: value for name, value in row.items() if name != "problem"} for row in rows]
    return {"problem": rows[0]["problem"], "rows": [entry for entry in entries if entry]}


def heat_map(model: Model, image: Any, output: str | None = None) -> Answer:
    """Return the cells of a heat map.

    Args:
        model: The model.
        image: As `Model.explain` takes it.
        output: Likewise.

    Raises:
        ConfigError: When the model has no heat maps, or no such output.
    """
    row = model.explain([image], output=output).iloc[0]
    picture, out = Picture.fromarray(np.rint(255 * row["heat_map"]).astype(np.uint8)), io.BytesIO()
    picture.thumbnail((_LARGEST_MAP, _LARGEST_MAP))
    picture.save(out, "PNG")
    return {
        "heat_map": _address(out.getvalue()),
        "explained": row["output"],
    }


@contextmanager
def _model_inputs(model: Model, contents: Sequence[bytes]) -> Iterator[list[Any]]:
    """Return images as received; arrays as files, which are read like a task's own.

    Raises:
        DataError: When a file is invalid, without its temporary path.
    """
    if not model.has_arrays:
        yield list(contents)
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{place}.npy" for place in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        try:
            yield paths
        except DataError as error:
            raise DataError([sentence.replace(f"{folder}/", "#") for sentence in error.problems]) from error


def plain(value: Any) -> Any:
    """Convert data to JSON values: arrays to lists, NaN and infinite numbers to null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def page() -> tuple[str, str]:
    """Return the page, and the content security policy that allows only its own style and script."""
    text = _PAGE.read_text("utf-8")
    style, script = (_hash(text, tag) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _hash(text: str, tag: str) -> str:
    inside = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


def _cells(row: Mapping[Any, Any], classes: Sequence[str]) -> Answer:
    """Return a row of the table with its probabilities by class, without empty cells."""
    names = {f"p({name})": name for name in classes}
    cells = {str(key): _cell_value(value) for key, value in row.items() if key not in names and key != "image"}
    filled_cells = {key: value for key, value in cells.items() if key == "problem" or value is not None}
    chances = {names[key]: plain(value) for key, value in row.items() if key in names and pd.notna(value)}
    return filled_cells | ({"probabilities": chances} if chances else {})


def _cell_value(value: Any) -> Any:
    """Return a cell; masks and pictures as PNG."""
    if isinstance(value, np.ndarray) and value.ndim in (2, 3) and value.dtype.name in ("uint8", "uint16"):
        is_encoded, content = cv2.imencode(".png", value[..., ::-1] if value.ndim == 3 else value)
        if is_encoded:
            return _address(content.tobytes())
    return plain(value)


def _address(content: bytes) -> str:
    """Return a PNG file as a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _validate(kind: type[_Known], content: bytes | Mapping[str, Any]) -> _Known:
    try:
        return kind.model_validate_json(content) if isinstance(content, bytes) else kind.model_validate(content)
    except ValidationError as error:
        sentences = [problem(".".join(map(str, fault["loc"])) or "body", fault["msg"]) for fault in error.errors()[:10]]
        raise Refusal(400, "\n".join(sentences)) from error


def _decoded(name: str, text: str) -> Image:
    """Decode an image from base64 of either alphabet (RFC 4648), with or without padding and line breaks."""
    begin = prefix.end() if (prefix := _DATA_URL.match(text, 0, _LONGEST_PREFIX)) else 0
    letters = "".join(text[begin:].split()).translate(_PLAIN_ALPHABET)
    try:
        return Image(name, base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except (binascii.Error, ValueError):
        return Image(name, b"", "is not base64")


def _parsed_field(key: str, text: str) -> Any:
    """Parse the value of a form field."""
    try:
        return files.plain_json(text)
    except ValueError as error:
        raise Refusal(400, problem(key, f"is no JSON ({error})", got=text)) from error


def _name(name: str | None, place: int) -> str:
    """Return the last part of a file's name, or its position."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    return printable(last)[:_LONGEST_NAME] or f"#{place}"


def _bodies() -> dict[str, Any]:
    """Return the possible bodies of a prediction request, for OpenAPI."""
    file = {"type": "string", "format": "binary"}
    fields = {name: {"type": "string", "description": "as in JSON"} for name in _FIELDS}
    fields["output"]["description"] = "a name as it is"
    form = {"type": "object", "properties": {"images": {"type": "array", "items": file}, **fields}}
    return {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": Question.model_json_schema()},
        "image/*": {"schema": file},
    }


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(plain(content), allow_nan=False), status, headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _json({"problems": error.sentence.splitlines()}, error.status)


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer a request for an unknown path or method."""
    assert isinstance(error, HTTPException)
    sentence = problem(request.url.path, str(error.detail).lower(), fix="see /openapi.json")
    return _json({"problems": [sentence]}, error.status_code, error.headers)


def _failed(error: Exception) -> Response:
    """Answer a request for which the model raised; unexpected errors go only to the server's log."""
    if isinstance(error, MlpipeError):
        return _json({"problems": str(error).splitlines()}, 422)
    if is_out_of_memory(error):
        return _json({"problems": [in_short(error)]}, 503)
    log.error(f"a request failed: unexpected {in_short(error)}", exc_info=error)
    return _json({"problems": ["the server failed; its log says why"]}, 500)
