"""Out of a recorded stack: which line of the user's program asked for memory, and what for.

What for is a guess by the names of frames. PyTorch's memory profiler tells parameters, gradients and activations
apart by following tensors through the graph (torch/profiler/_memory_profiler.py); a snapshot does not hold that.
"""

from __future__ import annotations

import re

from gpudoctor.allocator.snapshot import Frame, Stack

_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/torch/(?:nn|optim|autograd|_|cuda|utils|distributed)")
_INSTALLED = re.compile(r"/(?:site|dist)-packages/(\w+)")
_TORCH = re.compile(
    r"/torch/(?:nn|optim|autograd|cuda|utils|distributed|amp|profiler|multiprocessing|functorch|fx|jit|ao|export)/"
    r"|/torch/_|/torch/[a-z_]+\.py$|/(?:site|dist)-packages/(?:torch|triton|functorch)/"
)
_PYTHON = re.compile(r"/lib(?:64)?/python3\.\d+/(?!site-packages|dist-packages)|^<frozen|^<string>|/runpy\.py$")

# The first rule that fits, of the innermost frame that fits any. A frame is written FILE:NAME.
_RULES = (
    ("NCCL and collectives", r"ProcessGroup", r"c10d", r"nccl", r"/torch/distributed/_functional_coll"),
    ("cuBLAS workspace", r"cublas.*workspace", r"getCUDABlasLt", r"getCurrentCUDABlasHandle"),
    ("cuDNN workspace", r"cudnn.*workspace", r"cudnn.*try_plans", r"run_conv_plan", r"cudnn.*AlgoIterator"),
    ("KV cache", r"kv_?cache", r"cache_engine", r"past_key_value", r"/cache_utils\.py"),
    ("optimizer", r"/torch/optim/", r"/optim(?:izers?)?/[^ ]*\.py", r"deepspeed/.*optim", r"distrib_optimizer\.py"),
    ("parameters", r"/nn/modules/module\.py:(?:_apply|convert|to)\b", r"load_state_dict", r"/nn/parameter\.py"),
    ("parameters", r"/nn/init\.py", r"safetensors", r":from_pretrained\b", r"/nn/modules/\w+\.py:__init__"),
    ("gradient buckets and shards", r"/nn/parallel/distributed\.py", r"/distributed/fsdp/", r"_fsdp"),
    ("backward pass", r"torch::autograd", r"AccumulateGrad", r"/torch/autograd/", r":backward\b", r"Backward\d*::"),
    ("input data", r"/torch/utils/data/", r"dataloader"),
    ("forward pass", r"/torch/nn/functional\.py", r"/nn/modules/\w+\.py:(?:forward|_call_impl)", r":forward\b"),
)
_COMPILED = tuple((name, re.compile("|".join(patterns), re.IGNORECASE)) for name, *patterns in _RULES)
OTHER = "other"
UNKNOWN = "no stack recorded"


def own_frame(stack: Stack) -> Frame | None:
    """The innermost frame of the user's program: a Python file that is neither an installed package nor Python's own.

    Where all are: of a package other than PyTorch; else the innermost Python frame; else the innermost one.
    """
    python = [frame for frame in stack if _is_python(frame)]
    for which in (_is_program, _is_package):
        for frame in python:
            if which(frame):
                return frame
    return (python or list(stack) or [None])[0]  # type: ignore[list-item]


def _is_python(frame: Frame) -> bool:
    return frame.filename.endswith(".py") or "<" in frame.filename or ".ipynb" in frame.filename


def _is_package(frame: Frame) -> bool:
    return not _TORCH.search(frame.filename) and not _PYTHON.search(frame.filename)


def _is_program(frame: Frame) -> bool:
    return not _LIBRARY.search(frame.filename) and _is_package(frame)


def package(filename: str) -> str:
    """The installed package that a file belongs to; empty where none."""
    return (_INSTALLED.search(filename) or ("", ""))[1]


def short(frame: Frame) -> str:
    """`forward at nn/modules/linear.py:125`"""
    if not frame.filename or frame.filename == "??":
        return frame.name
    return f"{frame.name} at {'/'.join(frame.filename.split('/')[-3:])}:{frame.line}"


def one_line(stack: Stack) -> str:
    """The frame of the user's program, and through what it asked."""
    own = own_frame(stack)
    if own is None:
        return UNKNOWN
    inner = next((frame for frame in stack if _is_python(frame)), stack[0])
    return short(own) if inner is own else f"{short(own)}, through {short(inner)}"


def category(stack: Stack) -> str:
    for frame in stack:
        text = f"{frame.filename}:{frame.name}"
        for name, pattern in _COMPILED:
            if pattern.search(text):
                return name
    return OTHER if stack else UNKNOWN
