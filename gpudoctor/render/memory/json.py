"""The explanation of a snapshot as JSON, and the schema it follows (docs/schema/memory.schema.json)."""

from __future__ import annotations

import json
from typing import Literal

import msgspec

from gpudoctor import __version__
from gpudoctor.allocator import explanation as told
from gpudoctor.allocator.explanation import Explanation
from gpudoctor.render.json import dumped
from gpudoctor.render.memory.segments import idle, worn
from gpudoctor.render.memory.words import best_of, commands_of, export_line
from gpudoctor.report import Finding, Report, Source, Tool, Verdict

SCHEMA_VERSION = "1"
SCHEMA_ID = f"urn:gpudoctor:memory:{SCHEMA_VERSION}"


class Recorded(msgspec.Struct, frozen=True):
    """What the file says happened."""

    settings: str
    torch_era: str
    events: int
    allocations: int
    ooms: int
    requested_peak_bytes: int
    allocated_peak_bytes: int
    reserved_peak_bytes: int
    room_bytes: tuple[int, int] | None
    device_free_bytes: int | None
    outside_bytes: int | None


class WhatIf(msgspec.Struct, frozen=True):
    """`first_oom` counts allocations from 0; null: none failed."""

    settings: str
    cap_bytes: int | None
    fits: bool
    ooms: int
    first_oom: int | None
    first_oom_bytes: int | None
    allocated_peak_bytes: int
    requested_peak_bytes: int
    reserved_peak_bytes: int
    reserved_peak_range_bytes: tuple[int, int]
    segments_peak: int
    device_allocs: int
    device_frees: int
    retries: int
    confidence: Literal["certain", "uncertain"]
    doubt: str


class Hole(msgspec.Struct, frozen=True):
    address: int
    bytes: int
    segment_address: int
    is_expandable: bool


class WornSegment(msgspec.Struct, frozen=True):
    """One that live blocks hold although part of it is free."""

    address: int
    bytes: int
    free_bytes: int
    free_blocks: int
    largest_free_bytes: int
    stream: int
    is_small: bool
    is_expandable: bool
    pool: tuple[int, int]


class Moment(msgspec.Struct, frozen=True):
    name: str
    event: int
    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    wanted_bytes: int
    segments: int
    unused_segments_bytes: int
    free_blocks: int
    largest_free_blocks: tuple[Hole, ...]
    worn_segments: tuple[WornSegment, ...]


class Pin(msgspec.Struct, frozen=True):
    stack: str | None
    address: int
    bytes: int
    unusable_bytes: int
    age_events: int
    segments: int


class Holder(msgspec.Struct, frozen=True):
    name: str
    bytes: int
    blocks: int
    share: float


class Growth(msgspec.Struct, frozen=True):
    stack: str | None
    first_bytes: int
    last_bytes: int
    steps: int
    blocks: int


class Pool(msgspec.Struct, frozen=True):
    id: tuple[int, int]
    reserved_bytes: int
    allocated_bytes: int
    segments: int


class Timeline(msgspec.Struct, frozen=True):
    """Columns of equal length."""

    event: tuple[int, ...]
    time_us: tuple[int, ...]
    requested_bytes: tuple[int, ...]
    allocated_bytes: tuple[int, ...]
    reserved_bytes: tuple[int, ...]


class Fidelity(msgspec.Struct, frozen=True):
    """The recorded settings replayed, beside what was recorded."""

    trusted: bool
    reasons: tuple[str, ...]
    recorded_segments: int
    same_segments: int
    recorded_reserved_peak_bytes: int
    replayed_reserved_peak_bytes: int
    before_first_event_bytes: int


class Memory(msgspec.Struct, frozen=True):
    schema_version: str
    tool: Tool
    source: Source
    device: int
    device_count: int
    verdict: Verdict
    exit_code: int
    recorded: Recorded
    what_if: tuple[WhatIf, ...]
    best: str | None
    export: str | None
    findings: tuple[Finding, ...]
    root_causes: tuple[str, ...]
    moments: tuple[Moment, ...]
    pins: tuple[Pin, ...]
    by_frame: tuple[Holder, ...]
    by_category: tuple[Holder, ...]
    growing: tuple[Growth, ...]
    pools: tuple[Pool, ...]
    timeline: Timeline
    fidelity: Fidelity | None
    notes: tuple[str, ...]


def render(explanation: Explanation, report: Report, *, rows: int) -> str:
    return dumped(document(explanation, report, rows=rows))


