"""The style of plots, and their output as a PNG for people and an SVG whose colours follow the page's theme."""

from __future__ import annotations

import io
import math
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from itertools import takewhile
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mlpipe import files
from mlpipe.reports.markup import Markup, element, figure

Parameters = ParamSpec("Parameters")

# The colours of the light theme, which the SVG contains as placeholders: each is replaced by a variable of the page's style.
PAPER, INK, MUTED, LINE = "#fefefe", "#1b2026", "#5b6570", "#d3d9df"
# Distinguishable with any colour vision, in both themes; line styles differ as well.
SERIES = ("#0b62b0", "#b3470b", "#04775b", "#883b85", "#756009", "#4f5f9c")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 3)), (0, (8, 2, 2, 2, 2, 2)))
_VARIABLES = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}
# Typed as Any because Matplotlib's type of settings rejects a plain dict.
_SETTINGS: Any = {
    # Override a user's `matplotlibrc`: only this program writes the texts, and pictures have fixed sizes.
    "text.usetex": False,
    "figure.dpi": 100,
    "svg.fonttype": "none",
    "svg.hashsalt": "mlpipe",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.6,
    # Class names are data, never mathematical markup.
    "text.parse_math": False,
}
# Inches: about the width of a phone, so that text need not shrink there.
WIDTH, HEIGHT = 4.1, 3.1
# The longest name, in letters, for which a legend has two columns.
_IN_TWO = 25
# The most points of a curve that have tips.
_MOST_TIPS = 60


@dataclass(frozen=True)
class Plot:
    """A figure with its description and the numbers that it shows.

    Attributes:
        name: Its file's name without the ending; stable, and safe once `files.safe_name` was applied.
        figure: The drawing.
        caption: What it shows.
        alt: The same for people who cannot see it, with its main numbers.
        header: The columns of its table.
        rows: The table.
    """

    name: str
    figure: Figure
    caption: str
    alt: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]] = field(default_factory=list)


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Give a drawing function the report's style without changing global settings."""

    @wraps(draw)
    def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return inside


