"""The hook in a user's program, with a torch that only has what the hook asks for."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TORCH = """
class _Memory:
    def _record_memory_history(self, **asked): self.asked = asked
    def _snapshot(self): return {"segments": [], "device_traces": [[]]}
class cuda:
    memory = _Memory()
    seen = True
    @classmethod
    def is_available(cls): return cls.seen
class _C:
    observers = []
    @classmethod
    def _cuda_attach_out_of_memory_observer(cls, observer): cls.observers.append(observer)
def fail():
    for observer in _C.observers: observer(0, 1 << 20, 1 << 30, 0)
"""


def program(folder: Path, text: str, torch: str | None = TORCH) -> subprocess.CompletedProcess[str]:
    if torch is not None:
        (folder / "torch.py").write_text(torch)
    blocked = "import sys; sys.modules['torch'] = None\n" if torch is None else ""
    (folder / "program.py").write_text(blocked + textwrap.dedent(text))
    command = [sys.executable, str(folder / "program.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_first_failure_is_kept(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        import torch, os
        from gpudoctor.torch_hooks import dump_on_oom
        assert dump_on_oom("oom-{rank}.pickle", events=1000)
        assert torch.cuda.memory.asked == {"context": "alloc", "stacks": "python", "max_entries": 1000}
        torch.fail()
        first = os.stat("oom-0.pickle").st_mtime_ns
        torch.fail()
        assert os.stat("oom-0.pickle").st_mtime_ns == first
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "gpudoctor: wrote oom-0.pickle; read it with: gpudoctor memory oom-0.pickle\n"
    assert pickle.loads((tmp_path / "oom-0.pickle").read_bytes())["device_traces"] == [[]]
    assert sorted(path.name for path in tmp_path.glob("oom*")) == ["oom-0.pickle"]


def test_compressed_and_without_stacks(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        import torch
        from gpudoctor.torch_hooks import dump_on_oom
        dump_on_oom("oom.pickle.gz", stacks="none")
        assert torch.cuda.memory.asked["context"] is None
        torch.fail()
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "segments" in pickle.loads(gzip.decompress((tmp_path / "oom.pickle.gz").read_bytes()))


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (TORCH.replace("seen = True", "seen = False"), "this torch sees no CUDA device"),
        (TORCH.replace("_record_memory_history", "_record"), "this torch has another interface"),
        (None, "torch is not installed"),
    ],
)
def test_where_it_cannot_record_it_says_so_and_the_program_runs_on(tmp_path: Path, torch: str | None, why: str) -> None:
    text = "from gpudoctor.torch_hooks import dump_on_oom\nassert dump_on_oom() is False\nprint('runs on')\n"
    done = program(tmp_path, text, torch)
    assert (done.returncode, done.stdout) == (0, "runs on\n")
    assert f"allocations are not recorded: {why}" in done.stderr


def test_a_folder_that_is_not_there_does_not_end_the_program(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        import torch
        from gpudoctor.torch_hooks import dump_on_oom
        dump_on_oom("nowhere/oom.pickle")
        torch.fail()
        print("runs on")
        """,
    )
    assert (done.returncode, done.stdout) == (0, "runs on\n")
    assert "no snapshot was written to nowhere/oom.pickle: FileNotFoundError" in done.stderr
