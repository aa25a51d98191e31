"""Requests replayed under other settings, and how sure the outcome is."""

from __future__ import annotations

import msgspec
import pytest
from allocator_programs import GIB, MIB, Program

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.fidelity import fidelity
from gpudoctor.allocator.replay import Run, replay, what_if
from gpudoctor.allocator.requests import (
    ALLOCATE,
    EMPTY_CACHE,
    FAILED,
    FREE,
    FREED,
    LET_GO,
    RETIRED,
    Request,
    Requests,
    alive_at_most,
    requests_of,
)
from gpudoctor.allocator.settings import Settings, parse_settings
from gpudoctor.allocator.snapshot import PoolId

EXPANDABLE = parse_settings("expandable_segments:True")
GRAPH = (1, 0)


def get(number: int, mib: float, stream: int = 0, pool: PoolId = (0, 0)) -> Request:
    return (ALLOCATE, number, int(mib * MIB), stream, pool)


def of(kind: int, number: int = 0) -> Request:
    return (kind, number, 0, 0, (0, 0))


def requests(*stream: Request) -> Requests:
    return Requests(
        stream=list(stream),
        blocks=len(stream),
        present_at_start=0,
        recorded_segments=[],
        recorded_peak=0,
        room=None,
        peaks=alive_at_most(stream),
        deferred_frees=sum(request[0] == FREED for request in stream),
        failures=0,
    )


def run_of(*stream: Request, settings: Settings | None = None, limit: int | None = None, stop: bool = True) -> Run:
    return replay(list(stream), settings or Settings(), AddressSpace(), limit=limit, stop=stop)


FRAGMENTING = [get(0, 40), get(1, 40), get(2, 40), of(FREE, 0), of(FREE, 2), get(3, 70)]
PINNED = [get(0, 40), of(FREE, 0), get(1, 5), get(2, 60)]


def test_the_figures_of_a_run() -> None:
    run = run_of(get(0, 40), get(1, 5), of(FREE, 0), of(EMPTY_CACHE), get(2, 30))
    assert (run.ooms, run.first_oom, run.retries, run.ended, run.left_out) == (0, None, 0, 5, ())
    assert run.segments == (40 * MIB, 20 * MIB, -40 * MIB, 30 * MIB)
    assert (run.device_allocs, run.device_frees, run.segments_peak) == (3, 1, 2)
    assert (run.allocated_peak, run.reserved_peak) == (45 * MIB, 60 * MIB)


def test_a_program_that_does_not_catch_it_ends_at_the_failure() -> None:
    run = run_of(get(0, 60), get(1, 50), get(2, 5), limit=100 * MIB)
    assert (run.ooms, run.first_oom, run.first_oom_bytes, run.ended) == (1, 1, 50 * MIB, 1)
    assert run.left_out == (1,)


def test_a_program_that_catches_it_goes_on_without_the_block() -> None:
    stream = [get(0, 60), get(1, 50), get(2, 5), get(3, 90), of(FREE, 1), of(FREE, 0)]
    run = run_of(*stream, limit=100 * MIB, stop=False)
    assert (run.ooms, run.first_oom, run.ended) == (2, 1, 6)
    assert run.left_out == (1, 3)
    assert run.allocated_peak == 65 * MIB


def test_a_workspace_that_is_freed_right_away_is_left_out_and_is_no_failure() -> None:
    """cuDNN tries its next plan."""
    run = run_of(get(0, 60), get(1, 50), of(FREE, 1), get(2, 20), limit=100 * MIB)
    assert (run.ooms, run.first_oom, run.retries, run.ended) == (0, None, 1, 4)
    assert run.left_out == (1,)


def test_what_the_recorded_program_did_not_get_is_asked_for_and_given_back() -> None:
    failed = (FAILED, 1, 50 * MIB, 0, (0, 0))
    refused = run_of(get(0, 60), failed, get(2, 30), limit=100 * MIB, stop=False)
    assert (refused.ooms, refused.first_oom, refused.first_oom_bytes) == (1, 1, 50 * MIB)
    served = run_of(get(0, 60), failed, get(2, 30), limit=200 * MIB)
    assert (served.ooms, served.reserved_peak, served.allocated_peak) == (0, 110 * MIB, 110 * MIB)


def test_other_streams_are_waited_for_only_where_memory_is_short() -> None:
    stream = [get(0, 60), of(LET_GO, 0), get(1, 60, stream=1), of(FREED, 0), get(2, 60)]
    assert run_of(*stream).segments == (60 * MIB, 60 * MIB)
    assert run_of(*stream, limit=100 * MIB).ooms == 1
    assert run_of(*stream[:-1], limit=100 * MIB).segments == (60 * MIB, -60 * MIB, 60 * MIB)


def test_a_use_that_was_waited_for_ends_no_later_one() -> None:
    """What was waited for serves the next request: the end of its first use must not end the second."""
    stream = [
        get(0, 5),
        get(1, 15),
        of(LET_GO, 1),
        get(2, 90),  # waits for it, in vain
        get(3, 15),
        of(LET_GO, 3),
        of(FREED, 1),
        get(4, 15),
        of(FREED, 3),
    ]
    run = run_of(*stream, limit=100 * MIB, stop=False)
    assert run.left_out == (2,)
    assert run.segments == (20 * MIB, 16 * MIB)


def test_a_private_pool_is_let_go_when_it_is_retired() -> None:
    stream = [get(0, 40, pool=GRAPH), of(FREE, 0), of(EMPTY_CACHE)]
    assert run_of(*stream).segments == (40 * MIB,)
    retired = (RETIRED, 0, 0, 0, GRAPH)
    assert run_of(*stream[:2], retired, of(EMPTY_CACHE)).segments == (40 * MIB, -40 * MIB)


