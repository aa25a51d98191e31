"""A snapshot explained on the terminal, as exact text. GPUDOCTOR_UPDATE=1 writes tests/pages anew."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest
import sample_memory
from hypothesis import given
from hypothesis import strategies as st
from sample_memory import GIB, MIB, NAMES, explanation, judged, moment, segment, tried
from test_render_terminal import same_page

from gpudoctor.allocator.explanation import Explanation, Moment, Timeline
from gpudoctor.render.memory import terminal
from gpudoctor.render.memory.bars import area, bar, columns, marks
from gpudoctor.render.memory.blockmap import strip, widths
from gpudoctor.render.memory.segments import holes_words, idle, worn
from gpudoctor.render.memory.words import best_of, export_line, size
from gpudoctor.render.screen import Screen


def page(name: str, screen: Screen, **other: int) -> str:
    return terminal.render(getattr(sample_memory, name)(), judged(name), screen, **other)


def shown(made: Explanation, width: int = 100, **other: int) -> str:
    return terminal.render(made, judged("healthy"), Screen(width), **other)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", NAMES)
def test_page_is_exactly_this(name: str, width: int) -> None:
    same_page(f"memory.{name}.{width}", page(name, Screen(width)))


@pytest.mark.parametrize("width", [40, 61, 80, 100, 120])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verbosity", [0, 1])
def test_no_line_is_wider_than_the_screen(name: str, width: int, verbosity: int) -> None:
    drawn = page(name, Screen(width), verbosity=verbosity)
    assert [line for line in drawn.split("\n") if len(line) > width] == []
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in drawn if c != "\n")


@pytest.mark.parametrize("name", NAMES)
def test_ascii_page(name: str) -> None:
    drawn = page(name, Screen(80, ascii_only=True))
    assert drawn.isascii()
    if name == "fragmented":
        same_page("memory.fragmented.80.ascii", drawn)
        assert "#" in drawn
        assert "^" in drawn


def test_verbose_unfolds_and_top_says_how_many() -> None:
    folded, whole = page("fragmented", Screen()), page("fragmented", Screen(), verbosity=1)
    assert "… 40 more segments" in folded
    assert "step at optim.py:40" in folded
    assert "more segments" not in whole
    assert whole.count("10 MiB free") == 40
    one = page("fragmented", Screen(), rows=1)
    assert "… 43 more segments" in one
    assert "… 3 more blocks" in one
    assert "… 3 more frames" in one
    assert "step at optim.py:40" not in one


def test_the_failure_matters_more_than_the_peak_and_the_last_one_most() -> None:
    made = sample_memory.fragmented()
    assert made.moment.name == "out of memory"
    segments = made.moments[0].segments
    twice = (moment("out of memory", 10, segments, 1), moment("out of memory", 20, segments, 2), made.moments[2])
    assert explanation(moments=twice).moment.place == 20
    assert explanation(moments=made.moments[2:]).moment.name == "end"
    assert "When memory ran out" not in shown(explanation())


def test_settings_are_told_best_first_and_the_command_only_after_a_failure() -> None:
    many = tuple(
        tried(f"max_split_size_mb:{20 + n}", sample_memory.run(int(n % 3 > 0), (9 - n) * GIB)) for n in range(9)
    )
    what_if = (tried("default", sample_memory.run(1)), *many)
    drawn = shown(explanation(what_if=what_if))
    lines = drawn[drawn.index("The same requests") :].split("\n")
    assert "max_split_size_mb:26" in lines[2]
    assert "best, fits" in lines[2]
    assert "default" in lines[3]
    assert "fails" in lines[3]
    assert "… 4 more settings, with -v" in drawn
    assert "export PYTORCH_ALLOC_CONF=max_split_size_mb:26" in drawn
    assert "export" not in shown(explanation(what_if=what_if, failures=0))
    assert "max_split_size_mb:28" in shown(explanation(what_if=what_if), verbosity=1)
    assert "best" not in shown(explanation(what_if=what_if[:1]))


def test_the_variable_is_the_one_that_this_torch_reads() -> None:
    what = tried("roundup_power2_divisions:[256:1,>:8]", sample_memory.run())
    for era, name in {"2.11": "PYTORCH_ALLOC_CONF", "2.10 or 2.11": "PYTORCH_ALLOC_CONF"}.items():
        assert export_line(explanation(torch_era=era), what) == f"export {name}='{what.settings}'"
    for era in ("", "1.13", "2.1 to 2.4", "2.8 or 2.9"):
        assert export_line(explanation(torch_era=era), what).startswith("export PYTORCH_CUDA_ALLOC_CONF=")
    assert export_line(explanation(), tried("default", sample_memory.run())) == "unset PYTORCH_ALLOC_CONF"
    pinned = explanation(settings_text="pinned_use_cuda_host_register:True,max_split_size_mb:64")
    line = export_line(pinned, tried("expandable_segments:True", sample_memory.run()))
    assert line.endswith("=expandable_segments:True,pinned_use_cuda_host_register:True")


def test_the_best_settings_are_those_that_a_finding_advises() -> None:
    made = sample_memory.fragmented()
    cheapest, other, uncertain, fails = made.what_if
    assert best_of(made, ()) == cheapest
    assert best_of(made, {export_line(made, other)}) == other
    assert best_of(made, {export_line(made, uncertain), export_line(made, fails)}) == cheapest


def test_no_command_is_given_for_the_settings_that_the_program_ran_with() -> None:
    what = tried("expandable_segments:True", sample_memory.run())
    assert "$ export" in shown(explanation(what_if=(what,)))
    assert "$ export" not in shown(explanation(what_if=(what,), settings=what.parsed))


def test_uncertain_settings_say_why_and_are_not_told_as_fitting() -> None:
    drawn = shown(explanation(what_if=(tried("default", sample_memory.run(), certain=False),)))
    assert "? default may fit" in drawn
    assert "it depends on the addresses" in drawn
    drawn = shown(explanation(what_if=(tried("default", sample_memory.run(1), certain=False),)))
    assert "? default may fail" in drawn


def test_that_nothing_fits_is_said_and_whether_anything_could() -> None:
    fails = (tried("default", sample_memory.run(1)),)
    assert "None of these settings serves all requests." in shown(explanation(what_if=fails, room=(4 * GIB, 5 * GIB)))
    drawn = shown(explanation(what_if=fails, cap=2 * GIB, moments=sample_memory.fragmented().moments))
    assert "3 GiB are alive at once: no settings make them fit into 2 GiB." in drawn
    assert "2 GiB  as given, for the replays" in drawn


def test_what_a_replay_cannot_be_trusted_for_is_said() -> None:
    held = msgspec.structs.replace(explanation().fidelity, reasons=("it went another way",))  # type: ignore[type-var]
    drawn = shown(explanation(fidelity=held, notes=("It holds no stacks.",)))
    assert "? it went another way" in drawn
    assert "? It holds no stacks." in drawn
    assert "? nothing could be replayed" in shown(explanation(fidelity=None))


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (20 * MIB, "20 MiB"),
        (int(20.5 * MIB), "20.5 MiB"),
        (GIB - 1, "1024 MiB"),
        (int(6.6 * GIB), "6.60 GiB"),
        (3 << 40, "3 TiB"),
        (-5 * MIB, "-5 MiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


@given(st.floats(-1, 2), st.integers(1, 60), st.booleans())
def test_a_bar_fits_and_is_never_nothing(share: float, width: int, ascii_only: bool) -> None:
    drawn = bar(share, width, ascii_only=ascii_only)
    assert len(drawn) <= width
    assert bool(drawn) is (share > 0)


blocks = st.lists(
    st.tuples(st.integers(1, 900), st.sampled_from(["allocated", "free", "pending_free"])), min_size=1, max_size=30
)


@given(st.lists(blocks, min_size=1, max_size=6), st.integers(4, 90))
def test_strips_are_as_wide_as_asked_and_show_what_is_there(made: list[list[tuple[int, str]]], width: int) -> None:
    segments = tuple(segment(n << 40, *each) for n, each in enumerate(made))
    for each, wide in zip(segments, widths(segments, width), strict=True):
        assert 4 <= wide <= width
        drawn = strip(each, wide).plain
        assert len(drawn) == wide
        states = {block.state for block in each.blocks}
        if states == {"free"}:
            assert set(drawn) == {"░"}
        if states == {"allocated"}:
            assert set(drawn) == {"█"}
        if "allocated" in states and "pending_free" not in states:
            assert set(drawn) & {"█", "▓"}
    whole: Moment = moment("end", 0, segments)
    mixed = {index for index, each in enumerate(segments) if {b.state == "free" for b in each.blocks} == {True, False}}
    assert {each.index for each in worn(whole)} == mixed
    assert idle(whole) == sum(s.size for s in segments if all(b.state == "free" for b in s.blocks))
    assert sum(each.free for each in worn(whole)) + idle(whole) == sum(hole.size for hole in whole.holes)


def test_a_small_live_block_in_a_large_hole_can_be_seen() -> None:
    drawn = strip(segment(0, (500, "free"), (1, "allocated"), (499, "free")), 20).plain
    assert drawn.count("▓") == 1
    assert drawn.count("░") == 19


@given(
    st.lists(st.tuples(st.integers(0, 999), st.integers(0, 50), st.integers(0, 50)), max_size=40),
    st.integers(1, 80),
    st.booleans(),
)
def test_the_timeline_keeps_its_peaks(points: list[tuple[int, int, int]], count: int, ascii_only: bool) -> None:
    points = sorted(points)
    places, allocated, more = ([p[n] for p in points] for n in range(3))
    reserved = [a + m for a, m in zip(allocated, more, strict=True)]
    line = Timeline(tuple(places), tuple(places), tuple(allocated), tuple(allocated), tuple(reserved))
    slices = columns(line, count, 1000)
    assert len(slices) == count
    assert max((each.reserved for each in slices), default=0) == max(reserved, default=0)
    assert max((each.allocated for each in slices), default=0) == max(allocated, default=0)
    rows = list(area(slices, max(reserved, default=0) or 1, ascii_only=ascii_only))
    assert all(row.cell_len == count for row in rows)
    assert marks([999], count, 1000, ascii_only=ascii_only).rstrip()[-1] in "▲^"


def test_equal_holes_stand_together() -> None:
    assert holes_words([5 * MIB, MIB, MIB, 512], 2) == "5 MiB, 2 x 1 MiB, and 1 smaller one"
    assert holes_words([MIB], 6) == "1 MiB"
