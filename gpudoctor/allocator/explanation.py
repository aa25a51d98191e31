"""What is said of one device's memory: what happened, the state at moments that matter, what pins what, what else
would have happened. Renderers show it; checks judge a part of it (facts/allocator.py).

Sizes are bytes. A place is an index into the trace.
"""

from __future__ import annotations

import msgspec

from gpudoctor.allocator.fidelity import Fidelity
from gpudoctor.allocator.replay import Outcome
from gpudoctor.allocator.settings import Settings
from gpudoctor.allocator.snapshot import PoolId, Segment


class Timeline(msgspec.Struct, frozen=True):
    """Columns of equal length, thinned to what a picture needs; peaks and failures are never thinned away."""

    places: tuple[int, ...]
    times_us: tuple[int, ...]  # since the first event; the places again where the file has no times
    requested: tuple[int, ...]  # what the program asked for and holds
    allocated: tuple[int, ...]  # the same, as the allocator rounds it
    reserved: tuple[int, ...]  # what the allocator holds from the device


class Hole(msgspec.Struct, frozen=True):
    address: int
    size: int
    segment: int  # index of the moment's segments
    is_expandable: bool


class Moment(msgspec.Struct, frozen=True):
    """The whole state before one event, rebuilt from the trace."""

    name: str  # "peak", "out of memory", "end"
    place: int
    segments: tuple[Segment, ...]
    requested: int
    allocated: int
    reserved: int
    holes: tuple[Hole, ...]  # free blocks inside of segments, the largest first
    wanted: int  # bytes that were asked for here and not got; 0: nothing failed


class Pin(msgspec.Struct, frozen=True):
    """A live block because of which a segment cannot be given back, or its free parts not be joined."""

    stack: int  # index of Snapshot.stacks; -1 none
    size: int  # of the block
    unusable: int  # free bytes of its segment
    age_events: int  # how long it has lived
    segments: int  # how many such segments this stack pins
    address: int


class Holder(msgspec.Struct, frozen=True):
    """Memory by who asked for it."""

    name: str  # a frame, a category, or a pool
    size: int
    blocks: int
    share: float  # of all that is allocated then


class Growth(msgspec.Struct, frozen=True):
    """A stack whose live bytes grow all the time."""

    stack: int
    first: int  # live bytes in the first tenth of the record
    last: int
    steps: int  # of ten equal parts of the record, how many grew over the one before
    blocks: int


class Pool(msgspec.Struct, frozen=True):
    id: PoolId
    reserved: int
    allocated: int
    segments: int


class WhatIf(msgspec.Struct, frozen=True):
    settings: str  # the text as given
    parsed: Settings
    cap: int | None  # bytes that could be reserved: as given, or the least that refusals in the trace tell of
    outcome: Outcome


class Explanation(msgspec.Struct, frozen=True):
    source: str  # the file's name
    device: int
    device_count: int
    torch_era: str
    settings_text: str
    notes: tuple[str, ...]  # what is missing from the file
    events: int
    allocations: int
    failures: int  # out of memory events in the trace
    timeline: Timeline
    moments: tuple[Moment, ...]  # the end always, of one kind the last one
    stacks: tuple[str, ...]  # each stack in one line, the frame of the user's program first
    pins: tuple[Pin, ...]
    by_frame: tuple[Holder, ...]  # at the moment that matters: the failure, else the peak
    by_category: tuple[Holder, ...]
    growing: tuple[Growth, ...]
    pools: tuple[Pool, ...]  # private ones
    outside: int | None  # bytes in use on the device outside of this allocator, where an OOM event tells
    device_free: int | None  # at the failure
    room: tuple[int, int] | None  # the least and most that could be reserved
    live_peak: int  # bytes requested and alive at most: no setting needs less
    fidelity: Fidelity | None  # None: nothing to replay
    what_if: tuple[WhatIf, ...]
    settings: Settings = Settings()  # as recorded
    failed: int = 0  # bytes of the request that failed last, rounded; 0: none did
    is_capped: bool = False  # refused although the device had enough: by a memory fraction
    outside_is_least: bool = False  # `outside` is what must be there at least: the device's size is not known
    live_at_failure: int = 0  # bytes rounded to 512 that had to be there at once, the failed ones too; else at the peak
    private_free: int = 0  # free bytes in private pools at the moment that matters
    room_at_failure: int | None = None  # reserved and free on the device, where the device refused
    cap: int | None = None  # as given
    packages: tuple[str, ...] = ()  # installed packages, apart from PyTorch, whose frames are in the stacks
    recorded: WhatIf | None = None  # the recorded settings under the same limit as the others

    @property
    def moment(self) -> Moment:
        """The one that matters: the failure, else the peak, else the end."""
        named = {moment.name: moment for moment in self.moments}
        return named.get("out of memory") or named.get("peak") or self.moments[-1]
