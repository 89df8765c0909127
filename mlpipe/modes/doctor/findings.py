"""What a check of `mml doctor` tells: a fact, and where it matters what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlpipe.errors import in_short


@dataclass(frozen=True)
class Finding:
    """A fact about this machine or installation.

    Attributes:
        topic: The heading that it stands under.
        name: What it is about.
        value: Plain data; None: not known, or not there.
        level: `note` is worth a look, `problem` will stop a training.
        advice: What is wrong and what to do; empty where nothing is.
    """

    topic: str
    name: str
    value: Any
    level: Literal["ok", "note", "problem"] = "ok"
    advice: str = ""


Check = Callable[[], Sequence[Finding]]


def run_checks(checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """The findings of checks; one that fails itself is a note, and the others are made all the same.

    Args:
        checks: A topic and a function for each.
    """
    findings: list[Finding] = []
    for topic, check in checks:
        try:
            findings += check()
        except Exception as error:
            findings.append(
                Finding(topic, "check", None, "note", f"{topic}: this could not be found out ({in_short(error)})")
            )
    return findings


def size(number: float) -> str:
    """Bytes as a person reads them, such as `23.5 GB`."""
    if number >= 1e12:
        return f"{number / 1e12:.1f} TB"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
