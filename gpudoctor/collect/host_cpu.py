"""The CPUs, and who sets their clocks. A big machine has hundreds: few files are read for each."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.facts.host import Cpu, CpuFrequency
from gpudoctor.facts.numa import Numa
from gpudoctor.node.surface import Node
from gpudoctor.parse.cpu_list import cpus_in
from gpudoctor.parse.cpuinfo import cpu_info
from gpudoctor.unread import Gap, Reading, Unread, hold, known

CPUINFO = "/proc/cpuinfo"
CPUS = "/sys/devices/system/cpu"
POLICIES = f"{CPUS}/cpufreq"
PREFERENCES_READ = 4
_POLICY = re.compile(r"policy\d+")


@collector
def cpu(node: Node, numa: Numa | Unread | None) -> Cpu | None:
    if node.platform != "linux":
        return None
    text = node.read(CPUINFO)
    info = text if isinstance(text, Unread) else cpu_info(text)
    online, siblings = _cpus(node, f"{CPUS}/online"), _cpus(node, f"{CPUS}/cpu0/topology/thread_siblings_list")
    threads = online if isinstance(online, Unread) else len(online)
    of_core = siblings if isinstance(siblings, Unread) else max(1, len(siblings))

    def said(name: str) -> Reading[Any]:
        if isinstance(info, Unread):
            return info
        value = getattr(info, name)
        return Unread(Gap.MALFORMED, CPUINFO, f"names no {name}") if value is None else value

    return Cpu(
        architecture=hold(said("architecture")),
        model=hold(said("model")),
        sockets=hold(known(said("sockets"), 0) or _packages(node, numa)),
        cores=hold(known(said("cores"), 0) or _cores(threads, of_core)),
        threads=hold(threads),
        smt=hold(_smt(node, of_core)),
        isolated=hold(_cpus(node, f"{CPUS}/isolated")),
        flags=hold(said("flags")),
    )


@collector
def cpu_frequency(node: Node) -> CpuFrequency | Unread | None:
    """None where the kernel sets no clocks: in a VM, or with the driver left out."""
    names = node.list(POLICIES)
    if isinstance(names, Unread):
        return None if names.gap is Gap.ABSENT else names
    policies = sorted(filter(_POLICY.fullmatch, names), key=lambda name: int(name[6:]))
    if not policies:
        return None
    return CpuFrequency(
        driver=hold(attribute(node, f"{POLICIES}/{policies[0]}/scaling_driver")),
        governors=hold(_governors(node, policies)),
        energy_preferences=hold(_preferences(node, policies)),
    )


def _governors(node: Node, policies: list[str]) -> Reading[dict[str, int]]:
    """A CPU that is taken offline takes its policy's files with it."""
    read = [attribute(node, f"{POLICIES}/{policy}/scaling_governor") for policy in policies]
    told = [governor for governor in read if not isinstance(governor, Unread)]
    return dict(Counter(told)) if told else read[0]  # type: ignore[return-value]


def _preferences(node: Node, policies: list[str]) -> Reading[frozenset[str]]:
    step = max(1, len(policies) // PREFERENCES_READ)
    asked = [f"{POLICIES}/{policy}/energy_performance_preference" for policy in policies[::step][:PREFERENCES_READ]]
    first, *others = (attribute(node, path) for path in asked)
    if isinstance(first, Unread):
        return frozenset() if first.gap is Gap.ABSENT else first
    return frozenset([first, *(each for each in others if not isinstance(each, Unread))])


def _cpus(node: Node, path: str) -> Reading[frozenset[int]]:
    text = attribute(node, path)
    try:
        return text if isinstance(text, Unread) else cpus_in(text)
    except ValueError as error:
        return Unread(Gap.MALFORMED, path, str(error))


def _packages(node: Node, numa: Numa | Unread | None) -> Reading[int]:
    """Sockets number their CPUs in a row: the first and last CPU of each node are asked, as one may span two."""
    nodes = numa.reading("nodes") if isinstance(numa, Numa) else numa
    if nodes is None or isinstance(nodes, Unread):
        return nodes or Unread(Gap.ABSENT, CPUS, "no NUMA node is known")
    asked = sorted({end for each in nodes if each.cpus for end in (min(each.cpus), max(each.cpus))})
    read = [number(node, f"{CPUS}/cpu{each}/topology/physical_package_id") for each in asked]
    gap = next((each for each in read if isinstance(each, Unread)), None)
    return gap or len(set(read))


def _cores(threads: Reading[int], of_core: Reading[int]) -> Reading[int]:
    if isinstance(threads, Unread):
        return threads
    return of_core if isinstance(of_core, Unread) else threads // of_core


def _smt(node: Node, of_core: Reading[int]) -> Reading[bool]:
    active = number(node, f"{CPUS}/smt/active")
    if not isinstance(active, Unread):
        return bool(active)
    return of_core if isinstance(of_core, Unread) else of_core > 1
