"""The strokes of an SVG: text that stays inside its box, boxes, lines. Coordinates are pixels."""

from __future__ import annotations

from html import escape

import msgspec
from rich.cells import cell_len, chop_cells

from gpudoctor.render.plain import one_line, plain

ADVANCE = 0.62  # of the font size; no common monospace font is wider
SIZES = {"head": 15, "title": 13, "label": 12, "small": 11, "cell": 10}
LEADING = 4


class Ink(msgspec.Struct, frozen=True):
    """A line of text."""

    x: float
    y: float  # its base line
    words: str
    size: str = "small"  # of SIZES
    style: str = ""
    end: bool = False  # x is where it ends

    def svg(self) -> str:
        anchor = ' text-anchor="end"' if self.end else ""
        style = f"{self.size} {self.style}".strip()
        return f'<text x="{self.x:g}" y="{self.y:g}" class="{style}"{anchor}>{marked(self.words)}</text>'


def marked(words: str) -> str:
    """Text of the machine as XML text: no markup, no control character, no surrogate."""
    return escape(one_line(plain(words)), quote=True)


def width(words: str, size: str) -> float:
    return cell_len(one_line(plain(words))) * SIZES[size] * ADVANCE


def folded(words: str, room: float, size: str = "small", most: int = 6) -> list[str]:
    """Lines no wider than the room, broken at blanks where there are some; what is beyond the last is cut."""
    cells = max(1, int(room / (SIZES[size] * ADVANCE)))
    lines = [""]
    for word in one_line(plain(words)).split(" "):
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) <= cells:
            lines[-1] += f" {word}"
            continue
        pieces = [str(piece) for piece in chop_cells(word, cells)] or [""]
        lines = [*lines[:-1], *pieces] if not lines[-1] else [*lines, *pieces]
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{chop_cells(lines[most - 1], max(1, cells - 1))[0]}…"]
    return lines


def step(size: str) -> int:
    return SIZES[size] + LEADING


def rect(x: float, y: float, wide: float, high: float, style: str, radius: int = 5) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="{radius}" class="{style}"/>'


def path(points: str, style: str) -> str:
    return f'<path d="{points}" class="{style}"/>'
