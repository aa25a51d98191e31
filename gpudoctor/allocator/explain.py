"""What a snapshot tells of one device: from the file's content to an Explanation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os.path import basename

import msgspec

from gpudoctor.allocator.candidates import DEFAULT, candidates
from gpudoctor.allocator.course import course_of, with_blocks
from gpudoctor.allocator.engine import round_size, segment_size
from gpudoctor.allocator.explanation import Explanation, Moment
from gpudoctor.allocator.fidelity import Fidelity, fidelity
from gpudoctor.allocator.frames import one_line
from gpudoctor.allocator.holders import Program, holders, holes, pins, pools
from gpudoctor.allocator.requests import Requests, requests_of
from gpudoctor.allocator.settings import LARGE_SEGMENT, Settings, parse_settings
from gpudoctor.allocator.snapshot import Action, Device, Segment, Snapshot
from gpudoctor.allocator.state import Held, History
from gpudoctor.allocator.what_if import Limit, Named, Progress, Replays, limits_of

MOST_FAILURES = 100  # the latest, looked at for what the device had then
PEAK, FAILURE, END = "peak", "out of memory", "end"


def explain(
    snapshot: Snapshot,
    device: Device,
    *,
    source: str = "",
    what_if: Sequence[str] = (),
    cap: int | None = None,
    stop: bool = True,
    top: int = 10,
    total: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """`what_if`: settings to replay; none: the sensible ones; `all`: many. `cap`: bytes that a memory fraction allows.

    `total`: bytes of the device, where the caller knows them. Raises InvalidSettings.
    """
    asked = [(text, parse_settings(text)) for text in what_if if text != "all"]
    requests = requests_of(device, snapshot.pools, snapshot.settings, snapshot.stacks)
    made = _recorded(snapshot, device, requests, source=source, cap=cap, top=top, total=total)
    if made.fidelity is None:
        return made
    named = list(asked)
    if not asked or "all" in what_if:
        limited, known = cap is not None or made.is_capped, {text for text, _ in asked}
        texts = candidates(snapshot.torch_era, limited=limited, everything="all" in what_if)
        named += [(text, parse_settings(text)) for text in texts if text not in known]
    return _with_what_if(made, requests, named, stop=stop, progress=progress, sure=bool(asked))


def _recorded(
    snapshot: Snapshot,
    device: Device,
    requests: Requests,
    *,
    source: str,
    cap: int | None,
    top: int,
    total: int | None,
) -> Explanation:
    """All but what other settings would have done."""
    trace, history, program = device.trace, History(device, snapshot.settings, snapshot.pools), Program(snapshot.stacks)
    course, failures = course_of(history), list(trace.places(Action.OOM))
    failure = _last_failure(history, snapshot.settings) if failures else None
    moments, segments, held = _moments(history, course.peak_place, failure)
    there = failure.room if failure else None
    room = _narrowed(requests.room, there)
    is_capped = failure is not None and failure.is_capped
    outside, is_least = _outside(history, failures, total)
    private = pools(segments)
    return Explanation(
        source=basename(source),
        device=device.index,
        device_count=snapshot.device_count,
        torch_era=snapshot.torch_era,
        settings_text=snapshot.settings_text,
        notes=(*snapshot.notes, *_notes(snapshot, history)),
        events=len(trace),
        allocations=trace.actions.count(Action.ALLOC),
        failures=len(failures),
        timeline=course.timeline,
        moments=moments,
        stacks=tuple(one_line(stack) for stack in snapshot.stacks),
        pins=pins(segments, held, failure.place if failure else moments[0].place)[:top],
        by_frame=holders(held, program.frame)[:top] if program.has_stacks else (),
        by_category=holders(held, program.category) if program.has_stacks else (),
        growing=with_blocks(course.growing, held)[:top],
        pools=private,
        outside=outside,
        device_free=failure.device_free if failure else None,
        room=room,
        room_at_failure=there,
        live_peak=requests.peaks[0] or sum(block.requested for block in held),
        fidelity=_fidelity(device, requests, snapshot.settings, limits_of(room, is_capped=is_capped)),
        what_if=(),
        settings=snapshot.settings,
        failed=failure.size if failure else 0,
        is_capped=is_capped,
        outside_is_least=is_least,
        live_at_failure=_needed(held, failure.size if failure else 0),
        private_free=sum(pool.reserved - pool.allocated for pool in private),
        cap=cap,
        packages=program.packages(),
    )


# the state at a moment


class _Failure(msgspec.Struct, frozen=True):
    place: int
    size: int  # bytes of the request, rounded
    device_free: int
    reserved: int
    is_capped: bool  # the device had enough free for the segment

    @property
    def room(self) -> int | None:
        """Bytes that the device had for this allocator, where it was the device that refused."""
        return None if self.is_capped else self.reserved + self.device_free


def _last_failure(history: History, settings: Settings) -> _Failure:
    trace = history.trace
    *_, place = trace.places(Action.OOM)
    size, free = trace.sizes[place], trace.addresses[place]
    return _Failure(place, size, free, _reserved(history, place), free >= _segment(settings, size))


def _moments(
    history: History, peak: int, failure: _Failure | None
) -> tuple[tuple[Moment, ...], tuple[Segment, ...], list[Held]]:
    """The peak, the last failure and the end; and of the one that matters the segments and blocks."""
    end = len(history.trace)
    places = {PEAK: peak, **({FAILURE: failure.place} if failure else {}), END: end} if end else {END: end}
    states = {place: (segments, held) for place, segments, held in history.segments_at(places.values())}
    states[end] = history.device.segments, states[end][1]
    moments = tuple(_moment(name, place, states[place], history) for name, place in places.items())
    return moments, *states[failure.place if failure else moments[0].place]


def _moment(name: str, place: int, state: tuple[tuple[Segment, ...], list[Held]], history: History) -> Moment:
    segments, held = state
    live = [block for block in held if not block.pending]
    return Moment(
        name=name,
        place=place,
        segments=segments,
        requested=sum(block.requested for block in live),
        allocated=sum(block.size for block in live),
        reserved=sum(segment.size for segment in segments),
        holes=holes(segments),
        wanted=_segment(Settings(), history.trace.sizes[place]) if name == FAILURE else 0,
    )


def _segment(settings: Settings, size: int) -> int:
    return segment_size(size, settings.large_segment_size or LARGE_SEGMENT)


def _needed(held: Sequence[Held], failed: int) -> int:
    """No allocator needs less: what is alive, and what was asked for beside it."""
    plain: tuple[int, ...] = (0,)
    alive = sum(round_size(block.requested, plain) for block in held if not block.pending)
    return alive + (round_size(failed, plain) if failed else 0)


def _outside(history: History, failures: Sequence[int], total: int | None) -> tuple[int | None, bool]:
    """Bytes in use on the device by others at the last failure, and whether it may be more.

    Without the device's size: what was there for this process at an earlier time, and is not any more.
    """
    if not failures:
        return None, False
    there = {place: _reserved(history, place) + history.trace.addresses[place] for place in failures[-MOST_FAILURES:]}
    now = there[failures[-1]]
    if total is not None:
        return max(0, total - now), False
    most = max([*there.values(), _reserved_peak(history)])
    return (most - now, True) if most > now else (None, False)


def _reserved(history: History, place: int) -> int:
    return sum(each.end - each.address for each in history.layout(place).ranges)


def _reserved_peak(history: History) -> int:
    reserved = peak = _reserved(history, 0)
    trace = history.trace
    for action, size in zip(trace.actions, trace.sizes, strict=True):
        if action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP):
            reserved += size
            peak = max(peak, reserved)
        elif action in (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP):
            reserved -= size
    return peak


def _notes(snapshot: Snapshot, history: History) -> Iterator[str]:
    """Of this device, beside what the reader noted of the whole file."""
    trace = history.trace
    if history.present and len(trace):
        size = sum(block.size for block in history.present)
        yield (
            f"The record begins when {size / 2**30:.2f} GiB were allocated already: its ring was full, or recording "
            "started late."
        )
    if len(trace) and (wrong := history.disagreements()):
        yield f"Blocks at the end of the file that are not where its events put them: {wrong:,}."
    if not len(trace) and any(len(device.trace) for device in snapshot.devices):
        yield "It holds no events of this device: what led here cannot be told."
    if snapshot.settings.backend == "cudaMallocAsync":
        yield "The program ran with backend:cudaMallocAsync, which leaves memory to the driver: this tells little."


# replays


def _narrowed(room: tuple[int, int] | None, there: int | None) -> tuple[int, int] | None:
    """What the device had at the failure, unless others took some since it gave more."""
    return room if room is None or there is None or not room[0] <= there <= room[1] else (there, there)


def _fidelity(device: Device, requests: Requests, settings: Settings, limits: Sequence[Limit]) -> Fidelity | None:
    """Of the rooms that the refusals allow, the one that repeats the record best; None: nothing to replay."""
    if not len(device.trace) or not requests.allocations:
        return None
    tried = [fidelity(device, requests, settings, capacity=limit.capacity, limit=limit.fraction) for limit in limits]
    return max(tried, key=lambda each: (each.trusted, each.share, -each.peak_error))


def _with_what_if(
    made: Explanation, requests: Requests, named: Sequence[Named], *, stop: bool, progress: Progress | None, sure: bool
) -> Explanation:
    """`sure`: all of them as often as it takes."""
    if made.cap is None:
        limits, cap = limits_of(made.room, is_capped=made.is_capped), made.room[0] if made.room else None
    else:
        limits, cap = (Limit(fraction=made.cap),), made.cap
    replays = Replays(requests, limits, cap=cap, stop=stop, progress=progress)
    every = [*named, (made.settings_text or DEFAULT, made.settings)]
    *tried, recorded = replays.all_sure(every) if sure else replays.foremost_sure(every)
    return msgspec.structs.replace(made, what_if=tuple(tried), recorded=recorded)
