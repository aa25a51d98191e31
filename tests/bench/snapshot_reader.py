"""Time reading a memory snapshot and weigh it, beside Python's own unpickler on the same file.

    python tests/bench/snapshot_reader.py [--mib 1024] [--frames 0 40] [--no-yardstick] [--file SNAPSHOT]

Each file is written as Python's pickle writes what torch 2.11 gives it, byte for byte, without holding it in memory,
and read in a process of its own, whose whole processor time is given. The yardstick only builds the dicts; it turns
nothing into columns.
"""

from __future__ import annotations

import argparse
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

READ = """
import resource, sys, time
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
from gpudoctor.allocator.reader import read_snapshot
snapshot = read_snapshot(sys.argv[1])
events = sum(len(device.trace) for device in snapshot.devices)
print(time.process_time(), peak(), events, len(snapshot.stacks))
"""
YARDSTICK = """
import pickle, resource, sys, time
with open(sys.argv[1], "rb") as file:
    record = pickle.load(file)
taken = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(taken, peak, sum(map(len, record["device_traces"])), 0, flush=True)
import os
os._exit(0)
"""
KEYS = ("action", "addr", "size", "stream", "time_us", "compile_context", "user_metadata", "frames")
FRAMES = 2000
STACKS = 5000


class Writer:
    """Protocol 4, as the C pickler writes it: 1000 items to a batch, frames of 64 KiB."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.numbers: dict[str, int] = {}
        self.memoized = 0
        self.frame = bytearray()
        file.write(b"\x80\x04")

    def memoize(self) -> bytes:
        self.memoized += 1
        return b"\x94"

    def get(self, number: int) -> bytes:
        return struct.pack("<cB", b"h", number) if number < 256 else struct.pack("<cI", b"j", number)

    def text(self, text: str) -> bytes:
        if text in self.numbers:
            return self.get(self.numbers[text])
        self.numbers[text] = self.memoized
        return b"\x8c" + bytes([len(text.encode())]) + text.encode() + self.memoize()

    def number(self, value: int) -> bytes:
        if value < 1 << 8:
            return b"K" + bytes([value])
        if value < 1 << 16:
            return struct.pack("<cH", b"M", value)
        if value < 1 << 31:
            return struct.pack("<ci", b"J", value)
        size = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)

    def add(self, written: bytes) -> None:
        self.frame += written
        if len(self.frame) >= 1 << 16:
            self.flush()

    def flush(self) -> None:
        self.file.write(b"\x95" + struct.pack("<Q", len(self.frame)) + self.frame)
        self.frame.clear()


def write(path: Path, size: int, depth: int) -> None:
    chance = random.Random(7)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.add(b"}" + writer.memoize() + b"(" + writer.text("segments") + b"]" + writer.memoize())
        writer.add(writer.text("device_traces") + b"]" + writer.memoize() + b"]" + writer.memoize())
        frames = Frames(writer, depth, chance)
        events = 0
        alive: list[tuple[int, int]] = []
        while file.tell() < size or events % 1000:
            if not events % 1000:
                writer.add(b"(")
            if len(alive) > 500 or (alive and chance.random() < 0.3):
                address, requested = alive.pop(chance.randrange(len(alive)))
                action = "free_completed"
            else:
                address = 0x7F00_0000_0000 + 512 * chance.randrange(1 << 24)
                requested = chance.randrange(1, 1 << 24)
                alive.append((address, requested))
                action = "alloc"
            writer.add(event(writer, frames, action, address, requested, 1_795_230_566_577_885 + 13 * events))
            events += 1
            if not events % 1000:
                writer.add(b"e")
        writer.add(b"a" + b"u.")
        writer.flush()


class Frames:
    """Stacks that share their frames, each with a list of its own, as torch makes them."""

    def __init__(self, writer: Writer, depth: int, chance: random.Random) -> None:
        self.writer, self.depth, self.chance = writer, depth, chance
        self.stacks = [[chance.randrange(FRAMES) for _ in range(depth)] for _ in range(STACKS)]
        self.numbers: dict[int, int] = {}

    def written(self) -> bytes:
        writer = self.writer
        made = b"]" + writer.memoize() + b"("
        for frame in self.chance.choice(self.stacks):
            if frame in self.numbers:
                made += writer.get(self.numbers[frame])
                continue
            self.numbers[frame] = writer.memoized
            made += b"}" + writer.memoize() + b"("
            made += writer.text("name") + writer.text(f"function_{frame}")
            made += writer.text("filename") + writer.text(f"/opt/python/site-packages/package_{frame % 50}/module.py")
            made += writer.text("line") + writer.number(frame) + b"u"
        return made + b"e"


def event(writer: Writer, frames: Frames, action: str, address: int, size: int, time_us: int) -> bytes:
    made = b"}" + writer.memoize() + b"("
    made += writer.text("action") + writer.text(action)
    for key, value in zip(KEYS[1:5], (address, size, 0, time_us), strict=True):
        made += writer.text(key) + writer.number(value)
    made += writer.text("compile_context") + b"\x8c\x03N/A" + writer.memoize()
    made += writer.text("user_metadata") + writer.text("")
    if frames.depth:
        made += writer.text("frames") + frames.written()
    return made + b"u"


def measured(program: str, path: Path) -> list[float] | None:
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    return [float(figure) for figure in done.stdout.split()] if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--frames", type=int, nargs="*", default=[0, 40], help="frames in each event's stack")
    parser.add_argument("--no-yardstick", action="store_true", help="it takes ten times the file in memory")
    parser.add_argument("--file", type=Path, help="a snapshot of your own, not compressed, in place of made ones")
    asked = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        for depth in [0] if asked.file else asked.frames:
            path = asked.file or Path(folder) / "snapshot.pickle"
            if not asked.file:
                write(path, asked.mib << 20, depth)
            size = path.stat().st_size / (1 << 20)
            print(f"{size:.0f} MiB" + ("" if asked.file else f", stacks of {depth} frames"))
            for name, program in (("gpudoctor", READ), ("pickle.load", YARDSTICK)):
                figures = None if name == "pickle.load" and asked.no_yardstick else measured(program, path)
                if figures is None:
                    print(f"  {name:12} not measured")
                    continue
                seconds, peak, events, _ = figures
                speed = f"{events / seconds:10,.0f} events/s   {size / seconds:6.1f} MiB/s"
                print(f"  {name:12} {seconds:6.1f} s   {speed}   peak {peak:7,.0f} MiB   {events:,.0f} events")


if __name__ == "__main__":
    main()
