"""What the words after `gpudoctor explain` mean: a code, a number, or the name of a thing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpudoctor.cli.refusal import Refusal
from gpudoctor.layer import Layer
from gpudoctor.render.plain import either

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.cli.printing import Look

_NUMBERED = re.compile(r"(?P<family>[A-Z]*)[ _:#-]*(?P<number>\d+)")


def explained(words: str, catalog: Catalog, form: str, look: Look) -> str:
    """Raises Refusal where nothing is known of it."""
    from gpudoctor.render import document, explain
    from gpudoctor.render.json import dumped

    code = code_of(words, catalog) or ""
    description = None if code else catalog.describe(words)
    if not code and description is None:
        near = catalog.nearest(words)
        hint = f"did you mean {either(near)}" if near else "see: gpudoctor checks"
        raise Refusal(f"nothing is known of {words!r}; {hint}")
    made = explain.explained(code, catalog) if description is None else explain.described(words, description)
    if form == "json":
        return dumped(made)
    return document.markdown(made) if form == "markdown" else document.terminal(made, look.screen())


def code_of(words: str, catalog: Catalog) -> str | None:
    """`xid 79`, `XID-79`, `79`: the family that has such a code, of several the shortest name; `xid`: the family."""
    match = _NUMBERED.fullmatch(words.strip().upper())
    if match is not None:
        families = sorted((name for layer in Layer for name in catalog.families(layer)), key=len)
        tried = [match["family"]] if match["family"] else families
        numbered = next((made for name in tried if catalog.known(made := f"{name}_{int(match['number'])}")), None)
        if numbered is not None:
            return numbered
    asked = re.sub(r"[\s-]+", "_", words.strip().upper())
    return next((code for code in (asked, f"{asked.rstrip('_*')}_*") if catalog.known(code)), None)
