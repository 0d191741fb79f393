"""Small line charts as SVG; their colours are in ``charts.css``, for light pages and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 360.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 24.0
NUM_STYLES = 6  # colours and dash patterns that the style sheet has
DODGE = 4.0  # between the intervals of two lines at one x, so that both are seen
HEAD = 26.0  # above a chart that stands alone, for its title and legend
MAX_POINTS = 80  # more than this is noise in a chart of this width
STYLES = Path(__file__).with_name("charts.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Line:
    """Points in the order of their x; NaN leaves a gap.

    ``lows`` and ``highs`` are the ends of an interval around each point, NaN where there is none;
    empty, if the line has no intervals. ``style`` is of the style sheet, so that a line looks the
    same in several charts; None takes its place in the chart.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    style: int | None = None


@dataclass(frozen=True)
class Chart:
    """Lines over one axis; ``x_label`` is what the x counts.

    ``x_ticks`` are the values to write at the axis; None writes the two ends.
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[float, ...] | None = None

    def svg(self) -> Markup:
        """Draw the chart for a page, which has its title, its legend and ``STYLES``."""
        head = Markup('<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">')
        drawn = self._drawn()
        if not drawn:
            return drawn
        return head.format(WIDTH, HEIGHT, self.description) + drawn + Markup("</svg>")

    def standalone(self) -> str:
        """Draw the chart as a file that a browser shows, with its colours, title and legend.

        Returns:
            The file's text; empty if there is nothing to draw.
        """
        drawn = self._drawn()
        if not drawn:
            return ""
        head = Markup('<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="{}">').format(
            f"0 {-HEAD:.0f} {WIDTH:.0f} {HEIGHT + HEAD:.0f}"
        )
        mark = Markup('<tspan dx="10" font-weight="bold" style="fill:var(--c{})">{}</tspan>')
        legend = Markup("").join(
            mark.format(i % NUM_STYLES, line.label) for i, line in enumerate(self.lines)
        )
        title = Markup('<text x="8" y="-10">{}{}</text>').format(self.title, legend)
        styles = Markup("<style>{}.chart{{background:var(--card)}}</style>").format(Markup(STYLES))
        return str(Markup("").join([head, styles, title, drawn, Markup("</svg>\n")]))

    def _drawn(self) -> Markup:
        """What is inside the picture; empty if there is nothing."""
        xs = _finite([x for line in self.lines for x in line.xs])
        ys = _finite([y for li in self.lines for y in (*li.ys, *li.lows, *li.highs)])
        if not xs or not ys:
            return Markup("")
        y_ticks = nice_ticks(min(ys), max(ys))
        dodged = sum(bool(line.lows) for line in self.lines) > 1
        margin = 0.08 * (max(xs) - min(xs) or 1.0) if dodged else 0.0
        axes = _Axes((min(xs) - margin, max(xs) + margin), (y_ticks[0], y_ticks[-1]))
        parts = [
            *(_y_tick(y, axes) for y in y_ticks),
            *(_x_tick(x, axes) for x in self.x_ticks or dict.fromkeys(axes.x_range)),
            *([] if self.x_ticks else [_text(WIDTH / 2, HEIGHT - 6, self.x_label, "middle")]),
        ]
        for i, line in enumerate(self.lines):
            shift = DODGE * (i - (len(self.lines) - 1) / 2) if dodged else 0.0
            parts += _whiskers(line, self.style(i), axes, shift)
            parts += _polylines(line, self.style(i), axes, shift)
        return Markup("").join(parts)

    def style(self, index: int) -> str:
        """The classes of the style sheet that the i-th line has.

        Example:
            >>> lines = (Line("a", [], []), Line("b", [], [], style=7))
            >>> [Chart("", "", lines).style(i) for i in range(2)]
            ['s0', 's1 t1']
        """
        wanted = self.lines[index].style
        turn, place = divmod(index if wanted is None else wanted, NUM_STYLES)
        return f"s{place}" + (f" t{turn}" if turn else "")

    @property
    def description(self) -> str:
        """What the chart shows, for those who cannot see it."""
        ends = []
        for line in self.lines:
            if ys := _finite(line.ys):
                ends.append(f"{line.label} from {short(ys[0])} to {short(ys[-1])}")
        return f"{self.title}: {', '.join(ends)}"


def smooth(line: Line, num_points: int = MAX_POINTS) -> Line:
    """Average neighbours so that at most ``num_points`` remain.

    Example:
        >>> smooth(Line("kl", [1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 6.0]), num_points=2)
        Line(label='kl', xs=[1.5, 3.5], ys=[1.0, 5.0], lows=(), highs=(), style=None)
    """
    size = math.ceil(len(line.xs) / num_points)
    if size <= 1:
        return line
    starts = range(0, len(line.xs), size)
    return replace(
        line,
        xs=[mean(line.xs[i : i + size]) for i in starts],
        ys=[mean(line.ys[i : i + size]) for i in starts],
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """Some five round numbers, evenly spaced, that enclose a range.

    Example:
        >>> nice_ticks(0.13, 0.88)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(low) / 2
        low, high = low - margin, high + (margin or 1.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    # The tolerance forgives 0.3 / 0.1 for being a little less than 3.
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def short(value: float) -> str:
    """Write a number in few characters.

    Example:
        >>> [short(x) for x in (0.0, 0.25, 1250.0, 0.00004, -3.0)]
        ['0', '0.25', '1250', '4e-05', '-3']
    """
    return f"{value:.4g}"


class _Axes(NamedTuple):
    """The least and the greatest value on each axis; ``x`` and ``y`` place others in the chart."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        share = (value - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _polylines(line: Line, style: str, axes: _Axes, shift: float) -> list[Markup]:
    """One polyline for each stretch without a gap; a single point becomes a dot."""
    stretches: list[list[str]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            stretches[-1].append(f"{axes.x(x) + shift:.1f},{axes.y(y):.1f}")
        else:
            stretches.append([])
    dot = Markup('<circle class="line {}" cx="{}" cy="{}" r="2.5"/>')
    drawn = []
    for points in filter(None, stretches):
        if len(points) > 1:
            path = " ".join(points)
            drawn.append(Markup('<polyline class="line {}" points="{}"/>').format(style, path))
        if len(points) == 1 or line.lows:
            drawn += [dot.format(style, *point.split(",")) for point in points]
    return drawn


def _whiskers(line: Line, style: str, axes: _Axes, shift: float) -> list[Markup]:
    """An upright rule from the low to the high end of each interval."""
    rule = Markup('<line class="whisker {}" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    return [
        rule.format(style, axes.y(low), axes.y(high), x=axes.x(x) + shift)
        for x, low, high in zip(line.xs, line.lows, line.highs, strict=False)
        if all(map(math.isfinite, (x, low, high)))
    ]


def _y_tick(value: float, axes: _Axes) -> Markup:
    y = axes.y(value)
    rule = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    return rule.format(LEFT, WIDTH - RIGHT, y, y) + _text(LEFT - 6, y + 4, short(value), "end")


def _x_tick(value: float, axes: _Axes) -> Markup:
    low, high = axes.x_range
    anchor = {low: "start", high: "end"}.get(value, "middle")
    return _text(axes.x(value), HEIGHT - 6, f"{value:.0f}", anchor)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def mean(values: Sequence[float]) -> float:
    """The mean of what is finite; NaN where nothing is."""
    finite = _finite(values)
    return sum(finite) / len(finite) if finite else math.nan
