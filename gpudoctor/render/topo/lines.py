"""The lines of a device: its place in the tree, the link above it, what it is, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from gpudoctor.render.screen import Screen
from gpudoctor.render.topo.picture import Mark, PcieLink, Picture, Process
from gpudoctor.render.topo.tree import Branch, Ground
from gpudoctor.render.topo.words import about, mark_words, pace, short

MARKS_SHOWN = 3
LABEL_SHARE = 3  # of the width, at most one third
LEAST_ABOUT = 16


class Columns(msgspec.Struct, frozen=True):
    """Widths that all lines of a page share."""

    label: int
    bus: int
    pace: int
    ports: bool  # whether the port above stands beside the device

    @classmethod
    def of(cls, picture: Picture, grounds: Sequence[Ground], screen: Screen) -> Columns:
        branches = [branch for ground in grounds for branch in ground.branches]
        labels = (3 * (b.depth + 1) + cell_len(screen.text(b.device.label).plain) + 2 for b in branches)
        label = min(max(labels, default=0), screen.width // LABEL_SHARE)
        speed = max((len(_pace(picture.link_of(b.device.id))) for b in branches), default=0)
        whole = max((len(_bus(b, picture, screen, True)) for b in branches), default=0)
        ports = 1 + label + 2 + whole + 2 + speed + 2 + LEAST_ABOUT <= screen.width
        bus = whole if ports else max((len(_bus(b, picture, screen, False)) for b in branches), default=0)
        return cls(label, bus, speed, ports)


def _pace(link: PcieLink | None) -> str:
    return pace(link) if link else ""


def _bus(branch: Branch, picture: Picture, screen: Screen, ports: bool) -> str:
    own = screen.text(short(branch.device.id, picture)).plain
    if not ports or branch.port is None:
        return own
    return f"{screen.text(short(branch.port, picture)).plain} {screen.glyphs.across} {own}"


def branch_lines(branch: Branch, picture: Picture, screen: Screen, columns: Columns, verbosity: int) -> Iterator[Text]:
    device, link = branch.device, picture.link_of(branch.device.id)
    marks = [mark for mark in branch.marks if verbosity or mark.severity != "info"]
    worst = next((mark for mark in marks if mark.root), marks[0] if marks else None)
    glyph = f" {_glyph(worst, screen)}" if worst else ""
    lead = Text.assemble((f" {_arms(branch, screen)}", "frame"))
    room = columns.label - lead.cell_len + 1
    label = set_cell_size(_cut(screen.text(device.label).plain, room - cell_len(glyph)) + glyph, room)
    lead.append(label, worst.severity if worst else "title" if device.kind == "gpu" else "")
    lead.append("  ")
    lead.append(f"{_bus(branch, picture, screen, columns.ports):>{columns.bus}}  ", "note")
    said, slow = _pace(link), branch.link_fault
    lead.append(f"{said:<{columns.pace}}", slow.severity if slow else "note" if said.endswith("idle") else "")
    yield from _beside(lead, about(device, picture, branch.elsewhere), branch, screen, columns)
    yield from _beneath(branch, picture, screen, columns, marks, verbosity)


def _beside(lead: Text, words: str, branch: Branch, screen: Screen, columns: Columns) -> Iterator[Text]:
    if not words:
        yield from _fitting(lead, screen)
        return
    room = screen.width - lead.cell_len - 3
    under = _under(branch, screen)
    if room < LEAST_ABOUT:
        yield from _fitting(lead, screen)
        yield from screen.hanging(under, words, screen.width - 1)
        return
    first, *rest = screen.wrapped(words, room)
    yield Text.assemble(lead, "  ", first)
    for line in rest:
        yield Text.assemble(under, " " * (lead.cell_len + 2 - under.cell_len), line)


def _fitting(lead: Text, screen: Screen) -> list[Text]:
    """On a screen too narrow even for the columns, in two lines."""
    if lead.cell_len <= screen.width:
        return [lead]
    return screen.wrapped(lead, screen.width - 1)


def _beneath(
    branch: Branch, picture: Picture, screen: Screen, columns: Columns, marks: Sequence[Mark], verbosity: int
) -> Iterator[Text]:
    under = _under(branch, screen)
    shown = marks if verbosity else marks[:MARKS_SHOWN]
    for mark in shown:
        for line in mark_line(mark, picture, screen, screen.width - under.cell_len - 1, branch.device.id):
            yield Text.assemble(under, line)
    if len(marks) > len(shown):
        yield Text.assemble(under, (f"{screen.glyphs.more} {len(marks) - len(shown)} more, with -v", "note"))
    for process in branch.processes:
        found = [mark for mark in picture.findings if mark.id in process.findings]
        found = [mark for mark in found if verbosity or mark.severity != "info"]
        if not (verbosity or found):
            continue
        for line in screen.wrapped(_process(process, screen), screen.width - under.cell_len - 1):
            yield Text.assemble(under, line)
        for mark in found:
            for line in mark_line(mark, picture, screen, screen.width - under.cell_len - 3):
                yield Text.assemble(under, "  ", line)


def _process(process: Process, screen: Screen) -> Text:
    words = Text(f"pid {process.pid}")
    if process.command:
        words.append_text(Text.assemble("  ", screen.text(process.command, "note")))
    if process.cpus_allowed is not None:
        words.append(f"  on CPUs {process.cpus_allowed}", "note")
    return words


def mark_line(mark: Mark, picture: Picture, screen: Screen, width: int, at: str | None = None) -> list[Text]:
    """`x CODE   what`, without the device's name where it stands at the device."""
    style = mark.severity if mark.root else "note"
    lead = Text(f"{_glyph(mark, screen)} ", style)
    code = screen.text(mark.code, style if mark.root else "")
    if mark.root:
        code.stylize("bold")
    cause = next((each for each in picture.findings if each.id in mark.caused_by), None)
    words = Text.assemble(code, "  ", screen.text(mark_words(mark, picture, at)))
    if cause is not None and not (at and mark.whole_node):
        words.append(f"  (explained by {cause.code})", "note")
    return screen.hanging(lead, words, max(8, width))


def _glyph(mark: Mark, screen: Screen) -> str:
    return screen.glyphs.of(mark.severity) if mark.root else screen.glyphs.explained


def _arms(branch: Branch, screen: Screen) -> str:
    """Three columns for each level."""
    return _stems(branch.lasts[:-1], screen) + _elbow(branch.lasts[-1], screen)


def _elbow(last: bool, screen: Screen) -> str:
    if screen.ascii_only:
        return "`- " if last else "|- "
    return "└─ " if last else "├─ "


def _stems(lasts: Sequence[bool], screen: Screen) -> str:
    return "".join("   " if last else f"{screen.glyphs.down}  " for last in lasts)


def _under(branch: Branch, screen: Screen) -> Text:
    """The tree's lines going on beside what is said below a device."""
    below = branch.depth + 1
    text = Text.assemble((f" {_stems(branch.lasts, screen)}", "frame"))
    text.append(" " * max(0, 3 * below + 3 - text.cell_len))
    return text


def _cut(words: str, width: int) -> str:
    if cell_len(words) <= width:
        return words
    return f"{set_cell_size(words, max(0, width - 1)).rstrip()}~"
