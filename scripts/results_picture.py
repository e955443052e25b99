"""A picture of speed against sequence length, as an SVG that is light or dark as its reader's screen."""
import math
from html import escape

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP_X, GAP_Y = 300, 170, 52, 62, 62, 64
# A colour of each contender on light and on dark, and how thick its line is.
LINES = {"fcsa": ("#1f6fd0", "#6aaeff", 3), "raw": ("#1f6fd0", "#6aaeff", 1.5), "fa3": ("#c4501b", "#ff9a5c", 2),
         "fa4": ("#2b8a3e", "#69db7c", 2), "cudnn": ("#8a3fb0", "#d59bf6", 2), "fa2": ("#c4501b", "#ff9a5c", 2),
         "efficient": ("#2b8a3e", "#69db7c", 2), "torch": ("#c4501b", "#ff9a5c", 2)}
NAMES = {"fcsa": "fcsa, with normalisation", "raw": "fcsa, attention only", "fa3": "FlashAttention-3", "fa4": "FlashAttention-4",
         "fa2": "FlashAttention-2", "cudnn": "cuDNN", "efficient": "memory-efficient", "torch": "torch"}


def style():
    light = [f".{name}{{stroke:{colours[0]};stroke-width:{colours[2]}}}.{name}d{{fill:{colours[0]}}}" for name, colours in LINES.items()]
    dark = [f".{name}{{stroke:{colours[1]}}}.{name}d{{fill:{colours[1]}}}" for name, colours in LINES.items()]
    return ("<style>text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:13px}"
            ".page{fill:#fff}.grid{stroke:#d0d7de;stroke-width:1}.line{fill:none}.raw{stroke-dasharray:5 4}" + "".join(light) +
            "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.grid{stroke:#30363d}" + "".join(dark) +
            "}</style>")


def panels(files):
    """Of each head dim and mask: the rows in order of length."""
    rows = [row for file in files if file.kind in ("forward", "backward") for row in file.rows]
    groups = {}
    for row in rows:
        groups.setdefault((row["head_dim"], row["causal"]), {})[row["n"]] = row
    return {key: [by_length[n] for n in sorted(by_length)] for key, by_length in sorted(groups.items()) if len(by_length) > 1}


def ticks(highest):
    """From 0 to just above the highest, in four to seven round steps."""
    power = 10 ** math.floor(math.log10(highest / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if highest / (factor * power) <= 6)
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def draw_panel(key, rows, x, y, names):
    lengths = [row["n"] for row in rows]
    values = ticks(max(row["tflops"].get(name, 0) for row in rows for name in names))
    at = lambda i: x + PANEL_WIDTH * i / (len(lengths) - 1)
    height = lambda value: y + PANEL_HEIGHT * (1 - value / values[-1])
    out = [f'<text class="title" x="{x}" y="{y - 10}">D = {key[0]}, {"causal" if key[1] else "full"}</text>']
    for value in values:
        out.append(f'<line class="grid" x1="{x}" x2="{x + PANEL_WIDTH}" y1="{height(value):.1f}" y2="{height(value):.1f}"/>'
                   f'<text x="{x - 8}" y="{height(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for i, n in enumerate(lengths):
        label = f"{n // 1024}k" if n >= 1024 else str(n)
        out.append(f'<text x="{at(i):.1f}" y="{y + PANEL_HEIGHT + 18}" text-anchor="middle">{label}</text>')
    for name in reversed(names):
        points = [(at(i), height(row["tflops"][name])) for i, row in enumerate(rows) if name in row["tflops"]]
        out.append(f'<polyline class="line {name}" points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in points) + '"/>')
        out += [f'<circle class="{name}d" cx="{a:.1f}" cy="{b:.1f}" r="{3 if name != "raw" else 2}"/>' for a, b in points]
    return out


def legend(names):
    out, x = [], LEFT
    for name in names:
        out.append(f'<line class="line {name}" x1="{x}" x2="{x + 22}" y1="38" y2="38"/>'
                   f'<text x="{x + 28}" y="42">{NAMES[name]}</text>')
        x += 46 + 6.2 * len(NAMES[name])
    return out, x


def picture(title, files):
    """The SVG, or None where the files have nothing to draw."""
    groups = panels(files)
    if not groups:
        return None
    first = next(iter(groups.values()))[0]
    names = [name for name in LINES if name in first["tflops"]]
    columns = 2
    lines = -(-len(groups) // columns)
    entries, legend_width = legend(names)
    width = max(LEFT + columns * (PANEL_WIDTH + GAP_X), legend_width)
    out = [*entries]
    for i, (key, rows) in enumerate(groups.items()):
        out += draw_panel(key, rows, LEFT + (i % columns) * (PANEL_WIDTH + GAP_X), TOP + 24 + (i // columns) * (PANEL_HEIGHT + GAP_Y),
                          names)
    height = TOP + 24 + lines * (PANEL_HEIGHT + GAP_Y) - 20
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, style(), f'<rect class="page" width="{width:.0f}" height="{height}"/>',
                      f'<text class="title" x="{LEFT}" y="20">{escape(title)}: TFLOP/s against sequence length</text>', *out, "</svg>", ""])
