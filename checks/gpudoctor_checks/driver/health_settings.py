"""Persistence, compute mode and MIG as they are set."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.machine import Machine
from gpudoctor.finding import Finding, Severity
from gpudoctor.unread import Gap, Unread

NOT_GIVEN = Unread(
    Gap.DENIED,
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "shows only the instances that this container was given: none",
    "scan on the node itself",
)


@check("PERSISTENCE_OFF")
def persistence_off(settings: GpuSettings) -> Iterator[Finding]:
    """A headless server GPU is torn down whenever its last user leaves."""
    if settings.lacks("persistence") or not settings.data_centre or settings.get("virtualization") == "vgpu":
        return
    if not settings.persistence and not settings.get("display_active", False):
        yield Finding(settings.subject, evidence=settings.seen("persistence", "display_active"))


@check("COMPUTE_MODE_EXCLUSIVE")
def compute_mode(settings: GpuSettings) -> Iterator[Finding]:
    """One process at a time may use the GPU, or none."""
    if settings.lacks("compute_mode") or settings.compute_mode == "default":
        return
    prohibited = settings.compute_mode == "prohibited"
    yield Finding(
        settings.subject,
        severity=Severity.ERROR if prohibited else None,
        evidence=settings.seen("compute_mode"),
        mode=settings.compute_mode.replace("_", " "),
        effect="no process at all" if prohibited else "one process at a time",
    )


@check("MIG_MISCONFIGURED")
def mig(settings: GpuSettings, machine: Machine) -> Iterator[Finding]:
    """MIG is on and nothing was cut out of the GPU, or it changes at the next reset."""
    if settings.lacks("mig"):
        return
    seen = settings.seen("mig", "mig_pending", "mig_devices")
    if settings.mig != settings.mig_pending:
        change = f"is {_word(settings.mig)} and will be {_word(settings.mig_pending)} after a reset"
        yield Finding(settings.subject, evidence=seen, state=change, action="reset")
    elif settings.mig and settings.mig_devices == 0:
        if machine.container:
            raise NOT_GIVEN
        state = "is on without any instance"
        yield Finding(settings.subject, severity=Severity.ERROR, evidence=seen, state=state, action="create")


def _word(on: bool) -> str:
    return "on" if on else "off"