def test_expandable_segments_use_what_default_settings_cannot() -> None:
    assert not what_if(requests(*PINNED), Settings(), limit=90 * MIB).fits
    outcome = what_if(requests(*PINNED), EXPANDABLE, limit=90 * MIB)
    assert outcome.fits
    assert outcome.certain


def test_far_below_the_room_it_is_certain() -> None:
    outcome = what_if(requests(*FRAGMENTING), Settings(), limit=GIB)
    assert (outcome.fits, outcome.certain, outcome.doubt) == (True, True, "")
    assert outcome.reserved_low == outcome.reserved_high == 190 * MIB
    assert outcome.run.requested_peak == 120 * MIB


def test_what_is_alive_alone_being_too_much_is_certain() -> None:
    outcome = what_if(requests(get(0, 60), get(1, 60)), Settings(), limit=100 * MIB)
    assert (outcome.fits, outcome.certain) == (False, True)
    assert outcome.run.requested_peak == 60 * MIB  # as far as it came


def test_where_addresses_decide_it_is_uncertain() -> None:
    """Of two free blocks of 20 MiB the lower one is taken; only if it is the second segment's, the first comes free."""
    two_halved = [get(0, 40), get(1, 42), of(FREE, 0), of(FREE, 1), get(2, 20), get(3, 20), get(4, 22), get(5, 20)]
    stream = [*two_halved, of(FREE, 3), of(FREE, 5), get(6, 15), of(FREE, 2), get(7, 40)]
    outcome = what_if(requests(*stream), Settings(), limit=90 * MIB)
    assert outcome.run.tied
    assert not outcome.certain
    assert "addresses" in outcome.doubt
    assert what_if(requests(*stream), Settings(), limit=200 * MIB).certain


def test_that_it_fits_only_by_waiting_is_uncertain() -> None:
    stream = [get(0, 60), of(LET_GO, 0), get(1, 60, stream=1), of(FREED, 0)]
    outcome = what_if(requests(*stream), Settings(), limit=100 * MIB)
    assert outcome.fits
    assert not outcome.certain
    assert "other streams" in outcome.doubt


def test_a_fraction_of_a_device_whose_size_is_not_known_is_uncertain() -> None:
    """The allocator takes it for its limit: https://github.com/pytorch/pytorch/pull/161035"""
    settings = parse_settings("per_process_memory_fraction:0.5")
    outcome = what_if(requests(get(0, 60)), settings)
    assert not outcome.certain
    assert "--cap" in outcome.doubt
    assert what_if(requests(get(0, 60)), settings, limit=100 * MIB).certain
    assert what_if(requests(get(0, 60)), Settings()).certain


@pytest.mark.parametrize("stop", [True, False])
def test_nothing_asked_for_fits(stop: bool) -> None:
    outcome = what_if(requests(), Settings(), limit=0, stop=stop)
    assert (outcome.fits, outcome.certain, outcome.run.ended) == (True, True, 0)


def _recorded(settings: str = "") -> tuple[Program, Requests]:
    program = Program(settings)
    blocks = [program.allocate(size * MIB) for size in (40, 5, 80, 30)]
    for block in blocks[::2]:
        assert block is not None
        program.free(block)
    program.allocate(70 * MIB)
    snapshot = program.snapshot()
    return program, requests_of(snapshot.devices[0], snapshot.pools, snapshot.settings)


def test_the_recorded_settings_are_trusted_where_they_repeat_the_record() -> None:
    program, asked = _recorded()
    held = fidelity(program.snapshot().devices[0], asked, Settings())
    assert (held.share, held.peak_error, held.reasons) == (1, 0, ())
    assert held.trusted


def test_other_settings_do_not_repeat_the_record() -> None:
    program, asked = _recorded()
    held = fidelity(program.snapshot().devices[0], asked, EXPANDABLE)
    assert not held.trusted
    assert "in the same order" in held.reasons[0]


def test_a_record_that_begins_late_says_how_much_is_not_in_it() -> None:
    program, _ = _recorded()
    snapshot = program.snapshot(ring=4)
    asked = requests_of(snapshot.devices[0], snapshot.pools)
    held = fidelity(snapshot.devices[0], asked, Settings())
    assert held.truncated_bytes == asked.present_at_start > 0
    assert any("before the first recorded event" in reason for reason in held.reasons)


def test_a_peak_that_is_off_is_said() -> None:
    program, asked = _recorded()
    asked = msgspec.structs.replace(asked, recorded_peak=asked.recorded_peak * 2)
    held = fidelity(program.snapshot().devices[0], asked, Settings())
    assert held.peak_error == 0.5
    assert any("off by 50.0%" in reason for reason in held.reasons)


TIED = [get(0, 40), get(1, 40), of(FREE, 0), of(FREE, 1), get(2, 40)]  # which of the two does not matter here


@pytest.mark.parametrize(
    ("settings", "limit", "certain"), [("", 81, False), ("", 90, True), ("max_split_size_mb:30", 81, True)]
)
def test_a_fit_to_a_hair_is_uncertain_unless_memory_is_given_back_all_along(
    settings: str, limit: int, certain: bool
) -> None:
    outcome = what_if(requests(*TIED), parse_settings(settings), limit=limit * MIB)
    assert (outcome.fits, outcome.run.tied, outcome.certain) == (True, True, certain)
    assert ("less than 2 %" in outcome.doubt) is not certain
