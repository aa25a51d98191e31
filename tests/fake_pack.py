"""A pack of checks that is small enough to be read: for tests of what stands around checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpudoctor.catalog import Catalog
from gpudoctor.node.archive import Archive, Key
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.unread import Reading

NOW = 1763695300.0
ROWS = """\
HOST_CURSED:
  title: "{subject} is called {hostname}"
  severity: error
  why: A name of that kind brings bad luck.
  impact: Nothing works on Fridays.
  fix:
    - do: Give the node another name.
      command: hostnamectl set-hostname {better}
      needs_root: true
      disruption: reboot
  verify: cat /proc/sys/kernel/hostname
  sources: ["https://example.org/omens?a=1&b=2"]
HOST_SLOW:
  title: The node is slow
  severity: warning
  why: It waits.
  fix: [{do: Wait too.}]
  explained_by: [HOST_CURSED]
  sources: [none]
HOST_LOG:
  title: The log is read
  severity: info
  why: It is.
  fix: []
  sources: [none]
"ZAP_*":
  title: Zap
  severity: warning
  why: A zap of the table.
  fix: [{do: Duck.}]
  sources: [none]
"""

CHECKS = """\
from gpudoctor.check import check
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.facts.machine import Machine
from gpudoctor.finding import NODE, Finding
from gpudoctor.knowledge import family


@check("HOST_CURSED")
def cursed(machine: Machine):
    if machine.hostname == "friday13":
        yield Finding(NODE, evidence=machine.seen("hostname"), hostname=machine.hostname)


@check("HOST_SLOW")
def slow(machine: Machine):
    if machine.hostname == "friday13":
        yield Finding(NODE)


@check("HOST_LOG")
def log(log: KernelLog):
    if log.xids:
        yield Finding(NODE, evidence=[log.evidence(event.record) for event in log.xids])


@check("ZAP_*")
def zaps(machine: Machine):
    if machine.hostname == "zapped":
        yield Finding(NODE, code="ZAP_7")


@family("ZAP")
def zap(code, rows):
    return rows["ZAP_*"] if code.removeprefix("ZAP_").isdigit() else None
"""


def written_to(folder: Path, name: str) -> Catalog:
    """The pack as a package `name`; the folder must be on sys.path."""
    pack = folder / name
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "kernel.py").write_text(CHECKS)
    (pack / "kernel.yaml").write_text(ROWS)
    return Catalog((name,))


def node(hostname: str = "gpu-a17", platform: str = "linux", **files: bytes) -> RecordedNode:
    """A machine that answers with its name, and with what else is given: `kmsg=b"..."`, `stat=b"..."`."""
    paths = {"kmsg": "/dev/kmsg", "stat": "/proc/stat"}
    surfaces: dict[Key, Reading[Any]] = {("file", "/proc/sys/kernel/hostname"): f"{hostname}\n".encode()}
    surfaces.update({("file", paths[name]): content for name, content in files.items()})
    return RecordedNode(Archive(platform, 0, NOW, surfaces=surfaces), "fake.node")
