"""The figures at the moment that matters, and how far to trust the page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from gpudoctor.allocator.explanation import Explanation, Moment
from gpudoctor.render.memory.words import NAMES, between, fidelity_words, moment_words, size
from gpudoctor.render.plain import one_line, plain
from gpudoctor.render.theme import UNICODE


def text(words: object) -> str:
    """Text of the machine as HTML text: no markup, no control character, no mark that turns the direction."""
    return escape(one_line(plain(str(words))), quote=True)


def lines_of(words: object) -> str:
    """The same, with its line breaks."""
    return "\n".join(map(text, str(words).split("\n")))


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"


def figures(explanation: Explanation) -> Iterator[str]:
    moment = explanation.moment
    shown = list(_figures(explanation, moment))
    tiles = [
        f"<div><dt>{text(name)}</dt><dd>{text(size(amount))}{f'<small>{text(note)}</small>' if note else ''}</dd></div>"
        for name, amount, note, _ in shown
    ]
    yield section(
        NAMES.get(moment.name, moment.name),
        f'<p class="dim">{text(moment_words(moment, explanation))}</p>',
        f'<dl class="figures">{"".join(tiles)}</dl>',
        _meter([(name, amount, style) for name, amount, _, style in shown if style]),
    )


def _figures(explanation: Explanation, moment: Moment) -> Iterator[tuple[str, int, str, str]]:
    """Name, bytes, what to know of it, and the style of its bar, where it has one."""
    if moment.requested:
        yield "requested", moment.requested, "what the program asked for and holds", "requested"
    rounding = moment.allocated - moment.requested
    note = f"{size(rounding)} by rounding" if moment.requested and rounding else ""
    yield "allocated", moment.allocated, note, "allocated"
    free = moment.reserved - moment.allocated
    yield "reserved", moment.reserved, f"{size(free)} of it free" if free else "", "reserved"
    if moment.holes:
        yield "largest free block", moment.holes[0].size, "inside of a segment", ""
    if moment.wanted:
        asked = f", for a request of {size(explanation.failed)}" if explanation.failed else ""
        yield "wanted", moment.wanted, f"and not got{asked}", "wanted"
    if explanation.room is not None:
        low, high = explanation.room
        apart = f"{between(low, high)}, as refusals tell" if low != high else "the limit"
        yield "room", high, apart, "room"
    if explanation.device_free is not None:
        yield "free on the device", explanation.device_free, "at the failure", ""
    if explanation.outside:
        least = "at least, " if explanation.outside_is_least else ""
        yield "others", explanation.outside, f"{least}on the device, not by this allocator", "others"


def _meter(bars: list[tuple[str, int, str]]) -> str:
    """One bar under the other on one scale."""
    whole = max((amount for _, amount, _ in bars), default=0) or 1
    rows = "".join(
        f'<span class="label">{text(name)}</span>'
        f'<span class="track"><i class="{style}" style="width:{100 * amount / whole:.2f}%"></i></span>'
        for name, amount, style in bars
    )
    return f'<div class="meter" aria-hidden="true">{rows}</div>'


def trust(explanation: Explanation) -> Iterator[str]:
    fidelity, lines = explanation.fidelity, []
    if fidelity is None:
        lines.append((UNICODE.unknown, "nothing could be replayed"))
    else:
        compared = fidelity.trusted and fidelity.recorded_segments
        lines.append((UNICODE.ok if compared else UNICODE.unknown, fidelity_words(fidelity)))
        lines += [(UNICODE.unknown, reason) for reason in fidelity.reasons]
    lines += [(UNICODE.unknown, note) for note in explanation.notes]
    items = "".join(f"<li>{glyph} {text(words)}</li>" for glyph, words in lines)
    yield section("How far to trust this", f'<ul class="plain">{items}</ul>')
