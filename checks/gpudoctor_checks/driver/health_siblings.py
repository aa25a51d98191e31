"""GPUs of one model on one node that are not alike. The yardstick is the majority of the node's own GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from gpudoctor.check import check
from gpudoctor.facts.fact import SubjectFact
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.gpu_health import GpuEcc
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.gpu_thermal import GpuPower
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Severity, Subject

FIRMWARE = {"vbios_version": "VBIOS", "inforom_version": "InfoROM", "gsp_version": "GSP firmware"}
COSTLY = {
    "memory_total_bytes": "memory in bytes",
    "enforced_limit_watts": "power limit in W",
    "sm_max_mhz": "highest SM clock in MHz",
    "sm_application_mhz": "SM application clock in MHz",
    "memory_application_mhz": "memory application clock in MHz",
    "enabled": "ECC",
}
SETTINGS = {
    **COSTLY,
    "compute_mode": "compute mode",
    "persistence": "persistence",
}


@check("SIBLING_FIRMWARE_DIFFERS")
def firmware(gpus: tuple[Gpu, ...], settings: tuple[GpuSettings, ...]) -> Iterator[Finding]:
    yield from _odd_ones(gpus, settings, FIRMWARE)


@check("SIBLING_DIFFERS")
def set_up(
    gpus: tuple[Gpu, ...],
    settings: tuple[GpuSettings, ...],
    clocks: tuple[GpuClocks, ...],
    powers: tuple[GpuPower, ...],
    eccs: tuple[GpuEcc, ...],
) -> Iterator[Finding]:
    cut = {each.subject.id for each in settings if each.get("mig", False)}  # MIG takes some memory for itself
    for same in ([g for g in gpus if g.bus_id in cut], [g for g in gpus if g.bus_id not in cut]):
        yield from _odd_ones(same, (*gpus, *settings, *clocks, *powers, *eccs), SETTINGS)


def _odd_ones(gpus: Iterable[Gpu], facts: Iterable[SubjectFact], themes: dict[str, str]) -> Iterator[Finding]:
    models: dict[str, list[Gpu]] = {}
    for gpu in gpus:
        if gpu.vendor == "nvidia" and gpu.get("name") is not None:
            models.setdefault(gpu.name, []).append(gpu)
    for same in models.values():
        members = {gpu.subject.id: gpu.subject for gpu in same}
        own = [fact for fact in facts if fact.subject.id in members]
        if len(same) > 1:
            yield from _of_model(members, own, themes)


def _of_model(members: dict[str, Subject], facts: list[SubjectFact], themes: dict[str, str]) -> Iterator[Finding]:
    odd: dict[str, list[tuple[str, Any, Any, int]]] = {}
    split: list[tuple[str, dict[Any, list[str]], str]] = []
    for field, theme in themes.items():
        told = [(f, f.get(field)) for f in facts if field in f.__fact_fields__ and f.get(field) is not None]
        counted = Counter(value for _, value in told)
        if len(counted) < 2:
            continue
        common, many = counted.most_common(1)[0]
        if many * 2 <= len(told):
            split.append((theme, _labels(told), told[0][0].source(field)))
            continue
        for fact, value in told:
            if value != common:
                odd.setdefault(fact.subject.id, []).append((theme, value, common, many))
    kinds = [fact.get("data_centre") for fact in facts if isinstance(fact, GpuSettings)]
    server = any(held is not False for held in kinds)  # boards of one desktop GPU come from many makers
    for subject_id, differences in odd.items():
        yield _odd(members[subject_id], differences, len(members), server)
    if split:
        yield _split(split, server)


def _severity(themes: Iterable[str], server: bool) -> Severity | None:
    return None if server and set(themes) & set(COSTLY.values()) else Severity.INFO


def _odd(subject: Subject, differences: list[tuple[str, Any, Any, int]], of: int, server: bool) -> Finding:
    said = [
        f"{theme} {_word(own)} where {many} of {of} have {_word(common)}" for theme, own, common, many in differences
    ]
    return Finding(
        subject,
        severity=_severity((theme for theme, *_ in differences), server),
        evidence=[Evidence("NVML", text) for text in said],
        differences="; ".join(said),
    )


def _split(split: list[tuple[str, dict[Any, list[str]], str]], server: bool) -> Finding:
    said = [
        f"{theme} " + ", ".join(f"{_word(value)} on {' and '.join(who)}" for value, who in values.items())
        for theme, values, _ in split
    ]
    evidence = [Evidence(source, text) for text, (_, _, source) in zip(said, split, strict=True)]
    return Finding(
        NODE,
        severity=_severity((theme for theme, *_ in split), server),
        confidence=Confidence.LIKELY,
        evidence=evidence,
        differences="; ".join(said),
    )


def _labels(told: list[tuple[SubjectFact, Any]]) -> dict[Any, list[str]]:
    labels: dict[Any, list[str]] = {}
    for fact, value in told:
        labels.setdefault(value, []).append(fact.subject.label)
    return labels


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
