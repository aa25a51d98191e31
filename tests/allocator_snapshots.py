"""Makes memory snapshots as each torch since 1.13 writes them, as real pickles.

    recording = Recording("2.11")
    recording.event("segment_alloc", 0x7F00_0000_0000, 20 << 20)
    recording.event("alloc", 0x7F00_0000_0000, 5_000_000, stack=STACK)
    blocks = [(5_000_192, 5_000_000, "active_allocated", STACK), (15_971_328, 0, "inactive")]
    recording.segment(0x7F00_0000_0000, blocks)
    path = recording.write(tmp_path / "it.pickle")

`form="torch"` writes it as torch's own C++ pickler does, else Python's pickle does in the given protocol.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

ERAS = ("1.13", "2.0", "2.1", "2.2", "2.3", "2.5", "2.8", "2.10", "2.12", "2.14")
Stack = tuple[tuple[str, str, int], ...]  # name, filename, line; innermost first
STACK: Stack = (("forward", "model.py", 12), ("step", "train.py", 40), ("<module>", "train.py", 90))
SETTINGS: dict[str, Any] = {
    "PYTORCH_CUDA_ALLOC_CONF": "",
    "max_split_size": -1,
    "garbage_collection_threshold": 0.0,
    "expandable_segments": False,
    "pinned_num_register_threads": 1,
    "release_lock_on_cudamalloc": False,
    "pinned_use_cuda_host_register": False,
    "roundup_power2_divisions": {str(1 << slot): 0 for slot in range(16)},
}


def since(era: str, other: str) -> bool:
    return [int(part) for part in era.split(".")] >= [int(part) for part in other.split(".")]


class Recording:
    def __init__(self, era: str = "2.11", devices: int = 1, *, settings: dict[str, Any] | None = None) -> None:
        self.era = era
        self.segments: list[dict[str, Any]] = []
        self.traces: list[list[dict[str, Any]]] = [[] for _ in range(devices)]
        self.annotations: list[dict[str, Any]] = []
        self.settings = {**SETTINGS, **(settings or {})}
        self._frames: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._no_frames: list[Any] = []
        self._time_us = 1_700_000_000_000_000

    def frames(self, stack: Stack) -> list[dict[str, Any]]:
        """Each call is another list, of frames that are shared, as torch makes them."""
        for frame in stack:
            if frame not in self._frames:
                self._frames[frame] = dict(zip(("name", "filename", "line"), frame, strict=True))
        return [self._frames[frame] for frame in stack]

    def event(
        self,
        action: str,
        address: int,
        size: int,
        *,
        stream: int = 0,
        stack: Stack = (),
        frames: list[dict[str, Any]] | None = None,
        pool: tuple[int, int] = (0, 0),
        metadata: str = "",
        device: int = 0,
    ) -> None:
        """`address` of an oom is what the device had free."""
        made: dict[str, Any] = {"action": action, "device_free" if action == "oom" else "addr": address}
        made |= {"size": size, "stream": stream}
        if since(self.era, "2.12"):
            made["pool_id"] = pool
        if stack or frames:
            made["frames"] = frames or self.frames(stack)
        self._time_us += 3
        if since(self.era, "2.2"):
            made["time_us"] = self._time_us
        if since(self.era, "2.8"):
            made["compile_context"] = "".join(["N", "/A"])  # another object each time, as torch makes them
        if since(self.era, "2.10"):
            made["user_metadata"] = metadata
        self.traces[device].append(made)

    def segment(
        self,
        address: int,
        blocks: list[tuple[Any, ...]],
        *,
        device: int = 0,
        stream: int = 0,
        kind: str = "large",
        pool: tuple[int, int] = (0, 0),
        expandable: bool = False,
        stack: Stack = (),
    ) -> None:
        """Its blocks, each of (bytes, requested, state[, stack])."""
        active = [block for block in blocks if block[2] != "inactive"]
        made: dict[str, Any] = {"device": device, "address": address, "total_size": sum(block[0] for block in blocks)}
        made["allocated_size"] = sum(block[0] for block in blocks if block[2] == "active_allocated")
        made["active_size"] = sum(block[0] for block in active)
        if since(self.era, "2.0"):
            made["requested_size"] = sum(block[1] for block in active)
        made |= {"stream": stream, "segment_type": kind}
        if since(self.era, "2.1"):
            made |= {"segment_pool_id": pool, "is_expandable": expandable}
            made["frames"] = self.frames(stack) if stack else self._no_frames
        made["blocks"] = []
        for size, requested, state, *rest in blocks:
            made["blocks"].append(self._block(address, size, requested, state, rest[0] if rest else ()))
            address += size
        self.segments.append(made)

    def _block(self, address: int, size: int, requested: int, state: str, stack: Stack) -> dict[str, Any]:
        if since(self.era, "2.1"):
            frames = self.frames(stack) if stack else self._no_frames
            return {"address": address, "size": size, "requested_size": requested, "state": state, "frames": frames}
        made: dict[str, Any] = {"size": size}
        if since(self.era, "2.0"):
            made["requested_size"] = requested
        made["state"] = state
        if stack:
            latest = {"addr": address, "real_size": requested, "frames": self.frames(stack)}
            made["history"] = [latest, {"addr": address, "real_size": 1}]
        return made

    def annotate(self, name: str, stage: str, device: int = 0) -> None:
        self._time_us += 3
        self.annotations.append({"name": name, "stage": stage, "device": device, "time_us": self._time_us})

    def record(self) -> Any:
        if not since(self.era, "2.0"):
            return self.segments
        made: dict[str, Any] = {"segments": self.segments, "device_traces": self.traces}
        if since(self.era, "2.3"):
            made["allocator_settings"] = self.settings
        if since(self.era, "2.5"):
            made["external_annotations"] = self.annotations
        if since(self.era, "2.14"):
            made |= {"host_segments": [], "host_traces": [[{"action": "alloc", "addr": 1, "size": 2, "stream": 0}], []]}
        return made

    def pickled(self, form: str = "python", protocol: int = 4) -> bytes:
        return torch_pickle(self.record()) if form == "torch" else pickle.dumps(self.record(), protocol)

    def write(self, path: Path, form: str = "python", protocol: int = 4) -> Path:
        path.write_bytes(self.pickled(form, protocol))
        return path


def training_step(era: str = "2.11", steps: int = 3) -> Recording:
    """A segment, a few blocks that come and go, one that stays, an out of memory; two devices, of which one is idle."""
    recording = Recording(era, devices=2)
    base = 0x7F12_3400_0000
    recording.event("segment_alloc", base, 20 << 20, stack=STACK)
    recording.event("alloc", base, 3_000_001, stack=STACK[1:])
    for step in range(steps):
        address = base + 3_000_320 + 1_000_448 * step
        recording.event("alloc", address, 1_000_003, stack=STACK, metadata=f"step {step}")
        frames = recording.frames(STACK[:2])
        for action in ("free_requested", "free_completed"):
            recording.event(action, address, 1_000_003, frames=frames)
    recording.event("oom", 123_456_789, 40 << 20, stack=STACK)
    free = (20 << 20) - 3_000_320
    blocks = [(3_000_320, 3_000_001, "active_allocated", STACK[1:]), (free, 0, "inactive")]
    recording.segment(base, blocks, stack=STACK)
    recording.segment(base + (64 << 20), [(2 << 20, 2_000_000, "active_pending_free")], stream=77)
    recording.annotate("## step ##", "START")
    recording.annotate("## step ##", "END")
    return recording


class _TorchPickler:
    """torch/csrc/jit/serialization/pickler.cpp: protocol 2; what comes twice is numbered once it is written."""

    def __init__(self, record: Any) -> None:
        self._uses: dict[int, int] = {}
        self._count(record)
        self._memo: dict[Any, int] = {}
        self.written = bytearray(b"\x80\x02")
        self._push(record)
        self.written += b"."

    def _count(self, value: Any) -> None:
        self._uses[id(value)] = self._uses.get(id(value), 0) + 1
        if self._uses[id(value)] == 1:
            for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
                self._count(inner)

    def _number(self, key: Any) -> None:
        number = self._memo[key] = len(self._memo)
        self.written += struct.pack("<cB", b"q", number) if number < 256 else struct.pack("<cI", b"r", number)

    def _recall(self, key: Any) -> bool:
        number = self._memo.get(key)
        if number is not None:
            self.written += struct.pack("<cB", b"h", number) if number < 256 else struct.pack("<cI", b"j", number)
        return number is not None

    def _push(self, value: Any) -> None:
        if isinstance(value, bool):
            self.written += b"\x88" if value else b"\x89"
        elif isinstance(value, int):
            self._push_int(value)
        elif isinstance(value, float):
            self.written += struct.pack(">cd", b"G", value)
        elif isinstance(value, str):
            if not self._recall(value):
                text = value.encode()
                self.written += struct.pack("<cI", b"X", len(text)) + text
                self._number(value)
        elif isinstance(value, tuple):
            self.written += b"("
            for item in value:
                self._push(item)
            self.written += b"t"
        elif not self._recall(id(value)):
            self._push_container(value)
            if self._uses[id(value)] > 1 or (isinstance(value, dict) and "frames" in value):
                self._number(id(value))

    def _push_int(self, value: int) -> None:
        if 0 <= value < 1 << 8:
            self.written += struct.pack("<cB", b"K", value)
        elif 0 <= value < 1 << 16:
            self.written += struct.pack("<cH", b"M", value)
        elif -(1 << 31) <= value < 1 << 31:
            self.written += struct.pack("<ci", b"J", value)
        else:
            self.written += struct.pack("<cBq", b"\x8a", 8, value)

    def _push_container(self, value: dict[Any, Any] | list[Any]) -> None:
        self.written += b"}(" if isinstance(value, dict) else b"]("
        for item in value.items() if isinstance(value, dict) else value:
            for piece in item if isinstance(value, dict) else (item,):
                self._push(piece)
        self.written += b"u" if isinstance(value, dict) else b"e"


def torch_pickle(record: Any) -> bytes:
    return bytes(_TorchPickler(record).written)
