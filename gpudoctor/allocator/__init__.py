"""PyTorch's caching allocator: its snapshots, its rules, and a replay of what a program asked it for."""
