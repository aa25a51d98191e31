"""The picture of a node, with what a scan finds marked in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudoctor.cli.options import Wish
from gpudoctor.cli.scanning import chosen_checks, gather, scan
from gpudoctor.layer import Layer

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.cli.printing import Look
    from gpudoctor.facts.fact import Fact
    from gpudoctor.node.surface import Node
    from gpudoctor.render.topo.picture import Picture

LAYERS = (Layer.KERNEL, Layer.DRIVER, Layer.PCIE, Layer.TOPOLOGY)


def picture_of(node: Node, catalog: Catalog, timeout_seconds: float, *, began: float) -> Picture:
    from gpudoctor.cli import description
    from gpudoctor.render.topo.drawn import FACTS, draw

    wish = Wish(layers=LAYERS, timeout_seconds=timeout_seconds)
    wanted: set[type[Fact]] = {kind for check in chosen_checks(catalog, wish) for kind in check.facts}
    facts = gather(node, wanted | FACTS | description.FACTS, timeout_seconds, began=began)
    return draw(facts, scan(node, catalog, wish, lambda _: facts, began=began))


def picture_text(picture: Picture, form: str, look: Look, *, verbosity: int = 0) -> str:
    if form == "json":
        from gpudoctor.render.topo import json

        return json.render(picture)
    if form == "dot":
        from gpudoctor.render.topo import dot

        return dot.render(picture)
    if form == "svg":
        from gpudoctor.render.topo import svg

        return svg.render(picture)
    from gpudoctor.render.topo import terminal

    return terminal.render(picture, look.screen(), verbosity=verbosity)
