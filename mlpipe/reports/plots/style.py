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

from mlpipe import files
from mlpipe.reports.markup import Markup, element, figure

Parameters = ParamSpec("Parameters")

# The light theme's colours, which the SVG's stand-ins are: each is replaced by the variable of the page's style.
PAPER, INK, MUTED, LINE = "#fefefe", "#1b2026", "#5b6570", "#d3d9df"
# Apart for people with any colour vision, in both themes; line styles tell them apart as well.
SERIES = ("#0b62b0", "#b3470b", "#04775b", "#883b85", "#756009", "#4f5f9c")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 3)), (0, (8, 2, 2, 2, 2, 2)))
_VARIABLES = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}
# Matplotlib's names of settings are a type of its own that a checker takes no plain dict for.
_SETTINGS: Any = {
    # Whatever a file `matplotlibrc` of the folder says: no other program writes the texts, and pictures have our sizes.
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
    # Names of classes are data, never mathematics.
    "text.parse_math": False,
}
# Inches: about the width of a phone, so that text need not shrink there.
WIDTH, HEIGHT = 4.1, 3.1
# Letters of the longest name with which a key has two columns.
_IN_TWO = 25
# Points of a curve that say what they are.
_MOST_TIPS = 60


@dataclass(frozen=True)
class Plot:
    """A figure with what it says and the numbers that it shows.

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
    """Give a drawing function the report's style, without touching anybody else's."""

    @wraps(draw)
    def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return inside


def axes(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure with one panel.

    Args:
        width: In inches.
        height: In inches.
    """
    drawing = Figure(figsize=(width, height))
    return drawing, drawing.add_subplot()


def key_columns(labels: Sequence[str]) -> int:
    """The columns of a key in which no name runs out of the drawing.

    Args:
        labels: The names.
    """
    return 2 if max(map(_wide, labels), default=0) <= _IN_TWO else 1


def key(figure: Figure) -> None:
    """Names of what was drawn with a label, under the panels.

    Args:
        figure: The figure.
    """
    labels = [text for panel in figure.axes for text in panel.get_legend_handles_labels()[1]]
    options = {"frameon": False, "fontsize": 8, "handlelength": 2.6, "columnspacing": 1.2}
    figure.legend(loc="outside lower left", ncols=key_columns(labels), **options)


def shortened(text: str, most: int = 18) -> str:
    """A name that fits a plot: so many letters, of those that are as wide as high half of them."""
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
    """Names that fit a plot, of which those that begin alike are cut where they begin, so that they stay apart.

    Args:
        texts: The names.
        most: Letters of each at most.
    """
    cut = [shortened(text, most) for text in texts]
    alike: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(cut):
        alike[text].append(place)
    for places in (places for places in alike.values() if len({texts[place] for place in places}) > 1):
        same = takewhile(lambda letters: len(set(letters)) == 1, zip(*(texts[place] for place in places), strict=False))
        begun = "".join(letters[0] for letters in same)
        # Where the next word begins, or of one word its end.
        word = max(begun.rfind(mark) for mark in " _-/.,:") + 1
        # A word may be longer than its place: then the end, or from where on they differ.
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
    """Say in the page what a piece of a drawing is, where the pointer is over it.

    Args:
        drawn: The piece: a line, a bar, a patch.
        text: Its name and numbers.
        series: The curve that it belongs to, which the page can hide and show.
        pair: `TRUE-PREDICTED`, the numbers of two classes whose pictures the page shows when the piece is chosen.
    """
    drawn.set_gid("|".join(["tip", _one_line(series), pair, _one_line(text)]))


def tips(panel: Axes, x: Sequence[float], y: Sequence[float], texts: Sequence[str], *, series: str = "") -> None:
    """Say in the page what points of a curve are; nothing of them is seen.

    Args:
        panel: Where the curve is.
        x: The places of the points.
        y: Their heights; what is not finite is left out.
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
    """Say in the page what each point of a cloud is.

    Args:
        points: What `scatter` drew.
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
        folder: Where to.
    """
    name = files.safe_name(plot.name)
    with _drawing(), files.durable(folder / f"{name}.png") as temporary:
        plot.figure.savefig(temporary, format="png", dpi=150)
    # Places were found by that drawing: the next one need not search again.
    plot.figure.set_layout_engine("none")
    files.write_text(folder / f"{name}.csv", files.csv_table([plot.header, *plot.rows]))


def inline(plot: Plot) -> Markup:
    """A plot as a figure of the page: SVG in the theme's colours, with its caption and text for those who cannot see it.

    Args:
        plot: The plot.
    """
    return figure(svg(plot), plot.caption)


@contextmanager
def _drawing() -> Iterator[None]:
    """The style of a drawing that is written, whatever letters the names of classes have."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The browser has letters that Matplotlib's own typeface lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg(plot: Plot) -> Markup:
    """A plot's drawing alone.

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
    # Every drawing of a page needs names of its own.
    prefix = f"{files.safe_name(plot.name)}-{files.digest([plot.name])[:6]}-".replace(".", "_").replace("+", "_")
    drawing = re.sub(r'(\bid="|\bhref="#|url\(#)', lambda match: match[1] + prefix, drawing)
    drawing = drawing.replace("xlink:href", "href")
    # The page has a typeface of its own.
    drawing = re.sub(r"(font: [^;\"']*?px) [^;\"]*", r"\1 sans-serif", drawing)
    head, _, body = drawing.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    # A column that is wider than the drawing is filled a little further.
    width = plot.figure.get_size_inches()[0] * 96 * 1.3
    title = element("title", plot.alt)
    opened = f'<svg role="img" {box[0]} style="max-width: {width:.0f}px">'
    return Markup(opened + title.html + body.rstrip())


# What stands in an identity was escaped by Matplotlib for an attribute, which is enough for text.
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
    # Matplotlib leaves quotes as they are where it writes others around them.
    attributes = (("series", series.replace('"', "&quot;")), ("pair", pair))
    return "".join(f' data-{name}="{value}"' for name, value in attributes if value)
