"""The driver's libraries as ld.so would find them, without loading any."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from gpudoctor.collect.attribute import exists
from gpudoctor.facts.driver import FoundBy, Library
from gpudoctor.node.surface import Node
from gpudoctor.parse.ld_cache import cached_libraries
from gpudoctor.parse.nvidia_proc import version_in_name
from gpudoctor.unread import Gap, Reading, Unread

NAMES = ("libcuda.so.1", "libnvidia-ml.so.1")
CACHE = "/etc/ld.so.cache"
DEFAULTS = (
    "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
    "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/run/opengl-driver/lib",
)  # fmt: skip


def libraries(node: Node) -> Reading[tuple[Library, ...]]:
    """In the loader's order for each name. Unread where not one of the places could be seen."""
    cache = node.read(CACHE)
    cached = {} if isinstance(cache, Unread) else cached_libraries(cache, NAMES)
    found = [library for name in NAMES for library in _found(node, name, cached.get(name, ()))]
    blind = isinstance(cache, Unread) and cache.gap is not Gap.ABSENT
    return cache if blind and isinstance(cache, Unread) and not found else tuple(found)


def _found(node: Node, name: str, cached: tuple[str, ...]) -> Iterator[Library]:
    seen: set[str] = set()
    for path, by in _candidates(node, name, cached):
        file = _resolved(node, path)
        if file is not None and file not in seen:
            seen.add(file)
            yield Library(name, path, file, version_in_name(file), by)


def _candidates(node: Node, name: str, cached: tuple[str, ...]) -> Iterator[tuple[str, FoundBy]]:
    for directory in _library_path(node):
        yield f"{directory}/{name}", "LD_LIBRARY_PATH"
    for path in cached:
        yield path, "ld.so.cache"
    for directory in DEFAULTS:
        yield f"{directory}/{name}", "default directory"


def _library_path(node: Node) -> tuple[str, ...]:
    environment = node.read("/proc/self/environ")
    if isinstance(environment, Unread):
        return ()
    found = next((v for v in environment.split(b"\0") if v.startswith(b"LD_LIBRARY_PATH=")), b"=")
    parts = found.partition(b"=")[2].decode(errors="replace").replace(";", ":").split(":")
    return tuple(part.rstrip("/") for part in parts if part.startswith("/"))


def _resolved(node: Node, path: str) -> str | None:
    """Where the links end; None where nothing is."""
    file = path
    for _ in range(8):
        target = node.link(file)
        if isinstance(target, Unread):
            break
        file = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
    there = exists(node, file)
    return file if there is True or (isinstance(there, Unread) and file != path) else None
