"""Measure what allocator settings do to real programs on a real GPU, in the form that score_replay.py reads.

    python tests/device/allocator_runs.py OUT_DIR [--jobs 4] [--seed 7]

Two programs: a transformer trained on sequences of varying length, which ends at its first out of memory, and a
server whose sequences' KV caches grow, which drops what it cannot hold. Each is recorded without a limit (default
settings; expandable segments), then run under every setting below two limits, and recorded once up to its first
failure. OUT_DIR gets truth.jsonl and NAME-SEED-{default,exp,oom}.pickle.xz. Needs torch with CUDA.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

GIB = 1 << 30
SETTINGS = {
    "default": "",
    "exp": "expandable_segments:True",
    "split64": "max_split_size_mb:64",
    "split128": "max_split_size_mb:128",
    "pow4": "roundup_power2_divisions:4",
    "powslots": "roundup_power2_divisions:[256:1,512:2,1024:4,>:8]",
    "gc": "garbage_collection_threshold:0.8",
    "splitgc": "max_split_size_mb:128,garbage_collection_threshold:0.8",
}
PROGRAMS = ("train", "serve")


def train(torch: Any, rng: random.Random, steps: int) -> None:
    """Batches of any length up to 2048 tokens through six layers, with AdamW."""
    width, layers = 768, 6
    nn = torch.nn
    made = [nn.TransformerEncoderLayer(width, 12, 4 * width, batch_first=True, dropout=0.0) for _ in range(layers)]
    model = nn.Sequential(*made).to("cuda", torch.bfloat16)
    head = nn.Linear(width, 32000, bias=False).to("cuda", torch.bfloat16)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-4)
    for _ in range(steps):
        batch, length = rng.choice((1, 2, 3, 4)), rng.randrange(64, 2048)
        tokens = torch.randint(0, 32000, (batch, length), device="cuda")
        inputs = torch.randn(batch, length, width, device="cuda", dtype=torch.bfloat16)
        logits = head(model(inputs)).float()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        del logits, loss


def serve(torch: Any, rng: random.Random, steps: int, failed: list[int]) -> None:
    """Up to 24 sequences; a step makes each one's cache longer by copying it, as torch.cat does."""
    live: dict[int, Any] = {}
    goal: dict[int, int] = {}
    for step in range(steps):
        try:
            if len(live) < 24:
                length = rng.randrange(32, 1536)
                live[step] = torch.empty(2, 16, length, 1024, device="cuda", dtype=torch.bfloat16)
                goal[step] = length + rng.randrange(64, 1024)
            for key in list(live):
                grown = min(goal[key], live[key].shape[2] + rng.choice((16, 64, 128)))
                more = torch.empty(2, 16, grown - live[key].shape[2], 1024, device="cuda", dtype=torch.bfloat16)
                live[key] = torch.cat((live[key], more), dim=2)
                work = torch.empty(rng.randrange(1 << 18, 1 << 24), device="cuda", dtype=torch.uint8)
                del more, work
                if live[key].shape[2] >= goal[key]:
                    del live[key]
        except torch.cuda.OutOfMemoryError:
            failed.append(step)
            for key in [key for key in live if rng.random() < 0.2]:
                del live[key]


def run(program: str, seed: int, cap: float, tag: str, out: Path, stop: bool) -> None:
    """One program in this process; its figures go to stdout."""
    torch: Any = __import__("torch")
    if cap:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(cap * GIB / total)
    torch.cuda.init()
    record = tag.startswith("trace")
    if record:
        torch.cuda.memory._record_memory_history(context=None, max_entries=4_000_000)
    rng = random.Random(seed)
    torch.manual_seed(seed)
    failed: list[int] = []
    steps = 120 if program == "train" else 160
    try:
        if program == "train":
            train(torch, rng, steps)
        else:
            serve(torch, rng, steps, failed if not stop else Stopping())
    except (torch.cuda.OutOfMemoryError, Stopped) as error:
        failed.append(0)
        print(str(error)[:400], file=sys.stderr)
    stats = torch.cuda.memory_stats()
    figures = {
        "workload": program,
        "seed": seed,
        "cap": cap,
        "tag": tag + ("-stop" if stop and program == "serve" and not record else ""),
        "conf": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""),
        "stop": stop,
        "ooms": len(failed),
        "first_oom": stats["allocation.all.allocated"] if failed and stop else None,  # one that goes on asks for more
        "allocated_peak": stats["allocated_bytes.all.peak"],
        "requested_peak": stats["requested_bytes.all.peak"],
        "reserved_peak": stats["reserved_bytes.all.peak"],
        "retries": stats["num_alloc_retries"],
        "num_allocs": stats["allocation.all.allocated"],
        "segments_peak": stats["segment.all.peak"],
        "device_allocs": stats["num_device_alloc"],
        "device_frees": stats["num_device_free"],
    }
    if record:
        name = f"{program}-{seed}-{tag.removeprefix('trace-')}.pickle.xz"
        data = pickle.dumps(torch.cuda.memory._snapshot(), protocol=4)
        (out / name).write_bytes(lzma.compress(data, preset=1))
    print(json.dumps(figures))


class Stopped(Exception):
    """The server was told to end at its first failure."""


class Stopping(list[int]):
    def append(self, step: int) -> None:
        raise Stopped(f"out of memory in step {step}")


def spawned(program: str, seed: int, cap: float, tag: str, conf: str, out: Path, stop: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, str(out), "--one", program, tag, str(cap), str(int(stop)), "--seed", str(seed)]
    done = subprocess.run(
        command, env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": conf}, capture_output=True, text=True, check=False
    )
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        raise SystemExit(f"{program} {tag} {cap}: {done.stderr[-600:]}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--one", nargs=4, metavar=("PROGRAM", "TAG", "CAP", "STOP"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.one:
        program, tag, cap, stop = asked.one
        run(program, asked.seed, float(cap), tag, asked.out, stop == "1")
        return
    lines: list[dict[str, Any]] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        free = {
            (program, tag): pool.submit(spawned, program, asked.seed, 0.0, f"trace-{tag}", conf, asked.out, False)
            for program in PROGRAMS
            for tag, conf in (("default", ""), ("exp", SETTINGS["exp"]))
        }
        peaks = {key: future.result() for key, future in free.items()}
        lines += peaks.values()
        jobs = []
        for program in PROGRAMS:
            least = peaks[program, "exp"]["reserved_peak"]  # near to it the settings part
            caps = [round(least * part / GIB, 2) for part in (0.97, 1.05)]
            for cap in caps:
                for stop in (True,) if program == "train" else (True, False):
                    jobs += [
                        pool.submit(spawned, program, asked.seed, cap, tag, conf, asked.out, stop)
                        for tag, conf in SETTINGS.items()
                    ]
            jobs.append(pool.submit(spawned, program, asked.seed, caps[0], "trace-oom", "", asked.out, True))
        lines += [job.result() for job in jobs]
    (asked.out / "truth.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for line in lines:
        print(
            line["workload"], line["cap"], line["tag"], "ooms", line["ooms"], f"{line['reserved_peak'] / GIB:.3f} GiB"
        )


if __name__ == "__main__":
    main()
