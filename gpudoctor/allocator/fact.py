"""Of an explanation, the part that checks judge."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.allocator.candidates import kept_settings, versions
from gpudoctor.allocator.explanation import Explanation, Moment
from gpudoctor.allocator.holders import usable_hole
from gpudoctor.allocator.snapshot import DEFAULT_POOL
from gpudoctor.facts.allocator import AllocatorSnapshot, Alternative, GrowingStack, PinningStack
from gpudoctor.finding import Subject
from gpudoctor.unread import Gap, Unread, hold

_NO_FAILURE = Unread(Gap.ABSENT, "device_traces", "no out-of-memory event is recorded")
_SIZE_UNKNOWN = Unread(Gap.ABSENT, "device_traces oom", "tells what is free on the GPU, not how large it is")
_NO_LIMIT = Unread(Gap.ABSENT, "device_traces", "no refusal is recorded, so the limit is not known")


def fact_of(explanation: Explanation) -> AllocatorSnapshot:
    moment, fidelity, outside = explanation.moment, explanation.fidelity, explanation.outside
    exact = explanation.cap or explanation.room_at_failure
    room = explanation.room if exact is None else (exact, exact)
    return AllocatorSnapshot(
        subject=_subject(explanation),
        failed_bytes=explanation.failed or None,
        wanted_bytes=moment.wanted if explanation.failed else hold(_NO_FAILURE),
        allocated_bytes=moment.allocated,
        reserved_bytes=moment.reserved,
        largest_hole_bytes=_largest_hole(explanation, moment),
        live_peak_bytes=explanation.live_at_failure,
        device_free_bytes=hold(_NO_FAILURE if explanation.device_free is None else explanation.device_free),
        outside_bytes=hold((_SIZE_UNKNOWN if explanation.failed else _NO_FAILURE) if outside is None else outside),
        room_bytes=hold(_NO_LIMIT if room is None else room),
        alternatives=tuple(_alternatives(explanation)),
        trusted=fidelity is not None and fidelity.trusted,
        growing=tuple(
            GrowingStack(_where(explanation, growth.stack), growth.first, growth.last, growth.steps)
            for growth in explanation.growing
        ),
        pinning=tuple(
            PinningStack(_where(explanation, pin.stack), pin.unusable, pin.segments) for pin in explanation.pins
        ),
        is_capped=explanation.is_capped,
        outside_is_least=explanation.outside_is_least,
        private_free_bytes=explanation.private_free,
        kept_settings=kept_settings(explanation.settings_text),
        oldest_torch=versions(explanation.torch_era)[:1],
        packages=explanation.packages,
        has_stacks=bool(explanation.by_frame),
        cap_bytes=explanation.cap,
        reasons=fidelity.reasons if fidelity is not None else (),
    )


def _subject(explanation: Explanation) -> Subject:
    name = explanation.source or "the snapshot"
    return Subject("gpu", f"{name}#{explanation.device}", f"device {explanation.device} of {name}")


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
