"""What other settings would have done; who pins, holds and grows memory; private pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpudoctor.allocator.explanation import Explanation, Holder, Pin, WhatIf
from gpudoctor.render.memory.html_findings import command
from gpudoctor.render.memory.html_sections import section, text
from gpudoctor.render.memory.words import (
    advice,
    between,
    limit_words,
    size,
    stack_words,
    thousands,
    verdict,
)
from gpudoctor.render.story import counted
from gpudoctor.render.theme import UNICODE

_BEST = ' <b class="good">best</b>'
_STYLE = {"ok": "good", "error": "bad", "unknown": "warn"}


class Cell(NamedTuple):
    html: str
    style: str = ""  # number, word, long


def tables(explanation: Explanation, best: WhatIf | None) -> Iterator[str]:
    yield from _what_if(explanation, best)
    if explanation.pins:
        yield section("What pins the free memory", _pins(explanation))
    by_frame = _held("Memory by frame", explanation.by_frame)
    by_kind = _held("Memory by kind (guessed from the frames)", explanation.by_category)
    if by_frame or by_kind:
        yield f'<div class="pair">{by_frame}{by_kind}</div>' if by_frame and by_kind else by_frame + by_kind
    if explanation.growing:
        yield section("Grows all the time", _growing(explanation))
    if explanation.pools:
        yield section("Private pools (CUDA graphs, MemPool)", _pools(explanation))


def table(heads: Sequence[Cell], rows: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """Rows are (style, cells). On a phone a row becomes a list, each cell with its head before it."""
    head = "".join(f'<th scope="col" class="{cell.style}">{cell.html}</th>' for cell in heads)
    body = "".join(f'<tr class="{style}">{"".join(_cells(heads, cells))}</tr>' for style, cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(heads: Sequence[Cell], cells: Sequence[Cell]) -> Iterator[str]:
    for head, cell in zip(heads, cells, strict=True):
        label = f' data-label="{head.html}"' if cell.style == "number" else ""
        yield f'<td class="{cell.style}"{label}>{cell.html}</td>'


def _number(words: str) -> Cell:
    return Cell(text(words), "number")


def _what_if(explanation: Explanation, best: WhatIf | None) -> Iterator[str]:
    tried = explanation.what_if
    if not tried:
        return
    heads = (
        Cell("settings"), Cell("outcome", "word"), Cell("reserved peak", "number"), Cell("driver calls", "number"),
        Cell("retries", "number"),
    )  # fmt: skip
    rows = [("best" if what is best else "", _tried(what, what is best)) for what in tried]
    parts = [f'<p class="dim">{text(limit_words(explanation))}</p>', table(heads, rows)]
    if line := advice(explanation, best):
        parts.append(command(line, "best-settings"))
    yield section("The same requests under other settings", *parts)


def _tried(what: WhatIf, is_best: bool) -> list[Cell]:
    said, run, outcome = verdict(what), what.outcome.run, what.outcome
    sure = "certain" if outcome.certain else "uncertain"
    word = f'<span class="{_STYLE[said.glyph]}">{UNICODE.of(said.glyph)} {text(said.word)}</span>, {sure}'
    name = text(what.settings).replace(",", ",<wbr>")
    return [
        Cell(f"<code>{name}</code>{_BEST if is_best else ''}{_small(said.why)}", "long"),
        Cell(word, "word"),
        _number(between(outcome.reserved_low, outcome.reserved_high)),
        _number(thousands(run.device_allocs + run.device_frees)),
        _number(thousands(run.retries)),
    ]


def _small(words: str) -> str:
    return f"<small>{text(words)}</small>" if words else ""


def _pins(explanation: Explanation) -> str:
    heads = (*(Cell(name, "number") for name in ("unusable", "by", "events old", "segments")), Cell("stack"))
    return table(heads, [("", _pin(explanation, pin)) for pin in explanation.pins])


def _pin(explanation: Explanation, pin: Pin) -> list[Cell]:
    numbers = (size(pin.unusable), size(pin.size), thousands(pin.age_events), thousands(pin.segments))
    return [*map(_number, numbers), Cell(text(stack_words(explanation, pin.stack)), "long")]


def _held(title: str, holders: Sequence[Holder]) -> str:
    if not holders:
        return ""
    heads = (Cell("size", "number"), Cell("share", "number"), Cell("by"))
    rows = [
        (
            "",
            [
                _number(size(holder.size)),
                _number(f"{holder.share:.0%}"),
                Cell(
                    f"{text(holder.name)}<small>{text(counted(holder.blocks, 'block'))}</small>"
                    f'<i class="share" style="width:{100 * min(1.0, holder.share):.1f}%"></i>',
                    "long",
                ),
            ],
        )
        for holder in holders
    ]
    return section(title, table(heads, rows))


def _growing(explanation: Explanation) -> str:
    heads = (*(Cell(name, "number") for name in ("at first", "at last", "grew in", "blocks")), Cell("stack"))
    rows = []
    for each in explanation.growing:
        numbers = (size(each.first), size(each.last), f"{each.steps} of 9 tenths", thousands(each.blocks))
        rows.append(("", [*map(_number, numbers), Cell(text(stack_words(explanation, each.stack)), "long")]))
    return table(heads, rows)


def _pools(explanation: Explanation) -> str:
    heads = (Cell("pool"), Cell("reserved", "number"), Cell("allocated", "number"), Cell("segments", "number"))
    rows = []
    for pool in explanation.pools:
        numbers = (size(pool.reserved), size(pool.allocated), thousands(pool.segments))
        rows.append(("", [Cell(text(f"pool {pool.id[0]},{pool.id[1]}")), *map(_number, numbers)]))
    return table(heads, rows)
