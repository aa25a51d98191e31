"""Every code that the installed packs know, by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from gpudoctor.layer import Layer
from gpudoctor.render.explain import placeholders
from gpudoctor.render.screen import Screen

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog


class Listed(msgspec.Struct, frozen=True):
    code: str
    layer: str
    severity: str
    title: str
    asks_for: tuple[str, ...]  # facts


def listed(catalog: Catalog, layers: Sequence[Layer] = ()) -> tuple[Listed, ...]:
    made = []
    for layer, code in sorted(catalog.knowledge.codes(), key=lambda pair: (pair[0].height, pair[1])):
        if layers and layer not in layers:
            continue
        row = catalog.knowledge.row(code, layer)
        producers = [check for check in catalog.checks((layer,)) if check.covers(code)]
        facts = sorted({kind.__name__ for check in producers for kind in check.facts})
        made.append(Listed(code, str(layer), row.severity, placeholders(row.title), tuple(facts)))
    return tuple(made)


def render(codes: Sequence[Listed], screen: Screen) -> str:
    return screen.printed(_lines(codes, screen))


def _lines(codes: Sequence[Listed], screen: Screen) -> Iterator[Text]:
    longest = max((len(each.code) for each in codes), default=0)
    for layer, own in groupby(codes, key=lambda each: each.layer):
        yield Text(f" {layer}", "title")
        for each in own:
            lead = Text.assemble(
                f"   {each.code:<{longest}}  ",
                (f"{screen.glyphs.of(each.severity)} {each.severity:<8}  ", each.severity),
            )
            yield from screen.hanging(lead, each.title, screen.width)
        yield Text()
    yield Text(f" {len(codes)} codes; gpudoctor explain CODE says what one means and what to do.", "note")
