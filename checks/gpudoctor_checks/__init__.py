"""Every opinion of gpudoctor: functions and their rows, by layer."""

from __future__ import annotations

from gpudoctor.knowledge import Description


def describe(text: str) -> Description | None:
    """A GPU's model, by the name that NVML or rocm-smi prints."""
    from gpudoctor_checks import gpu_models

    return gpu_models.describe(text)
