"""The allocator: what a memory snapshot tells."""
