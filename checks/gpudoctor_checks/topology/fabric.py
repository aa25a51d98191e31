"""NVLinks of single GPUs: down, slow, with errors; and the link between a GPU and its own Grace CPU."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvlink import GpuNvLinks, NvLink
from gpudoctor.facts.peers import pair_subject
from gpudoctor.facts.sampling import Counted
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Severity, Subject
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.topology.siblings import by_model, in_mig_mode, nvlink_of, usual
from gpudoctor_checks.wording import number_of, spoken

NEARLY = 0.95  # a link tells its signalling rate, 26.562 GB/s where the data sheet says 25
CRC_PER_SECOND = 100.0  # DCGM's limit; below it they are repeated without harm
COUNTERS = ("replays", "recoveries", "flit_crc_errors")
WITH_C2C = re.compile(r"\bG[BH]\d00\b")


@check("NVLINK_DOWN")
def down(
    links: tuple[GpuNvLinks, ...],
    gpus: tuple[Gpu, ...],
    settings: tuple[GpuSettings, ...] | None,
    machine: Machine | None,
) -> Iterator[Finding]:
    """A GPU has fewer links up than its siblings, or than its model has. MIG takes NVLink out of use."""
    cut = in_mig_mode(settings)
    told = {each.subject.id: each for each in links if each.get("links") is not None and each.subject.id not in cut}
    for name, same in by_model(gpus).items():
        linked = [told[gpu.subject.id] for gpu in same if gpu.subject.id in told]
        if linked:
            yield from _short(name, linked, machine is not None and machine.get("virtualization") is None)
    _all_read(links)


def _short(name: str, same: list[GpuNvLinks], bare_metal: bool) -> Iterator[Finding]:
    model = nvlink_of(name)
    judged = [each for each in same if each.up] if model["bridge"] else same
    common = usual(len(each.up) for each in judged)
    short = [each for each in judged if len(each.up) < common]
    if short:
        as_they = sum(len(each.up) == common for each in judged)
        yield from _each_or_pair(short, common, f"{as_they} of {len(judged)} {name} here have {common} up")
    elif not model["bridge"] and bare_metal and len(same) > 1 and common < model.get("links", 0):
        yardstick = f"the table of models has {model['links']} for {name}"
        yield _finding(
            NODE, same, model["links"], yardstick, Confidence.LIKELY, None if not common else Severity.WARNING
        )


def _each_or_pair(short: list[GpuNvLinks], common: int, yardstick: str) -> Iterator[Finding]:
    """Without switches, two GPUs that lack as many links each are the two ends of the same links."""
    lacking = {common - len(each.up) for each in short}
    if len(short) == 2 and len(lacking) == 1 and any(link.peer == "gpu" for each in short for link in each.up):
        one, other = short
        yield _finding(pair_subject(one.subject, other.subject), short, common, yardstick, Confidence.CERTAIN)
        return
    for each in short:
        sure = len(each.links) >= common  # else the driver says of some links neither up nor down
        yield _finding(each.subject, [each], common, yardstick, Confidence.CERTAIN if sure else Confidence.LIKELY)


def _finding(
    subject: Subject,
    whose: Sequence[GpuNvLinks],
    expected: int,
    yardstick: str,
    confidence: Confidence,
    severity: Severity | None = None,
) -> Finding:
    evidence = [
        Evidence(each.source("links"), f"{each.subject}: {len(each.up)} of {len(each.links)} up{_which(each)}")
        for each in whose
    ]
    errors = [e for each in whose for e in _counted(each)]
    return Finding(
        subject,
        severity=severity,
        confidence=confidence,
        evidence=[
            *evidence,
            *errors,
            Evidence("gpus.yaml" if subject is NODE else "siblings", yardstick),
        ],
        which=_lost(subject, whose, expected),
        up=min(len(each.up) for each in whose),
        expected=expected,
        links={each.subject.id: [link.number for link in each.links if not link.up] for each in whose},
        yardstick=yardstick,
    )


def _lost(subject: Subject, whose: Sequence[GpuNvLinks], expected: int) -> str:
    """As a title says it."""
    up = min(len(each.up) for each in whose)
    if subject.kind == "pair":
        return f"{number_of(expected - up, 'NVLink')} between them"
    numbers = [str(link.number) for link in whose[0].links if not link.up]
    if not up or not numbers or subject is NODE:
        return "NVLinks" if up else "all NVLinks"
    return f"NVLink{'s' if len(numbers) > 1 else ''} {spoken(numbers)}"


def _which(links: GpuNvLinks) -> str:
    lost = [_name(link) for link in links.links if not link.up]
    return f", down {spoken(lost)}" if lost and links.up else ""


def _name(link: NvLink) -> str:
    return f"link {link.number}" + (f" to {link.peer_bus_id}" if link.peer_bus_id else "")


def _counted(links: GpuNvLinks) -> Iterator[Evidence]:
    for name in COUNTERS:
        counted: Counted | None = links.get(name)
        if counted is not None and counted.count:
            yield Evidence(links.source(name), f"{links.subject}: {name} {counted}")


def _all_read(links: tuple[GpuNvLinks, ...]) -> None:
    """Raises Unread: of a GPU whose links are unknown nothing was said."""
    for each in links:
        if not each.lacks("links"):
            _ = each.links


@check("NVLINK_SLOW")
def slow(links: tuple[GpuNvLinks, ...], gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    """A link runs below the links of its siblings, or all of them below what their generation gives."""
    told = {each.subject.id: each for each in links if each.get("links")}
    speeds = {gpu: [link for link in each.up if link.speed_mb_per_s] for gpu, each in told.items()}
    for name, same in by_model(gpus).items():
        members = [told[gpu.subject.id] for gpu in same if speeds.get(gpu.subject.id)]
        common = usual(link.speed_mb_per_s or 0 for each in members for link in speeds[each.subject.id])
        odd = {each.subject.id: [k for k in speeds[each.subject.id] if _below(k, common)] for each in members}
        for each in members:
            if odd[each.subject.id]:
                yield _slower(each.subject, each, odd[each.subject.id], common, "the other links of this model here")
        own = nvlink_of(name)
        figure = own["gb_per_s_both_ways"] * 500 / own["links"] if {"gb_per_s_both_ways", "links"} <= own.keys() else 0
        if common and not any(odd.values()) and common < NEARLY * figure:
            yield _slower(
                NODE, members[0], speeds[members[0].subject.id], round(figure), f"the table of models for {name}"
            )
    _all_read(links)
    if any(each.up for each in told.values()) and not any(speeds.values()):
        raise Unread(Gap.UNSUPPORTED, "NVML_FI_DEV_NVLINK_GET_SPEED", "this driver does not tell the links' speed")


def _below(link: NvLink, common: int) -> bool:
    return (link.speed_mb_per_s or common) < NEARLY * common


def _slower(subject: Subject, whose: GpuNvLinks, slow: list[NvLink], expected: int, yardstick: str) -> Finding:
    speed = min(link.speed_mb_per_s or 0 for link in slow)
    numbers = spoken([f"link {link.number}" for link in slow])
    return Finding(
        subject,
        confidence=Confidence.LIKELY if subject is NODE else Confidence.CERTAIN,
        evidence=[
            Evidence("NVML_FI_DEV_NVLINK_GET_SPEED", f"{whose.subject}: {numbers} at {speed} MB/s each way"),
            Evidence("gpus.yaml" if subject is NODE else "siblings", f"{yardstick}: {expected} MB/s"),
        ],
        speed_gb_per_s=speed / 1000,
        expected_gb_per_s=expected / 1000,
        links=[link.number for link in slow],
        yardstick=yardstick,
    )


@check("NVLINK_ERROR")
def errors(links: tuple[GpuNvLinks, ...]) -> Iterator[Finding]:
    """Errors while this scan looked. What a GPU counted since it started says nothing of now."""
    unseen: Unread | None = None
    for each in links:
        try:
            yield from _errors_of(each)
        except Unread as gap:
            unseen = unseen or gap
    if unseen is not None:
        raise unseen


def _errors_of(links: GpuNvLinks) -> Iterator[Finding]:
    if links.lacks("links") or not links.up:
        return
    read: dict[str, Counted | Unread] = {name: links.reading(name) for name in COUNTERS}
    counts = {name: counted for name, counted in read.items() if isinstance(counted, Counted)}
    if counts and all(counted.since == "boot" and counted.count for counted in counts.values()):
        raise Unread(Gap.NOT_RECORDED, links.source("replays"), "counts since the start", "scan with --sample 1s")
    now = {name: counted for name, counted in counts.items() if counted.since == "sample"}
    storm = "flit_crc_errors" in now and now["flit_crc_errors"].per_minute >= 60 * CRC_PER_SECOND
    trained = "recoveries" in now and now["recoveries"].count > 0
    if storm or trained or ("replays" in now and now["replays"].count):
        yield Finding(
            links.subject,
            severity=Severity.ERROR if storm or trained else None,
            evidence=[Evidence(links.source(name), f"{name}: {counted}") for name, counted in now.items()],
            replays=_told(read["replays"]),
            recoveries=_told(read["recoveries"]),
            crc=_told(read["flit_crc_errors"]),
        )
        return
    for name, held in read.items():
        # NVLink 5 counts recoveries alone
        if isinstance(held, Unread) and not (held.gap is Gap.UNSUPPORTED and "recoveries" in counts):
            raise Unread(held.gap, held.where or links.source(name), held.detail, held.remedy)


def _told(held: Counted | Unread) -> str:
    return "not counted" if isinstance(held, Unread) else str(held)


@check("C2C_DOWN")
def no_c2c(links: GpuNvLinks, gpu: Gpu, machine: Machine) -> Iterator[Finding]:
    """A Grace superchip whose GPU does not use the link to its CPU."""
    if not WITH_C2C.search(gpu.name) or links.c2c:
        return
    if machine.virtualization is not None:
        raise Unread(Gap.UNSUPPORTED, links.source("c2c"), "in a virtual machine the hypervisor decides on it")
    yield Finding(gpu.subject, evidence=links.seen("c2c"))
