"""Has the kernel hold this process to reading.

NVML runs nvidia-modprobe, which loads the kernel module and makes device nodes that are missing:
a scan would cure what it came to find. After `confine` no program can be started, no module
loaded and no directory entry made, changed or removed by this process.
https://github.com/NVIDIA/nvidia-modprobe
"""

from __future__ import annotations

import ctypes
import os
import sys

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data

# execve, execveat, init_module, finit_module, and mknod, chmod, chown, unlink, rename, symlink, link, mkdir with kin
_X86_64 = (59, 322, 175, 313, 133, 259, 90, 91, 268, 452, 92, 93, 94, 260, 87, 263)
_X86_64_MORE = (84, 82, 264, 316, 88, 266, 86, 265, 83, 258)
_ARM64 = (221, 281, 105, 273, 33, 52, 53, 452, 55, 54, 35, 38, 276, 36, 37, 34)
_CALLS = {"x86_64": (0xC000_003E, (*_X86_64, *_X86_64_MORE)), "aarch64": (0xC000_00B7, _ARM64)}


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def confine() -> bool:
    """Whether the kernel agreed. Before the first thread starts: others would not be bound."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _CALLS:
        return False
    libc = ctypes.CDLL(None)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    steps = _steps(*_CALLS[machine])
    program = _Program(len(steps), (_Instruction * len(steps))(*(_Instruction(*step) for step in steps)))
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _steps(architecture: int, refused: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    tests = [(_EQUAL, len(refused) - i, 0, number) for i, number in enumerate(refused)]
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        *tests,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
