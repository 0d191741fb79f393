"""Small line charts as inline SVG; colours come from the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 360.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 24.0
NUM_STYLES = 6  # colours and dash patterns that the style sheet has
MAX_POINTS = 80  # more than this is noise in a chart of this width


@dataclass(frozen=True)
class Line:
    """Points in the order of their x; NaN leaves a gap."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Lines over one axis; ``x_label`` is what the x counts."""

    title: str
    x_label: str
    lines: tuple[Line, ...]

    def svg(self) -> Markup:
        """Draw the chart; text and colours follow the page around it."""
        xs = _finite([x for line in self.lines for x in line.xs])
        ys = _finite([y for line in self.lines for y in line.ys])
        if not xs or not ys:
            return Markup("")
        y_ticks = nice_ticks(min(ys), max(ys))
        x_range, y_range = (min(xs), max(xs)), (y_ticks[0], y_ticks[-1])
        parts = [
            Markup(
                '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">'
            ).format(WIDTH, HEIGHT, self.description),
            *(_y_tick(y, y_range) for y in y_ticks),
            *(_x_tick(x, x_range) for x in dict.fromkeys(x_range)),
            _text(WIDTH / 2, HEIGHT - 6, self.x_label, "middle"),
        ]
        for i, line in enumerate(self.lines):
            parts += _polylines(line, i % NUM_STYLES, x_range, y_range)
        return Markup("").join([*parts, Markup("</svg>")])

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
        Line(label='kl', xs=[1.5, 3.5], ys=[1.0, 5.0])
    """
    size = math.ceil(len(line.xs) / num_points)
    if size <= 1:
        return line
    starts = range(0, len(line.xs), size)
    return Line(
        line.label,
        [_mean(line.xs[i : i + size]) for i in starts],
        [_mean(line.ys[i : i + size]) for i in starts],
    )


def nice_ticks(low: float, high: float, num_steps: int = 4) -> list[float]:
    """Round numbers, evenly spaced, that enclose a range.

    Example:
        >>> nice_ticks(0.13, 0.88)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(low) / 2
        low, high = low - margin, high + (margin or 1.0)
    rough = (high - low) / num_steps
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


def _polylines(
    line: Line, style: int, x_range: tuple[float, float], y_range: tuple[float, float]
) -> list[Markup]:
    """One polyline for each stretch without a gap; a single point becomes a dot."""
    stretches: list[list[str]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            stretches[-1].append(f"{_px(x, x_range):.1f},{_py(y, y_range):.1f}")
        else:
            stretches.append([])
    drawn = []
    for points in filter(None, stretches):
        if len(points) == 1:
            cx, cy = points[0].split(",")
            drawn.append(
                Markup('<circle class="line s{}" cx="{}" cy="{}" r="2.5"/>').format(style, cx, cy)
            )
        else:
            drawn.append(
                Markup('<polyline class="line s{}" points="{}"/>').format(style, " ".join(points))
            )
    return drawn


def _y_tick(y: float, y_range: tuple[float, float]) -> Markup:
    py = _py(y, y_range)
    rule = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    return rule.format(LEFT, WIDTH - RIGHT, py, py) + _text(LEFT - 6, py + 4, short(y), "end")


def _x_tick(x: float, x_range: tuple[float, float]) -> Markup:
    anchor = "start" if x == x_range[0] else "end"
    return _text(_px(x, x_range), HEIGHT - 6, f"{x:.0f}", anchor)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _px(x: float, x_range: tuple[float, float]) -> float:
    low, high = x_range
    share = (x - low) / (high - low) if high > low else 0.5
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _py(y: float, y_range: tuple[float, float]) -> float:
    low, high = y_range
    return TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    finite = _finite(values)
    return sum(finite) / len(finite) if finite else math.nan
