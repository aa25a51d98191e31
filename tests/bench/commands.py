"""Time gpudoctor's commands beside their yardsticks, interleaved in one run, and print the ratios.

    python tests/bench/commands.py [--rounds 7] [--node FILE.node]

Figures are seconds of wall clock, the median of the rounds; a yardstick that is not installed here
is left out and said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GPUDOCTOR = [sys.executable, "-m", "gpudoctor"]

# name, command, yardstick, budget as a ratio
BUDGETS = [
    ("help", [*GPUDOCTOR, "--help"], "import typer, rich.console", 1.3),
    ("scan", [*GPUDOCTOR, "scan"], "nvidia-smi -q", 2.0),
    ("scan", [*GPUDOCTOR, "scan"], "torch.utils.collect_env", 0.15),
    ("scan json", [*GPUDOCTOR, "scan", "--format", "json"], "nvidia-smi -q", 2.0),
]
YARDSTICKS = {
    "import typer, rich.console": [sys.executable, "-c", "import typer, rich.console"],
    "nvidia-smi -q": ["nvidia-smi", "-q"],
    "torch.utils.collect_env": [sys.executable, "-m", "torch.utils.collect_env"],
}


def available(name: str) -> bool:
    if name == "torch.utils.collect_env":
        return importlib.util.find_spec("torch") is not None
    return shutil.which(YARDSTICKS[name][0]) is not None


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--node", type=Path, default=ROOT / "tests" / "nodes" / "h200x4.node")
    asked = parser.parse_args()

    commands = {name: command for name, command, _, _ in BUDGETS}
    commands["scan of a recording"] = [*GPUDOCTOR, "scan", "--node", str(asked.node)]
    commands |= {name: command for name, command in YARDSTICKS.items() if available(name)}
    slow = {"torch.utils.collect_env"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for round_number in range(asked.rounds):
        for name, command in commands.items():
            if name not in slow or round_number < 2:
                times[name].append(seconds(command))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in times.items():
        spread = f"fastest {min(taken):.3f}, slowest {max(taken):.3f}, n {len(taken)}"
        print(f"{name:28} {medians[name]:8.3f} s   ({spread})")
    print()
    for name, _, yardstick, budget in BUDGETS:
        if yardstick in medians:
            print(f"{name:12} / {yardstick:28} {medians[name] / medians[yardstick]:6.2f}x   budget {budget}x")
        else:
            print(f"{name:12} / {yardstick:28} not here")


if __name__ == "__main__":
    main()
