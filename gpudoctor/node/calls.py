"""One call of NVML through its Python bindings, and its answer as plain JSON. Runs in the worker."""

from __future__ import annotations

import ctypes
from functools import cache

import pynvml

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# C functions that fill a struct which the caller makes, newest form first: an older driver refuses a newer one
STRUCTS = {
    "nvmlDeviceGetGpuFabricInfo": ("c_nvmlGpuFabricInfo_t",),
    "nvmlDeviceGetGpuFabricInfoV": ("c_nvmlGpuFabricInfo_v3_t", "c_nvmlGpuFabricInfo_v2_t"),
    "nvmlDeviceGetSramEccErrorStatus": ("c_nvmlEccSramErrorStatus_v1_t",),
    "nvmlDeviceGetPlatformInfo": ("c_nvmlPlatformInfo_v2_t", "c_nvmlPlatformInfo_v1_t"),
    "nvmlDeviceGetNvLinkInfo": ("c_nvmlNvLinkInfo_v2_t", "c_nvmlNvLinkInfo_v1_t"),
    "nvmlDeviceGetNvlinkBwMode": ("c_nvmlNvlinkGetBwMode_v1_t",),
    "nvmlDeviceGetNvlinkSupportedBwModes": ("c_nvmlNvlinkSupportedBwModes_v1_t",),
    "nvmlDeviceGetRemappedRows_v2": ("c_nvmlRemappedRowsInfo_v2_t",),
    "nvmlDeviceGetBankRemapperStatus_v1": ("c_nvmlEccBankRemapperStatus_v1_t",),
    "nvmlDeviceGetCapabilities": ("c_nvmlDeviceCapabilities_v1_t",),
    "nvmlSystemGetConfComputeSettings": ("c_nvmlSystemConfComputeSettings_v1_t",),
}
OF_TWO_GPUS = ("nvmlDeviceGetP2PStatus", "nvmlDeviceGetTopologyCommonAncestor", "nvmlDeviceOnSameBoard")
NOT_TEXT = ("ibGuid", "rackGuid")  # c_char arrays that hold bytes
VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # by nvmlValueType_t
READS = ("nvmlInit", "nvmlDeviceGet", "nvmlSystemGet", "nvmlDeviceOnSameBoard")
VERSION_MISMATCH = 25


class Missing(Exception):
    """These bindings do not know it."""


def attempt(function: str, gpu: int | None, args: Iterable[int | str]) -> tuple[Any, ...]:
    """("ok", value), ("nvml", error's name, text), ("unsupported", text) or ("malformed", text)."""
    try:
        return ("ok", _call(function, gpu, [_argument(a) for a in args]))
    except pynvml.NVMLError as error:
        return ("nvml", error_name(vars(error)["value"]), _text(error))
    except Missing as error:
        return ("unsupported", str(error))
    except MemoryError:
        return ("malformed", "MemoryError: it asks for more memory than there may be")
    except Exception as error:
        if type(error).__name__ == "NVMLLibraryMismatchError":  # an old driver: its form has a number in its name
            return _older(function, gpu, args)
        # undecodable bytes, an absurd length, a struct of another shape
        return ("malformed", f"{type(error).__name__}: {error}")


def _older(function: str, gpu: int | None, args: Iterable[int | str]) -> tuple[Any, ...]:
    if f"{function}_v2" in vars(pynvml):
        return attempt(f"{function}_v2", gpu, args)
    return ("nvml", "NVML_ERROR_FUNCTION_NOT_FOUND", "this driver has another form of it")


def error_name(code: int) -> str:
    known = (name for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and value == code)
    return next(known, f"NVML_ERROR_{code}")


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return "an error that NVML itself cannot name"


def _argument(given: int | str) -> Any:
    if isinstance(given, int):
        return given
    name, _, scope = given.partition(":")
    if scope.isdecimal():  # a field of one link: NVML_FI_DEV_NVLINK_GET_SPEED:3
        return (_argument(name), int(scope))
    value = vars(pynvml).get(given)
    if isinstance(value, tuple) and len(value) == 1:  # NVML_P2P_CAPS_INDEX_READ = 0, has a comma too many
        value = value[0]
    if isinstance(value, int):
        return value
    if given.lower().startswith("nvml"):
        raise Missing(f"{given} is not known to nvidia-ml-py {_version()}")
    return given


def _call(function: str, gpu: int | None, args: list[Any]) -> Any:
    if not function.startswith(READS):
        raise Missing(f"{function} is not one that reads")
    first = [] if gpu is None else [_handle(gpu)]
    if function in FORMS:
        return FORMS[function](*first, *args)
    if function in STRUCTS:
        return _filled(function, first)
    called = vars(pynvml).get(function)
    if called is None:
        raise Missing(f"{function} is not in nvidia-ml-py {_version()}")
    if function in OF_TWO_GPUS:
        args = [_handle(args[0]), *args[1:]]
    return plain(called(*first, *args, **_fresh(called, len(first) + len(args))))


