"""The picture as a page for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from gpudoctor.render.screen import Screen
from gpudoctor.render.stack import MACHINES
from gpudoctor.render.topo.lines import Columns, branch_lines, mark_line
from gpudoctor.render.topo.matrix import legend, matrices
from gpudoctor.render.topo.picture import NumaNode, Picture
from gpudoctor.render.topo.tree import Ground, elsewhere, grounds, memory_nodes
from gpudoctor.render.topo.words import cable_words, gpu_words, host_words, node_words, numbered, summary


def render(picture: Picture, screen: Screen, *, verbosity: int = 0) -> str:
    return screen.printed(_page(picture, screen, verbosity))


def _page(picture: Picture, screen: Screen, verbosity: int) -> Iterator[Text]:
    yield from _head(picture, screen)
    drawn = grounds(picture)
    columns = Columns.of(picture, drawn, screen)
    for ground in drawn:
        yield Text()
        yield from _ground(ground, picture, screen, columns, verbosity)
    yield from _memory(picture, screen)
    yield from _block(_cables(picture, screen))
    yield from _block(_others(picture, screen, verbosity))
    yield from matrices(picture, screen, verbosity=verbosity)
    yield from _block(legend(picture, screen, ports=columns.ports))
    yield from _block(_unseen(picture, screen))
    yield Text()
    yield from _indented(screen.wrapped(summary(picture), screen.width - 2))


def _block(lines: Iterator[Text]) -> Iterator[Text]:
    for number, line in enumerate(lines):
        if not number:
            yield Text()
        yield line


def _indented(lines: list[Text], columns: int = 1) -> Iterator[Text]:
    for line in lines:
        yield Text.assemble(" " * columns, line)


def _head(picture: Picture, screen: Screen) -> Iterator[Text]:
    host = picture.host
    first = [f"node {host.name or 'without a name'}", *gpu_words(picture)]
    first += [f"driver {host.driver_version}"] * bool(host.driver_version)
    first += [MACHINES.get(host.virtualization or "", host.virtualization or "")] * bool(host.virtualization)
    notes = [f"from {picture.source.name}"] * (picture.source.kind != "live")
    yield from screen.running([("gpudoctor topo", "title"), *((w, "") for w in first), *((w, "note") for w in notes)])
    yield from screen.running([(words, "note") for words in host_words(picture)])


def _ground(ground: Ground, picture: Picture, screen: Screen, columns: Columns, verbosity: int) -> Iterator[Text]:
    alone = len(picture.nodes) <= 1
    if ground.node is not None:
        yield from screen.running(_node_words(ground.node, picture))
    elif ground.branches:
        title = "Devices" if alone else "On which NUMA node, nobody says"
        yield from screen.running([(title, "title")])
    for branch in ground.branches:
        yield from branch_lines(branch, picture, screen, columns, verbosity)


def _memory(picture: Picture, screen: Screen) -> Iterator[Text]:
    """NUMA nodes of memory alone; empty ones, which wait for MIG instances or hot-plug, together."""
    empty = [node for node in memory_nodes(picture) if not node.memory_bytes]
    for node in memory_nodes(picture):
        if node.memory_bytes:
            yield Text()
            yield from screen.running(_node_words(node, picture))
    if empty:
        numbers = numbered([str(node.number) for node in empty])
        yield from screen.running([(f"NUMA node{'s' * (len(empty) > 1)} {numbers}", "title"), ("empty", "note")])


def _node_words(node: NumaNode, picture: Picture) -> list[tuple[str, str]]:
    return [(f"NUMA node {node.number}", "title"), *((words, "") for words in node_words(node, picture))]


def _cables(picture: Picture, screen: Screen) -> Iterator[Text]:
    said = cable_words(picture)
    longest = max((len(who) for who, _ in said), default=0)
    for number, (who, words) in enumerate(said):
        lead = Text.assemble((f" {'' if number else 'GPU links':<11}", "title"), f"{who:<{longest}}  ")
        yield from screen.hanging(lead, words, screen.width - 1)


def _others(picture: Picture, screen: Screen, verbosity: int) -> Iterator[Text]:
    marks = [mark for mark in elsewhere(picture) if verbosity or mark.severity != "info"]
    if marks:
        yield Text(" Also found", "title")
    for mark in marks:
        yield from _indented(mark_line(mark, picture, screen, screen.width - 4), 3)


def _unseen(picture: Picture, screen: Screen) -> Iterator[Text]:
    if picture.unseen:
        yield Text(" Not seen", "title")
    for reason in picture.unseen:
        yield from screen.hanging(Text(f"   {screen.glyphs.unknown} ", "unknown"), reason, screen.width - 1)
