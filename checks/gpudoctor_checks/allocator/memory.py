"""Why an allocation failed, as a memory snapshot tells it, and whether other settings would have served it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpudoctor.check import check
from gpudoctor.facts.allocator import AllocatorSnapshot, Alternative
from gpudoctor.finding import Confidence, Evidence, Finding, Severity
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.allocator.settings import best, conflicts, recorded, shell_line, variable

GIB = 1 << 30
MIB = 1 << 20
CONTEXT = 3 * GIB // 2  # CUDA's context, libraries' kernels and NCCL of the process itself
PLAIN_REFUSAL = GIB  # so much more free on the device than was refused: no race with another process explains it
LEAK_SHARE = 0.1  # of what is allocated
WASTE_SHARE = 0.15  # of the reserved peak that other settings would save
WASTE = GIB


@check("OOM_FRAGMENTATION")
def fragmented(snapshot: AllocatorSnapshot) -> Iterator[Finding]:
    """An allocation failed although enough was free, in pieces; some other settings serve the same requests."""
    if not snapshot.failed_bytes or _missing(snapshot) > 0 or _enough(snapshot):
        return
    sure, chosen = _settled(snapshot)
    if chosen is None:
        _require_trust(snapshot)
        return
    was = recorded(snapshot)
    yield Finding(
        snapshot.subject,
        confidence=Confidence.CERTAIN if sure else Confidence.LIKELY,
        evidence=(*_evidence(snapshot), *_pinned(snapshot)),
        **_figures(snapshot),
        action="certain" if sure else "perhaps",
        settings=chosen.settings,
        export=shell_line(snapshot, chosen.settings),
        variable=variable(snapshot),
        caution=_caution(snapshot, chosen),
        peak=_size(chosen.reserved_peak_bytes),
        room=_room(snapshot),
        spare=_spare(snapshot.room_bytes[0] - chosen.reserved_peak_bytes),
        price=_price(chosen, was),
        how_sure=_how_sure(snapshot, sure),
    )


@check("OOM_GENUINE")
def genuine(snapshot: AllocatorSnapshot) -> Iterator[Finding]:
    """What is alive needs more than there is, or no settings that were tried serve it."""
    if not snapshot.failed_bytes or _enough(snapshot):
        return
    short = _missing(snapshot)
    if short <= 0:
        if _settled(snapshot)[1] is not None:
            return
        _require_trust(snapshot)
    yield Finding(
        snapshot.subject,
        confidence=Confidence.CERTAIN if short > 0 else Confidence.LIKELY,
        evidence=_evidence(snapshot),
        **_figures(snapshot),
        action="exceeds" if short > 0 else "no_settings",
        room=_room(snapshot),
        shortfall=_shortfall(snapshot),
        spare=_size(max(0, -short)),
        verdict=_arithmetic(snapshot, short),
    )


@check("OOM_LEAK")
def leaking(snapshot: AllocatorSnapshot) -> Iterator[Finding]:
    """What some lines of the program hold grew through the whole record, until memory ran out."""
    if not snapshot.failed_bytes or not snapshot.growing:
        return
    grown = sum(stack.last_bytes - stack.first_bytes for stack in snapshot.growing)
    if grown < LEAK_SHARE * snapshot.allocated_bytes:
        return
    first = snapshot.growing[0]
    yield Finding(
        snapshot.subject,
        confidence=Confidence.LIKELY,
        evidence=tuple(
            Evidence(
                snapshot.source("growing"),
                f"{_size(each.first_bytes)} in the first tenth of the record, {_size(each.last_bytes)} in the last, "
                f"more in {each.steps} of 9 steps: {each.where}",
            )
            for each in snapshot.growing[:5]
        ),
        where=first.where,
        grown=_size(grown),
        share=f"{grown / max(1, snapshot.allocated_bytes):.0%}",
        allocated=_size(snapshot.allocated_bytes),
    )


@check("OOM_OTHER_PROCESS")
def crowded_out(snapshot: AllocatorSnapshot) -> Iterator[Finding]:
    """Memory outside of this allocator is what was missing."""
    if not snapshot.failed_bytes or snapshot.is_capped:
        return
    outside = snapshot.outside_bytes
    foreign = outside if snapshot.outside_is_least else outside - CONTEXT
    if foreign < snapshot.wanted_bytes:
        return
    yield Finding(
        snapshot.subject,
        confidence=Confidence.LIKELY,
        evidence=_sizes(snapshot, "outside_bytes", "device_free_bytes", "reserved_bytes"),
        outside=f"at least {_size(outside)}" if snapshot.outside_is_least else _size(outside),
        reserved=_size(snapshot.reserved_bytes),
        free=_size(snapshot.device_free_bytes),
        wanted=_size(snapshot.wanted_bytes),
        known_by=(
            "so much more was there for this process earlier in the record"
            if snapshot.outside_is_least
            else "the GPU's size less what was free and what this allocator held"
        ),
    )


@check("OOM_MEMORY_FRACTION_CAP")
def capped(snapshot: AllocatorSnapshot) -> Iterator[Finding]:
    """The device had enough free: a limit of the process refused."""
    if not snapshot.failed_bytes or not snapshot.is_capped:
        return
    plain = snapshot.device_free_bytes - snapshot.wanted_bytes >= PLAIN_REFUSAL
    yield Finding(
        snapshot.subject,
        severity=None if _missing(snapshot) > 0 or _settled(snapshot)[1] is None else Severity.INFO,
        confidence=Confidence.CERTAIN if plain else Confidence.LIKELY,
        evidence=_sizes(snapshot, "device_free_bytes", "wanted_bytes", "room_bytes"),
        free=_size(snapshot.device_free_bytes),
        wanted=_size(snapshot.wanted_bytes),
        reserved=_size(snapshot.reserved_bytes),
        room=_room(snapshot),
    )


@check("FRAGMENTATION_HIGH")
def wasteful(snapshot: AllocatorSnapshot) -> Iterator[Finding]:
    """Nothing failed, and the same requests fit into much less under other settings."""
    if snapshot.failed_bytes:
        return
    was, chosen = recorded(snapshot), _leanest(snapshot)
    if was is None or chosen is None or not snapshot.trusted:
        return
    saved = was.reserved_peak_bytes - chosen.reserved_peak_bytes
    if saved < max(WASTE, WASTE_SHARE * was.reserved_peak_bytes):
        return
    yield Finding(
        snapshot.subject,
        evidence=_pinned(snapshot),
        **_figures(snapshot),
        settings=chosen.settings,
        export=shell_line(snapshot, chosen.settings),
        variable=variable(snapshot),
        caution=_caution(snapshot, chosen),
        was=_size(was.reserved_peak_bytes),
        peak=_size(chosen.reserved_peak_bytes),
        saved=_size(saved),
        price=_price(chosen, was),
    )


def _leanest(snapshot: AllocatorSnapshot) -> Alternative | None:
    """Of those that reserve about as little as the leanest does, the one to take."""
    fitting = [a for a in snapshot.alternatives if a.fits and a.certain]
    least = min((a.reserved_peak_bytes for a in fitting), default=0)
    near = tuple(a for a in fitting if a.reserved_peak_bytes <= 1.05 * least)
    return best(snapshot.with_fields(alternatives=near), certain=True)


# arithmetic


def _missing(snapshot: AllocatorSnapshot) -> int:
    """By how much live bytes alone exceed the most that could be reserved."""
    return snapshot.live_peak_bytes - snapshot.room_bytes[1]


def _enough(snapshot: AllocatorSnapshot) -> bool:
    """The reader asked about another limit, and within that one nothing fails."""
    was = recorded(snapshot)
    return snapshot.cap_bytes is not None and was is not None and was.fits


def _settled(snapshot: AllocatorSnapshot) -> tuple[bool, Alternative | None]:
    """Settings that serve the requests, and whether that is certain."""
    was = recorded(snapshot)
    chosen = best(snapshot, certain=True)
    repeats = snapshot.trusted and (was is None or not was.fits)
    return (True, chosen) if chosen and repeats else (False, chosen or best(snapshot, certain=False))


def _require_trust(snapshot: AllocatorSnapshot) -> None:
    """No settings served: that says something only where the replay repeats what was recorded."""
    if not snapshot.trusted:
        reasons = "; ".join(snapshot.reasons) or "it holds no allocation events"
        raise Unread(Gap.MALFORMED, "replay", f"does not repeat the record, so that nothing follows from it: {reasons}")


def _shortfall(snapshot: AllocatorSnapshot) -> str:
    low, high = snapshot.room_bytes
    return _size(snapshot.live_peak_bytes - high) if low == high else f"up to {_size(snapshot.live_peak_bytes - low)}"


def _spare(count: int) -> str:
    return f"{_size(count)} below the limit" if count > 0 else "with nothing to spare"


def _arithmetic(snapshot: AllocatorSnapshot, short: int) -> str:
    live, room = _size(snapshot.live_peak_bytes), _room(snapshot)
    said = f"With the failed request {live} had to be there at once, and {room} could be had"
    if short > 0:
        return f"{said}: {_shortfall(snapshot)} too little"
    return f"{said}; no settings that were tried place it without gaps that are larger than what is left"


def _figures(snapshot: AllocatorSnapshot) -> dict[str, Any]:
    free = snapshot.reserved_bytes - snapshot.allocated_bytes
    return {
        "failed": _size(snapshot.failed_bytes or 0),
        "wanted": _size(snapshot.get("wanted_bytes", 0)),
        "allocated": _size(snapshot.allocated_bytes),
        "reserved": _size(snapshot.reserved_bytes),
        "free": _size(free),
        "free_share": f"{free / max(1, snapshot.reserved_bytes):.0%}",
        "largest_hole": _size(snapshot.largest_hole_bytes),
        "live": _size(snapshot.live_peak_bytes),
        "private": f", {_size(snapshot.private_free_bytes)} of it in private pools" * bool(snapshot.private_free_bytes),
    }


def _evidence(snapshot: AllocatorSnapshot) -> tuple[Evidence, ...]:
    names = ("failed_bytes", "wanted_bytes", "allocated_bytes", "reserved_bytes", "largest_hole_bytes", "room_bytes")
    return _sizes(snapshot, *names)


def _sizes(snapshot: AllocatorSnapshot, *names: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(each.source, f"{name.removesuffix('_bytes').replace('_', ' ')} {_shown(snapshot.get(name))}")
        for name, each in zip(names, snapshot.seen(*names), strict=True)
    )


def _pinned(snapshot: AllocatorSnapshot) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            snapshot.source("pinning"),
            f"{_size(each.unusable_bytes)} free in {each.segments} segment{'s' * (each.segments != 1)} "
            f"that live blocks keep: {each.where}",
        )
        for each in snapshot.pinning[:3]
    )


def _price(chosen: Alternative, was: Alternative | None) -> str:
    calls = f"{chosen.device_allocs:,} segments or mappings from the driver"
    return calls if was is None else f"{calls}, where the recorded settings take {was.device_allocs:,}"


def _caution(snapshot: AllocatorSnapshot, chosen: Alternative) -> str:
    said = "; ".join(conflicts(snapshot, chosen.settings))
    return f" It does not go together with: {said}." if said else ""


def _how_sure(snapshot: AllocatorSnapshot, sure: bool) -> str:
    if sure:
        return "The replay repeats what was recorded, and addresses and timing do not change the outcome"
    if snapshot.trusted:
        return "It depends on what the record does not tell: addresses, other streams' timing, the exact limit"
    return f"The replay does not repeat the record exactly: {'; '.join(snapshot.reasons) or 'it holds no events'}"


def _room(snapshot: AllocatorSnapshot) -> str:
    return _range(snapshot.room_bytes)


def _range(sizes: tuple[int, ...]) -> str:
    return " to ".join(dict.fromkeys(_size(size) for size in sizes))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return _range(value)
    return _size(value) if isinstance(value, int) else "unread"


def _size(count: int) -> str:
    if count >= GIB:
        return f"{count / GIB:.2f} GiB"
    if count >= MIB:
        return f"{count / MIB:.1f} MiB"
    return f"{count / 1024:.1f} KiB" if count >= 1024 else f"{count} B" if count else "nothing"
