"""Images of several requests predicted together: a queue, and the one thread that asks the model."""

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
# The thread that predicts.
THREAD = "mml-serve-model"


@dataclass(frozen=True, eq=False)
class Request:
    """Images that are answered together.

    Attributes:
        images: The bytes of each, at least one.
        options: Only requests with equal options share a call.
        joins: False: the answers depend on what else is in the call, so that the request has one of its own.
        is_slow: It takes far longer than a prediction, and so waits for others: it has a call of its own when nobody else waits,
            or one after each batch.
        arrived: When it came, on the clock of `time.monotonic`.
        answers: Becomes the answer of each image, or what the model raised.
    """

    images: Sequence[bytes]
    options: Hashable = None
    joins: bool = True
    is_slow: bool = False
    arrived: float = field(default_factory=time.monotonic)
    answers: Future[Sequence[Answer]] = field(default_factory=Future)


class Batches:
    """Collects requests while the model is busy, and for a moment longer, and predicts their images in one call.

    Requests are taken in their order, slow ones behind others, one after each batch: a prediction waits for one of them at
    most, and none of them waits for ever. What fails together is asked for one request at a time, so that nobody gets the error
    of somebody else's image.

    Args:
        predict: Images and options to an answer for each image; called in one thread only, whose name is `THREAD`.
        largest: The most images of a batch; a request with more is a batch by itself.
        longest_wait: How long a request waits for others, in seconds, where the model is idle.
    """

    def __init__(
        self, predict: Callable[[Sequence[bytes], Any], Sequence[Answer]], largest: int, longest_wait: float
    ) -> None:
        self._predict, self._largest, self._wait = predict, largest, longest_wait
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Ask for the answers of a request."""
        self._queue.put(request)

    def close(self) -> None:
        """Answer what was asked for so far, and end the thread."""
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
        """Requests that are answered together with one; what is taken from the queue and is not of them is put to the others."""
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
    """Requests of a batch that one call answers, in the order of their first ones; without those that nobody waits for."""
    groups: dict[Hashable, list[Request]] = {}
    for request in batch:
        if request.answers.set_running_or_notify_cancel():
            groups.setdefault((request.options,) if request.joins else id(request), []).append(request)
    return list(groups.values())
