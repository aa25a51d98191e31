"""The picture as one self-contained SVG: columns of cards on a desk, one below the other on a phone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gpudoctor.render.topo.picture import Picture
from gpudoctor.render.topo.svg_cards import WIDE, Card, ground_card, mark_text, written
from gpudoctor.render.topo.svg_ink import marked
from gpudoctor.render.topo.svg_matrix import matrix_cards
from gpudoctor.render.topo.svg_style import STYLE
from gpudoctor.render.topo.tree import elsewhere, grounds, memory_nodes
from gpudoctor.render.topo.words import LEVELS, cable_words, gpu_words, host_words, node_words, summary

SPACE = 12
COLUMNS = 3
PHONE = 700  # pixels
PORTRAIT = 0.95  # of the shape of the wide picture: an <img> that shrinks it keeps its shape, a phone does not


class Placed(msgspec.Struct, frozen=True):
    card: Card
    aside: bool  # in the first column of the wide arrangement


def render(picture: Picture) -> str:
    cards = list(_cards(picture))
    wide, high = _columns(cards)
    phone, phone_high = _stack(cards)
    middle = f"calc(50vw - {WIDE // 2}px)"
    width = max(x for x, _ in wide) + WIDE + SPACE
    phone_high = max(phone_high, high)
    styles = "".join(f".topo .c{n}{{transform:translate({x}px,{y:g}px)}}" for n, (x, y) in enumerate(wide))
    narrow = "".join(f".topo .c{n}{{transform:translate({middle},{y:g}px)}}" for n, y in enumerate(phone))
    # In a slice the element's height sets the scale; the group inside takes it back.
    narrow += f".topo{{width:100%;height:{phone_high:g}px}}.topo .all{{transform:scale({high / phone_high:.6f})}}"
    shape = f"(max-width:{PHONE}px) and (max-aspect-ratio:{int(width * PORTRAIT)}/{int(high)})"
    body = "".join(f'<g class="c{n}">{placed.card.body}</g>' for n, placed in enumerate(cards))
    name = marked(f"Topology of node {picture.host.name or 'without a name'}")
    size = f'viewBox="0 0 {width} {high:g}" width="{width}" height="{high:g}" preserveAspectRatio="xMinYMin slice"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="topo" {size} role="img" aria-label="{name}">\n'
        f"<title>{name}</title>\n<style>{STYLE}{styles}@media {shape}{{{narrow}}}</style>\n"
        f'<rect class="page" width="100%" height="100%"/>\n<g class="all">{body}</g>\n</svg>\n'
    )


def _cards(picture: Picture) -> Iterator[Placed]:
    """In the order of a phone."""
    yield Placed(_head(picture), True)
    marks = [mark for mark in elsewhere(picture) if mark.severity != "info"]
    if marks:
        said = [(mark_text(mark, picture), mark.severity if mark.root else "symptom") for mark in marks]
        yield Placed(written("Also found", said), True)
    for ground in grounds(picture):
        yield Placed(ground_card(ground, picture), False)
    memory = [
        (f"NUMA node {n.number}: {', '.join(node_words(n, picture))}", "")
        for n in memory_nodes(picture)
        if n.memory_bytes
    ]
    if memory:
        yield Placed(written("Memory without CPUs", memory), False)
    if cables := cable_words(picture):
        yield Placed(written("GPU links", [(f"{who}: {words}", "") for who, words in cables]), True)
    for card in matrix_cards(picture):
        yield Placed(card, True)
    if lines := list(_legend(picture)):
        yield Placed(written("Legend", lines), True)
    if picture.unseen:
        yield Placed(written("Not seen", [(f"? {reason}", "unknown") for reason in picture.unseen]), True)


def _head(picture: Picture) -> Card:
    host = picture.host
    said = [*gpu_words(picture)]
    said += [f"driver {host.driver_version}"] * bool(host.driver_version)
    lines = [(words, "") for words in said] + [(words, "dim") for words in host_words(picture)]
    lines += [("virtual machine", "dim")] * bool(host.virtualization)
    lines += [(f"from {picture.source.name}", "dim")] * (picture.source.kind != "live")
    return written(f"node {host.name or 'without a name'}", [*lines, (summary(picture), "strong")], size="head")


def _legend(picture: Picture) -> Iterator[tuple[str, str]]:
    rows = picture.matrix.gpus if picture.matrix else ()
    levels = {cell.level for row in rows for cell in (*row.to_gpus, *row.to_nics) if cell}
    for level, words in LEVELS.items():
        if level in levels:
            yield words, "dim"
    if any(link.upper for link in picture.pcie_links):
        yield "a ─ b: b hangs off the port a", "dim"


def _columns(cards: Sequence[Placed]) -> tuple[list[tuple[int, float]], float]:
    """What is said beside goes left, NUMA nodes side by side, each into the column that is shortest."""
    count = min(COLUMNS, 1 + max(1, sum(not placed.aside for placed in cards)))
    ends: list[float] = [SPACE] * count
    places = []
    for placed in cards:
        column = 0 if placed.aside else min(range(1, count), key=lambda each: ends[each])
        places.append((SPACE + column * (WIDE + SPACE), ends[column]))
        ends[column] += placed.card.high + SPACE
    return places, max(ends)


def _stack(cards: Sequence[Placed]) -> tuple[list[float], float]:
    places, y = [], float(SPACE)
    for placed in cards:
        places.append(y)
        y += placed.card.high + SPACE
    return places, y