@cache
def _handle(gpu: int) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(gpu)


def _fresh(called: Any, given: int) -> dict[str, Any]:
    """Out parameters for functions that otherwise share one between all callers: a race between GPUs."""
    called = getattr(called, "__wrapped__", called)
    names = called.__code__.co_varnames[: called.__code__.co_argcount]
    defaults = dict(zip(reversed(names), reversed(called.__defaults__ or ()), strict=False))
    shared = {n: v for n, v in defaults.items() if isinstance(v, (ctypes._SimpleCData, ctypes.Structure))}
    return {name: type(value)() for name, value in shared.items() if names.index(name) >= given}


def _filled(function: str, first: list[Any]) -> Any:
    known = [vars(pynvml)[name] for name in STRUCTS[function] if name in vars(pynvml)]
    if not known:
        raise Missing(f"{function} is not in nvidia-ml-py {_version()}")
    pointer = pynvml._nvmlGetFunctionPointer(function)
    code = 0
    for struct in known:
        value = struct()
        code = pointer(*first, ctypes.byref(value))
        if code == 0:
            return plain(value)
        if code != VERSION_MISMATCH:
            break
    raise pynvml.NVMLError(code)


def _listed(gpu: Any) -> int:
    """A handle has no meaning outside of its process; that there is one has."""
    return int(pynvml.nvmlDeviceGetIndex(_handle(gpu) if isinstance(gpu, int) else gpu))


def _fields(handle: Any, *ids: int | tuple[int, int]) -> list[list[Any]]:
    """[fieldId, nvmlReturn, value] for each; the value is None where its return code is not 0."""
    answers = pynvml.nvmlDeviceGetFieldValues(handle, list(ids))
    return [[a.fieldId, a.nvmlReturn, None if a.nvmlReturn else _value(a.valueType, a.value)] for a in answers]


def _value(kind: int, union: Any) -> Any:
    if kind >= len(VALUES):
        raise ValueError(f"a value of type {kind}")
    return getattr(union, VALUES[kind])


def _samples(handle: Any, kind: int, since: int) -> list[list[Any]]:
    of, samples = pynvml.nvmlDeviceGetSamples(handle, kind, since)
    return [[s.timeStamp, _value(of, s.sampleValue)] for s in samples]


def _mig_device(handle: Any, index: int) -> dict[str, Any]:
    """A MIG device is a handle of its own: what it is, with each part that it does not tell as None."""
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
    parts = {
        "name": pynvml.nvmlDeviceGetName,
        "uuid": pynvml.nvmlDeviceGetUUID,
        "gpuInstanceId": pynvml.nvmlDeviceGetGpuInstanceId,
        "computeInstanceId": pynvml.nvmlDeviceGetComputeInstanceId,
        "attributes": pynvml.nvmlDeviceGetAttributes_v2,
        "memory": pynvml.nvmlDeviceGetMemoryInfo,
        "processes": pynvml.nvmlDeviceGetComputeRunningProcesses,
    }
    return {name: _or_none(read, mig) for name, read in parts.items()}


def _or_none(read: Callable[[Any], Any], handle: Any) -> Any:
    try:
        return plain(read(handle))
    except pynvml.NVMLError:
        return None


FORMS: dict[str, Callable[..., Any]] = {
    "nvmlDeviceGetHandleByIndex": _listed,
    "nvmlDeviceGetFieldValues": _fields,
    "nvmlDeviceGetSamples": _samples,
    "nvmlDeviceGetMigDeviceHandleByIndex": _mig_device,
}


def plain(value: Any) -> Any:
    """Structs as dicts by their field names, arrays and tuples as lists, bytes as text, GPU handles as indices."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (list, tuple, ctypes.Array)):
        return [plain(v) for v in value]
    if isinstance(value, (ctypes.Structure, ctypes.Union)):
        return {field[0]: _member(value, field[0], field[1]) for field in value._fields_}
    if isinstance(value, pynvml.c_nvmlDevice_t):
        return pynvml.nvmlDeviceGetIndex(value)
    if isinstance(value, ctypes._SimpleCData):
        return plain(value.value)
    if isinstance(value, pynvml.nvmlFriendlyObject):
        return {name: plain(v) for name, v in vars(value).items()}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _member(struct: Any, name: str, kind: Any) -> Any:
    if kind is ctypes.c_char:  # a small number in the bindings' structs, never a letter
        return ctypes.Structure.__getattribute__(struct, name)[0]
    if name in NOT_TEXT:
        place = getattr(type(struct), name)
        return ctypes.string_at(ctypes.addressof(struct) + place.offset, place.size).hex()
    return plain(ctypes.Structure.__getattribute__(struct, name))


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nvidia-ml-py")
    except PackageNotFoundError:
        return "(unknown version)"
