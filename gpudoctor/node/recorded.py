"""A machine out of a recording. What it does not hold is unread: not recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from gpudoctor.node.archive import Archive, Key, Verb
from gpudoctor.node.surface import NvmlCall, Output, Stat, sampled
from gpudoctor.unread import Gap, Reading, Unread


class RecordedNode:
    kind: Literal["live", "recording"] = "recording"

    def __init__(self, archive: Archive, name: str) -> None:
        self.name = name
        self.platform = archive.platform
        self.uid = archive.uid
        self.time = archive.time
        self.sample_seconds = archive.sample_seconds
        self._surfaces = dict(archive.surfaces)

    def with_surfaces(self, changed: Mapping[Key, Reading[Any]]) -> RecordedNode:
        """The same machine with some surfaces answering otherwise."""
        surfaces = {**self._surfaces, **changed}
        archive = Archive(self.platform, self.uid, self.time, surfaces=surfaces, sample_seconds=self.sample_seconds)
        return RecordedNode(archive, self.name)

    def read(self, path: str, sample: int = 0) -> Reading[bytes]:
        return cast("Reading[bytes]", self._held("file", sampled(path, sample)))

    def list(self, path: str) -> Reading[tuple[str, ...]]:
        return cast("Reading[tuple[str, ...]]", self._held("dir", path))

    def link(self, path: str) -> Reading[str]:
        return cast("Reading[str]", self._held("link", path))

    def stat(self, path: str) -> Reading[Stat]:
        return cast("Reading[Stat]", self._held("stat", path))

    def run(self, argv: Sequence[str], seconds: float = 5.0) -> Reading[Output]:
        return cast("Reading[Output]", self._held("run", " ".join(argv)))

    def nvml(self, calls: Sequence[NvmlCall]) -> tuple[Reading[Any], ...]:
        return tuple(self._held("nvml", str(call)) for call in calls)

    def _held(self, verb: Verb, key: str) -> Reading[Any]:
        return self._surfaces.get((verb, key), Unread(Gap.NOT_RECORDED, key, "is not in the recording"))
