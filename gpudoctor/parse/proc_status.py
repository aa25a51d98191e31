"""/proc/PID/status, stat and cmdline, and the same of a thread."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.parse.cpu_list import cpus_in

TICKS = 100  # USER_HZ, which Linux shows to programs on every architecture with GPUs
_FIELD = re.compile(
    rb"^(Cpus_allowed_list|Mems_allowed_list|Threads|VmRSS|RssAnon|RssShmem|HugetlbPages|VmSwap):[ \t]*(.*)$",
    re.MULTILINE,
)
_INTERPRETER = re.compile(r"(python|pypy)[\d.]*|bash|sh|perl|node|ruby|julia|java")
_WITH_ARGUMENT = ("-W", "-X")


class Status(msgspec.Struct, frozen=True):
    cpus_allowed: frozenset[int]
    memory_nodes_allowed: frozenset[int] | None  # None: a kernel without cpusets
    threads: int
    resident_bytes: int
    private_bytes: int  # anonymous, shared and huge pages: what a process fills itself
    swapped_bytes: int


class Stat(msgspec.Struct, frozen=True):
    name: str
    state: str
    parent: int
    cpu_seconds: float
    last_cpu: int


def parse_status(text: bytes) -> Status:
    """Raises ValueError."""
    held = {name: value.strip() for name, value in _FIELD.findall(text)}
    if b"Cpus_allowed_list" not in held:
        raise ValueError("has no Cpus_allowed_list")
    memory = held.get(b"Mems_allowed_list")

    def kib(name: bytes) -> int:
        return int(held.get(name, b"0 kB").split()[0]) << 10

    return Status(
        cpus_allowed=cpus_in(held[b"Cpus_allowed_list"].decode()),
        memory_nodes_allowed=None if memory is None else cpus_in(memory.decode()),
        threads=int(held.get(b"Threads", b"1")),
        resident_bytes=kib(b"VmRSS"),
        private_bytes=kib(b"RssAnon") + kib(b"RssShmem") + kib(b"HugetlbPages"),
        swapped_bytes=kib(b"VmSwap"),
    )


def parse_stat(text: bytes) -> Stat:
    """Raises ValueError. A name may hold spaces and parentheses; what follows it holds none.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    if len(fields) < 37:
        raise ValueError(f"ends after {len(fields) + 2} fields")
    return Stat(
        name=head.partition(b"(")[2].decode(errors="replace"),
        state=fields[0].decode(),
        parent=int(fields[1]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / TICKS,
        last_cpu=int(fields[36]),
    )


def program(cmdline: bytes) -> str:
    """`python train.py`, `python -m vllm.entrypoints`: what runs, and none of its arguments. "" for a kernel thread."""
    first, *rest = [part.decode(errors="replace") for part in cmdline.rstrip(b"\0").split(b"\0")]
    words = first.split()  # a process may write its title there: `VLLM::Worker_TP0`, `ray::train (step 3)`
    name = _basename(words[0]) if words else ""
    script = _script(rest) if _INTERPRETER.fullmatch(name) else ""
    shown = f"{name} {script}".strip()
    return "".join(c if c.isprintable() else "?" for c in shown)[:60]


def _script(arguments: list[str]) -> str:
    skipped = False
    for place, each in enumerate(arguments):
        if skipped or each in _WITH_ARGUMENT:
            skipped = not skipped
        elif each == "-m":
            return " ".join(["-m", *arguments[place + 1 : place + 2]])
        elif each == "-c":
            return "-c"
        elif not each.startswith("-"):
            return _basename(each)
    return ""


def _basename(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
