"""The cards of the matrices: the nearer two devices are, the darker their cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpudoctor.render.theme import UNICODE
from gpudoctor.render.topo.picture import Cell, Matrix, Picture, Row
from gpudoctor.render.topo.svg_cards import INNER, PAD, Card, framed
from gpudoctor.render.topo.svg_ink import SIZES, Ink, folded, rect, step
from gpudoctor.render.topo.words import numbered

LABEL = 42
ACROSS = 8
HIGH = 20


def matrix_cards(picture: Picture) -> Iterator[Card]:
    matrix = picture.matrix
    if matrix is None:
        return
    gpus, nics = [row.label for row in matrix.gpus], [row.label for row in matrix.nics]
    below = list(_affinities(matrix))
    yield _card("GPU by GPU", gpus, [(row.label, row.to_gpus) for row in matrix.gpus], below, picture)
    if nics:
        names = [", ".join(f"{label} {name}" for label, name in matrix.nic_names.items())]
        yield _card("GPU by NIC", nics, [(row.label, row.to_nics) for row in matrix.gpus], names, picture)


def _card(
    title: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell | None]]],
    below: Sequence[str],
    picture: Picture,
) -> Card:
    y: float = PAD + SIZES["title"]
    parts = [Ink(PAD, y, title, "title").svg()]
    wide = (INNER - LABEL) / ACROSS
    for start in range(0, len(heads), ACROSS):
        y += HIGH
        for place, head in enumerate(heads[start : start + ACROSS]):
            parts.append(Ink(PAD + LABEL + wide * place + 3, y, head, "cell", "dim").svg())
        y += 6
        for label, cells in rows:
            parts.append(Ink(PAD, y + 14, label, "cell", "dim").svg())
            for place, cell in enumerate(cells[start : start + ACROSS]):
                parts.append(_cell(cell, PAD + LABEL + wide * place, y, wide - 2, picture))
            y += HIGH
    y += 4
    for words in below:
        for line in folded(words, INNER, "small", 12):
            y += step("small")
            parts.append(Ink(PAD, y, line, "small", "dim").svg())
    return framed(y + PAD, "".join(parts))


def _cell(cell: Cell | None, x: float, y: float, wide: float, picture: Picture) -> str:
    if cell is None:
        return rect(x, y, wide, HIGH - 2, "way", 3) + Ink(x + 3, y + 13, "?", "cell", "dim").svg()
    marks = [mark for mark in picture.findings if mark.id in cell.findings and mark.severity != "info"]
    fault = marks[0].severity if marks else ""
    words = cell.way + (UNICODE.of(fault) if fault else "")
    ink = Ink(x + 2 if fault else x + 3, y + 13, words, "cell", fault).svg()
    return f'<g class="cell">{rect(x, y, wide, HIGH - 2, f"way {cell.level} {fault}".strip(), 3)}{ink}</g>'


def _affinities(matrix: Matrix) -> Iterator[str]:
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in matrix.gpus:
        groups.setdefault((row.cpu_affinity, row.numa_affinity), []).append(row)
    for (cpus, node), rows in groups.items():
        who = numbered([row.label.removeprefix("GPU") for row in rows])
        yield f"GPU {who}: CPUs {cpus or 'not known'}, NUMA node {'not told' if node is None else node}"
