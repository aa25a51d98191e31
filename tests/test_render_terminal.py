"""The page for a terminal, as exact text. GPUDOCTOR_UPDATE=1 writes tests/pages anew, to be read in the diff."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.render import terminal
from gpudoctor.render.plain import plain
from gpudoctor.render.screen import Screen
from gpudoctor.report import Evidence

PAGES = Path(__file__).parent / "pages"
NAMES = ("healthy", "one_root", "several_roots", "could_not_tell", "no_gpu", "nasty")


def same_page(name: str, page: str) -> None:
    path = PAGES / f"{name}.txt"
    if os.environ.get("GPUDOCTOR_UPDATE") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(page)
    assert page == path.read_text()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", NAMES)
def test_page_is_exactly_this(name: str, width: int) -> None:
    same_page(f"{name}.{width}", terminal.render(getattr(sample_reports, name)(), Screen(width)))


@pytest.mark.parametrize("width", [40, 61, 80, 100, 120])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verbosity", [0, 2])
def test_no_line_is_wider_than_the_screen(name: str, width: int, verbosity: int) -> None:
    page = terminal.render(getattr(sample_reports, name)(), Screen(width), verbosity=verbosity)
    assert [line for line in page.split("\n") if len(line) > width] == []


def test_ascii_page() -> None:
    page = terminal.render(sample_reports.several_roots(), Screen(80, ascii_only=True))
    same_page("several_roots.80.ascii", page)
    assert page.isascii()


def test_everything_is_unfolded_with_vv() -> None:
    page = terminal.render(sample_reports.one_root(), Screen(100), verbosity=2)
    same_page("one_root.100.vv", page)
    assert "pcieport 0000:49:00.0: AER: Corrected error" in page
    assert "XID_*" in page


def test_platforms_out_of_reach_are_named() -> None:
    mac = sample_reports.report(
        machine=sample_reports.machine(gpus=None, driver_version=None, cuda_version=None, virtualization=None)
    )
    wsl = sample_reports.report(machine=sample_reports.machine(1, virtualization="wsl2"))
    import msgspec

    mac = msgspec.structs.replace(mac, machine=msgspec.structs.replace(mac.machine, platform="darwin"))
    assert "This is macOS" in terminal.render(mac, Screen())
    assert "This is WSL2" in terminal.render(wsl, Screen())


def test_quiet_says_only_what_is_found() -> None:
    assert terminal.render(sample_reports.healthy(), Screen(), quiet=True) == ""
    page = terminal.render(sample_reports.one_root(), Screen(), quiet=True)
    assert page.startswith(" ╭─ Start here")
    assert page.rstrip().endswith("╯")


def test_colour_says_nothing_that_words_do_not() -> None:
    import re

    coloured = terminal.render(sample_reports.several_roots(), Screen(100, color=True))
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in bare.split("\n")] == [
        line.rstrip() for line in terminal.render(sample_reports.several_roots(), Screen(100)).split("\n")
    ]


@pytest.mark.parametrize("verbosity", [0, 2])
def test_hostile_text_stays_text(verbosity: int) -> None:
    page = terminal.render(sample_reports.nasty(), Screen(100), verbosity=verbosity)
    assert "[red]not markup[/red]" in page
    assert "\\x1b[2J" in page
    assert "\\u202e" in page
    assert {unicodedata.category(character) for character in page} & {"Cc", "Cf", "Cs"} == {"Cc"}
    assert {character for character in page if unicodedata.category(character) == "Cc"} == {"\n"}


@given(st.text(), st.integers(40, 130))
def test_no_log_line_breaks_the_page(line: str, width: int) -> None:
    found = sample_reports.finding("X", "kernel", "error", line, evidence=(Evidence(line, 1, line, line),))
    report = sample_reports.report(host=line, findings=(found,), root_causes=(found.id,))
    page = terminal.render(report, Screen(width), verbosity=1)
    assert not {character for character in page if unicodedata.category(character) in ("Cc", "Cf", "Cs")} - {"\n"}
    page.encode()


@given(st.text())
def test_ascii_is_ascii(text: str) -> None:
    assert plain(text, ascii_only=True).isascii()


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("encoding", "environment", "flags", "colour", "glyphs"),
    [
        ("utf-8", {}, {}, True, True),
        ("ascii", {}, {}, True, False),
        ("utf-8", {"NO_COLOR": ""}, {}, False, True),
        ("utf-8", {"TERM": "dumb"}, {}, False, True),
        ("utf-8", {}, {"no_color": True, "ascii_only": True}, False, False),
    ],
)
def test_a_screen_is_what_its_stream_can(
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    environment: dict[str, str],
    flags: dict[str, bool],
    colour: bool,
    glyphs: bool,
) -> None:
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    screen = Screen.of(Terminal(io.BytesIO(), encoding=encoding), **flags)
    assert (screen.color, not screen.ascii_only) == (colour, glyphs)


def test_width_is_the_terminals_and_100_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Screen.of(io.StringIO()).width == 100
    monkeypatch.setenv("COLUMNS", "72")
    assert Screen.of(io.StringIO()).width == 72
