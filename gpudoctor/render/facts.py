"""What is known of a node, for reading: each fact, its fields, and why a field is unread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from rich.text import Text

from gpudoctor.facts.fact import Fact, Facts, SubjectFact
from gpudoctor.render.json import json_safe
from gpudoctor.render.screen import Screen
from gpudoctor.unread import Unread

ELEMENTS_SHOWN = 8
PCI_NUMBERS = ("vendor_id", "device_id", "class_code")  # as lspci -nn and pci.ids write them


def render(facts: Facts, screen: Screen) -> str:
    return screen.printed(_lines(facts, screen))


def _lines(facts: Facts, screen: Screen) -> Iterator[Text]:
    for kind in sorted(facts.kinds(), key=lambda kind: (kind.__module__, kind.__name__)):
        held: Any = facts.one(kind)
        yield from _kind(kind.__name__, held, screen)
        yield Text()


def _kind(name: str, held: Any, screen: Screen) -> Iterator[Text]:
    if isinstance(held, Fact):
        yield Text(f" {name}", "title")
        yield from _fields(held, screen)
    elif isinstance(held, tuple) and held:
        for each in held:
            subject = each.reading("subject") if isinstance(each, SubjectFact) else ""
            yield Text.assemble((f" {name}   ", "title"), screen.text(str(subject)))
            yield from _fields(each, screen)
    elif isinstance(held, Unread):
        lead = Text.assemble((f" {name}   ", "title"), (f"{screen.glyphs.unknown} ", "unknown"))
        yield from screen.hanging(lead, str(held), screen.width, "unknown")
    else:
        words = "none" if held == () else "does not apply here"
        yield Text.assemble((f" {name}   ", "title"), (f"{screen.glyphs.nothing} {words}", "nothing"))


def _fields(fact: Fact, screen: Screen) -> Iterator[Text]:
    readings = [(name, reading) for name, reading in fact.readings() if name != "subject"]
    longest = max((len(name) for name, _ in readings), default=0)
    for name, reading in readings:
        lead = Text(f"   {name:<{longest}}  ", "label")
        if isinstance(reading, Unread):
            mark = Text(f"{screen.glyphs.unknown} ", "unknown")
            yield from screen.hanging(Text.assemble(lead, mark), str(reading), screen.width, "unknown")
        else:
            words = f"{reading:#06x}" if name in PCI_NUMBERS and isinstance(reading, int) else _shown(reading, screen)
            yield from screen.hanging(lead, words, screen.width)


def _shown(value: Any, screen: Screen) -> str:
    if isinstance(value, (tuple, list, set, frozenset, dict)):
        each = list(value.items()) if isinstance(value, dict) else list(value)
        if isinstance(value, (set, frozenset)):
            each = sorted(each, key=lambda one: (0, one, "") if isinstance(one, int) else (1, 0, str(one)))
        words = "; ".join(_item(one) for one in each[:ELEMENTS_SHOWN]) or "none"
        rest = len(each) - ELEMENTS_SHOWN
        return f"{words}; {screen.glyphs.more} {rest} more (--format json)" if rest > 0 else words
    return "none" if value is None else _item(value) if _speaks(value) else str(json_safe(value))


def _speaks(value: Any) -> bool:
    """Whether a record has words of its own."""
    return isinstance(value, msgspec.Struct) and type(value).__str__ is not object.__str__


def _item(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 2:
        return f"{value[0]} {_item(value[1])}"
    if _speaks(value):
        return str(value)
    made = json_safe(value)
    if isinstance(made, dict):
        whole = ", ".join(f"{name} {_number(name, held)}" for name, held in made.items())
        return str(made.get("text") or made.get("label") or made.get("bus_id") or whole)
    return str(made)


def _number(name: str, value: Any) -> str:
    return f"{value:04o}" if name == "mode" and isinstance(value, int) else str(value)
