"""A node that remembers every answer it gives, failures too."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from gpudoctor.node.archive import Archive, Key, Verb
from gpudoctor.node.surface import Node, NvmlCall, Output, Stat, sampled
from gpudoctor.unread import Reading

T = TypeVar("T")


class RecordingNode:
    def __init__(self, node: Node) -> None:
        self.kind: Literal["live", "recording"] = node.kind
        self.name = node.name
        self.platform = node.platform
        self.uid = node.uid
        self.time = node.time
        self.sample_seconds = node.sample_seconds
        self._node = node
        self._heard: dict[Key, Reading[Any]] = {}
        self._lock = threading.Lock()

    def read(self, path: str, sample: int = 0) -> Reading[bytes]:
        return self._kept("file", sampled(path, sample), self._node.read(path, sample))

    def list(self, path: str) -> Reading[tuple[str, ...]]:
        return self._kept("dir", path, self._node.list(path))

    def link(self, path: str) -> Reading[str]:
        return self._kept("link", path, self._node.link(path))

    def stat(self, path: str) -> Reading[Stat]:
        return self._kept("stat", path, self._node.stat(path))

    def run(self, argv: Sequence[str], seconds: float = 5.0) -> Reading[Output]:
        return self._kept("run", " ".join(argv), self._node.run(argv, seconds))

    def nvml(self, calls: Sequence[NvmlCall]) -> tuple[Reading[Any], ...]:
        answers = self._node.nvml(calls)
        return tuple(self._kept("nvml", str(call), answer) for call, answer in zip(calls, answers, strict=True))

    def archive(self) -> Archive:
        """What was asked and answered until now, in the order of its keys; nothing is redacted yet."""
        with self._lock:
            heard = dict(sorted(self._heard.items()))
        return Archive(self.platform, self.uid, self.time, surfaces=heard, sample_seconds=self.sample_seconds)

    def _kept(self, verb: Verb, key: str, reading: Reading[T]) -> Reading[T]:
        with self._lock:
            return self._heard.setdefault((verb, key), reading)
