"""RDMA adapters that feed GPUs, apart from those that servers carry for everything else."""

from __future__ import annotations

from gpudoctor.facts.nic import Nic

# Network chips on mainboards do RDMA too (bnxt_re, irdma, mlx5 at 10 and 25 Gbit/s); nobody bought them for GPUs.
LEAST_GBIT_PER_S = 40.0


def feeds_gpus(nic: Nic) -> bool:
    """An active RDMA port that is fast enough; a rate that is not told (0) counts as one."""
    active = [port.rate_gbit_per_s for port in nic.get("rdma_ports", ()) if port.state == "ACTIVE"]
    return any(not rate or rate >= LEAST_GBIT_PER_S for rate in active)
