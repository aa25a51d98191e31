"""Where the folders lie that jobs work in and cache in: for this shell, and for processes that use a GPU now.

Nothing on a network file system is touched: a dead server would keep this program waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpudoctor.collect.collector import collector
from gpudoctor.collect.host_medium import medium
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.host import Folder, JobStorage, Storage
from gpudoctor.facts.machine import Machine
from gpudoctor.node.surface import Node
from gpudoctor.parse.mountinfo import Mount, mount_of, mounts
from gpudoctor.unread import Gap, Reading, Unread, hold, known

PROCESSES_LOOKED_AT = 4
MOST_LINKS = 20

Environment = Mapping[str, str]


@collector
def storage(node: Node, machine: Machine) -> Storage | None:
    if node.platform != "linux":
        return None
    return Storage(folders=hold(_folders(node, "self", "this shell", _in_vm(machine))))


@collector
def job_storage(node: Node, machine: Machine, uses: tuple[GpuMemoryUse, ...]) -> JobStorage | None:
    """Ranks of a job share their folders: a few processes speak for all. None where no process is to be seen."""
    holders = [use.reading("holders") for use in uses]
    pids = sorted({h.pid for held in holders if not isinstance(held, Unread) for h in held if h.kind == "compute"})
    found = [_folders(node, str(pid), f"pid {pid}", _in_vm(machine)) for pid in pids[:PROCESSES_LOOKED_AT]]
    told = [each for each in found if not isinstance(each, Unread)]
    if told:
        return JobStorage(folders=tuple(folder for folders in told for folder in folders))
    gaps = [each for each in (*found, *holders) if isinstance(each, Unread) and each.gap is not Gap.ABSENT]
    return JobStorage(folders=hold(gaps[0])) if gaps else None


def _in_vm(machine: Machine) -> bool:
    return known(machine.reading("virtualization"), None) is not None


def _folders(node: Node, process: str, whose: str, in_vm: bool) -> Reading[tuple[Folder, ...]]:
    table, entries = node.read(f"/proc/{process}/mountinfo"), node.read(f"/proc/{process}/environ")
    if isinstance(table, Unread):
        return table
    if isinstance(entries, Unread):
        return entries
    working = node.link(f"/proc/{process}/cwd")
    environment = _environment(entries)
    mounted = mounts(table)
    own = process == "self" or table == node.read("/proc/self/mountinfo")  # else its paths are not this program's
    seen: dict[str, str | None] = {}
    made = []
    for purpose, path in _places(environment, working):
        there = _followed(node, mounted, path, seen) if own else path
        mount = mount_of(mounted, there)
        if mount is not None:
            kind = medium(node, mount, in_vm)
            made.append(Folder(purpose, there, whose, mount.mount_point, mount.file_system, mount.device, kind))
    return tuple(made)


def _environment(entries: bytes) -> Environment:
    pairs = (entry.partition("=") for entry in entries.decode(errors="replace").split("\0"))
    return {name: value for name, equals, value in pairs if equals and value}


def _places(environment: Environment, working: Reading[str]) -> Iterator[tuple[str, str]]:
    """Each purpose and its folder. What is not absolute is left out: so stands what a recording does not tell."""
    if isinstance(working, str) and working.startswith("/"):
        yield "working directory", working
    for purpose, path in _caches(environment):
        if path.startswith("/"):
            yield purpose, path.rstrip("/") or "/"


def _caches(environment: Environment) -> Iterator[tuple[str, str]]:
    """Where each program looks by its own rules."""
    said = environment.get
    home = said("HOME", "")
    cache = said("XDG_CACHE_HOME") or f"{home}/.cache"
    temporary = said("TMPDIR") or said("TEMP") or said("TMP") or "/tmp"  # noqa: S108
    if said("CUDA_CACHE_DISABLE") != "1":
        yield "CUDA cache", said("CUDA_CACHE_PATH") or _below(home, ".nv/ComputeCache")
    yield "Triton cache", said("TRITON_CACHE_DIR") or _below(said("TRITON_HOME") or home, ".triton/cache")
    yield "Inductor cache", said("TORCHINDUCTOR_CACHE_DIR") or f"{temporary}/torchinductor_{said('USER', '')}"
    known_cache = cache if home or said("XDG_CACHE_HOME") else ""
    yield "Hugging Face", said("HF_HOME") or _below(known_cache, "huggingface")
    yield "PyTorch hub", said("TORCH_HOME") or _below(known_cache, "torch")


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else ""


def _followed(node: Node, mounted: tuple[Mount, ...], path: str, seen: dict[str, str | None]) -> str:
    """The path with the symbolic links on local file systems followed: homes and caches are often links."""
    done, todo, links = "", path.split("/")[:0:-1], 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}"
        mount = mount_of(mounted, here)
        if mount is None or mount.is_network:
            return "/".join([here, *reversed(todo)])
        target = _target(node, here, seen)
        if target is None:
            done = here
            continue
        links += 1
        if links > MOST_LINKS:
            return path
        done = "" if target.startswith("/") else done
        todo += [each for each in target.split("/")[::-1] if each]
    return done or "/"


def _target(node: Node, path: str, seen: dict[str, str | None]) -> str | None:
    if path not in seen:
        target = node.link(path)
        seen[path] = None if isinstance(target, Unread) else target
    return seen[path]
