"""Snapshots of programs that fail, or do not, for a known reason; cases name them under `snapshot:`."""

from __future__ import annotations

from allocator_programs import GIB, MIB, Program

from gpudoctor.allocator.snapshot import Snapshot

STEP = (("forward", "/home/u/train/model.py", 12), ("main", "/home/u/train/train.py", 40))
LOSSES = (("main", "/home/u/train/train.py", 44),)


def _in_pieces(program: Program) -> Program:
    """One large segment, in which five MiB of every 65 stay."""
    whole = program.allocate(1040 * MIB)
    assert whole is not None
    program.free(whole)
    freed = []
    for _ in range(16):
        program.allocate(5 * MIB, stack=program.stack(*LOSSES))
        freed.append(program.allocate(60 * MIB, stack=program.stack(*STEP)))
    for block in freed:
        assert block is not None
        program.free(block)
    assert program.allocate(300 * MIB, stack=program.stack(*STEP)) is None
    return program


def in_pieces() -> Snapshot:
    """1040 MiB reserved, 80 live, and 300 do not fit: the GPU is full."""
    return _in_pieces(Program(capacity=1100 * MIB)).snapshot()


def in_pieces_under_vllm() -> Snapshot:
    program = Program(capacity=1100 * MIB)
    program.stack(("load", "/venv/lib/python3.12/site-packages/vllm/worker.py", 5))
    return _in_pieces(program).snapshot()


def in_pieces_under_a_fraction() -> Snapshot:
    return _in_pieces(Program("pinned_num_register_threads:4", limit=1100 * MIB, elsewhere=60 * GIB)).snapshot()


def in_pieces_after_a_full_ring() -> Snapshot:
    return _in_pieces(Program(capacity=1100 * MIB)).snapshot(ring=12)


def too_much() -> Snapshot:
    program = Program(capacity=GIB)
    for _ in range(3):
        program.allocate(300 * MIB)
    assert program.allocate(300 * MIB) is None
    return program.snapshot()


def too_much_under_a_fraction() -> Snapshot:
    program = Program(limit=GIB, elsewhere=60 * GIB)
    for _ in range(3):
        program.allocate(300 * MIB)
    assert program.allocate(300 * MIB) is None
    return program.snapshot()


def crowded() -> Snapshot:
    """An epoch had 3 GiB; then somebody else took 2 of 4."""
    program = Program(capacity=4 * GIB)
    for size in (GIB, 1700 * MIB):
        blocks = [program.allocate(size // 4) for _ in range(4)]
        for block in blocks:
            assert block is not None
            program.free(block)
    program.empty_cache()
    program.shrink(2 * GIB)
    for _ in range(4):
        program.allocate(500 * MIB)
    assert program.allocate(500 * MIB) is None
    return program.snapshot()


def leak() -> Snapshot:
    """Each step keeps 4 MiB and gives 60 back, until memory runs out."""
    program = Program(capacity=GIB)
    for _ in range(1000):
        activations = [program.allocate(20 * MIB, stack=program.stack(*STEP)) for _ in range(3)]
        kept = program.allocate(4 * MIB, stack=program.stack(*LOSSES))
        if kept is None or None in activations:
            return program.snapshot()
        for block in activations:
            assert block is not None
            program.free(block)
    raise AssertionError("memory never ran out")


def growing_requests() -> Snapshot:
    """Each buffer is larger than all that were freed before."""
    program = Program()
    held = program.allocate(100 * MIB)
    for size in range(110, 400, 10):
        block = program.allocate(size * MIB)
        assert held is not None
        program.free(held)
        held = block
    return program.snapshot()


def steady() -> Snapshot:
    """Parameters that stay, and the same activations in each step."""
    program = Program()
    for _ in range(4):
        program.allocate(512 * MIB)
    for _ in range(50):
        blocks = [program.allocate(size * MIB, stack=program.stack(*STEP)) for size in (64, 128, 96)]
        for block in reversed(blocks):
            assert block is not None
            program.free(block)
    return program.snapshot()