def axes(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return a figure with one panel.

    Args:
        width: In inches.
        height: In inches.
    """
    drawing = Figure(figsize=(width, height))
    return drawing, drawing.add_subplot()


def logarithmic_x(panel: Axes) -> None:
    """Make the horizontal axis logarithmic, with plain numbers: the page has no renderer for powers of ten.

    Args:
        panel: A panel whose points are drawn.
    """
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    # Over few decades, powers of ten alone would leave most of the axis without numbers.
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    panel.xaxis.set_major_formatter(plain_number)
    panel.xaxis.set_minor_formatter(NullFormatter())


def plain_number(value: float, _: float | None) -> str:
    """Return the text of a number at an axis: matplotlib's own may have an offset or power of ten, which the page lacks."""
    return f"{value:g}"


def key_columns(labels: Sequence[str]) -> int:
    """Return the number of legend columns with which no name leaves the drawing.

    Args:
        labels: The names.
    """
    return 2 if max(map(_wide, labels), default=0) <= _IN_TWO else 1


def key(figure: Figure) -> None:
    """Add a legend of everything drawn with a label, under the panels.

    Args:
        figure: The figure.
    """
    labels = [text for panel in figure.axes for text in panel.get_legend_handles_labels()[1]]
    options = {"frameon": False, "fontsize": 8, "handlelength": 2.6, "columnspacing": 1.2}
    figure.legend(loc="outside lower left", ncols=key_columns(labels), **options)


def shortened(text: str, most: int = 18) -> str:
    """Shorten a name to this many letters; letters as wide as they are high count twice."""
    plain = " ".join(text.split())
    if _wide(plain) <= most:
        return plain
    while _wide(plain) > most - 1:
        plain = plain[:-1]
    return f"{plain}…"


def _wide(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _ending(text: str, most: int) -> str:
    while _wide(text) > most - 1:
        text = text[1:]
    return f"…{text}"


def shortened_apart(texts: Sequence[str], most: int = 18) -> list[str]:
    """Shorten names, and cut those with a common beginning at the front, so that they stay distinct.

    Args:
        texts: The names.
        most: The most letters of each.
    """
    cut = [shortened(text, most) for text in texts]
    alike: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(cut):
        alike[text].append(place)
    for places in (places for places in alike.values() if len({texts[place] for place in places}) > 1):
        same = takewhile(lambda letters: len(set(letters)) == 1, zip(*(texts[place] for place in places), strict=False))
        begun = "".join(letters[0] for letters in same)
        # Start at the next word, or within one word show its end.
        word = max(begun.rfind(mark) for mark in " _-/.,:") + 1
        # If a word is too long, show its end, or the part from where the names differ.
        ways = [[_ending(texts[place], most) for place in places]]
        ways.append([shortened(f"…{texts[place][len(begun) :]}", most) for place in places])
        if word:
            ways.insert(0, [shortened(f"…{texts[place][word:]}", most) for place in places])
        count = len({texts[place] for place in places})
        best = next((names for names in ways if len(set(names)) == count), ways[0])
        for place, name in zip(places, best, strict=True):
            cut[place] = name
    return cut


def tip(drawn: Artist, text: str, *, series: str = "", pair: str = "") -> None:
    """Add a tip to a piece of a drawing, which the page shows under the pointer.

    Args:
        drawn: The piece: a line, a bar, a patch.
        text: Its name and numbers.
        series: The curve that it belongs to, which the page can hide and show.
        pair: `TRUE-PREDICTED`, the numbers of two classes whose pictures the page shows when the piece is selected.
    """
    drawn.set_gid("|".join(["tip", _one_line(series), pair, _one_line(text)]))


def tips(panel: Axes, x: Sequence[float], y: Sequence[float], texts: Sequence[str], *, series: str = "") -> None:
    """Add tips to points of a curve, as invisible markers.

    Args:
        panel: The panel of the curve.
        x: The x values of the points.
        y: Their y values; values that are not finite are left out.
        texts: The name and numbers of each.
        series: The curve that they belong to.
    """
    points = [point for point in zip(x, y, texts, strict=True) if math.isfinite(point[1])][
        :: max(1, len(x) // _MOST_TIPS)
    ]
    if not points:
        return
    across, up, tip_texts = zip(*points, strict=True)
    tip_each(panel.scatter(across, up, s=90, color=INK, alpha=0.004, linewidths=0, zorder=5), tip_texts, series=series)


def tip_each(points: Artist, texts: Sequence[str], *, series: str = "") -> None:
    """Add a tip to each point of a scatter plot.

    Args:
        points: The result of `scatter`.
        texts: The name and numbers of each point.
        series: The curve that they belong to.
    """
    points.set_gid("|".join(["tips", _one_line(series), "", *map(_one_line, texts)]))


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def write(plot: Plot, folder: Path) -> None:
    """Durably write a plot's picture and table, NAME.png and NAME.csv.

    Args:
        plot: The plot.
        folder: The folder.
    """
    name = files.safe_name(plot.name)
    with _drawing(), files.durable(folder / f"{name}.png") as temporary:
        plot.figure.savefig(temporary, format="png", dpi=150)
    # That drawing has computed the layout, so the next one need not repeat it.
    plot.figure.set_layout_engine("none")
    files.write_text(folder / f"{name}.csv", files.csv_table([plot.header, *plot.rows]))


def inline(plot: Plot) -> Markup:
    """Return a plot as a figure of the page: SVG in the theme's colours, with its caption and text for those who cannot see it.

    Args:
        plot: The plot.
    """
    return figure(svg(plot), plot.caption)


@contextmanager
def _drawing() -> Iterator[None]:
    """Set the style for writing a drawing, whatever scripts the names of classes use."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The browser has glyphs that Matplotlib's own typeface lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg(plot: Plot) -> Markup:
    """Return only a plot's drawing, as SVG.

    Args:
        plot: The plot.
    """
    out = io.StringIO()
    with _drawing():
        plot.figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawing = out.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r">\s+<", "><", drawing)
    drawing = re.sub(
        r"""<g id=(["'])tips\|(.*?)\1>(.*?</defs>)?(<g.*?>.*?</g>)</g>""", _with_titles, drawing, flags=re.DOTALL
    )
    drawing = re.sub(r"""<g id=(["'])tip\|(.*?)\1>""", _with_title, drawing)
    for colour, name in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    # Ids must be unique among the drawings of a page.
    prefix = f"{files.safe_name(plot.name)}-{files.digest([plot.name])[:6]}-".replace(".", "_").replace("+", "_")
    drawing = re.sub(r'(\bid="|\bhref="#|url\(#)', lambda match: match[1] + prefix, drawing)
    drawing = drawing.replace("xlink:href", "href")
    # Use the typeface of the page.
    drawing = re.sub(r"(font: [^;\"']*?px) [^;\"]*", r"\1 sans-serif", drawing)
    head, _, body = drawing.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    # In a column wider than the drawing, the drawing may grow a little.
    width = plot.figure.get_size_inches()[0] * 96 * 1.3
    title = element("title", plot.alt)
    opened = f'<svg role="img" {box[0]} style="max-width: {width:.0f}px">'
    return Markup(opened + title.html + body.rstrip())


# Matplotlib has escaped the text in the id for an attribute, which is sufficient for text.
def _with_title(match: re.Match[str]) -> str:
    series, pair, text = match[2].split("|")
    return f'<g class="tip"{_data_attributes(series, pair)}><title>{text}</title>'


def _with_titles(match: re.Match[str]) -> str:
    series, _, *texts = match[2].split("|")
    waiting = iter(texts)

    def titled(shape_match: re.Match[str]) -> str:
        text = next(waiting, "")
        return f'<{shape_match[1]} class="tip"{shape_match[2]}><title>{text}</title></{shape_match[1]}>'

    points = re.sub(r"<(use|path)([^>]*?)/>", titled, match[4])
    return f"<g{_data_attributes(series, '')}>{match[3] or ''}{points}</g>"


def _data_attributes(series: str, pair: str) -> str:
    # Matplotlib leaves double quotes unescaped if it writes the attribute in single quotes.
    attributes = (("series", series.replace('"', "&quot;")), ("pair", pair))
    return "".join(f' data-{name}="{value}"' for name, value in attributes if value)
