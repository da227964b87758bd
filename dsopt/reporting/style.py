"""The style of all figures: colors, font, resolution."""

import functools
import io
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # importing matplotlib takes 0.8 s, which a process that draws nothing saves
    Axes = Figure = Any

P = ParamSpec("P")

INK, FAINT = "#333333", "#8a8a8a"
DPI = 200  # the layout has 100 units per inch, one per CSS pixel; figures are drawn at twice that resolution

# The colors of Okabe and Ito (2008), distinguishable with any color vision; the last two are Paul Tol's.
_FIXED = {"full": "#7a7a7a", "random": "#e69f00", "random_balanced": "#009e73", "top_activation": "#0072b2"}
_OTHERS = ["#d55e00", "#cc79a7", "#56b4e9", "#882255", "#999933"]

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # part of matplotlib, so figures are the same on every machine
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a class name may contain $
    "axes.edgecolor": "#bbbbbb",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#bbbbbb",
    "ytick.color": "#bbbbbb",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


def blank(width: int, height: int, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure; width and height in CSS pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 100, height / 100), layout=layout)


def plain_log_ticks(axis: Any) -> None:
    """Numbers as they are, at 1, 2 and 5 of every decade of a logarithmic axis: the default, 10^2, is math text, which is off."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(NullFormatter())


def picture(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Decorator: turn a function that returns a figure into one that returns PNG bytes, in the common style."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return rendered(draw(*args, **kwargs))

    return drawn


def rendered(figure: Figure) -> bytes:
    """A figure as PNG. It takes half a second: most of it goes into placing texts."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def text_width(text: str) -> float:
    """The width of a line in the style's font, in CSS pixels, with room for letters that are rounded to pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family=_STYLE["font.family"], size=_STYLE["font.size"] * 100 / 72)
    return 1.08 * TextPath((0, 0), text, prop=font).get_extents().width if text.strip() else 0.0


def colors(methods: Iterable[str]) -> dict[str, str]:
    """A color for each method: fixed for the common ones, by a hash of the name for others, so that all figures agree."""
    found: dict[str, str] = {}
    for method in sorted(set(methods)):
        start = zlib.crc32(method.encode()) % len(_OTHERS)
        wheel = _OTHERS[start:] + _OTHERS[:start]
        found[method] = _FIXED.get(_key(method)) or min(wheel, key=list(found.values()).count)  # the least used, first in order
    return found


def _key(method: str) -> str:
    return "_".join(method.lower().replace("-", " ").replace("_", " ").split()).removesuffix("_data")


def shorten(name: str, length: int) -> str:
    """A name on one line of at most `length` characters."""
    name = " ".join(name.split())
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"
