"""What is usual among the GPUs of one model on this node: the yardstick before any table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import combinations
from typing import Any

from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor_checks.gpu_models import decode_gpu_name

BY_BRIDGE = re.compile(r"PCIe|PCIE|NVL\b|GeForce|RTX|Quadro|TITAN|GH200")


def usual(values: Iterable[int]) -> int:
    """The most frequent; of equals the highest."""
    counted = Counter(values)
    return max(counted, key=lambda value: (counted[value], value), default=0)


def by_model(gpus: Iterable[Gpu]) -> dict[str, list[Gpu]]:
    models: dict[str, list[Gpu]] = {}
    for gpu in gpus:
        name = gpu.get("name")
        if name is not None:
            models.setdefault(name, []).append(gpu)
    return models


def in_mig_mode(settings: tuple[GpuSettings, ...] | None) -> set[str]:
    return {each.subject.id for each in settings or () if each.get("mig")}


def nvlink_of(name: str) -> dict[str, Any]:
    """The table's row on this model's links; `bridge`: only cards that somebody joined have any."""
    model = decode_gpu_name(name)
    link: dict[str, Any] = dict(model.facts.get("link") or {}) if model is not None else {}
    return {**link, "bridge": bool(link.get("bridge")) or bool(BY_BRIDGE.search(name))}


def unjoined(members: Collection[str], joined: Collection[frozenset[str]]) -> list[tuple[str, str]]:
    """Pairs without a link whose both ends reach fewer others than more than half of the members do."""
    reach = {each: sum(each in pair for pair in joined) for each in members}
    common = usual(reach.values())
    if 2 * sum(count == common for count in reach.values()) <= len(members):
        return []
    short = sorted(each for each, count in reach.items() if count < common)
    return [pair for pair in combinations(short, 2) if frozenset(pair) not in joined]
