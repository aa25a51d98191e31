"""What a GPU asks to have done with it: the highest authority about it."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_gaps import GpuGaps
from gpudoctor.facts.gpu_health import GpuRecovery
from gpudoctor.finding import Evidence, Finding, Severity

HALTED = {"reset_gpu", "reboot_node", "reset_bus", "reboot_system"}  # no work runs until it is done
IN_WORDS = {
    "reset_gpu": "a GPU reset",
    "reboot_node": "a reboot of the node",
    "drain_p2p": "a drain of its peer-to-peer traffic",
    "drain_and_reset": "a drain and a reset",
    "recover_imex_domain": "a recovery of its IMEX domain",
    "reset_bus": "a bus reset",
    "reboot_system": "a reboot of the system",
}


@check("GPU_RECOVERY_ACTION")
def recovery_action(recovery: GpuRecovery, gaps: GpuGaps) -> Iterator[Finding]:
    refused = [u for u in gaps.unread if u.gap.detail.startswith("NVML_ERROR_RESET_REQUIRED")]
    if refused:
        evidence = tuple(Evidence(u.gap.where, u.gap.detail) for u in refused[:3])
        yield _asks(recovery, "reset_gpu", evidence)
    elif not recovery.lacks("action") and recovery.action != "none":
        yield _asks(recovery, recovery.action, recovery.seen("action"))


def _asks(recovery: GpuRecovery, action: str, evidence: tuple[Evidence, ...]) -> Finding:
    severity = Severity.CRITICAL if action in HALTED else Severity.WARNING if action == "drain_and_reset" else None
    return Finding(recovery.subject, severity=severity, evidence=evidence, action=action, wanted=IN_WORDS[action])
