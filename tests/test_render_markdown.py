"""The report as Markdown, as it is pasted into an issue."""

from __future__ import annotations

import re

import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st
from test_render_terminal import same_page

from gpudoctor.render import markdown
from gpudoctor.render.markup import code, escaped, fenced


@pytest.mark.parametrize("name", ["one_root", "several_roots", "nasty"])
def test_markdown_is_exactly_this(name: str) -> None:
    same_page(f"{name}.md", markdown.render(getattr(sample_reports, name)()))


def test_quiet_markdown_of_a_healthy_node_is_empty() -> None:
    assert markdown.render(sample_reports.healthy(), quiet=True) == ""


def test_hostile_text_forges_no_markup() -> None:
    page = markdown.render(sample_reports.nasty())
    assert "@root" not in re.sub(r"(?s)(`{3,})text.*?\1", "", page)
    assert "</pre>" not in re.sub(r"(?s)(`{3,})text.*?\1|\\<", "", page)


@given(st.text())
def test_a_fence_cannot_be_closed_from_inside(text: str) -> None:
    opening, *inside, closing = fenced(text)
    fence = opening.removesuffix("text")
    assert closing == fence
    assert not any(line.strip().startswith(fence) for line in inside)


@given(st.text())
def test_a_code_span_is_one_line_and_closed(text: str) -> None:
    span = code(text)
    fence = re.match(r"`+", span)
    assert fence is not None
    assert span.endswith(fence[0])
    assert "\n" not in span


@given(st.text())
def test_escaped_text_holds_no_bare_markup(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    assert "@" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|`]", shown)
