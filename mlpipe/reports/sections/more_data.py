"""The benefit of more images, where parts of the task were trained too."""

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
    found, notes = measured(facts.project, facts.name)
    said = [sentence for one in found for sentence in one.sentences()]
    warned = paragraph(
        "The band holds the chance in the test images; it does not know what the further images are like."
    )
    return Section(
        "More images", [warned if found else None, bullets([*said, *notes])], [_plot(facts, one) for one in found]
    )


def _plot(facts: TaskFacts, one: MoreData) -> style.Plot:
    drawn = plots.outlook(one.sizes, one.errors, one.curve, post_kind.of(one.kind).ERROR)
    rows = [[size, error, "", "", "measured"] for size, error in zip(one.sizes, one.errors, strict=True)]
    return style.Plot(
        f"{facts.name}_more_data_{one.recipe}",
        drawn,
        f"{one.arch} with more and more images ({one.curve.family} curve).",
        "; ".join(one.sentences()),
        ["images", "error", "low", "high", "which"],
        [*rows, *([*row, "expected"] for row in one.expected())],
    )
