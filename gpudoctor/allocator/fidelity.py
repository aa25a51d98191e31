"""How far a replay can be trusted: the recorded settings replayed, beside what the trace says happened."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.allocator.address_space import AddressSpace, RecordedSpace
from gpudoctor.allocator.replay import Run, replay
from gpudoctor.allocator.requests import Requests
from gpudoctor.allocator.settings import UNLIMITED, Settings
from gpudoctor.allocator.snapshot import Action, Device

GOOD = 0.95  # of the segments made and given back in the same order and size
PEAK_OFF = 0.02


class Fidelity(msgspec.Struct, frozen=True):
    run: Run  # the recorded settings, replayed
    recorded_segments: int  # segments or mappings that the trace saw made or given back
    same_segments: int  # of those, as many as the replay made in the same order and of the same size
    recorded_peak: int  # bytes reserved
    truncated_bytes: int  # in blocks that were there before the first event
    reasons: tuple[str, ...]  # why not to trust it, a sentence each

    @property
    def share(self) -> float:
        return self.same_segments / self.recorded_segments if self.recorded_segments else 1.0

    @property
    def peak_error(self) -> float:
        return abs(self.run.reserved_peak - self.recorded_peak) / self.recorded_peak if self.recorded_peak else 0.0

    @property
    def trusted(self) -> bool:
        return not self.reasons


def fidelity(
    device: Device, requests: Requests, settings: Settings, *, capacity: int = UNLIMITED, limit: int | None = None
) -> Fidelity:
    recorded = RecordedSpace(list(_made(device)))
    space = AddressSpace() if settings.expandable_segments else recorded
    run = replay(requests.stream, settings, space, capacity=capacity, limit=limit, stop=False)
    same = _same(requests.recorded_segments, list(run.segments))
    held = Fidelity(run, len(requests.recorded_segments), same, requests.recorded_peak, requests.present_at_start, ())
    return msgspec.structs.replace(held, reasons=tuple(_reasons(held, requests)))


def _made(device: Device) -> Iterator[tuple[int, int]]:
    trace = device.trace
    for place in trace.places(Action.SEGMENT_ALLOC):
        yield trace.addresses[place], trace.sizes[place]


def _same(recorded: list[int], replayed: list[int]) -> int:
    """How many of the recorded come in the replay, in their order (a greedy common subsequence, windowed)."""
    same = place = 0
    for size in recorded:
        for ahead in range(place, min(place + 64, len(replayed))):
            if replayed[ahead] == size:
                same += 1
                place = ahead + 1
                break
    return same


def _reasons(held: Fidelity, requests: Requests) -> Iterator[str]:
    if held.truncated_bytes:
        yield (
            f"{held.truncated_bytes / 2**30:.2f} GiB were allocated before the first recorded event; where those "
            "blocks lie, and what was free between them, is not in the file"
        )
    if held.share < GOOD:
        yield f"the replay makes only {held.share:.0%} of the recorded segments in the same order"
    if held.peak_error > PEAK_OFF:
        yield f"its peak of reserved memory is off by {held.peak_error:.1%}"
    if not requests.allocations:
        yield "the file holds no allocation events"
