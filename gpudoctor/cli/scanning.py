"""From a node to its report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gpudoctor.cli.refusal import Refusal
from gpudoctor.finding import Subject
from gpudoctor.layer import Layer
from gpudoctor.render.plain import either

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.check import Check
    from gpudoctor.cli.options import Wish
    from gpudoctor.facts.fact import Fact, Facts
    from gpudoctor.facts.kernel_log import KernelLog
    from gpudoctor.node.surface import Node
    from gpudoctor.report import Report
    from gpudoctor.unread import Unread

RESERVE_SECONDS = 0.3  # of the timeout, for judging and printing what is there
SHORTEST_SECONDS = 0.1


Collecting = Callable[["set[type[Fact]]"], "Facts"]


def collecting(node: Node, wish: Wish, *, began: float) -> Collecting:
    """Gives the facts that are wanted. `began`: time.monotonic() at the command's start; the timeout counts from it.

    A whole scan of a live node collects from now on, beside the loading of checks and renderers: NVML and
    the sampling of clocks leave this process idle.
    """

    def gathered(wanted: set[type[Fact]]) -> Facts:
        return gather(node, wanted, wish.timeout_seconds, began=began, since_seconds=wish.since_seconds)

    if node.kind != "live" or wish.narrow:
        return gathered
    from gpudoctor.collect.collector import collectors

    kinds = set(collectors())
    early: list[Facts] = []
    thread = threading.Thread(target=lambda: early.append(gathered(kinds)), daemon=True)
    thread.start()

    def joined(wanted: set[type[Fact]]) -> Facts:
        thread.join()
        return early[0] if early else gathered(wanted)

    return joined


def scan(node: Node, catalog: Catalog, wish: Wish, facts_of: Collecting, *, began: float) -> Report:
    from gpudoctor.cli import description
    from gpudoctor.diagnosis import diagnose
    from gpudoctor.examine import examine
    from gpudoctor.report import Source, compose

    chosen = examinable(chosen_checks(catalog, wish))
    wanted: set[type[Fact]] = {kind for check in chosen for kind in check.facts}
    facts = facts_of(wanted | description.FACTS)
    seen = examine(facts, chosen, catalog.knowledge, wanted=_wanted_codes(wish), on=_on(facts, wish))
    machine, host = description.described(facts, node)
    return compose(
        seen,
        diagnose(seen.found),
        source=Source(node.kind, node.name),
        machine=machine,
        host=host,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(node.time)),
        duration_ms=(time.monotonic() - began) * 1e3,
        layers=[layer for layer in Layer if any(check.layer is layer for check in chosen)],
        fail_on=wish.fail_on,
        require=wish.require,
    )


def every_fact(node: Node, catalog: Catalog, timeout_seconds: float, *, began: float) -> Facts:
    """All that collectors give and checks of a node ask for."""
    from gpudoctor.collect.collector import collectors

    wanted = {kind for check in examinable(catalog.checks()) for kind in check.facts}
    return gather(node, wanted | set(collectors()), timeout_seconds, began=began)


def gather(
    node: Node, wanted: set[type[Fact]], timeout_seconds: float, *, began: float, since_seconds: float | None = None
) -> Facts:
    """The facts, with what is left of the time. A platform without /proc and /sys is not asked."""
    from gpudoctor.collect.collector import collect
    from gpudoctor.facts.fact import Facts
    from gpudoctor.facts.kernel_log import KernelLog
    from gpudoctor.unread import Gap, Unread

    if node.platform != "linux":
        gap = Unread(Gap.UNSUPPORTED, f"platform {node.platform}", "has no Linux kernel to ask")
        return Facts(dict.fromkeys(wanted, gap))

    def left() -> float:
        return round(max(SHORTEST_SECONDS, timeout_seconds - RESERVE_SECONDS - (time.monotonic() - began)), 1)

    if since_seconds is None:
        return collect(node, wanted, seconds=left())
    log = collect(node, {KernelLog}, seconds=left()).one(KernelLog)
    if isinstance(log, KernelLog):
        log = _since(log, node.time - since_seconds)
    return collect(node, wanted, seconds=left(), given={KernelLog: log})


def _since(log: KernelLog, instant: float) -> KernelLog | Unread:
    from gpudoctor.unread import Unread

    try:
        return log.since(instant)
    except Unread as gap:
        return gap


def chosen_checks(catalog: Catalog, wish: Wish) -> tuple[Check, ...]:
    """Raises Refusal for a code that no check yields."""
    for pattern in (*wish.checks, *wish.skip):
        require_known(catalog, pattern)
    return tuple(
        check
        for check in catalog.checks(wish.layers)
        if (not wish.checks or any(_names(pattern, check) for pattern in wish.checks))
        and not all(any(fnmatchcase(code, pattern) for pattern in wish.skip) for code in check.codes)
    )


def examinable(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Without those that judge what no node gives: a memory snapshot."""
    from gpudoctor.collect.collector import collectors

    given = set(collectors())
    return tuple(check for check in checks if check.facts <= given)


def require_known(catalog: Catalog, pattern: str) -> None:
    if catalog.known(pattern) or any(fnmatchcase(code, pattern) for code in catalog.codes):
        return
    near = catalog.nearest(pattern)
    raise Refusal(
        f"no check is called {pattern!r}; {f'did you mean {either(near)}' if near else 'see: gpudoctor checks'}"
    )


def _names(pattern: str, check: Check) -> bool:
    """Whether `--check PATTERN` (a code, `XID_79`, `XID_*`) names something this check yields."""
    return check.covers(pattern) or any(fnmatchcase(code, pattern) for code in check.codes)


def _wanted_codes(wish: Wish) -> Callable[[str], bool]:
    def wanted(code: str) -> bool:
        asked = not wish.checks or any(fnmatchcase(code, pattern) for pattern in wish.checks)
        return asked and not any(fnmatchcase(code, pattern) for pattern in wish.skip)

    return wanted


def _on(facts: Facts, wish: Wish) -> Callable[[Subject], bool]:
    """`--gpu N`: the GPU, what lies on its path, what uses it, and the node as a whole."""
    if not wish.gpus:
        return lambda subject: True
    subjects = gpu_subjects(facts)
    for given in wish.gpus:
        if given.lower() not in subjects:
            names = sorted({name for name in subjects if name.isdigit()}, key=int)
            there = f"this node has {either(names)}" if names else "no GPU of this node is known"
            raise Refusal(f"there is no GPU {given!r}; {there}")
    asked = [subjects[given.lower()] for given in wish.gpus]
    return lambda subject: any(subject.related(gpu) for gpu in asked)


def gpu_subjects(facts: Facts) -> dict[str, Subject]:
    """GPUs by NVML index and by bus id."""
    from gpudoctor.facts.gpu import Gpu
    from gpudoctor.facts.pci import PciDevice

    devices, gpus = facts.all(PciDevice), facts.all(Gpu)
    subjects: dict[str, Subject] = {}
    for device in devices if isinstance(devices, tuple) else ():
        if device.get("kind") == "gpu":
            subjects[device.bus_id] = device.subject
    for gpu in gpus if isinstance(gpus, tuple) else ():
        subject = subjects.setdefault(gpu.bus_id, gpu.subject)
        if gpu.get("index") is not None:
            subjects[str(gpu.index)] = subject
    return subjects
