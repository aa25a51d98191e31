"""The host beside the GPUs in a few lines: CPUs, memory, and where this shell works."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from gpudoctor.render.hardware import cpu_name, size
from gpudoctor.render.screen import Screen
from gpudoctor.render.story import counted
from gpudoctor.report import Host

MEDIA = {"nvme": "NVMe", "ssd": "SSD", "rotational": "spinning disk", "memory": "memory", "virtual": "virtual disk"}


def host(about: Host, screen: Screen) -> Iterator[Text]:
    for label, words in (("CPU", _cpus(about, screen)), ("memory", _memory(about)), ("works in", _working(about))):
        if words:
            yield from screen.hanging(Text(f"   {label:<9}", "label"), "; ".join(words), screen.width - 1)


def _cpus(about: Host, screen: Screen) -> list[str]:
    words = [cpu_name(about.cpu)] if about.cpu else []
    if about.sockets and about.cores:
        each = f"{about.sockets} {screen.glyphs.times} " if about.sockets > 1 else ""
        words.append(f"{each}{counted(about.cores // about.sockets, 'core')}")
    if about.threads and about.threads != about.cores:
        words[-1:] = [f"{words[-1]}, {about.threads} CPUs" if words else f"{about.threads} CPUs"]
    if about.smt is not None:
        words[-1:] = [f"{words[-1]} with{'' if about.smt else 'out'} SMT"] if words else []
    if about.governors:
        scales = about.frequency_driver and about.governors != ("performance",)  # what a name means, the driver says
        by = f" ({about.frequency_driver})" if scales else ""
        words.append(f"governor {', '.join(about.governors)}{by}")
    return words


def _memory(about: Host) -> list[str]:
    if about.memory_bytes is None:
        return []
    nodes = f" in {counted(about.numa_nodes, 'NUMA node')}" if about.numa_nodes else ""
    swap = f"swap {size(about.swap_bytes)}" if about.swap_bytes else "no swap" if about.swap_bytes == 0 else ""
    return [f"{size(about.memory_bytes)}{nodes}", *([swap] if swap else [])]


def _working(about: Host) -> list[str]:
    where = about.working_directory
    if where is None:
        return []
    held = f"{where.file_system} from {where.device}" if where.medium == "network" else where.file_system
    on = f" on {MEDIA[where.medium]}" if where.medium in MEDIA and where.file_system not in ("tmpfs", "ramfs") else ""
    return [f"{where.path}: {held}{on}"]
