"""What is generated under docs/ is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpudoctor.catalog import Catalog
from gpudoctor.render.docs import generated

DOCS = Path(__file__).parent.parent / "docs"
ANEW = "write them anew: gpudoctor checks --write-docs docs"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return dict(generated(Catalog.installed()))


def test_every_code_has_its_page(made: dict[str, str]) -> None:
    there = {str(path.relative_to(DOCS)) for path in (DOCS / "checks").glob("*.md")}
    assert there == {name for name in made if name.startswith("checks/")}, ANEW


def test_pages_are_current(made: dict[str, str]) -> None:
    stale = [name for name, text in made.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    assert stale == [], ANEW
