"""A code's row, whole: one document that the terminal and Markdown print alike."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from gpudoctor.knowledge import Fix, Row, UnknownCode
from gpudoctor.render.panel import price
from gpudoctor.render.plain import either

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.knowledge import Description

INSTEAD = "Instead, where the action asked for is {}"
ASKED = "Where the GPU or its driver asks for something else"
DETAILED = 3  # more actions than these are listed by their first step


class Step(msgspec.Struct, frozen=True):
    """Something to do, what it costs, and its command."""

    do: str
    price: str
    command: str | None


class Entry(msgspec.Struct, frozen=True):
    """A name and what it stands for: a related code and its title, a label and its value."""

    name: str
    words: str


class Command(msgspec.Struct, frozen=True):
    text: str


class Origin(msgspec.Struct, frozen=True):
    """Where a fact was taken from: a link, or a place in a repository."""

    text: str


Block = str | Step | Entry | Command | Origin


class Section(msgspec.Struct, frozen=True):
    heading: str
    blocks: tuple[Block, ...]


class Document(msgspec.Struct, frozen=True):
    name: str  # the code, or what was asked for
    kind: str  # "driver, error"; empty where there is none
    title: str
    sections: tuple[Section, ...]


def explained(code: str, catalog: Catalog) -> Document:
    """Raises UnknownCode."""
    row, layer = catalog.knowledge.row(code), catalog.knowledge.layer_of(code)
    return Document(code, f"{layer}, {row.severity}", placeholders(row.title), tuple(_sections(code, row, catalog)))


def described(asked: str, description: Description) -> Document:
    facts = tuple(Entry(label, str(value)) for label, value in description.rows)
    sources = (Section("Sources", tuple(map(Origin, description.sources))),) if description.sources else ()
    return Document(asked, "", description.title, (Section("What is known of it", facts), *sources))


def _sections(code: str, row: Row, catalog: Catalog) -> Iterator[Section]:
    yield Section("What it means", (placeholders(row.why),))
    if row.impact:
        yield Section("Why it matters", (placeholders(row.impact),))
    if row.fix:
        yield Section("What to do", tuple(_step(fix) for fix in row.fix))
    others = _fixes_by_action(row)
    if len(others) > DETAILED:
        yield Section(
            ASKED, tuple(Entry(either(actions), placeholders(fixes[0].do)) for fixes, actions in others.items())
        )
    else:
        for fixes, actions in others.items():
            yield Section(INSTEAD.format(either(actions)), tuple(_step(fix) for fix in fixes))
    if row.verify:
        yield Section("How to verify", (Command(placeholders(row.verify)),))
    if row.lines:
        yield Section("Recognised in the kernel log by", tuple(Command(line.anchor) for line in row.lines))
    if row.explained_by:
        yield Section("Explained by", tuple(_related(each, catalog) for each in row.explained_by))
    if explains := tuple(_related(each, catalog) for each in symptoms_of(code, catalog)):
        yield Section("Explains", explains)
    if row.sources:
        yield Section("Sources", tuple(map(Origin, row.sources)))


def _fixes_by_action(row: Row) -> dict[tuple[Fix, ...], list[str]]:
    """What other actions than the usual one ask for; actions that ask for the same stand together."""
    grouped: dict[tuple[Fix, ...], list[str]] = {}
    for action, fixes in row.fix_for.items():
        if fixes != row.fix:
            grouped.setdefault(fixes, []).append(action.replace("_", " "))
    return grouped


def symptoms_of(code: str, catalog: Catalog) -> list[str]:
    """Codes with a written row that this one explains."""
    rows = ((other, catalog.knowledge.row(other, layer)) for layer, other in catalog.knowledge.codes())
    return [other for other, row in rows if code in row.explained_by]


def _related(code: str, catalog: Catalog) -> Entry:
    try:
        return Entry(code, placeholders(catalog.knowledge.row(code).title))
    except UnknownCode:
        return Entry(code, "")


def _step(fix: Fix) -> Step:
    command = placeholders(fix.command) if fix.command else None
    return Step(placeholders(fix.do), price(fix.needs_root, fix.disruption), command)


def placeholders(template: str) -> str:
    """`x{width} of x{width_possible}` as `x<width> of x<width possible>`."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return template.strip()
    shown = []
    for literal, name, _, _ in parts:
        shown.append(literal)
        if name:
            shown.append(f"<{name.rpartition('.')[2].replace('_', ' ')}>")
    return "".join(shown).strip()
