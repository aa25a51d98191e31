"""Host memory exhaustion, hung tasks and lockups in the kernel log.

Formats: mm/oom_kill.c, mm/memcontrol.c, kernel/hung_task.c, kernel/watchdog.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from gpudoctor.facts.kernel_events import OomKill, Stall
from gpudoctor.facts.kernel_log import KernelRecord

ANCHORS = (
    "oom-kill:",
    "Killed process",
    "Kill process",
    "killed as a result of limit of",
    "INFO: task ",
    "soft lockup",
    "hard LOCKUP",
    "[nvidia",
    "[amdgpu",
    "[amdkfd",
    "[nouveau",
)
TRACE_LINES = 60
TRACE_SECONDS = 2.0

_KILLED = re.compile(
    r"Killed process (?P<pid>\d{1,10}) \((?P<process>.{0,64}?)\)(?=[ ,]|$)(?:.{0,80}? anon-rss:(?P<anon>\d{1,15})kB)?"
    r"(?:.{0,40}?shmem-rss:(?P<shmem>\d{1,15})kB)?"
)
_LIMIT = re.compile(r"Task in \S{1,400} killed as a result of limit of (?P<cgroup>\S{1,400})")
_HUNG = re.compile(
    r"INFO: task (?P<process>.{1,64}):(?P<pid>\d{1,10}) blocked (?:in I/O wait )?for more than "
    r"(?P<seconds>\d{1,6}) seconds"
)
_SOFT = re.compile(
    r"BUG: soft lockup - CPU#(?P<cpu>\d{1,5}) stuck for (?P<seconds>\d{1,6})s! "
    r"\[(?P<process>.{1,64}):(?P<pid>\d{1,10})\]"
)
_HARD = re.compile(r"Watchdog detected hard LOCKUP on cpu (?P<cpu>\d{1,5})")
_MODULE = re.compile(r"\[(?P<module>nvidia(?:_\w+)?|amdgpu|amdkfd|nouveau)(?: [^]]{1,60})?\]")


def oom_kills(records: Iterable[KernelRecord]) -> Iterator[OomKill]:
    constraints: dict[int, tuple[bool, str | None]] = {}
    limit: str | None = None
    for record in records:
        text = record.text
        if "oom-kill:" in text:
            said = dict(part.split("=", 1) for part in text.partition("oom-kill:")[2].split(",") if "=" in part)
            if said.get("pid", "").isdecimal():
                limited = said.get("constraint") == "CONSTRAINT_MEMCG"
                constraints[int(said["pid"])] = (limited, said.get("oom_memcg") if limited else None)
        elif "killed as a result" in text and (found := _LIMIT.search(text)):
            limit = found["cgroup"]
        elif "Killed process" in text and (found := _KILLED.search(text)):
            pid = int(found["pid"])
            limited, cgroup = constraints.pop(pid, (limit is not None or "Memory cgroup" in text, limit))
            limit = None
            parts = [int(found[part]) for part in ("anon", "shmem") if found[part]]
            yield OomKill(record, found["process"], pid, sum(parts) * 1024 if parts else None, cgroup, limited)


def stalls(records: Sequence[KernelRecord]) -> Iterator[Stall]:
    for i, record in enumerate(records):
        text = record.text
        if "INFO: task " in text and (found := _HUNG.search(text)):
            module, traced = _trace(records, i)
            pid, seconds = int(found["pid"]), int(found["seconds"])
            yield Stall(record, "hung task", found["process"], pid, None, seconds, module, traced)
        elif "soft lockup" in text and (found := _SOFT.search(text)):
            module, traced = _trace(records, i)
            pid, seconds, cpu = int(found["pid"]), int(found["seconds"]), int(found["cpu"])
            yield Stall(record, "soft lockup", found["process"], pid, cpu, seconds, module, traced)
        elif "hard LOCKUP" in text and (found := _HARD.search(text)):
            module, traced = _trace(records, i)
            yield Stall(record, "hard lockup", None, None, int(found["cpu"]), None, module, traced)


def _trace(records: Sequence[KernelRecord], start: int) -> tuple[str | None, bool]:
    """The first GPU module in the trace under this line, and whether there is a trace."""
    own = records[start]
    traced = False
    for record in records[start + 1 : start + 1 + TRACE_LINES]:
        if own.at is not None and record.at is not None and record.at - own.at > TRACE_SECONDS:
            break
        if _HUNG.search(record.text) or _SOFT.search(record.text) or _HARD.search(record.text):
            break
        if "Modules linked in" in record.text:
            continue
        traced = traced or "+0x" in record.text or "Call Trace" in record.text
        if "+0x" in record.text and (found := _MODULE.search(record.text)):
            return found["module"], True
    return None, traced
