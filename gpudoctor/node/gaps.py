"""What an error of the kernel or of NVML says about a surface: the gap, the words, and what would help."""

from __future__ import annotations

import errno
import os

from gpudoctor.unread import Gap

_ERRNO = {
    errno.ENOENT: Gap.ABSENT,
    errno.ENOTDIR: Gap.ABSENT,
    errno.ENODEV: Gap.ABSENT,
    errno.ENXIO: Gap.ABSENT,
    errno.ESRCH: Gap.ABSENT,  # a process that has ended
    errno.EACCES: Gap.DENIED,
    errno.EPERM: Gap.DENIED,
    errno.ETIMEDOUT: Gap.TIMED_OUT,
    errno.EAGAIN: Gap.TIMED_OUT,
    errno.EINVAL: Gap.UNSUPPORTED,  # sysfs: this device has no such thing
    errno.ENOTSUP: Gap.UNSUPPORTED,
    errno.ENOSYS: Gap.UNSUPPORTED,
    errno.ENODATA: Gap.UNSUPPORTED,
}
_NVML = {
    "NVML_ERROR_NOT_SUPPORTED": Gap.UNSUPPORTED,
    "NVML_ERROR_FUNCTION_NOT_FOUND": Gap.UNSUPPORTED,
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH": Gap.UNSUPPORTED,
    "NVML_ERROR_VGPU_ECC_NOT_SUPPORTED": Gap.UNSUPPORTED,
    "NVML_ERROR_DEPRECATED": Gap.UNSUPPORTED,
    "NVML_ERROR_INVALID_ARGUMENT": Gap.UNSUPPORTED,  # this GPU has no such sensor, link or fan
    "NVML_ERROR_NO_DATA": Gap.UNSUPPORTED,
    "NVML_ERROR_NOT_FOUND": Gap.ABSENT,  # no such MIG device, process or entry
    "NVML_ERROR_NO_PERMISSION": Gap.DENIED,
    "NVML_ERROR_GPU_IS_LOST": Gap.LOST,
    "NVML_ERROR_LIBRARY_NOT_FOUND": Gap.ABSENT,
    "NVML_ERROR_DRIVER_NOT_LOADED": Gap.ABSENT,
    "NVML_ERROR_TIMEOUT": Gap.TIMED_OUT,
}


def gap_of_errno(number: int) -> tuple[Gap, str, str]:
    gap = _ERRNO.get(number, Gap.MALFORMED)
    return gap, os.strerror(number), privilege() if gap is Gap.DENIED else ""


def gap_of_nvml(name: str, text: str) -> tuple[Gap, str, str]:
    gap = _NVML.get(name, Gap.MALFORMED)
    return gap, f"{name}: {text}", privilege() if gap is Gap.DENIED else ""


def privilege() -> str:
    if os.geteuid() != 0:
        return "run as root"
    return "root alone does not do: a container's or security module's rule forbids it"
