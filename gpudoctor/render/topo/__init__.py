"""One picture of a node: its NUMA nodes, what hangs off them, the links between, and what is wrong where."""
