"""Results as text and as CSV."""
import csv
import io

from .run import Row


def csv_text(rows):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow("" if value is None else f"{value:.9g}" if isinstance(value, float) else
                        str(value).lower() if isinstance(value, bool) else value for value in row)
    return out.getvalue()


def _shape(row):
    heads = f"{row.heads}" if row.heads == row.kv_heads else f"{row.heads}/{row.kv_heads}"
    length = f"{row.nq}" if row.nq == row.nk else f"{row.nq}x{row.nk}"
    return f"{row.dtype} B{row.batch} H{heads} N{length} D{row.head_dim}" + (" causal" if row.causal else "")


def bytes_text(count):
    if count is None:
        return ""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _cells(row, ours):
    if row.median_ms is None:
        return [row.peer, row.reason, "", "", "", ""]
    against = "" if ours is None or row.peer == "fcsa" else f"{row.median_ms / ours:.2f}"
    return [row.peer, f"{row.median_ms:.3f}", f"{row.low_ms:.3f} to {row.high_ms:.3f}", f"{row.tflops:.3g}", against,
            bytes_text(row.peak_bytes)]


HEAD = ["", "ms", "middle half", "TFLOP/s", "times fcsa's", "peak memory"]


def text(rows):
    """A table in Markdown for every problem, direction and normalisation; "times fcsa's" is how much longer a peer takes."""
    groups = {}
    for row in rows:
        groups.setdefault((_shape(row), row.direction, row.normalisation), []).append(row)
    parts = []
    for (shape, direction, normalisation), members in groups.items():
        ours = next((r.median_ms for r in members if r.peer == "fcsa"), None)
        cells = [HEAD, *(_cells(row, ours) for row in members)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        parts.append("\n".join([f"**{shape}, {direction}, normalisation {normalisation}**", "", *lines, ""]))
    return "\n".join(parts)
