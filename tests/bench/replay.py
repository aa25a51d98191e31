"""Time the replay of allocation events under each setting, on one core, beside a yardstick in the same run.

    python tests/bench/replay.py [SNAPSHOT...] [--events 200000] [--rounds 3] [--cap 6.6GiB]

Without a file a trace is made: a training loop whose sequences vary in length, with a cache that grows.
The yardstick goes through the same requests and keeps the live blocks in a dict and the sizes of what is free in
one sorted list: the least that any replay has to do. Figures are requests a second, the median of the rounds.
`one replay` is one run under these settings; `all chances` is what `--what-if` costs, which repeats runs where
addresses or other streams decide.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from pathlib import Path

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.replay import replay, what_if
from gpudoctor.allocator.requests import ALLOCATE, FREE, Request, Requests, alive_at_most, requests_of
from gpudoctor.allocator.settings import UNLIMITED, parse_settings
from gpudoctor.allocator.snapshot import DEFAULT_POOL
from gpudoctor.cli.memory import size

BUDGET = 200_000  # requests a second for one setting
SETTINGS = (
    "default",
    "expandable_segments:True",
    "max_split_size_mb:64",
    "max_split_size_mb:128",
    "max_split_size_mb:512",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:[256:1,512:2,1024:4,>:8]",
    "garbage_collection_threshold:0.8",
    "max_split_size_mb:128,garbage_collection_threshold:0.8",
)


def made(events: int, *, seed: int = 7) -> Requests:
    """Steps that allocate a few hundred blocks of related sizes, and free them in another order."""
    chance = random.Random(seed)
    stream: list[Request] = []
    number = 0
    kept: list[int] = []

    def allocate(size: int) -> int:
        nonlocal number
        stream.append((ALLOCATE, number, size, 0, DEFAULT_POOL))
        number += 1
        return number - 1

    def free(block: int) -> None:
        stream.append((FREE, block, 0, 0, DEFAULT_POOL))

    weights = [allocate(chance.choice((4096, 1 << 20, 16 << 20, 48 << 20))) for _ in range(200)]
    while len(stream) + len(weights) < events:
        tokens = chance.randrange(64, 2048)
        layers = []
        for _ in range(40):
            layers += [allocate(tokens * width) for width in (2048, 8192, 512, 4096)]
            free(allocate(tokens * 6144))
        kept.append(allocate(tokens * 1024))
        if len(kept) > 64:
            free(kept.pop(chance.randrange(len(kept))))
        for block in reversed(layers):
            free(block)
    return Requests(stream, number, 0, [], 0, None, alive_at_most(stream), 0, 0)


def recorded(path: Path) -> Requests:
    from gpudoctor.allocator.reader import read_snapshot

    snapshot = read_snapshot(path)
    device = max(snapshot.devices, key=lambda device: len(device.trace))
    return requests_of(device, snapshot.pools, snapshot.settings, snapshot.stacks)


def yardstick(stream: list[Request]) -> None:
    live: dict[int, int] = {}
    free: list[int] = []
    for kind, number, bytes_, _, _ in stream:
        if kind == ALLOCATE:
            place = bisect_left(free, bytes_)
            live[number] = free.pop(place) if place < len(free) else bytes_
        elif number in live:
            insort(free, live.pop(number))


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(requests: Requests, rounds: int, limit: int | None) -> bool:
    stream = requests.stream
    works: dict[str, Callable[[], object]] = {"yardstick": lambda: yardstick(stream)}
    for text in SETTINGS:
        works[text] = lambda text=text: replay(
            stream, parse_settings(text), AddressSpace(), capacity=UNLIMITED, limit=limit, stop=False
        )
        works[f"{text} all"] = lambda text=text: what_if(requests, parse_settings(text), limit=limit, stop=False)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    rates = {name: len(stream) / max(1e-9, statistics.median(each)) for name, each in taken.items()}
    print(f"  {'yardstick: one dict, one sorted list':52} {rates['yardstick']:12,.0f} a second")
    for text in SETTINGS:
        share = rates[text] / rates["yardstick"]
        word = "" if rates[text] >= BUDGET else f"   below the budget of {BUDGET:,}"
        print(f"  {text:52} {rates[text]:12,.0f} a second   {share:5.2f} of the yardstick", end="")
        print(f"   all chances {rates[f'{text} all']:10,.0f}{word}")
    return all(rates[text] >= BUDGET for text in SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="SNAPSHOT")
    parser.add_argument("--events", type=int, default=200_000, help="requests of the made trace")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cap", type=lambda text: size("--cap", text), help="a limit on reserved memory")
    asked = parser.parse_args()
    kept = True
    for name, requests in [(p.name, recorded(p)) for p in asked.files] or [("made trace", made(asked.events))]:
        print(f"{name}: {len(requests.stream):,} requests, {requests.allocations:,} of them allocations")
        kept &= measure(requests, asked.rounds, asked.cap)
    print(f"budget {BUDGET:,} a second for each setting: {'kept' if kept else 'missed'}")


if __name__ == "__main__":
    main()
