"""Who holds the memory, what pins it, what grows, and what other settings would have done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from gpudoctor.allocator.candidates import price
from gpudoctor.allocator.explanation import Explanation, Growth, Holder, Pin, Pool, WhatIf
from gpudoctor.allocator.settings import Settings
from gpudoctor.render.memory.bars import bar
from gpudoctor.render.memory.words import (
    Verdict,
    advice,
    between,
    limit_words,
    none_fits,
    size,
    stack_words,
    thousands,
    verdict,
)
from gpudoctor.render.screen import Screen
from gpudoctor.render.story import counted

ROWS = 3
SETTINGS_SHOWN = 6
BAR = 10
NARROW = 72  # columns: below this a table is no table


def sections(explanation: Explanation, screen: Screen, *, rows: int, verbosity: int) -> Iterator[Iterator[Text]]:
    most = rows or (1000 if verbosity else ROWS)
    yield _pins(explanation, screen, most)
    yield _by_frame(explanation.by_frame, screen, most)
    yield _in_a_line("Memory by kind", "guessed from the frames", map(_kind, explanation.by_category), screen)
    yield _growing(explanation, screen, most)
    yield _in_a_line("Private pools", "of CUDA graphs and MemPools", map(_pool, explanation.pools), screen)


def _in_a_line(title: str, note: str, words: Iterable[str], screen: Screen) -> Iterator[Text]:
    if said := "; ".join(words):
        yield from titled(title, note, screen)
        yield from screen.hanging(Text("   "), said, screen.width - 1)


def _kind(holder: Holder) -> str:
    return f"{holder.name} {size(holder.size)} ({holder.share:.0%})"


def _pool(pool: Pool) -> str:
    segments = counted(pool.segments, "segment")
    return f"{pool.id[0]},{pool.id[1]}: {size(pool.reserved)} in {segments}, {size(pool.allocated)} allocated"


def titled(title: str, note: str, screen: Screen) -> Iterator[Text]:
    words = Text.assemble((title, "title"), (f"   {note}", "note"))
    for number, line in enumerate(screen.wrapped(words, screen.width - 4)):
        yield Text.assemble(" " * (3 if number else 1), line)


def _more(hidden: int, what: str, screen: Screen) -> Iterator[Text]:
    if hidden > 0:
        yield from more(counted(hidden, f"more {what}"), screen)


def more(words: str, screen: Screen) -> Iterator[Text]:
    lead = Text(f"   {screen.glyphs.more} ", "note")
    yield from screen.hanging(lead, f"{words}, with -v", screen.width - 1, "note")


def _pins(explanation: Explanation, screen: Screen, most: int) -> Iterator[Text]:
    pins = explanation.pins
    if pins:
        note = (
            "live blocks, by the stack that made them" if explanation.stacks else "live blocks; no stack was recorded"
        )
        yield from titled("What pins the free memory", note, screen)
    words = [_pin_words(pin) for pin in pins[:most]]
    longest = max(map(len, words), default=0)
    for pin, said in zip(pins, words, strict=False):
        lead = Text.assemble(f"   {size(pin.unusable):>8}  ", (f"{said:<{longest}}  ", "note"))
        stack = stack_words(explanation, pin.stack) if explanation.stacks else ""
        yield from screen.hanging(lead, stack, screen.width - 1)
    yield from _more(len(pins) - most, "block", screen)


def _pin_words(pin: Pin) -> str:
    others = f", {counted(pin.segments, 'segment')}" if pin.segments > 1 else ""
    return f"by {size(pin.size)}, {thousands(pin.age_events)} events old{others}"


def _by_frame(holders: Sequence[Holder], screen: Screen, most: int) -> Iterator[Text]:
    if holders:
        yield Text(" Memory by frame", "title")
    counts = [counted(holder.blocks, "block") for holder in holders[:most]]
    longest = max(map(len, counts), default=0)
    for holder, count in zip(holders, counts, strict=False):
        drawn = bar(holder.share, BAR, ascii_only=screen.ascii_only)
        figures = f" {holder.share:>4.0%}  {count:>{longest}}  "
        lead = Text.assemble(f"   {size(holder.size):>8}  ", (f"{drawn:<{BAR}}", "allocated"), (figures, "note"))
        yield from screen.hanging(lead, holder.name, screen.width - 1)
    yield from _more(len(holders) - most, "frame", screen)


def _growing(explanation: Explanation, screen: Screen, most: int) -> Iterator[Text]:
    growing: Sequence[Growth] = explanation.growing
    if growing:
        yield Text(" Grows all the time", "title")
    arrow = "->" if screen.ascii_only else "→"
    for each in growing[:most]:
        lead = Text(f"   {size(each.first):>8} {arrow} {size(each.last):<8}  ")
        words = Text.assemble(
            screen.text(stack_words(explanation, each.stack)),
            (f"  in {each.steps} of 9 tenths, {counted(each.blocks, 'block')}", "note"),
        )
        yield from screen.hanging(lead, words, screen.width - 1)
    yield from _more(len(growing) - most, "stack", screen)


def what_if(
    explanation: Explanation, best: WhatIf | None, screen: Screen, *, rows: int, verbosity: int
) -> Iterator[Text]:
    tried = explanation.what_if
    if not tried:
        return
    shown = tried if verbosity or rows or len(tried) <= SETTINGS_SHOWN else _foremost(tried, best)
    longest = min(max(len(what.settings) for what in shown), max(20, screen.width - 46))
    yield from titled("The same requests under other settings", limit_words(explanation), screen)
    if screen.width >= NARROW:
        yield Text(f"{'':<{longest + 16}}{'reserved peak':>17}{'driver calls':>13}", "label")
    before = ""
    for what in shown:
        said = verdict(what)
        yield from _tried(what, said, screen, longest, what is best)
        if said.why and said.why != before:  # once for all that go the same way
            yield from (Text.assemble(" " * 7, line) for line in screen.wrapped(said.why, screen.width - 9, "note"))
        before = said.why
    yield from _more(len(tried) - len(shown), "setting", screen)
    if not any(what.outcome.fits for what in tried):
        yield from screen.hanging(Text("   "), none_fits(explanation), screen.width - 1)
    if line := advice(explanation, best):
        yield from screen.hanging(Text("   $ ", "note"), screen.text(line, "command"), screen.width - 1)


def _foremost(tried: Sequence[WhatIf], best: WhatIf | None) -> list[WhatIf]:
    """The best, what no settings would have done, and then what fits most surely and cheaply."""

    def order(what: WhatIf) -> tuple[int, ...]:
        outcome = what.outcome
        return what is not best, what.parsed != Settings(), not outcome.fits, not outcome.certain, *price(what)

    return sorted(tried, key=order)[:SETTINGS_SHOWN]


def _tried(what: WhatIf, said: Verdict, screen: Screen, longest: int, best: bool) -> Iterator[Text]:
    run = what.outcome.run
    style = {"ok": "ok", "error": "error", "unknown": "unknown"}[said.glyph]
    mark = Text.assemble("   ", (f"{screen.glyphs.of(said.glyph)} ", style))
    name = screen.text(what.settings, "title" if best else "")
    if name.cell_len > longest:
        yield from screen.hanging(mark, name, screen.width - 1)
        mark, name = Text(" " * 5), Text()
    peak = between(what.outcome.reserved_low, what.outcome.reserved_high)
    calls = thousands(run.device_allocs + run.device_frees)
    word = Text(f"{'best, ' * best}{said.word}", style)
    if screen.width < NARROW:
        yield from screen.hanging(Text.assemble(mark, name, "  ", word), f"  {peak}, {calls} calls", screen.width - 1)
    else:
        padding = " " * (longest - name.cell_len + 1)
        yield Text.assemble(mark, name, padding, word, f"{peak:>{27 - word.cell_len}}{calls:>13}")
