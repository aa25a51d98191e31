"""The cards of the SVG: one for the machine, one for each NUMA node, one for each matrix, and what is said beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gpudoctor.render.theme import UNICODE
from gpudoctor.render.topo.picture import Mark, Picture
from gpudoctor.render.topo.svg_ink import SIZES, Ink, folded, path, rect, step, width
from gpudoctor.render.topo.tree import Branch, Ground
from gpudoctor.render.topo.words import about, mark_words, node_words, pace, short

WIDE = 336
PAD = 12
INDENT = 14
GAP = 6
INNER = WIDE - 2 * PAD


class Card(msgspec.Struct, frozen=True):
    high: float
    body: str  # SVG, with its corner at 0, 0


def written(title: str, lines: Sequence[tuple[str, str]], *, size: str = "title") -> Card:
    """A card of text: (words, style) each a paragraph."""
    y = PAD + SIZES[size]
    inks = []
    for line in folded(title, INNER, size, 3):
        inks.append(Ink(PAD, y, line, size))
        y += step(size)
    for words, style in lines:
        for line in folded(words, INNER, "small", 8):
            inks.append(Ink(PAD, y, line, "small", style))
            y += step("small")
    return framed(y - step("small") + PAD, "".join(ink.svg() for ink in inks))


def framed(high: float, body: str) -> Card:
    return Card(high, rect(0, 0, WIDE, high, "card", 8) + body)


def ground_card(ground: Ground, picture: Picture) -> Card:
    title = f"NUMA node {ground.node.number}" if ground.node else "On which NUMA node, nobody says"
    if ground.node is None and len(picture.nodes) <= 1:
        title = "Devices"
    y: float = PAD + SIZES["title"]
    parts = [Ink(PAD, y, title, "title").svg()]
    y += GAP
    for words in node_words(ground.node, picture) if ground.node else ():
        for line in folded(words, INNER):
            y += step("small")
            parts.append(Ink(PAD, y, line, "small", "dim").svg())
    y += PAD
    elbows: dict[int, float] = {}  # by depth, where the line down from the last box begins
    for branch in ground.branches:
        box, high = _box(branch, picture, y)
        x = PAD + INDENT * branch.depth
        if branch.depth:
            stem = x - INDENT / 2
            parts.append(path(f"M{stem:g} {elbows[branch.depth - 1]:g}V{y + 14:g}H{x:g}", "wire"))
        elbows[branch.depth] = y + high
        parts.append(box)
        y += high + GAP
    return framed(y - GAP + PAD, "".join(parts))


def _box(branch: Branch, picture: Picture, top: float) -> tuple[str, float]:
    """A device: its name and link, where it is, what it is, what is wrong with it."""
    device, link = branch.device, picture.link_of(branch.device.id)
    marks = [mark for mark in branch.marks if mark.severity != "info"]
    worst = marks[0] if marks else None
    x = PAD + INDENT * branch.depth
    wide, left, y = WIDE - PAD - x, x + 10, top + 4 + SIZES["label"]
    room = wide - 18
    fault = (worst.severity if worst.root else "symptom") if worst else ""
    slow = branch.link_fault.severity if branch.link_fault else "pace"
    label = f"{device.label} {_glyph(worst)}" if worst else device.label
    said = pace(link) if link else ""
    inks: list[Ink] = []
    beside = said and width(label, "label") + width(said, "small") + 12 <= room
    for line in folded(label, room, "label", 2):
        inks.append(Ink(left, y, line, "label", fault))
        y += step("label")
    if beside:
        inks.append(Ink(x + wide - 8, top + 4 + SIZES["label"], said, "small", slow, end=True))
    where = short(device.id, picture) if branch.port is None else _hop(branch, picture)
    words = about(device, picture, branch.elsewhere)
    one = f"{where}  {words}" if words else where
    texts: list[tuple[str, str]] = [] if beside or not said else [(said, slow)]
    texts += [(where, "dim")] + ([(words, "")] if words else []) if width(one, "small") > room else [(one, "dim")]
    texts += list(_faults(branch, marks, picture))
    for text, style in texts:
        for line in folded(text, room):
            inks.append(Ink(left, y, line, "small", style))
            y += step("small")
    high = y - step("small") + 7 - top
    drawn = rect(x, top, wide, high, f"box {device.kind} {fault}".strip())
    drawn += rect(x, top, 4, high, f"bar {device.kind}", 2)
    return f'<g class="device">{drawn}{"".join(ink.svg() for ink in inks)}</g>', high


def _hop(branch: Branch, picture: Picture) -> str:
    return f"{short(branch.port or '', picture)} ─ {short(branch.device.id, picture)}"


def _faults(branch: Branch, marks: Sequence[Mark], picture: Picture) -> Iterator[tuple[str, str]]:
    for mark in marks:
        yield mark_text(mark, picture, branch.device.id), mark.severity if mark.root else "symptom"
    for process in branch.processes:
        found = [m for m in picture.findings if m.id in process.findings and m.severity != "info"]
        if found:
            yield f"pid {process.pid} {process.command or ''}", "dim"
        for mark in found:
            yield mark_text(mark, picture), mark.severity if mark.root else "symptom"


def mark_text(mark: Mark, picture: Picture, at: str | None = None) -> str:
    """The severity is a word, not a colour alone."""
    if at and mark.whole_node:
        return f"{_glyph(mark)} {mark.code} ({mark.severity}): {mark_words(mark, picture, at)}"
    kind = f"{mark.severity}, root cause" if mark.root else f"{mark.severity}, follows from another"
    return f"{_glyph(mark)} {mark.code} ({kind}): {mark_words(mark, picture, at)}"


def _glyph(mark: Mark | None) -> str:
    return "" if mark is None else UNICODE.of(mark.severity) if mark.root else UNICODE.explained
