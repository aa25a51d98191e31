"""Replays what a program asked for under other allocator settings, and says how sure the outcome is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from gpudoctor.allocator.address_space import OTHER_HOLES, AddressSpace, Space
from gpudoctor.allocator.engine import Allocator, Block, OutOfMemory
from gpudoctor.allocator.requests import (
    ALLOCATE,
    EMPTY_CACHE,
    FAILED,
    FREE,
    FREED,
    RETIRED,
    Request,
    Requests,
    alive_at_most,
    with_frees_at,
)
from gpudoctor.allocator.settings import UNLIMITED, Settings

NEAR = 0.75  # of the room: from here on an address may decide
BARELY = 0.98
EARLIER_AND_LATER = (0.0, 0.5, 2.0)


class Run(msgspec.Struct, frozen=True):
    """One replay."""

    ooms: int
    first_oom: int | None  # which allocation, counted from 0
    first_oom_bytes: int
    allocated_peak: int
    reserved_peak: int
    segments_peak: int
    device_allocs: int
    device_frees: int
    retries: int
    tied: bool
    segments: tuple[int, ...]  # bytes made, negative: given back; in order
    ended: int = 0  # requests that were replayed
    left_out: tuple[int, ...] = ()  # numbers of blocks that it did not get
    requested_peak: int = 0  # set by `likely_run`


class Outcome(msgspec.Struct, frozen=True):
    """What settings would have done: the most likely run, and how far runs that are as possible differ."""

    run: Run
    reserved_low: int
    reserved_high: int
    certain: bool
    doubt: str  # why not certain
    runs: int = 1

    @property
    def fits(self) -> bool:
        return self.run.ooms == 0


def replay(
    stream: list[Request],
    settings: Settings,
    space: Space,
    *,
    capacity: int = UNLIMITED,
    limit: int | None = None,
    stop: bool = True,
) -> Run:
    """`stop`: end at the first allocation that fails; else leave it out and go on, as a program that catches it."""
    allocator = Allocator(settings, space, capacity=capacity, limit=limit)
    allocate, free = allocator.allocate, allocator.free
    blocks: dict[int, Block] = {}
    waiting: dict[Block, int] = {}  # let go, for the number: a block that was waited for can serve another since
    ooms = asked = 0
    first: int | None = None
    first_bytes = 0
    left_out: list[int] = []
    ended = len(stream)
    for place, (kind, number, size, of, pool) in enumerate(stream):
        if kind in (ALLOCATE, FAILED):
            try:
                block = allocate(size, of, pool)
            except OutOfMemory:
                left_out.append(number)
                if _gives_up(stream, place, number):
                    continue
                ooms += 1
                if first is None:
                    first, first_bytes = asked, size
                if stop:
                    ended = place
                    break
            else:
                if kind == ALLOCATE:
                    blocks[number] = block
                else:
                    free(block)
            asked += 1
        elif kind == FREE:
            held = blocks.pop(number, None)
            if held is not None:
                free(held)
        elif kind == EMPTY_CACHE:
            allocator.empty_cache()
        elif kind == FREED:
            held = blocks.pop(number, None)
            if held is not None and waiting.get(held) == number:
                allocator.complete_free(held)
        elif kind == RETIRED:
            allocator.freeable.add(pool)
        elif number in blocks:
            waiting[blocks[number]] = number
            allocator.request_free(blocks[number])
    return Run(
        ooms,
        first,
        first_bytes,
        allocator.allocated_peak,
        allocator.reserved_peak,
        allocator.segments_peak,
        allocator.device_allocs,
        allocator.device_frees,
        allocator.retries,
        allocator.tied,
        tuple(allocator.made),
        ended,
        tuple(left_out),
    )


def _gives_up(stream: list[Request], place: int, number: int) -> bool:
    """A workspace that is freed right away: cuDNN tries its next plan, and the program never learns."""
    return place + 1 < len(stream) and stream[place + 1][:2] == (FREE, number)


def likely_run(
    requests: Requests, settings: Settings, *, capacity: int = UNLIMITED, limit: int | None = None, stop: bool = True
) -> Run:
    """With the addresses of a fresh process, and other streams done when the record says."""
    run = replay(requests.stream, settings, AddressSpace(), capacity=capacity, limit=limit, stop=stop)
    whole = run.ended == len(requests.stream) and not run.left_out
    requested = requests.peaks if whole else alive_at_most(requests.stream[: run.ended], run.left_out)
    return msgspec.structs.replace(run, requested_peak=requested[0])


def what_if(
    requests: Requests,
    settings: Settings,
    *,
    capacity: int = UNLIMITED,
    limit: int | None = None,
    stop: bool = True,
    likely: Run | None = None,
) -> Outcome:
    """Replay under settings; where chance decides (addresses, other streams' timing), under several chances.

    `likely`: the first of these runs, where the caller has it.
    """
    if likely is None:
        likely = likely_run(requests, settings, capacity=capacity, limit=limit, stop=stop)
    runs = [likely]
    room = min(capacity, capacity if limit is None else limit)
    near = likely.retries or likely.ooms or likely.reserved_peak > room * NEAR
    if near and requests.peaks[0] <= room:  # else it fits by far, or what is alive alone does not
        chances = _chances(requests, likely)
    else:
        chances = islice(_chances(requests, likely), 1)
    for stream, space in chances:
        runs.append(replay(stream, settings, space, capacity=capacity, limit=limit, stop=stop))
        if (runs[-1].ooms == 0) is not (likely.ooms == 0):
            break
    agree = len({run.ooms == 0 for run in runs}) == 1
    doubt = ""
    if not agree:
        doubt = "it depends on the addresses that the driver gives, or on when other streams were done"
    elif requests.deferred_frees and likely.retries and not likely.ooms:
        agree, doubt = False, "it fits only by waiting for other streams, whose timing differs from run to run"
    elif likely.tied and _barely_fits(runs, settings, room):
        agree, doubt = False, "it fits with less than 2 % to spare, and other addresses could take more"
    elif settings.memory_fraction < 1 and limit is None:
        agree, doubt = False, "the file does not tell the device's size, and so not what the fraction allows: use --cap"
    peaks = [run.reserved_peak for run in runs]
    return Outcome(likely, min(peaks), max(peaks), agree, doubt, len(runs))


def _barely_fits(runs: list[Run], settings: Settings, room: int) -> bool:
    """Without ever having been short. With max_split_size the allocator keeps just below the room by giving back."""
    if settings.max_split_size < UNLIMITED or any(run.ooms or run.retries for run in runs):
        return False
    return max(run.reserved_peak for run in runs) > room * BARELY


def _chances(requests: Requests, likely: Run) -> Iterator[tuple[list[Request], Space]]:
    if likely.tied:
        for holes in OTHER_HOLES:
            yield requests.stream, AddressSpace(holes)
    if requests.deferred_frees:
        for factor in EARLIER_AND_LATER:
            yield with_frees_at(requests.stream, factor), AddressSpace()
