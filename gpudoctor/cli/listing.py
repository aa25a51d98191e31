"""Everything that can be found, as a list or as pages."""

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
    """What of this project's docs is made from rows and types; pages of codes that are gone go too."""
    from pathlib import Path

    from gpudoctor.render.docs import generated

    made = {Path(folder, name): text for name, text in generated(catalog).items()}
    try:
        for place in {path.parent for path in made}:
            place.mkdir(parents=True, exist_ok=True)
            for path in place.glob("*.md"):
                if path not in made:
                    path.unlink()
    except OSError as error:
        raise Refusal(f"cannot write {folder}: {error.strerror or error}") from error
    for path, text in made.items():
        deliver(text, str(path))
