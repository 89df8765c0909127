"""Batches of images from several requests: a queue, and the one thread that calls the model."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

# The cells of one image.
Answer = dict[str, Any]
# The name of the thread that predicts.
THREAD = "mml-serve-model"


@dataclass(frozen=True, eq=False)
class Request:
    """Images that are answered together.

    Attributes:
        images: The bytes of each, at least one.
        options: Only requests with equal options share a call.
        joins: False: the answers depend on the other images of the call, so that the request has its own call.
        is_slow: The request takes far longer than a prediction and has low priority: it has its own call when no other
            request waits, or one after each batch.
        arrived: The arrival time, on the clock of `time.monotonic`.
        answers: Set to the answer of each image, or the model's exception.
    """

    images: Sequence[bytes]
    options: Hashable = None
    joins: bool = True
    is_slow: bool = False
    arrived: float = field(default_factory=time.monotonic)
    answers: Future[Sequence[Answer]] = field(default_factory=Future)


class Batches:
    """Collect requests while the model is busy, and for a moment longer, and predict their images in one call.

    Requests are answered in order, slow ones after the others, one after each batch: a prediction waits for at most one
    slow request, and no slow request starves. If a batch fails, its requests are repeated one at a time, so that no
    client gets the error of another client's image.

    Args:
        predict: A function from images and options to one answer for each image; called only in one thread, named
            `THREAD`.
        largest: The maximum number of images of a batch; a larger request is a batch by itself.
        longest_wait: The maximum time in seconds that a request waits for others while the model is idle.
    """

    def __init__(
        self, predict: Callable[[Sequence[bytes], Any], Sequence[Answer]], largest: int, longest_wait: float
    ) -> None:
        self._predict, self._largest, self._wait = predict, largest, longest_wait
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Submit a request, to be answered asynchronously."""
        self._queue.put(request)

    def close(self) -> None:
        """Answer all pending requests, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        waiting, slow = list[Request | None](), deque[Request]()
        while True:
            try:
                first = waiting.pop() if waiting else self._queue.get(block=not slow)
            except queue.Empty:
                self._answer_all([slow.popleft()])
                continue
            if first is None:
                break
            if first.is_slow:
                slow.append(first)
                continue
            self._answer_all(self._batch(first, waiting, slow))
            if slow:
                self._answer_all([slow.popleft()])
        for request in slow:
            self._answer_all([request])

    def _batch(self, first: Request, waiting: list[Request | None], slow: deque[Request]) -> list[Request]:
        """Return the requests that are answered together with one; others taken from the queue are kept for later."""
        batch, size, until = [first], len(first.images), first.arrived + self._wait
        while size < self._largest:
            try:
                following = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if following is not None and following.is_slow:
                slow.append(following)
                continue
            if following is None or size + len(following.images) > self._largest:
                waiting.append(following)
                break
            batch.append(following)
            size += len(following.images)
        return batch

    def _answer_all(self, batch: Sequence[Request]) -> None:
        for group in _groups(batch):
            self._answer(group)

    def _answer(self, group: Sequence[Request]) -> None:
        try:
            answers = self._predict([image for request in group for image in request.images], group[0].options)
        except Exception as error:
            if len(group) == 1:
                group[0].answers.set_exception(error)
            else:
                for request in group:
                    self._answer([request])
            return
        start = 0
        for request in group:
            request.answers.set_result(answers[start : start + len(request.images)])
            start += len(request.images)


def _groups(batch: Sequence[Request]) -> list[list[Request]]:
    """Group the requests of a batch by call, in the order of their first ones; cancelled requests are dropped."""
    groups: dict[Hashable, list[Request]] = {}
    for request in batch:
        if request.answers.set_running_or_notify_cancel():
            groups.setdefault((request.options,) if request.joins else id(request), []).append(request)
    return list(groups.values())
