"""Caches of compiled kernels on file systems that other machines serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.host import Folder, JobStorage, Storage
from gpudoctor.finding import NODE, Confidence, Evidence, Finding

COMPILED = ("CUDA cache", "Triton cache", "Inductor cache")


@check("NETWORK_CACHE")
def network_cache(storage: Storage, jobs: JobStorage | None, gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    """Of the processes that use GPUs now; where there are none, of what this shell would start."""
    if not gpus:
        return
    folders = jobs.folders if jobs else storage.folders
    far = [folder for folder in folders if folder.purpose in COMPILED and folder.on_network_file_system]
    if far:
        yield Finding(
            NODE,
            confidence=Confidence.LIKELY,  # a link inside that file system may lead back
            evidence=[Evidence(f"/proc/{_process(folder)}/mountinfo", _placed(folder)) for folder in far],
            caches=_listed(far),
            file_system=far[0].file_system,
            mount_point=far[0].mount_point,
        )


def _process(folder: Folder) -> str:
    return folder.whose.removeprefix("pid ") if folder.whose.startswith("pid ") else "self"


def _placed(folder: Folder) -> str:
    return f"{folder.purpose} of {folder.whose}: {folder.path} on {folder.file_system} {folder.device}"


def _listed(folders: Sequence[Folder]) -> str:
    """`CUDA cache and Triton cache of pid 4411 and 3 more`"""
    whose = list(dict.fromkeys(folder.whose for folder in folders))
    purposes = [folder.purpose for folder in folders if folder.whose == whose[0]]
    rest = f" and {len(whose) - 1} more" if len(whose) > 1 else ""
    return f"{' and '.join(purposes)} of {whose[0]}{rest}"
