"""Modules, services and the health that NVML tells of."""
