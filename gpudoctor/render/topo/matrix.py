"""The matrices GPU by GPU and GPU by NIC on the terminal, and what their words mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from gpudoctor.render.screen import Screen
from gpudoctor.render.topo.picture import Cell, Matrix, Picture, Row
from gpudoctor.render.topo.words import LEVELS, numbered

GAP = 2
ROOMY = 4  # columns to spare for each
AFFINITY = "CPU Affinity"
NUMA = "NUMA Affinity"


def matrices(picture: Picture, screen: Screen, *, verbosity: int = 0) -> Iterator[Text]:
    matrix = picture.matrix
    if matrix is None:
        return
    labels = [row.label for row in matrix.gpus]
    beside = _places(matrix.gpus)
    yield from _grid(labels, [(row.label, row.to_gpus) for row in matrix.gpus], beside, picture, screen)
    if matrix.nics:
        nics = [row.label for row in matrix.nics]
        yield from _grid(nics, [(row.label, row.to_nics) for row in matrix.gpus], None, picture, screen)
        if verbosity:
            rows = [(row.label, row.to_nics) for row in matrix.nics]
            yield from _grid(nics, rows, None, picture, screen)
        yield Text()
        yield from _names(matrix, screen)


def _places(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(row.cpu_affinity or "N/A", "N/A" if row.numa_affinity is None else str(row.numa_affinity)) for row in rows]


def _grid(
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell | None]]],
    beside: Sequence[tuple[str, str]] | None,
    picture: Picture,
    screen: Screen,
) -> Iterator[Text]:
    """As many columns side by side as the screen takes, then the rest below; affinity below where it is too wide."""
    lead = max(len(label) for label, _ in rows) + GAP
    words = [len(_way(cell, picture, screen)[0]) for _, cells in rows for cell in cells]
    each = max([*words, *map(len, heads)], default=0) + 1
    each += (screen.width - 3 - lead) // max(1, len(heads)) > each + ROOMY
    across = max(1, (screen.width - 2 - lead) // each)
    affinity = max((len(cpus) for cpus, _ in beside), default=0) if beside else 0
    affinity = max(affinity, len(AFFINITY)) + GAP
    fits = beside is not None and 1 + lead + each * len(heads) + affinity + len(NUMA) <= screen.width - 1
    for start in range(0, len(heads), across):
        part = slice(start, start + across)
        yield Text()
        line = Text(" " + " " * lead + "".join(f"{head:<{each}}" for head in heads[part]), "label")
        if fits:
            line.append(f"{AFFINITY:<{affinity}}{NUMA}", "label")
        yield line
        for number, (label, cells) in enumerate(rows):
            line = Text(f" {label:<{lead}}")
            for cell in cells[part]:
                said, style = _way(cell, picture, screen)
                line.append(said + " " * (each - len(said)), style)
            if fits and beside:
                line.append(f"{beside[number][0]:<{affinity}}{beside[number][1]}", "note")
            yield line
    if beside and not fits:
        yield from _affinities([label for label, _ in rows], beside, screen)


def _way(cell: Cell | None, picture: Picture, screen: Screen) -> tuple[str, str]:
    if cell is None:
        return "?", "unknown"
    marks = [mark for mark in picture.findings if mark.id in cell.findings and mark.severity != "info"]
    if marks:
        worst = next((mark for mark in marks if mark.root), marks[0])
        return f"{cell.way}{screen.glyphs.of(worst.severity)}", worst.severity
    return cell.way, "note" if cell.level == "X" else ""


def _affinities(labels: Sequence[str], places: Sequence[tuple[str, str]], screen: Screen) -> Iterator[Text]:
    """GPUs of one place share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for label, place in zip(labels, places, strict=True):
        groups.setdefault(place, []).append(label)
    yield Text()
    for (cpus, node), members in groups.items():
        who = numbered([label.removeprefix("GPU") for label in members])
        yield from screen.hanging(Text(f" GPU {who}  "), f"{AFFINITY} {cpus}; {NUMA} {node}", screen.width - 1, "note")


def _names(matrix: Matrix, screen: Screen) -> Iterator[Text]:
    for line in _packed([f"{label}: {name}" for label, name in matrix.nic_names.items()], screen):
        yield from screen.hanging(Text(" "), screen.text(line, "note"), screen.width - 1)


def legend(picture: Picture, screen: Screen, *, ports: bool) -> Iterator[Text]:
    """Only of what is drawn."""
    matrix = picture.matrix
    rows = matrix.gpus if matrix else ()
    levels = {cell.level for row in rows for cell in (*row.to_gpus, *row.to_nics) if cell}
    said = [words for level, words in LEVELS.items() if level in levels]
    marks = [mark for mark in picture.findings if mark.severity != "info"]
    glyphs = screen.glyphs
    if marks:
        roots = dict.fromkeys(mark.severity for mark in marks if mark.root)
        said += [f"{glyphs.of(severity)} {severity}, a root cause" for severity in roots]
        said += [f"{glyphs.explained} follows from one"] * any(not mark.root for mark in marks)
    if ports and any(link.upper for link in picture.pcie_links):
        said.append(f"a {glyphs.across} b: b hangs off the port a")
    for number, line in enumerate(_packed(said, screen)):
        lead = Text(f" {'' if number else 'Legend':<8}", "title")
        yield from screen.hanging(lead, screen.text(line, "note"), screen.width - 1)


def _packed(parts: Sequence[str], screen: Screen) -> list[str]:
    """Whole entries on a line; runs of blanks would be one to `Screen.text`."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= screen.width - 10:
            lines[-1] += f"; {part}"
        else:
            lines.append(part)
    return lines
