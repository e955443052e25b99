"""Speed and memory against length, as SVG, for light and for dark backgrounds. Speed, since times over all lengths need an axis
on which those of the fastest can't be told apart."""
import functools
import itertools
import math
from typing import Callable, NamedTuple
from xml.sax.saxutils import escape

from .table import bytes_text

LIGHT = dict(ground="#ffffff", ink="#1f2328", faint="#d0d7de")
DARK = dict(ground="#0d1117", ink="#e6edf3", faint="#30363d")
OUR_NAME, OURS = "fcsa", dict(colour="#d55e00", marker="circle", width=2.6)
# Told apart by people who see no red or no green, on both grounds; markers tell them apart too.
COLOURS = ("#0096d6", "#009e73", "#c77cac", "#b58900", "#7a7aff", "#808080", "#00a0a0", "#b8703c", "#d0447a", "#6b9e1f")
MARKERS = ("square", "up", "down", "diamond", "circle")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 266, 62, 14, 50, 40


def _marker(kind, x, y, colour):
    r = 3.2
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{colour}"/>'
    corners = {"square": ((-r, -r), (r, -r), (r, r), (-r, r)), "up": ((0, -r - 1), (r + 1, r), (-r - 1, r)),
               "down": ((0, r + 1), (r + 1, -r), (-r - 1, -r)), "diamond": ((0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0))}[kind]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def _text(x, y, words, colour, anchor="start", size=11, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


class _Log:
    """Values to pixels, by their logarithm. whole: the axis ends at powers of two."""

    def __init__(self, values, start, end, whole=False):
        low, high = math.log2(min(values)), math.log2(max(values))
        self.low, self.high = (math.floor(low + 1e-9), math.ceil(high - 1e-9)) if whole else (low, high)
        if self.high - self.low < 1e-9:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.start, self.end = start, end

    def __call__(self, value):
        return self.start + (math.log2(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        step = max(1, (last - first) // 5)
        return [2 ** n for n in range(first, last + 1, step)]


class _Linear:
    """Values to pixels, from 0."""

    def __init__(self, values, start, end):
        top = max(values) * 1.04
        power = 10 ** math.floor(math.log10(top))
        self.step = next(step * power for step in (0.2, 0.5, 1, 2) if top / (step * power) <= 6)
        self.top, self.start, self.end = top, start, end

    def __call__(self, value):
        return self.start + value / self.top * (self.end - self.start)

    def ticks(self):
        return [n * self.step for n in range(int(self.top / self.step + 1e-9) + 1)]


class _Panel(NamedTuple):
    title: str
    problems: str  # what they have in common, in words
    lines: dict  # {peer: [(length, value)]}
    axis: type  # of the values
    words: Callable  # how values are written


def _draw(panel, styles, theme):
    """One diagram, its corner at (0, 0)."""
    points = [point for line in panel.lines.values() for point in line]
    x = _Log([p[0] for p in points], LEFT + 12, WIDTH - RIGHT - 12)
    y = panel.axis([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    drawn = [_text(LEFT, 18, panel.title, theme["ink"], size=12, extra=' font-weight="600"'),
             _text(LEFT, 34, panel.problems, theme["ink"])]
    for value in y.ticks():
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{theme["faint"]}"/>')
        drawn.append(_text(LEFT - 6, y(value) + 4, panel.words(value), theme["ink"], "end", 10))
    lengths = sorted({p[0] for p in points})
    shown = lengths[::max(1, math.ceil(len(lengths) / 6))]
    for length in shown:
        drawn.append(_text(x(length), HEIGHT - BOTTOM + 15, f"{length:,}", theme["ink"], "middle", 10))
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "length", theme["ink"], "middle", 10))
    for peer in sorted(panel.lines, key=lambda name: name == OUR_NAME):  # on top of the others
        colour, marker, width = styles[peer].values()
        line = sorted(panel.lines[peer])
        path = " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>')
        drawn += [_marker(marker, x(n), y(v), colour) for n, v in line]
    return drawn


def _speeds(direction, problems, members):
    lines, unit = {}, 1 if max(row.tflops for row in members) >= 1 else 1e-3
    for row in members:
        lines.setdefault(row.peer, []).append((row.nk, row.tflops / unit))
    return _Panel(f"{direction}, {'TFLOP/s' if unit == 1 else 'GFLOP/s'}", problems, lines, _Linear, "{:g}".format)


def _memory(direction, problems, members):
    lines = {}
    for row in members:
        if row.peak_bytes:
            lines.setdefault(row.peer, []).append((row.nk, row.peak_bytes))
    words = lambda value: bytes_text(int(value))
    return _Panel(f"memory, {direction}", problems, lines, functools.partial(_Log, whole=True), words) if lines else None


def _in_common(row):
    """What problems of one panel have in common, in words: all but their lengths."""
    heads = f"{row.heads}" if row.heads == row.kv_heads else f"{row.heads}/{row.kv_heads}"
    queries = "" if row.nq == row.nk else f", {row.nq} queries"
    causal = ", causal" if row.causal else ""
    alone = "" if row.normalisation == "included" else "; attention alone"
    return f"{row.dtype}, B {row.batch}, H {heads}, D {row.head_dim}{queries}{causal}{alone}"


def _panels(rows):
    """Speed by direction, then memory."""
    groups = {}
    for row in rows:
        if row.median_ms is not None:
            groups.setdefault(_in_common(row), {}).setdefault(row.direction, []).append(row)
    for problems, directions in groups.items():
        yield from (_speeds(direction, problems, members) for direction, members in directions.items())
        last, members = list(directions.items())[-1]
        yield _memory(last, problems, members)


def _styles(peers):
    looks = (dict(colour=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], width=1.5) for i in itertools.count())
    return {peer: OURS if peer == OUR_NAME else next(looks) for peer in peers}


def _legend(styles, width, theme):
    """Names in lines as wide as the picture, and their height."""
    drawn, x, y = [], LEFT, 20
    for peer, style in styles.items():
        colour, marker, line = style.values()
        taken = 46 + 6 * len(peer)
        if x + taken > width and x > LEFT:
            x, y = LEFT, y + 20
        drawn.append(f'<line x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="{line}"/>')
        drawn += [_marker(marker, x + 11, y - 4, colour), _text(x + 28, y, peer, theme["ink"])]
        x += taken
    return drawn, y + 16


def svg(rows, title, theme, columns=None):
    """The picture; a text where nothing has a time."""
    peers = list(dict.fromkeys(row.peer for row in rows if row.median_ms is not None))
    peers.sort(key=lambda name: name != OUR_NAME)
    styles = _styles(peers)
    panels = [panel for panel in _panels(rows) if panel]
    columns = columns or max(1, len({row.direction for row in rows}) + 1)
    width = max(1, min(columns, len(panels))) * WIDTH
    legend, top = _legend(styles, width, theme)
    head, height = 26 + top, 26 + top + max(1, math.ceil(len(panels) / columns)) * HEIGHT
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             'font-family="system-ui, sans-serif">', f'<rect width="100%" height="100%" fill="{theme["ground"]}"/>',
             _text(LEFT, 22, title, theme["ink"], size=14, extra=' font-weight="600"'), '<g transform="translate(0 26)">', *legend, "</g>"]
    if not panels:
        drawn.append(_text(LEFT, head + 30, "nothing was measured", theme["ink"]))
    for i, panel in enumerate(panels):
        drawn += [f'<g transform="translate({i % columns * WIDTH} {head + i // columns * HEIGHT})">',
                  *_draw(panel, styles, theme), "</g>"]
    return "\n".join([*drawn, "</svg>", ""])
