"""A pack of checks that is small enough to be read: for tests of what stands around checks."""

from __future__ import annotations

from pathlib import Path

from gpudoctor.catalog import Catalog
from gpudoctor.node.archive import Archive
from gpudoctor.node.recorded import RecordedNode

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
    return iter(())


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


def node(hostname: str = "gpu-a17", platform: str = "linux") -> RecordedNode:
    surfaces = {("file", "/proc/sys/kernel/hostname"): f"{hostname}\n".encode()}
    return RecordedNode(Archive(platform, 0, 1763695300.0, surfaces=surfaces), "fake.node")  # type: ignore[arg-type]