def document(explanation: Explanation, report: Report, *, rows: int) -> Memory:
    """`rows`: of each list of a moment."""
    line = explanation.timeline
    best = best_of(explanation, commands_of(report))
    return Memory(
        schema_version=SCHEMA_VERSION,
        tool=Tool("gpudoctor", __version__),
        source=report.source,
        device=explanation.device,
        device_count=explanation.device_count,
        verdict=report.verdict,
        exit_code=report.exit_code,
        recorded=_recorded(explanation),
        what_if=tuple(_what_if(each, explanation) for each in explanation.what_if),
        best=best.settings if best else None,
        export=export_line(explanation, best) if best else None,
        findings=report.findings,
        root_causes=report.root_causes,
        moments=tuple(_moment(moment, rows) for moment in explanation.moments),
        pins=tuple(
            Pin(_stack(explanation, p.stack), p.address, p.size, p.unusable, p.age_events, p.segments)
            for p in explanation.pins
        ),
        by_frame=tuple(Holder(h.name, h.size, h.blocks, h.share) for h in explanation.by_frame),
        by_category=tuple(Holder(h.name, h.size, h.blocks, h.share) for h in explanation.by_category),
        growing=tuple(
            Growth(_stack(explanation, g.stack), g.first, g.last, g.steps, g.blocks) for g in explanation.growing
        ),
        pools=tuple(Pool(p.id, p.reserved, p.allocated, p.segments) for p in explanation.pools),
        timeline=Timeline(line.places, line.times_us, line.requested, line.allocated, line.reserved),
        fidelity=_fidelity(explanation),
        notes=explanation.notes,
    )


def _stack(explanation: Explanation, index: int) -> str | None:
    return explanation.stacks[index] if 0 <= index < len(explanation.stacks) else None


def _recorded(explanation: Explanation) -> Recorded:
    line, moments = explanation.timeline, explanation.moments
    return Recorded(
        settings=explanation.settings_text,
        torch_era=explanation.torch_era,
        events=explanation.events,
        allocations=explanation.allocations,
        ooms=explanation.failures,
        requested_peak_bytes=explanation.live_peak,
        allocated_peak_bytes=max((*line.allocated, *(m.allocated for m in moments)), default=0),
        reserved_peak_bytes=max((*line.reserved, *(m.reserved for m in moments)), default=0),
        room_bytes=explanation.room,
        device_free_bytes=explanation.device_free,
        outside_bytes=explanation.outside,
    )


def _what_if(what: told.WhatIf, explanation: Explanation) -> WhatIf:
    outcome, run = what.outcome, what.outcome.run
    return WhatIf(
        settings=what.settings,
        cap_bytes=what.cap,
        fits=outcome.fits,
        ooms=run.ooms,
        first_oom=run.first_oom,
        first_oom_bytes=run.first_oom_bytes if run.first_oom is not None else None,
        allocated_peak_bytes=run.allocated_peak,
        requested_peak_bytes=run.requested_peak,
        reserved_peak_bytes=run.reserved_peak,
        reserved_peak_range_bytes=(outcome.reserved_low, outcome.reserved_high),
        segments_peak=run.segments_peak,
        device_allocs=run.device_allocs,
        device_frees=run.device_frees,
        retries=run.retries,
        confidence="certain" if outcome.certain else "uncertain",
        doubt=outcome.doubt,
    )


def _moment(moment: told.Moment, rows: int) -> Moment:
    segments = moment.segments
    return Moment(
        name=moment.name,
        event=moment.place,
        requested_bytes=moment.requested,
        allocated_bytes=moment.allocated,
        reserved_bytes=moment.reserved,
        wanted_bytes=moment.wanted,
        segments=len(segments),
        unused_segments_bytes=idle(moment),
        free_blocks=len(moment.holes),
        largest_free_blocks=tuple(
            Hole(h.address, h.size, segments[h.segment].address, h.is_expandable) for h in moment.holes[:rows]
        ),
        worn_segments=tuple(
            WornSegment(
                address=each.segment.address,
                bytes=each.segment.size,
                free_bytes=each.free,
                free_blocks=each.holes,
                largest_free_bytes=each.largest,
                stream=each.segment.stream,
                is_small=each.segment.is_small,
                is_expandable=each.segment.is_expandable,
                pool=each.segment.pool,
            )
            for each in worn(moment)[:rows]
        ),
    )


def _fidelity(explanation: Explanation) -> Fidelity | None:
    held = explanation.fidelity
    if held is None:
        return None
    return Fidelity(
        trusted=held.trusted,
        reasons=held.reasons,
        recorded_segments=held.recorded_segments,
        same_segments=held.same_segments,
        recorded_reserved_peak_bytes=held.recorded_peak,
        replayed_reserved_peak_bytes=held.run.reserved_peak,
        before_first_event_bytes=held.truncated_bytes,
    )


def schema() -> str:
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": f"gpudoctor memory, schema version {SCHEMA_VERSION}",
    }
    return json.dumps({**head, **msgspec.json.schema(Memory)}, indent=2) + "\n"
