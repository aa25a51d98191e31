"""What a snapshot tells of one device: from the file's content to an Explanation, and to the fact that checks judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os.path import basename

import msgspec

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.candidates import DEFAULT, candidates, kept_settings, price, versions
from gpudoctor.allocator.course import course_of, with_blocks
from gpudoctor.allocator.engine import round_size, segment_size
from gpudoctor.allocator.explanation import Explanation, Moment, WhatIf
from gpudoctor.allocator.fidelity import Fidelity, fidelity
from gpudoctor.allocator.frames import one_line
from gpudoctor.allocator.holders import Program, holders, holes, pins, pools, usable_hole
from gpudoctor.allocator.replay import NEAR, Outcome, replay
from gpudoctor.allocator.replay import what_if as replayed
from gpudoctor.allocator.requests import Requests, requests_of
from gpudoctor.allocator.settings import LARGE_SEGMENT, UNLIMITED, Settings, parse_settings
from gpudoctor.allocator.snapshot import DEFAULT_POOL, Action, Device, Segment, Snapshot
from gpudoctor.allocator.state import Held, History
from gpudoctor.facts.allocator import AllocatorSnapshot, Alternative, GrowingStack, PinningStack
from gpudoctor.finding import Subject
from gpudoctor.unread import Gap, Unread, hold

LARGE = 300_000  # requests: from here on, settings that nobody asked for are replayed once
MADE_SURE = 3
PEAK, FAILURE, END = "peak", "out of memory", "end"
Progress = Callable[[int, int], None]  # done, of how many


class Limit(msgspec.Struct, frozen=True):
    """What a replay may reserve: what the device has, or what a memory fraction allows."""

    capacity: int = UNLIMITED
    fraction: int | None = None

    @property
    def bytes(self) -> int:
        return self.capacity if self.fraction is None else self.fraction


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
    texts = [text for text in what_if if text != "all"]
    parsed = [(text, parse_settings(text)) for text in texts]
    history = History(device, snapshot.settings, snapshot.pools)
    trace = device.trace
    course = course_of(history)
    failures = list(trace.places(Action.OOM))
    places = {PEAK: course.peak_place, **({FAILURE: failures[-1]} if failures else {}), END: len(trace)}
    states = {place: (segments, held) for place, segments, held in history.segments_at(places.values())}
    states[len(trace)] = device.segments, states[len(trace)][1]
    moments = tuple(
        _moment(name, place, states[place], history) for name, place in places.items() if _tells(trace, name)
    )
    at = FAILURE if failures else moments[0].name
    segments, held = states[places[at]]
    program = Program(snapshot.stacks)
    requests = requests_of(device, snapshot.pools, snapshot.settings, snapshot.stacks)
    replays = bool(len(trace)) and requests.allocations > 0
    wanted = trace.sizes[failures[-1]] if failures else 0
    is_capped = bool(failures) and trace.addresses[failures[-1]] >= _segment(snapshot.settings, wanted)
    refusal = failures[-1] if failures and not is_capped else None
    there = None if refusal is None else _reserved(history, refusal) + trace.addresses[refusal]
    room = _narrowed(requests.room, there)
    trusted = _fidelity(device, requests, snapshot.settings, _of_room(room, is_capped)) if replays else None
    outside, is_least = _outside(history, failures, total)
    made = Explanation(
        source=basename(source),
        device=device.index,
        device_count=snapshot.device_count,
        torch_era=snapshot.torch_era,
        settings_text=snapshot.settings_text,
        notes=(*snapshot.notes, *_notes(snapshot, history, program)),
        events=len(trace),
        allocations=trace.actions.count(Action.ALLOC),
        failures=len(failures),
        timeline=course.timeline,
        moments=moments,
        stacks=tuple(one_line(stack) for stack in snapshot.stacks),
        pins=pins(segments, held, places[at])[:top],
        by_frame=holders(held, program.frame)[:top] if program.has_stacks else (),
        by_category=holders(held, program.category) if program.has_stacks else (),
        growing=with_blocks(course.growing, held)[:top],
        pools=pools(segments),
        outside=outside,
        device_free=trace.addresses[failures[-1]] if failures else None,
        room=room,
        room_at_failure=there,
        live_peak=requests.peaks[0] or sum(block.requested for block in held),
        fidelity=trusted,
        what_if=(),
        settings=snapshot.settings,
        failed=wanted,
        device_allocs=sum(trace.actions.count(action) for action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP)),
        is_capped=is_capped,
        outside_is_least=is_least,
        live_at_failure=_needed(held, wanted),
        truncated=bool(history.present) and bool(len(trace)),
        private_free=sum(pool.reserved - pool.allocated for pool in pools(segments)),
        cap=cap,
        packages=program.packages(),
    )
    if not replays:
        return made
    if not texts or "all" in what_if:
        limited = cap is not None or is_capped
        parsed += [
            (text, parse_settings(text))
            for text in candidates(snapshot.torch_era, limited=limited, everything="all" in what_if)
            if text not in texts
        ]
    return _with_what_if(made, requests, parsed, stop, progress, asked=bool(texts))


def _tells(trace: object, name: str) -> bool:
    return name == END or len(trace) > 0  # type: ignore[arg-type]


# the state at a moment


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
    there = {place: _reserved(history, place) + history.trace.addresses[place] for place in failures[-100:]}
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


def _notes(snapshot: Snapshot, history: History, program: Program) -> Iterator[str]:
    if history.present and len(history.trace):
        size = sum(block.size for block in history.present)
        yield (
            f"the record begins when {size / 2**30:.2f} GiB were allocated already: its ring was full, or recording "
            "started late"
        )
    if wrong := history.disagreements() if len(history.trace) else 0:
        yield f"{wrong} blocks lie elsewhere at the end of the file than its events put them"
    if not len(history.trace) and not any("trace" in note or "event" in note for note in snapshot.notes):
        yield "the file holds no events: what led here, and what other settings would have done, cannot be told"
    if not program.has_stacks and not any("stack" in note for note in snapshot.notes):
        yield "the file holds no stacks (recorded with context=None): who asked for the memory cannot be told"
    if snapshot.settings.backend == "cudaMallocAsync":
        yield "the program ran with backend:cudaMallocAsync, which leaves memory to the driver: a snapshot tells little"


# replays


def _limits(explanation: Explanation) -> tuple[Limit, ...]:
    if explanation.cap is not None:
        return (Limit(fraction=explanation.cap),)
    return _of_room(explanation.room, explanation.is_capped)


def _of_room(room: tuple[int, int] | None, is_capped: bool) -> tuple[Limit, ...]:
    if room is None:
        return (Limit(),)
    return tuple(Limit(fraction=size) if is_capped else Limit(capacity=size) for size in sorted(set(room)))


def _narrowed(room: tuple[int, int] | None, there: int | None) -> tuple[int, int] | None:
    """What the device had at the failure, unless others took some since it gave more."""
    return room if room is None or there is None or not room[0] <= there <= room[1] else (there, there)


def _fidelity(device: Device, requests: Requests, settings: Settings, limits: Sequence[Limit]) -> Fidelity:
    """Of the rooms that the refusals allow, the one that repeats the record best."""
    tried = [fidelity(device, requests, settings, capacity=limit.capacity, limit=limit.fraction) for limit in limits]
    return max(tried, key=lambda each: (each.trusted, each.share, -each.peak_error))


def _with_what_if(
    explanation: Explanation,
    requests: Requests,
    parsed: Sequence[tuple[str, Settings]],
    stop: bool,
    progress: Progress | None,
    *,
    asked: bool,
) -> Explanation:
    limits = _limits(explanation)
    cap = explanation.cap or (explanation.room[0] if explanation.room else None)
    outcomes = _Outcomes(requests, limits, stop)
    every = [*parsed, (explanation.settings_text or DEFAULT, explanation.settings)]
    tried = []
    for number, (text, settings) in enumerate(every):
        if progress is not None:
            progress(number, len(every))
        in_full = asked or len(requests.stream) < LARGE
        tried.append(WhatIf(text, settings, cap, outcomes.of(settings) if in_full else outcomes.at_first(settings)))
    if not (asked or len(requests.stream) < LARGE):
        tried = list(_foremost_in_full(tried, outcomes))
    return msgspec.structs.replace(explanation, what_if=tuple(tried[:-1]), recorded=tried[-1])


class _Outcomes:
    """Each settings' outcome is worked out once."""

    def __init__(self, requests: Requests, limits: Sequence[Limit], stop: bool) -> None:
        self._requests = requests
        self._limits = limits
        self._stop = stop
        self._full: dict[Settings, Outcome] = {}
        self._first: dict[Settings, Outcome] = {}

    def of(self, settings: Settings) -> Outcome:
        """Under the least room that there may have been; where that decides, under the most too."""
        if settings not in self._full:
            low = self._under(settings, self._limits[0])
            whole = len(self._limits) == 1 or (low.fits and low.certain and not low.run.retries)
            self._full[settings] = low if whole else self._both(low, self._under(settings, self._limits[-1]))
        return self._full[settings]

    def at_first(self, settings: Settings) -> Outcome:
        """One replay: certain where nothing comes near the limit."""
        if settings not in self._first:
            limit = self._limits[0]
            run = replay(
                self._requests.stream,
                settings,
                AddressSpace(),
                capacity=limit.capacity,
                limit=limit.fraction,
                stop=self._stop,
            )
            far = not run.ooms and not run.retries and run.reserved_peak < NEAR * limit.bytes
            doubt = (
                ""
                if far
                else "replayed once, because the record is long: name the settings with --what-if to make sure"
            )
            self._first[settings] = Outcome(run, run.reserved_peak, run.reserved_peak, far, doubt)
        return self._first[settings]

    def _under(self, settings: Settings, limit: Limit) -> Outcome:
        return replayed(self._requests, settings, capacity=limit.capacity, limit=limit.fraction, stop=self._stop)

    def _both(self, low: Outcome, high: Outcome) -> Outcome:
        doubt = low.doubt or high.doubt
        if low.fits != high.fits:
            least, most = (f"{limit.bytes / 2**30:.2f}" for limit in (self._limits[0], self._limits[-1]))
            doubt = (
                "it depends on how much could be reserved, and the record only tells that it was between "
                f"{least} and {most} GiB"
            )
        return Outcome(
            low.run,
            min(low.reserved_low, high.reserved_low),
            max(low.reserved_high, high.reserved_high),
            low.certain and high.certain and low.fits == high.fits,
            doubt,
        )


