"""Groups of samples by a regular expression over their paths."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlpipe import limits
from mlpipe.data.spelling import plain, same_text_problems
from mlpipe.data.task import Part
from mlpipe.errors import DataError, listing, problem

_LEARNED: tuple[Part, ...] = ("train", "val", "extra")


def groups_of(names: Sequence[str], pattern: str | None, parts: Sequence[Part]) -> tuple[list[str], list[str]]:
    """Return the group of each path, empty if it has none, and notes for the user.

    Groups keep training images together, so the pattern must match their paths; for other images it is optional.

    Args:
        names: The paths, or ids.
        pattern: A regular expression with one capturing group; None: no path has a group.
        parts: The part of each path.

    Raises:
        DataError: If the pattern is wrong, takes too long, or does not match the path of every training image.
    """
    if pattern is None:
        return [""] * len(names), []
    try:
        compiled = re.compile(plain(pattern))
    except re.error as error:
        raise DataError(problem("task.group", f"is no regular expression ({error})", got=pattern)) from error
    if compiled.groups != 1:
        fix = r"put what names the group in brackets, for example 'patient(\d+)'"
        raise DataError(problem("task.group", f"has {compiled.groups} bracketed parts", got=pattern, fix=fix))
    try:
        with limits.seconds(limits.MATCHING + limits.MATCHING_EACH * len(names)):
            matches = [compiled.search(plain(name)) for name in names]
            # The spelling in the path, to report groups that are spelt differently.
            spelled = [compiled.search(name) or match for name, match in zip(names, matches, strict=True)]
    except TimeoutError as error:
        wrong, fix = f"takes {error} to look through the paths", "repeat nothing that is repeated itself, such as (a+)+"
        raise DataError(problem("task.group", wrong, got=pattern, fix=fix)) from error
    learned = [name for name, part, match in zip(names, parts, matches, strict=True) if not match and part in _LEARNED]
    if learned:
        wrong = f"does not match {len(learned)} paths ({listing(learned, most=3)})"
        raise DataError(problem("task.group", wrong, got=pattern, fix="correct the pattern"))
    tested = sum(match is None and part == "test" for match, part in zip(matches, parts, strict=True))
    notes = [f"task.group matches no part of {tested} test images: whether they share a group with training is unknown"]
    stored = [match[1] or "" if match else "" for match in spelled]
    together = same_text_problems(stored, "groups in paths")
    return [plain(group) for group in stored], [*(notes if tested else []), *together]
