"""Findings of the checks of `mml doctor`: a fact, and advice where it matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlpipe.errors import in_short


@dataclass(frozen=True)
class Finding:
    """A fact about this machine or installation.

    Attributes:
        topic: The heading under which it is listed.
        name: The subject.
        value: Plain data; None: unknown or missing.
        level: `note` deserves a look, `problem` stops a training.
        advice: What is wrong and what to do; empty if nothing is.
    """

    topic: str
    name: str
    value: Any
    level: Literal["ok", "note", "problem"] = "ok"
    advice: str = ""


Check = Callable[[], Sequence[Finding]]


def run_checks(checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """Run checks and return their findings; a check that fails becomes a note, and the others still run.

    Args:
        checks: Pairs of a topic and a function.
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
    """Format a number of bytes for people, such as `23.5 GB`."""
    if number >= 1e12:
        return f"{number / 1e12:.1f} TB"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
