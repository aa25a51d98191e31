"""`gpudoctor --help`, written for a person."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

PAGE = """\
gpudoctor says why a GPU node is broken or slow, what to do first, and what could not be seen.

Usage
  gpudoctor scan                      examine this node, every layer, bottom up; it changes nothing
  gpudoctor topo                      the node as a picture: its links, and the broken ones
  gpudoctor memory oom.pickle         why PyTorch ran out of memory, and which settings would have helped
  gpudoctor explain XID_79            what a finding means and what to do; works offline
  gpudoctor explain 79                the same, by the number in the kernel log
  gpudoctor record node.node          all that a scan reads, redacted, in one text file
  gpudoctor scan --node node.node     the same verdict from that file, anywhere, later

Commands
  scan      examine a node: the findings, causes first, and how to mend them
  topo      draw the node: sockets, switches, GPUs, NICs, links, and what is wrong where
  memory    explain a PyTorch memory snapshot, and replay it under other allocator settings
  record    write down all that a scan reads, so that others can examine it
  facts     what is known of this node, and what could not be read and why
  explain   explain a code, an Xid or SXid number, or the name of a GPU
  checks    everything that can be found, by layer

Often used with scan
  --layer kernel --layer driver       only these layers
  --skip PERSISTENCE_OFF              all but this
  --format json -o report.json        for a script; the schema is docs/schema/report.schema.json
  --fail-on warning                   exit 1 from warnings on (default: error)
  --require driver                    exit 3 where the layer could not be examined
  --root /host                        in a container that has the host mounted there
  -v, -vv                             all evidence; every outcome

Exit codes
  0  nothing at or above --fail-on    1  something is    2  wrong usage or unreadable input
  3  a layer named by --require could not be examined    4  gpudoctor itself failed

Other options
  --version                           print the version
  --install-completion                complete commands, layers and codes in your shell
  --show-completion                   print what that would install
  -h, --help                          this page; gpudoctor COMMAND --help for a command's own

A scan reads /proc, /sys, the kernel log and NVML. It creates no CUDA context, writes nothing, uses no
network and runs nothing of yours. Run it as root to see all: what it may not read it reports as
"could not tell", never as fine.
"""


class _AsGiven:
    """Our options are texts, lists of texts, flags and counts, as the parser hands them over.

    Newer typer imports pydantic, 70 ms, to find that out: typer.core._TyperParameter.get_runtime_param
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if hasattr(param, "_runtime_param"):
                param._runtime_param = self
        return params

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        return () if value is None and (param.multiple or param.nargs == -1) else value


class Plain(_AsGiven, TyperCommand):
    """A command."""


class Front(_AsGiven, TyperGroup):
    """The commands, under a page of our own."""

    def get_help(self, ctx: Any) -> str:
        return PAGE.rstrip()
