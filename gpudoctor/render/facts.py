"""What is known of a node, for reading: each fact, its fields, and why a field is unread."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from rich.text import Text

from gpudoctor.facts.fact import Fact, Facts, SubjectFact
from gpudoctor.facts.numa import cpu_list
from gpudoctor.render.json import json_safe, ordered
from gpudoctor.render.screen import Screen
from gpudoctor.unread import Unread

ELEMENTS_SHOWN = 8
PCI_NUMBERS = {"vendor_id": 4, "device_id": 4, "class_code": 6}  # digits, as sysfs writes them


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
            digits = PCI_NUMBERS.get(name)
            words = f"0x{reading:0{digits}x}" if digits and isinstance(reading, int) else _shown(reading, screen)
            yield from screen.hanging(lead, words, screen.width)


def _shown(value: Any, screen: Screen) -> str:
    """A field's value; of many elements the first few."""
    if isinstance(value, (tuple, list, dict, AbstractSet)) and not _is_numbers(value):
        return _few(value, "; ", f"{screen.glyphs.more} {{}} more (--format json)") or "none"
    return _words(value) or "none"


def _few(many: Any, between: str, rest: str) -> str:
    if isinstance(many, Mapping):
        words = [_pair(key, held) for key, held in many.items()]
    else:
        words = [_words(one) for one in (ordered(many) if isinstance(many, AbstractSet) else many)]
    more = len(words) - ELEMENTS_SHOWN
    return between.join([*words[:ELEMENTS_SHOWN], *([rest.format(more)] if more > 0 else [])])


def _pair(key: Any, held: Any) -> str:
    words = _words(held)
    return words if words == str(key) else f"{key} {words}"


def _words(value: Any) -> str:
    """On one line: numbers of CPUs as ranges, a record by words of its own, by its name, or field by field."""
    if value is None:
        return "none"
    if _is_numbers(value):
        return cpu_list(value)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        return _pair(*value)
    if isinstance(value, (tuple, list, Mapping, AbstractSet)):
        return f"({_few(value, ', ', '{} more')})"
    fields = _fields_of(value)
    if not fields:
        return str(value if isinstance(value, Unread) else json_safe(value))
    if _speaks(value):
        return str(value)
    name = fields.get("text") or fields.get("label") or fields.get("bus_id")
    return str(name or ", ".join(f"{name} {_number(name, held)}" for name, held in fields.items()))


def _speaks(record: Any) -> bool:
    """Whether it has words of its own."""
    return "__str__" in vars(type(record))


def _is_numbers(value: Any) -> bool:
    return isinstance(value, AbstractSet) and bool(value) and all(type(each) is int for each in value)


def _fields_of(value: Any) -> dict[str, Any]:
    if isinstance(value, Fact):
        return dict(value.readings())
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}


def _number(name: str, value: Any) -> str:
    return f"{value:04o}" if name == "mode" and isinstance(value, int) else _words(value)
