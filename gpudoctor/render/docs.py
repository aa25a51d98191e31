"""What of docs/ is made: a page for each written row, a family as one page, an index, the schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from gpudoctor.render import json
from gpudoctor.render.codes import Listed, listed
from gpudoctor.render.document import markdown, page_name
from gpudoctor.render.explain import explained
from gpudoctor.render.markup import escaped
from gpudoctor.render.memory import json as memory
from gpudoctor.render.topo import json as topo

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog

INDEX = "index.md"


def generated(catalog: Catalog) -> Mapping[str, str]:
    """Path under docs/ to content."""
    return {
        "schema/report.schema.json": json.schema(),
        "schema/topo.schema.json": topo.schema(),
        "schema/memory.schema.json": memory.schema(),
        **{f"checks/{name}": text for name, text in pages(catalog).items()},
    }


def pages(catalog: Catalog) -> Mapping[str, str]:
    """File name to content."""
    codes = listed(catalog)
    linked = frozenset(each.code for each in codes)
    made = {page_name(each.code): markdown(explained(each.code, catalog), linked=linked) for each in codes}
    return {INDEX: "\n".join(_index(codes)) + "\n", **made}


def _index(codes: tuple[Listed, ...]) -> Iterator[str]:
    yield "# What gpudoctor finds"
    yield ""
    yield "Made from the rows of the checks by `gpudoctor checks --write-docs docs`; `gpudoctor explain CODE`"
    yield "prints the same offline. A code ending in `_*` is a family whose members come from a table."
    for layer, own in groupby(codes, key=lambda each: each.layer):
        yield ""
        yield f"## {layer}"
        yield ""
        yield "| code | severity | |"
        yield "|---|---|---|"
        for each in own:
            yield f"| [{escaped(each.code)}]({page_name(each.code)}) | {each.severity} | {escaped(each.title)} |"
