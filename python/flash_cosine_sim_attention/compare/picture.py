"""Time and memory against length, as SVG, for light and for dark backgrounds."""
import math
from xml.sax.saxutils import escape

from .table import bytes_text

LIGHT = dict(ground="#ffffff", ink="#1f2328", faint="#d0d7de")
DARK = dict(ground="#0d1117", ink="#e6edf3", faint="#30363d")
# Told apart by people who see no red or no green, on both grounds; markers tell them apart too.
COLOURS = ("#d55e00", "#0096d6", "#009e73", "#c77cac", "#b58900", "#7a7aff", "#808080", "#00a0a0", "#a05a2c", "#b03060")
MARKERS = ("circle", "square", "up", "down", "diamond")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 250, 62, 14, 34, 40


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


def _milliseconds(value):
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


class _Log:
    """Values to pixels, by their logarithm."""

    def __init__(self, values, start, end, whole, base):
        self.base = base
        low, high = math.log(min(values), base), math.log(max(values), base)
        self.low, self.high = (math.floor(low + 1e-9), math.ceil(high - 1e-9)) if whole else (low, high)
        if self.high - self.low < 1e-9:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.start, self.end = start, end

    def __call__(self, value):
        return self.start + (math.log(value, self.base) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        step = max(1, (last - first) // 5)
        return [self.base ** n for n in range(first, last + 1, step)]


def _panel(title, lines, styles, words, base, theme):
    """One diagram, its corner at (0, 0): lines {peer: [(length, value)]}."""
    points = [point for line in lines.values() for point in line]
    x = _Log([p[0] for p in points], LEFT + 12, WIDTH - RIGHT - 12, False, 2)
    y = _Log([p[1] for p in points], HEIGHT - BOTTOM, TOP, True, base)
    drawn = [_text(LEFT, 18, title, theme["ink"], size=12, extra=' font-weight="600"')]
    for value in y.ticks():
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{theme["faint"]}"/>')
        drawn.append(_text(LEFT - 6, y(value) + 4, words(value), theme["ink"], "end", 10))
    lengths = sorted({p[0] for p in points})
    shown = lengths[::max(1, math.ceil(len(lengths) / 6))]
    for length in shown:
        drawn.append(_text(x(length), HEIGHT - BOTTOM + 15, f"{length:,}", theme["ink"], "middle", 10))
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "length", theme["ink"], "middle", 10))
    for peer in sorted(lines, key=lambda name: name == "fcsa"):  # on top of the others
        colour, marker, width = styles[peer]
        line = sorted(lines[peer])
        path = " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>')
        drawn += [_marker(marker, x(n), y(v), colour) for n, v in line]
    return drawn


def _panels(rows):
    """(title, {peer: points}, how values are written, base of the axis), time by direction, then memory."""
    groups = {}
    for row in rows:
        if row.median_ms is not None:
            groups.setdefault((row.dtype, row.head_dim, row.causal, row.normalisation), []).append(row)
    for (dtype, head_dim, causal, normalisation), members in groups.items():
        kind = f"{dtype}, D = {head_dim}" + (", causal" if causal else "")
        suffix = "" if normalisation == "included" else ", attention alone"
        for direction in dict.fromkeys(row.direction for row in members):
            lines = {}
            for row in members:
                if row.direction == direction:
                    lines.setdefault(row.peer, []).append((row.nk, row.median_ms))
            yield f"{direction}{suffix}: {kind}", lines, _milliseconds, 10
        memory = {}
        last = members[-1].direction
        for row in members:
            if row.direction == last and row.peak_bytes:
                memory.setdefault(row.peer, []).append((row.nk, row.peak_bytes))
        if memory:
            yield f"memory, {last}{suffix}: {kind}", memory, lambda value: bytes_text(int(value)), 2


def _legend(styles, width, theme):
    """Names in lines as wide as the picture, and their height."""
    drawn, x, y = [], LEFT, 20
    for peer, (colour, marker, line) in styles.items():
        taken = 44 + 7 * len(peer)
        if x + taken > width and x > LEFT:
            x, y = LEFT, y + 20
        drawn.append(f'<line x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="{line}"/>')
        drawn += [_marker(marker, x + 11, y - 4, colour), _text(x + 28, y, peer, theme["ink"])]
        x += taken
    return drawn, y + 16


def svg(rows, title, theme, columns=None):
    """The picture; a text where nothing has a time."""
    peers = list(dict.fromkeys(row.peer for row in rows if row.median_ms is not None))
    peers.sort(key=lambda name: name != "fcsa")
    styles = {peer: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], 2.6 if peer == "fcsa" else 1.5)
              for i, peer in enumerate(peers)}
    panels = list(_panels(rows))
    columns = columns or max(1, len({row.direction for row in rows}) + 1)
    width = max(1, min(columns, len(panels))) * WIDTH
    legend, top = _legend(styles, width, theme)
    head, height = 26 + top, 26 + top + max(1, math.ceil(len(panels) / columns)) * HEIGHT
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             'font-family="system-ui, sans-serif">', f'<rect width="100%" height="100%" fill="{theme["ground"]}"/>',
             _text(LEFT, 22, title, theme["ink"], size=14, extra=' font-weight="600"'), '<g transform="translate(0 26)">', *legend, "</g>"]
    if not panels:
        drawn.append(_text(LEFT, head + 30, "nothing was measured", theme["ink"]))
    for i, (name, lines, words, base) in enumerate(panels):
        drawn += [f'<g transform="translate({i % columns * WIDTH} {head + i // columns * HEIGHT})">',
                  *_panel(name, lines, styles, words, base, theme), "</g>"]
    return "\n".join([*drawn, "</svg>", ""])
