"""The explanation of a snapshot as a page for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from gpudoctor import __version__
from gpudoctor.allocator.explanation import Explanation, Moment
from gpudoctor.render.memory import tables
from gpudoctor.render.memory.bars import area, bar, columns, ink, marks
from gpudoctor.render.memory.blockmap import strip, widths
from gpudoctor.render.memory.segments import about, holes_words, idle, kind, worn
from gpudoctor.render.memory.words import (
    NAMES,
    best_of,
    between,
    commands_of,
    duration,
    fidelity_words,
    moment_words,
    settings_words,
    size,
    thousands,
)
from gpudoctor.render.screen import Screen
from gpudoctor.render.story import counted
from gpudoctor.render.terminal import findings, summary
from gpudoctor.report import Report

SEGMENTS_SHOWN = 4
HOLES_SHOWN = 6
GUTTER = 11  # columns of a label


def render(explanation: Explanation, report: Report, screen: Screen, *, verbosity: int = 0, rows: int = 0) -> str:
    """`rows`: of each table; 0 is as many as fit one screen, or all where it is verbose."""
    return screen.printed(_page(explanation, report, screen, verbosity, rows))


def _page(explanation: Explanation, report: Report, screen: Screen, verbosity: int, rows: int) -> Iterator[Text]:
    moment = explanation.moment
    yield from screen.running(_head(explanation, report))
    yield Text()
    if report.findings:
        yield from findings(report, screen, verbosity)
        yield Text()
    yield from _block(_figures(explanation, moment, screen))
    yield from _block(_over_time(explanation, screen))
    yield from _block(_map(moment, screen, rows or (1000 if verbosity else SEGMENTS_SHOWN)))
    for section in tables.sections(explanation, screen, rows=rows, verbosity=verbosity):
        yield from _block(section)
    best = best_of(explanation, commands_of(report))
    yield from _block(tables.what_if(explanation, best, screen, rows=rows, verbosity=verbosity))
    yield from _block(_trust(explanation, screen))
    *lines, last = screen.wrapped(summary(report), screen.width - 14)
    last = Text.assemble(last, "   ", (f"exit {report.exit_code}", "note"))
    yield from (Text.assemble(" ", line) for line in (*lines, last))


def _block(lines: Iterator[Text]) -> Iterator[Text]:
    said = False
    for line in lines:
        said = True
        yield line
    if said:
        yield Text()


def _head(explanation: Explanation, report: Report) -> list[tuple[str, str]]:
    parts = [
        (f"gpudoctor {__version__} memory", "title"),
        (explanation.source, ""),
        (f"device {explanation.device} of {explanation.device_count}", ""),
        (settings_words(explanation.settings_text), ""),
    ]
    if explanation.events:
        parts.append((counted_large(explanation.events, "event"), ""))
    if explanation.failures:
        parts.append((counted_large(explanation.failures, "failed allocation"), ""))
    if explanation.torch_era:
        parts.append((f"torch {explanation.torch_era}", "note"))
    return [*parts, (f"{report.duration_ms / 1e3:.2f} s", "note")]


def counted_large(number: int, one: str) -> str:
    return f"{thousands(number)} {one}{'s' * (number != 1)}"


def _figures(explanation: Explanation, moment: Moment, screen: Screen) -> Iterator[Text]:
    """One bar under the other on one scale."""
    yield from screen.running(
        [(NAMES.get(moment.name, moment.name), "title"), (moment_words(moment, explanation), "note")]
    )
    room = max(explanation.room[1] if explanation.room else 0, explanation.cap or 0)
    whole = max(moment.reserved + moment.wanted, moment.allocated, room, 1)
    longest = max(16, min(32, screen.width - 60))
    for label, amount, note, style in _amounts(explanation, moment):
        drawn = bar(amount / whole, longest, ascii_only=screen.ascii_only)
        if amount == moment.wanted and style == "error":  # on top of what is reserved
            start = min(longest - len(drawn), round(moment.reserved / whole * longest))
            drawn = " " * start + drawn
        lead = Text.assemble(f"   {label:<{GUTTER}}", (f"{drawn:<{longest}}", style), f"  {size(amount):>8}  ")
        yield from screen.hanging(lead, screen.text(note, "note"), screen.width - 1)


def _amounts(explanation: Explanation, moment: Moment) -> Iterator[tuple[str, int, str, str]]:
    if moment.requested:
        yield "requested", moment.requested, "", "allocated"
    rounding = moment.allocated - moment.requested
    yield (
        "allocated",
        moment.allocated,
        f"{size(rounding)} by rounding" if moment.requested and rounding else "",
        "allocated",
    )
    free = moment.reserved - moment.allocated
    largest = f", largest block {size(moment.holes[0].size)}" if moment.holes else ""
    yield "reserved", moment.reserved, f"{size(free)} of it free{largest}" if free else "", "free"
    if explanation.room is not None:
        low, high = explanation.room
        apart = f"{between(low, high)}, as refusals tell" if low != high else "the limit"
        yield "room", high, apart, "free"
    if explanation.cap is not None:
        yield "cap", explanation.cap, "as given, for the replays", "free"
    if moment.wanted:
        yield "wanted", moment.wanted, "and not got", "error"
    if explanation.outside:
        yield "others", explanation.outside, "on the device, not by this allocator", "free"


def _over_time(explanation: Explanation, screen: Screen) -> Iterator[Text]:
    line = explanation.timeline
    top = max(max(line.reserved, default=0), max(line.allocated, default=0))
    if len(line.places) < 2 or not top:
        return
    drawn = ink(screen.ascii_only)
    legend = [("Over time", "title"), (f"{drawn.allocated} allocated  {drawn.free} reserved beyond it", "note")]
    failed = [moment.place for moment in explanation.moments if moment.name == "out of memory"]
    legend += [(f"{drawn.mark} {'the last failure' if explanation.failures > 1 else 'the failure'}", "note")] * bool(
        failed
    )
    yield from screen.running(legend)
    wide = screen.width - GUTTER - 5
    slices = columns(line, wide, explanation.events)
    edge = "|" if screen.ascii_only else "┤"
    rows = list(area(slices, top, ascii_only=screen.ascii_only))
    for number, row in enumerate(rows):
        label = size(top) if number == 0 else "0" if number == len(rows) - 1 else ""
        yield Text.assemble((f"   {label:>{GUTTER - 2}} ", "note"), (edge, "frame"), row)
    if failed:
        under = marks(failed, wide, explanation.events, ascii_only=screen.ascii_only)
        yield Text.assemble(" " * (GUTTER + 3), (under.rstrip(), "error"))
    lasting = f" in {duration(line.times_us[-1])}" if line.times_us != line.places else ""
    yield Text(f"{'':{GUTTER + 3}}{thousands(explanation.events)} events{lasting}", "note")


def _map(moment: Moment, screen: Screen, shown: int) -> Iterator[Text]:
    held, unused = worn(moment), idle(moment)
    if not held:
        return
    drawn = ink(screen.ascii_only)
    legend = f"{drawn.allocated} allocated  {drawn.mixed} both  {drawn.free} free"
    pending = any(b.state == "pending_free" for each in held[:shown] for b in each.segment.blocks)
    legend += f"  {drawn.pending} waits for another stream" * pending
    total = sum(each.free for each in held)
    words = f"{size(total)} free in {counted(len(held), 'segment')} that live blocks hold"
    yield from screen.running([("Segments", "title"), (words, ""), (legend, "note")])
    widest = max(12, screen.width - GUTTER - 42)
    chosen = held[:shown]
    for each, wide in zip(chosen, widths([w.segment for w in chosen], widest), strict=True):
        drawing = strip(each.segment, wide, ascii_only=screen.ascii_only)
        lead = Text.assemble(f"   {size(each.segment.size):>8}  ", drawing, " " * (widest - wide + 2))
        words = ", ".join(filter(None, (about(each), kind(each.segment))))
        yield from screen.hanging(lead, screen.text(words, "note"), screen.width - 1)
    if len(held) > shown:
        rest = sum(each.free for each in held[shown:])
        words = f"{counted(len(held) - shown, 'more segment')} with {size(rest)} free"
        yield from tables.more(words, screen)
    if moment.holes:
        lead = Text("   free blocks  ", "label")
        sizes = [hole.size for hole in moment.holes]
        yield from screen.hanging(lead, holes_words(sizes, HOLES_SHOWN), screen.width - 1)
    if unused:
        yield from screen.hanging(
            Text("   unused       ", "label"), f"{size(unused)} in segments without a live block", screen.width - 1
        )


def _trust(explanation: Explanation, screen: Screen) -> Iterator[Text]:
    fidelity = explanation.fidelity
    yield Text(" How far to trust this", "title")
    glyphs = screen.glyphs
    if fidelity is None:
        yield from screen.hanging(
            Text(f"   {glyphs.unknown} ", "unknown"), "nothing could be replayed", screen.width - 1
        )
    else:
        compared = fidelity.trusted and fidelity.recorded_segments
        sign, style = (glyphs.ok, "ok") if compared else (glyphs.unknown, "unknown")
        yield from screen.hanging(Text(f"   {sign} ", style), fidelity_words(fidelity), screen.width - 1)
        for reason in fidelity.reasons:
            yield from screen.hanging(Text(f"   {glyphs.unknown} ", "unknown"), reason, screen.width - 1)
    for note in explanation.notes:
        yield from screen.hanging(Text(f"   {glyphs.unknown} ", "unknown"), note, screen.width - 1)
