"""For a PyTorch program that runs out of GPU memory: record what its allocator does, and keep it at the failure.

    import gpudoctor.torch_hooks
    gpudoctor.torch_hooks.dump_on_oom("oom.pickle")

and afterwards: gpudoctor memory oom.pickle

What it costs: docs/memory.md. It needs torch 2.1 or newer; without CUDA it does nothing.
https://docs.pytorch.org/docs/stable/torch_cuda_memory.html
"""

from __future__ import annotations

import gzip
import importlib
import os
import pickle
import sys
from typing import IO, Any, Literal

EVENTS = 1_000_000  # of the ring, 140 bytes of host memory each, 200 with stacks; when it is full the oldest go

Stacks = Literal["none", "python"]

_kept: list[str] = []  # files written by this process


def dump_on_oom(path: str = "oom-{pid}.pickle", *, events: int = EVENTS, stacks: Stacks = "python") -> bool:
    """Record allocations from now on; at the first out of memory write a snapshot to `path`.

    `path` may hold {pid} and {rank} (of torchrun, 0 without); a name that ends in .gz is compressed. `stacks`:
    "python" tells where each allocation came from, "none" is cheaper. Call it once, before the model is made:
    what is allocated earlier has no history. Gives False, after a line on stderr, where it cannot record.
    """
    try:
        torch = importlib.import_module("torch")
        if not torch.cuda.is_available():
            return _cannot("allocations are not recorded: this torch sees no CUDA device")
        context = "alloc" if stacks == "python" else None
        torch.cuda.memory._record_memory_history(context=context, stacks="python", max_entries=events)
        attach = torch._C._cuda_attach_out_of_memory_observer
    except ImportError:
        return _cannot("allocations are not recorded: torch is not installed")
    except (AttributeError, TypeError) as error:
        return _cannot(f"allocations are not recorded: this torch has another interface: {error}")
    place = path.replace("{pid}", str(os.getpid())).replace("{rank}", os.environ.get("RANK", "0"))

    def out_of_memory(device: int, wanted: int, total: int, free: int) -> None:
        if not _kept:
            dump(place)

    attach(out_of_memory)
    return True


def dump(path: str) -> bool:
    """Write a snapshot now, whole or not at all. Never raises: the program's own error is the one to see."""
    made = f"{path}.{os.getpid()}.part"
    try:
        torch = importlib.import_module("torch")
        snapshot = torch.cuda.memory._snapshot()
        with _opened(made, path.endswith(".gz")) as file:
            pickle.dump(snapshot, file, protocol=pickle.HIGHEST_PROTOCOL)
        os.replace(made, path)
    except Exception as error:  # in the middle of somebody's training: whatever it is, it must not be the last word
        if os.path.exists(made):
            os.unlink(made)
        return _cannot(f"no snapshot was written to {path}: {type(error).__name__}: {error}")
    _kept.append(path)
    print(f"gpudoctor: wrote {path}; read it with: gpudoctor memory {path}", file=sys.stderr)
    return True


def _opened(path: str, compressed: bool) -> IO[bytes] | Any:
    return gzip.open(path, "wb", compresslevel=3) if compressed else open(path, "wb")


def _cannot(why: str) -> bool:
    print(f"gpudoctor: {why}", file=sys.stderr)
    return False
