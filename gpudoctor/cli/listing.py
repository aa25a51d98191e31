"""Everything that a scan looks for, as a list or as pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpudoctor.cli.output import deliver
from gpudoctor.cli.refusal import Refusal
from gpudoctor.layer import Layer

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.cli.printing import Look


def checks_text(catalog: Catalog, form: str, layers: Sequence[Layer], look: Look) -> str:
    from gpudoctor.render import codes
    from gpudoctor.render.json import dumped

    listed = codes.listed(catalog, layers)
    return dumped(listed) if form == "json" else codes.render(listed, look.screen())


def write_docs(catalog: Catalog, folder: str) -> None:
    """docs/checks of this project, whole: pages of codes that are gone go too."""
    from pathlib import Path

    from gpudoctor.render.docs import pages

    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        made = pages(catalog)
        for path in place.glob("*.md"):
            if path.name not in made:
                path.unlink()
    except OSError as error:
        raise Refusal(f"cannot write {folder}: {error.strerror or error}") from error
    for name, text in made.items():
        deliver(text, str(place / name))