def _foremost_in_full(tried: Sequence[WhatIf], outcomes: _Outcomes) -> Iterator[WhatIf]:
    """The recorded settings and the best that fit are made sure of, until one fits for certain."""
    sure: set[str] = {tried[-1].settings}
    for each in sorted((each for each in tried if each.outcome.fits), key=price)[:MADE_SURE]:
        sure.add(each.settings)
        if outcomes.of(each.parsed).certain and outcomes.of(each.parsed).fits:
            break
    for each in tried:
        yield msgspec.structs.replace(each, outcome=outcomes.of(each.parsed)) if each.settings in sure else each


# for checks


def subject_of(explanation: Explanation) -> Subject:
    name = explanation.source or "the snapshot"
    return Subject("gpu", f"{name}#{explanation.device}", f"device {explanation.device} of {name}")


def fact_of(explanation: Explanation) -> AllocatorSnapshot:
    moment = explanation.moment
    no_failure = Unread(Gap.ABSENT, "device_traces", "no out-of-memory event is recorded")
    size_unknown = Unread(Gap.ABSENT, "device_traces oom", "tells what is free on the GPU, not how large it is")
    no_limit = Unread(Gap.ABSENT, "device_traces", "no refusal is recorded, so the limit is not known")
    outside = explanation.outside
    exact = explanation.cap or explanation.room_at_failure
    room = explanation.room if exact is None else (exact, exact)
    return AllocatorSnapshot(
        subject=subject_of(explanation),
        settings=explanation.settings_text,
        torch_era=explanation.torch_era,
        failed_bytes=explanation.failed or None,
        wanted_bytes=moment.wanted if explanation.failed else hold(no_failure),
        allocated_bytes=moment.allocated,
        requested_bytes=moment.requested,
        reserved_bytes=moment.reserved,
        largest_hole_bytes=_largest_hole(explanation, moment),
        live_peak_bytes=explanation.live_at_failure,
        device_free_bytes=hold(no_failure if explanation.device_free is None else explanation.device_free),
        outside_bytes=hold((size_unknown if explanation.failed else no_failure) if outside is None else outside),
        room_bytes=hold(room if room is not None else no_limit),
        alternatives=tuple(_alternatives(explanation)),
        trusted=explanation.fidelity is not None and explanation.fidelity.trusted,
        growing=tuple(
            GrowingStack(_where(explanation, growth.stack), growth.first, growth.last, growth.steps)
            for growth in explanation.growing
        ),
        pinning=tuple(
            PinningStack(_where(explanation, pin.stack), pin.unusable, pin.segments) for pin in explanation.pins
        ),
        moment=moment.name,
        is_capped=explanation.is_capped,
        outside_is_least=explanation.outside_is_least,
        private_free_bytes=explanation.private_free,
        device_allocs=explanation.device_allocs,
        kept_settings=kept_settings(explanation.settings_text),
        is_truncated=explanation.truncated,
        oldest_torch=versions(explanation.torch_era)[:1],
        packages=explanation.packages,
        has_stacks=bool(explanation.by_frame),
        cap_bytes=explanation.cap,
        reasons=explanation.fidelity.reasons if explanation.fidelity is not None else (),
    )


def _largest_hole(explanation: Explanation, moment: Moment) -> int:
    if explanation.failed:
        return usable_hole(moment.segments, explanation.failed)
    own = (hole.size for hole in moment.holes if moment.segments[hole.segment].pool == DEFAULT_POOL)
    return max(own, default=0)


def _where(explanation: Explanation, stack: int) -> str:
    return explanation.stacks[stack] if stack >= 0 else "no stack recorded"


def _alternatives(explanation: Explanation) -> Iterator[Alternative]:
    tried = [*explanation.what_if, *([explanation.recorded] if explanation.recorded else [])]
    for each in tried:
        run = each.outcome.run
        yield Alternative(
            each.settings,
            each.outcome.fits,
            each.outcome.certain,
            run.reserved_peak,
            run.device_allocs,
            each.parsed == explanation.settings,
        )
