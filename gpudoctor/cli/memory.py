"""From a snapshot's file to what is said of one device's memory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpudoctor.cli.refusal import Refusal
from gpudoctor.cli.spinner import working
from gpudoctor.finding import Severity
from gpudoctor.layer import Layer

if TYPE_CHECKING:
    from gpudoctor.allocator.explanation import Explanation
    from gpudoctor.allocator.snapshot import Device, Snapshot
    from gpudoctor.catalog import Catalog
    from gpudoctor.cli.printing import Look
    from gpudoctor.report import Report

MOST_ROWS = 10_000
ROWS = 10  # of each list in JSON and HTML
LARGEST = 1 << 60
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


@dataclass(frozen=True, slots=True)
class Question:
    """What of the snapshot to explain."""

    device: int | None  # None: the one that failed, else the busiest
    settings: tuple[str, ...]  # to replay under; none: the sensible ones
    cap: int | None  # bytes
    stop: bool
    rows: int  # of each list; 0: as many as are good to read


def question(device: str | None, what_if: Sequence[str], cap: str | None, on_oom: str, top: str | None) -> Question:
    """Raises Refusal."""
    return Question(
        None if device is None else whole("--device", device, 0, 1 << 16),
        settings(what_if),
        None if cap is None else size("--cap", cap),
        on_oom == "stop",
        0 if top is None else whole("--top", top, 1, MOST_ROWS),
    )


def size(option: str, given: str) -> int:
    """`6.6GiB`, `512MiB`, `7g`, `123456`: bytes. G, GB and GiB are all 2**30, as PyTorch counts."""
    match = _SIZE.fullmatch(given.strip())
    count = int(float(match[1]) * (1 << _SHIFTS[match[2].lower()])) if match else 0
    if not 0 < count <= LARGEST:
        raise Refusal(f"{option} {given!r} is no size; write 6.6GiB, 512MiB, 7g or a number of bytes")
    return count


def whole(option: str, given: str, least: int, most: int) -> int:
    text = given.strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if not least <= number <= most:
        raise Refusal(f"{option} {given!r} is no whole number from {least} to {most}")
    return number


def settings(given: Sequence[str]) -> tuple[str, ...]:
    """Each text once, in the order given. Raises Refusal for what PyTorch would refuse or nothing can replay."""
    from gpudoctor.allocator.settings import InvalidSettings, parse_settings

    for text in given:
        try:
            if text.strip() != "all" and parse_settings(text).backend != "native":
                raise Refusal(
                    f"--what-if {text!r}: cudaMallocAsync is the driver's own allocator, which cannot be replayed"
                )
        except InvalidSettings as error:
            raise Refusal(f"--what-if {text!r}: {error}") from error
    return tuple(dict.fromkeys(given))


def read(path: str, wanted: int | None, *, ascii_only: bool = False) -> tuple[Snapshot, Device]:
    """Raises Refusal."""
    from gpudoctor.allocator.reader import read_snapshot
    from gpudoctor.allocator.snapshot import InvalidSnapshot

    name = os.path.basename(path) or path
    said = [f"reading {name}"]

    def progress(done: int, total: int) -> None:
        if total:
            said[0] = f"reading {name}  {done * 100 // total} %"

    try:
        with working(lambda: said[0], ascii_only=ascii_only):
            snapshot = read_snapshot(path, progress=progress)
    except InvalidSnapshot as error:
        raise Refusal(f"{path} {error}") from error
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from error
    return snapshot, chosen(snapshot, wanted)


def chosen(snapshot: Snapshot, wanted: int | None) -> Device:
    """The device asked for; else the one that failed, of several the busiest."""
    from gpudoctor.allocator.snapshot import Action

    devices = snapshot.devices
    if not devices:
        raise Refusal("the snapshot holds no device: neither segments nor events")
    if wanted is None:
        return max(devices, key=lambda d: (Action.OOM in d.trace.actions, len(d.trace), d.reserved, -d.index))
    for device in devices:
        if device.index == wanted:
            return device
    held = ", ".join(str(device.index) for device in devices)
    raise Refusal(f"there is no device {wanted}: the snapshot holds device{'s' * (len(devices) > 1)} {held}")


def explained(
    path: str, snapshot: Snapshot, device: Device, asked: Question, *, ascii_only: bool = False
) -> Explanation:
    from gpudoctor.allocator.explain import explain

    said = ["looking at what happened"]

    def progress(done: int, count: int) -> None:
        said[0] = f"replaying the requests under other settings  {done + 1} of {count}"

    with working(lambda: said[0], ascii_only=ascii_only):
        return explain(
            snapshot,
            device,
            source=os.path.basename(path) or path,
            what_if=asked.settings,
            cap=asked.cap,
            stop=asked.stop,
            top=asked.rows or ROWS,
            progress=progress,
        )


def judged(explanation: Explanation, catalog: Catalog, fail_on: Severity, *, began: float) -> Report:
    """What checks of the allocator's layer say of the snapshot, as a scan's report."""
    from gpudoctor.allocator.fact import fact_of
    from gpudoctor.diagnosis import diagnose
    from gpudoctor.examine import examine
    from gpudoctor.facts.allocator import AllocatorSnapshot
    from gpudoctor.facts.fact import Facts
    from gpudoctor.report import Machine, Source, compose

    checks = [check for check in catalog.checks((Layer.ALLOCATOR,)) if check.facts <= {AllocatorSnapshot}]
    seen = examine(Facts({AllocatorSnapshot: (fact_of(explanation),)}), checks, catalog.knowledge)
    return compose(
        seen,
        diagnose(seen.found),
        source=Source("files", explanation.source),
        machine=Machine("linux"),
        host=None,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        duration_ms=(time.monotonic() - began) * 1e3,
        layers=[Layer.ALLOCATOR],
        fail_on=fail_on,
        require=(),
    )


def memory_text(
    explanation: Explanation,
    report: Report,
    snapshot: Snapshot,
    device: Device,
    form: str,
    look: Look,
    *,
    verbosity: int = 0,
    rows: int = 0,
) -> str:
    if form == "json":
        from gpudoctor.render.memory import json

        return json.render(explanation, report, rows=rows or ROWS)
    if form == "html":
        from gpudoctor.render.json import json_safe
        from gpudoctor.render.memory.html import html_page

        return html_page(explanation, snapshot, device, json_safe(report.findings))
    from gpudoctor.render.memory import terminal

    return terminal.render(explanation, report, look.screen(), verbosity=verbosity, rows=rows)
