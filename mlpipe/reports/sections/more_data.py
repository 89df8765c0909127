"""The benefit of more images, if parts of the task were trained too."""

from __future__ import annotations

from mlpipe.post import kind as post_kind
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import bullets, paragraph
from mlpipe.reports.more_data import MoreData
from mlpipe.reports.more_data import more_data as measured
from mlpipe.reports.plots import more_data as plots
from mlpipe.reports.plots import style
from mlpipe.reports.sections.parts import Section


def more_data(facts: TaskFacts) -> Section:
    """The error over training sizes, extrapolated.

    Args:
        facts: The task; its variants have no such section.
    """
    if "+" in facts.name:
        return Section("More images")
    outlooks, notes = measured(facts.project, facts.name, groups=facts.groups or None)
    sentences = [sentence for outlook in outlooks for sentence in outlook.sentences()]
    warned = paragraph(
        "The band holds the chance in the test images; it does not know what the further images are like."
    )
    return Section(
        "More images",
        [warned if outlooks else None, bullets([*sentences, *notes])],
        [_plot(facts, outlook) for outlook in outlooks],
    )


def _plot(facts: TaskFacts, outlook: MoreData) -> style.Plot:
    drawn = plots.outlook(outlook.sizes, outlook.errors, outlook.curve, post_kind.of(outlook.kind).ERROR)
    rows = [[size, error, "", "", "measured"] for size, error in zip(outlook.sizes, outlook.errors, strict=True)]
    return style.Plot(
        f"{facts.name}_more_data_{outlook.recipe}",
        drawn,
        f"{outlook.arch} with more and more images ({outlook.curve.family} curve).",
        "; ".join(outlook.sentences()),
        ["images", "error", "low", "high", "which"],
        [*rows, *([*row, "expected"] for row in outlook.expected())],
    )
