"""Requests share calls of the model, in their order, and nobody gets another's answer or error."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from mlpipe.modes.serve.batching import THREAD, Answer, Batches, Request


class Model:
    """Notes its calls; the first one waits, so that others queue up behind it."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[bytes], Any]] = []
        self.may_go = threading.Event()

    def __call__(self, images: Sequence[bytes], options: Any) -> list[Answer]:
        assert threading.current_thread().name == THREAD
        self.calls.append((list(images), options))
        assert self.may_go.wait(10)
        if b"bad" in images:
            raise ValueError(f"one of {len(images)}")
        return [{"of": image, "with": options} for image in images]


def asked(batches: Batches, *images: bytes, options: Any = None, joins: bool = True) -> Request:
    request = Request(images, options, joins)
    batches.submit(request)
    return request


def behind_a_busy_model(largest: int) -> tuple[Model, Batches]:
    model = Model()
    batches = Batches(model, largest, 0.0)
    asked(batches, b"first")
    while not model.calls:
        time.sleep(0.001)
    return model, batches


def test_what_queued_up_is_one_call_up_to_the_largest_batch() -> None:
    model, batches = behind_a_busy_model(4)
    requests = [
        asked(batches, b"1", b"2"),
        asked(batches, b"3"),
        asked(batches, b"4", b"5"),
        asked(batches, *[b"6"] * 9),
    ]
    model.may_go.set()
    batches.close()
    assert [images for images, _ in model.calls] == [[b"first"], [b"1", b"2", b"3"], [b"4", b"5"], [b"6"] * 9]
    assert [[one["of"] for one in request.answers.result(0)] for request in requests] == [
        list(request.images) for request in requests
    ]


def test_options_that_differ_and_requests_of_their_own_share_no_call() -> None:
    model, batches = behind_a_busy_model(10)
    a, b = asked(batches, b"1", options="a"), asked(batches, b"2", options="b")
    c, d = asked(batches, b"3", options="a"), asked(batches, b"4", options="a", joins=False)
    model.may_go.set()
    batches.close()
    assert model.calls[1:] == [([b"1", b"3"], "a"), ([b"2"], "b"), ([b"4"], "a")]
    assert [one.answers.result(0)[0]["with"] for one in (a, b, c, d)] == ["a", "b", "a", "a"]


def test_an_error_is_told_to_the_one_who_caused_it() -> None:
    model, batches = behind_a_busy_model(10)
    good, bad, also_good = (asked(batches, image) for image in (b"1", b"bad", b"2"))
    model.may_go.set()
    batches.close()
    assert good.answers.result(0)[0]["of"] == b"1" and also_good.answers.result(0)[0]["of"] == b"2"
    with pytest.raises(ValueError, match="one of 1"):
        bad.answers.result(0)


def test_nothing_is_predicted_for_somebody_who_left() -> None:
    model, batches = behind_a_busy_model(10)
    gone, there = asked(batches, b"1"), asked(batches, b"2")
    assert gone.answers.cancel()
    model.may_go.set()
    batches.close()
    assert model.calls[1:] == [([b"2"], None)] and there.answers.done()


def test_a_lone_request_waits_no_longer_than_said_and_meets_one_that_comes_meanwhile() -> None:
    model = Model()
    model.may_go.set()
    batches = Batches(model, 10, 0.4)
    started = time.monotonic()
    first = asked(batches, b"1")
    time.sleep(0.05)
    asked(batches, b"2")
    assert first.answers.result(5)[0]["of"] == b"1"
    assert 0.4 <= time.monotonic() - started < 3
    assert [images for images, _ in model.calls] == [[b"1", b"2"]]
    batches.close()
    # A full batch waits for nobody.
    batches = Batches(model, 1, 60)
    assert asked(batches, b"3").answers.result(5)
    batches.close()


def test_a_slow_request_waits_for_others_and_keeps_nobody_waiting_for_more_than_itself() -> None:
    model, batches = behind_a_busy_model(10)
    slow = [Request([image], "map", is_slow=True) for image in (b"m1", b"m2", b"m3")]
    for one in slow[:2]:
        batches.submit(one)
    plain = [asked(batches, b"1")]
    batches.submit(slow[2])
    plain.append(asked(batches, b"2"))
    model.may_go.set()
    batches.close()
    # What came after slow ones is answered before them, and they are not put together.
    assert model.calls[1:] == [([b"1", b"2"], None), ([b"m1"], "map"), ([b"m2"], "map"), ([b"m3"], "map")]
    assert [one.answers.result(0)[0]["of"] for one in (*slow, *plain)] == [b"m1", b"m2", b"m3", b"1", b"2"]


def test_a_prediction_that_comes_while_slow_ones_wait_is_next() -> None:
    calls, begun, may_go = [], threading.Event(), threading.Semaphore(0)

    def predict(images: Sequence[bytes], options: Any) -> list[Answer]:
        calls.append(images[0])
        begun.set()
        assert may_go.acquire(timeout=10)
        return [{} for _ in images]

    batches = Batches(predict, 10, 0.0)
    for image in (b"m1", b"m2", b"m3"):
        batches.submit(Request([image], "map", is_slow=True))
    assert begun.wait(10)
    asked(batches, b"1")
    asked(batches, b"2", options="other")
    may_go.release(9)
    batches.close()
    assert calls == [b"m1", b"1", b"2", b"m2", b"m3"]


def test_a_slow_request_does_not_wait_for_ever() -> None:
    model, batches = behind_a_busy_model(1)
    batches.submit(Request([b"m"], "map", is_slow=True))
    for image in (b"1", b"2", b"3"):
        asked(batches, image)
    model.may_go.set()
    batches.close()
    assert [images[0] for images, _ in model.calls] == [b"first", b"1", b"m", b"2", b"3"]
