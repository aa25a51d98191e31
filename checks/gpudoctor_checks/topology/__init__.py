"""Places: NUMA nodes, what lies near what, the host around the GPUs."""
