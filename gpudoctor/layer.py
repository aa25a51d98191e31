"""The stack, bottom first. The order of this enum is the order of every report."""

from __future__ import annotations

from enum import Enum


class Layer(str, Enum):
    KERNEL = "kernel"
    DRIVER = "driver"
    PCIE = "pcie"
    TOPOLOGY = "topology"
    RUNTIME = "runtime"
    MATHLIB = "mathlib"
    ALLOCATOR = "allocator"
    FRAMEWORK = "framework"
    SERVING = "serving"
    ORCHESTRATION = "orchestration"

    def __str__(self) -> str:
        return self.value

    @property
    def height(self) -> int:
        """0 at the bottom of the stack."""
        return _HEIGHT[self]


_HEIGHT = {layer: height for height, layer in enumerate(Layer)}
