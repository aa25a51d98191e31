"""The picture for Graphviz: `gpudoctor topo --format dot | dot -Tpdf -o node.pdf`."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.render.plain import one_line, plain
from gpudoctor.render.topo.picture import Cable, Device, Mark, Picture
from gpudoctor.render.topo.tree import elsewhere, grounds
from gpudoctor.render.topo.words import about, gpu_words, node_words, pace

SHAPES = {"switch": "hexagon", "bridge": "hexagon", "root_port": "ellipse"}
COLORS = {"critical": "#b42318", "error": "#b42318", "warning": "#8a5a00"}
FABRIC = "NVSwitch fabric"
XGMI = "xGMI, each GPU with each"
MESH = 3  # of so many GPUs and fewer each link is drawn


def render(picture: Picture) -> str:
    return "\n".join(_lines(picture)) + "\n"


def quoted(*lines: str) -> str:
    """A string of DOT: each line as it stands; a backslash would be an escape, a quote the string's end."""
    safe = (one_line(plain(line)).replace("\\", "\\\\").replace('"', '\\"') for line in lines if line)
    return '"' + "\\n".join(safe) + '"'


def _lines(picture: Picture) -> Iterator[str]:
    yield "graph topology {"
    title = [f"node {picture.host.name or 'without a name'}", *gpu_words(picture)]
    title += [_fault(mark) for mark in elsewhere(picture) if mark.severity != "info"]
    yield f"  graph [label={quoted(*title)}, labelloc=t, rankdir=TB, fontname=monospace];"
    yield "  node [shape=box, fontname=monospace, fontsize=10];"
    yield "  edge [fontname=monospace, fontsize=9];"
    drawn: set[str] = set()
    for number, ground in enumerate(grounds(picture)):
        node = ground.node
        label = [f"NUMA node {node.number}", *node_words(node, picture)] if node else ["NUMA node not told"]
        yield f"  subgraph cluster_{number} {{"
        yield f"    label={quoted(*label)};"
        for branch in ground.branches:
            above = picture.device(branch.device.above) if branch.device.above else None
            for device in (above, branch.device):
                if device and device.id not in drawn:
                    drawn.add(device.id)
                    yield f"    {_device(device, picture)}"
        if not ground.branches:
            yield f"    {quoted(f'nothing on {number}')} [label={quoted('no device')}, style=dotted];"
        yield "  }"
    for device in picture.devices:
        yield from _edge(device, picture)
    yield from _cables(picture)
    yield "}"


def _device(device: Device, picture: Picture) -> str:
    marks = _marks(device, picture)
    lines = [device.label, device.id, about(device, picture), *map(_fault, marks)]
    color = next((COLORS[mark.severity] for mark in marks), None)
    style = f", color={quoted(color)}, fontcolor={quoted(color)}, penwidth=2" if color else ""
    return f"{quoted(device.id)} [label={quoted(*lines)}, shape={SHAPES.get(device.kind, 'box')}{style}];"


def _marks(device: Device, picture: Picture) -> list[Mark]:
    found = [mark for mark in picture.findings if device.id in mark.at and mark.severity != "info"]
    return sorted(found, key=lambda mark: not mark.root)


def _fault(mark: Mark) -> str:
    return f"{mark.severity}: {mark.code}{' (root cause)' if mark.root else ''}"


def _edge(device: Device, picture: Picture) -> Iterator[str]:
    if device.above is None:
        return
    link = picture.link_of(device.id)
    said = pace(link) if link else ""
    yield f"  {quoted(device.above)} -- {quoted(device.id)}{f' [label={quoted(said)}]' if said else ''};"


def _cables(picture: Picture) -> Iterator[str]:
    """Links between two GPUs once; those through NVSwitches, and a mesh of all with all, to one fabric."""
    meshed = [cable for cable in picture.cables if cable.medium == "xgmi"]
    count = len(picture.gpus)
    if count > MESH and len(meshed) == count * (count - 1):
        yield f"  {quoted(XGMI)} [shape=hexagon, style=dashed];"
        yield from (f"  {quoted(gpu.id)} -- {quoted(XGMI)} [style=dashed, constraint=false];" for gpu in picture.gpus)
        meshed = []
    switched = [cable for cable in picture.cables if cable.peer_kind == "switch" and cable.links]
    if switched:
        yield f"  {quoted(FABRIC)} [shape=hexagon, style=dashed];"
    yield from (_cable(cable, cable.gpu, FABRIC) for cable in switched)
    direct = [cable for cable in picture.cables if cable.medium == "nvlink" and cable.peer]
    once = {frozenset((cable.gpu, cable.peer)): cable for cable in (*direct, *meshed)}
    for cable in once.values():
        if cable.peer and picture.device(cable.peer):
            yield _cable(cable, cable.gpu, cable.peer)


def _cable(cable: Cable, first: str, second: str) -> str:
    medium = {"nvlink": "NVLink", "xgmi": "xGMI", "c2c": "C2C"}[cable.medium]
    said = f"{medium} {cable.links}" if cable.links else medium
    return f"  {quoted(first)} -- {quoted(second)} [label={quoted(said)}, style=dashed, constraint=false];"
