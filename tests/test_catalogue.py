"""The catalogue is whole: every code has a row, a producer and cases; rows are sound and acyclic."""

from __future__ import annotations

import string
from functools import cache

import casebook
import pytest

from gpudoctor.catalog import Catalog
from gpudoctor.knowledge import Row


@cache
def catalog() -> Catalog:
    return Catalog.installed()


def written() -> dict[str, Row]:
    return {code: catalog().knowledge.row(code, layer) for layer, code in catalog().knowledge.codes()}


def plain_codes() -> list[str]:
    return sorted(code for code in written() if not code.endswith("*"))


@cache
def cases() -> list[dict]:
    return [casebook.case_of(folder) for folder in casebook.folders()]


def test_there_is_a_catalogue() -> None:
    assert len(plain_codes()) > 40


@pytest.mark.parametrize("code", plain_codes())
def test_every_row_has_a_producer(code: str) -> None:
    layer = catalog().knowledge.layer_of(code)
    assert any(check.covers(code) for check in catalog().checks([layer])), f"no check of {layer} yields {code}"


def test_every_producer_has_a_row() -> None:
    for check in catalog().checks():
        for code in check.codes:
            known = code in catalog().knowledge.written(check.layer)
            assert known, f"{check.function.__module__}.{check.function.__name__} yields {code}, which has no row"


@pytest.mark.parametrize("code", plain_codes())
def test_every_code_has_a_case_that_fires(code: str) -> None:
    assert any(code == wanted["code"] for case in cases() for wanted in case.get("expect") or [])


@pytest.mark.parametrize("code", plain_codes())
def test_every_code_has_a_case_where_it_must_not(code: str) -> None:
    assert any(code in (case.get("forbid") or []) for case in cases())


@pytest.mark.parametrize("code", sorted(written()))
def test_a_row_says_what_why_and_what_to_do(code: str) -> None:
    row = written()[code]
    assert row.title
    assert len(row.why) > 40
    assert row.fix or row.severity == "info"
    assert row.sources
    assert all(source.startswith("https://") or ":" in source for source in row.sources)


@pytest.mark.parametrize("code", sorted(written()))
def test_a_rows_templates_parse(code: str) -> None:
    row = written()[code]
    texts = [row.title, row.why, row.impact or "", *(fix.do for fix in row.fix)]
    for text in texts:
        assert all(name != "" for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("code", sorted(written()))
def test_what_explains_a_row_exists(code: str) -> None:
    for cause in written()[code].explained_by:
        assert catalog().known(cause), f"{code} is explained by {cause}, which has no row"


def test_nothing_explains_itself_in_a_circle() -> None:
    knowledge = catalog().knowledge
    codes = set(plain_codes())
    for row in list(written().values()):
        codes.update(row.explained_by)
    codes.update(f"XID_{n}" for n in range(1, 180))
    edges = {code: knowledge.row(code).explained_by for code in codes if catalog().known(code)}
    done: set[str] = set()

    def visit(code: str, trail: tuple[str, ...]) -> None:
        assert code not in trail, " <- ".join((*trail[trail.index(code) :], code))
        if code in done:
            return
        for cause in edges.get(code, ()):
            visit(cause, (*trail, code))
        done.add(code)

    for code in edges:
        visit(code, ())
