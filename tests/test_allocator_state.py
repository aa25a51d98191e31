"""The state before any event is the one that the allocator had there, whole records and truncated ones alike."""

from __future__ import annotations

import pytest
from allocator_programs import GIB, MIB, Program, stepwise
from hypothesis import given, settings
from hypothesis import strategies as st

from gpudoctor.allocator.course import course_of
from gpudoctor.allocator.settings import parse_settings
from gpudoctor.allocator.snapshot import Segment
from gpudoctor.allocator.state import History

SETTINGS = ("", "expandable_segments:True", "max_split_size_mb:64", "roundup_power2_divisions:4")
KB = 1024
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("allocate"),
            st.sampled_from([200, 3 * KB, 700 * KB, MIB, 1300 * KB, 5 * MIB, 11 * MIB, 27 * MIB, 90 * MIB]),
            st.integers(0, 2),
        ),
        st.tuples(st.sampled_from(["free", "let_go", "finish"]), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("empty_cache"), st.just(0), st.just(0)),
    ),
    max_size=80,
)


def shape(segments: tuple[Segment, ...]) -> list[tuple]:
    """All but the requested size of free blocks, and of blocks that nobody will use again."""
    return [
        (s.address, s.size, s.stream, s.is_small, s.is_expandable, [(b.address, b.size, b.state) for b in s.blocks])
        for s in segments
    ]


def run(program: Program, steps: list[tuple[str, int, int]]) -> dict[int, list[tuple]]:
    """Each state that the allocator has between two steps, by the number of events before it."""
    return {0: []} | {len(program.trace): shape(program.segments()) for _ in stepwise(program, steps)}


@pytest.mark.parametrize("text", SETTINGS)
@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_every_state_is_the_one_that_the_allocator_had(text: str, steps: list[tuple[str, int, int]]) -> None:
    program = Program(text, capacity=600 * MIB)
    seen = run(program, steps)
    snapshot = program.snapshot()
    history = History(snapshot.devices[0], parse_settings(text), [])
    assert history.present == ()
    assert history.disagreements() == 0
    for place, segments, _ in history.segments_at(seen):
        assert shape(segments) == seen[place]


@pytest.mark.parametrize("text", SETTINGS)
@given(steps=STEPS, ring=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_truncated_record_gives_the_states_that_it_reaches_back_to(
    text: str, steps: list[tuple[str, int, int]], ring: int
) -> None:
    program = Program(text, capacity=600 * MIB)
    seen = run(program, steps)
    lost = max(0, len(program.trace) - ring)
    history = History(program.snapshot(ring=ring).devices[0], parse_settings(text), [])
    assert history.disagreements() == 0
    places = [place - lost for place in seen if place >= lost]
    for place, segments, _ in history.segments_at(places):
        had = seen[place + lost]
        assert [each[:3] for each in shape(segments)] == [each[:3] for each in had]
        assert _held(shape(segments)) == _held(had)


def _held(segments: list[tuple]) -> list[tuple[int, str]]:
    return [(address, state) for *_, blocks in segments for address, _, state in blocks if state != "free"]


def test_the_course_ends_where_the_file_does_and_keeps_its_peak() -> None:
    program = Program()
    high = [program.allocate(8 * MIB) for _ in range(50)]
    for block in high:
        assert block is not None
        program.free(block)
    for _ in range(3000):
        block = program.allocate(2 * MIB)
        assert block is not None
        program.free(block)
    snapshot = program.snapshot()
    course = course_of(History(snapshot.devices[0], snapshot.settings, []))
    assert course.allocated_peak == max(course.timeline.allocated) == 400 * MIB
    assert course.timeline.places[-1] == len(program.trace)
    assert course.timeline.reserved[-1] == snapshot.devices[0].reserved
    assert len(course.timeline.places) <= 2600


def test_a_slack_that_is_not_split_off_belongs_to_its_block() -> None:
    program = Program(capacity=GIB)
    block = program.allocate(19 * MIB + 512 * KB)
    assert block is not None
    assert block.size == 20 * MIB
    snapshot = program.snapshot()
    history = History(snapshot.devices[0], snapshot.settings, [])
    _, segments, _ = next(history.segments_at([len(program.trace)]))
    assert [b.size for b in segments[0].blocks] == [20 * MIB]


def test_slack_is_known_of_a_block_that_is_older_than_the_record() -> None:
    program = Program(capacity=GIB)
    block = program.allocate(19 * MIB + 512 * KB)
    assert block is not None
    program.free(block)
    program.empty_cache()
    snapshot = program.snapshot(ring=3)
    history = History(snapshot.devices[0], snapshot.settings, [])
    _, segments, _ = next(history.segments_at([0]))
    assert [(b.size, b.state) for b in segments[0].blocks] == [(20 * MIB, "allocated")]
