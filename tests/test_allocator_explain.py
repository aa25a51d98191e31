"""What is said of a snapshot: moments, who holds what, what pins what, what grows, and what would have helped."""

from __future__ import annotations

import made_snapshots
import msgspec
import pytest
from allocator_programs import GIB, MIB, Program
from casebook import fact_of_snapshot

from gpudoctor.allocator.candidates import candidates, cheapest, kept_settings
from gpudoctor.allocator.explain import explain
from gpudoctor.allocator.explanation import Explanation
from gpudoctor.allocator.fact import fact_of
from gpudoctor.allocator.frames import category, one_line, own_frame
from gpudoctor.allocator.settings import InvalidSettings, parse_settings
from gpudoctor.allocator.snapshot import Frame, Snapshot, Trace
from gpudoctor.unread import Unread

EXPANDABLE = "expandable_segments:True"


def explained(snapshot: Snapshot, **options) -> Explanation:
    return explain(snapshot, snapshot.devices[0], source="it.pickle", **options)


def test_the_failure_is_the_moment_that_matters() -> None:
    it = explained(made_snapshots.in_pieces(), what_if=["default"])
    assert [moment.name for moment in it.moments] == ["peak", "out of memory", "end"]
    assert it.moment.name == "out of memory"
    assert (it.moment.allocated, it.moment.reserved, it.moment.wanted) == (80 * MIB, 1040 * MIB, 300 * MIB)
    assert [hole.size for hole in it.moment.holes] == [60 * MIB] * 16
    assert it.moments[0].allocated == 1040 * MIB
    assert it.room == (1100 * MIB, 1100 * MIB)
    assert it.live_at_failure == 380 * MIB


def test_long_lived_blocks_answer_for_what_they_pin() -> None:
    it = explained(made_snapshots.in_pieces(), what_if=["default"])
    (pin,) = it.pins
    assert it.stacks[pin.stack] == "main at u/train/train.py:44"
    assert pin.unusable == 960 * MIB
    assert pin.age_events == 64
    assert [(holder.name, holder.size) for holder in it.by_frame] == [("main at u/train/train.py:44", 80 * MIB)]


def test_other_settings_are_replayed_under_what_could_be_reserved() -> None:
    it = explained(made_snapshots.in_pieces(), what_if=["default", EXPANDABLE])
    assert [(each.settings, each.outcome.fits, each.outcome.certain) for each in it.what_if] == [
        ("default", False, True),
        (EXPANDABLE, True, True),
    ]
    assert it.what_if[0].cap == 1100 * MIB
    assert it.fidelity is not None
    assert it.fidelity.trusted
    best = cheapest(it.what_if)
    assert best is not None
    assert best.settings == EXPANDABLE


def test_a_given_cap_replaces_the_recorded_limit() -> None:
    it = explained(made_snapshots.in_pieces(), what_if=["default"], cap=2 * GIB)
    assert it.what_if[0].outcome.fits
    assert fact_of(it).room_bytes == (2 * GIB, 2 * GIB)
    assert it.fidelity is not None
    assert it.fidelity.trusted  # judged under the recorded limit


def test_a_limit_that_is_only_known_roughly_leaves_doubt() -> None:
    it = explained(made_snapshots.too_much_under_a_fraction(), what_if=["roundup_power2_divisions:2"])
    assert it.is_capped
    assert it.room == (900 * MIB, 1200 * MIB - 1)


def test_settings_that_pytorch_would_refuse_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="expandable_segments takes True or False"):
        explained(made_snapshots.steady(), what_if=["expandable_segments:1"])


def test_a_leak_is_told_from_what_every_step_gives_back() -> None:
    it = explained(made_snapshots.leak(), what_if=["default"])
    assert [it.stacks[growth.stack] for growth in it.growing] == ["main at u/train/train.py:44"]
    assert it.growing[0].blocks == 240
    assert explained(made_snapshots.steady(), what_if=["default"]).growing == ()


def test_loading_a_model_is_no_leak() -> None:
    program = Program()
    for _ in range(500):
        program.allocate(4 * MIB, stack=program.stack(("load", "/home/u/load.py", 3)))
    assert explained(program.snapshot(), what_if=["default"]).growing == ()


def test_memory_that_others_took_is_what_was_there_before() -> None:
    it = explained(made_snapshots.crowded(), what_if=["default"])
    assert it.outside == 680 * MIB
    assert it.outside_is_least
    known = explained(made_snapshots.crowded(), what_if=["default"], total=4 * GIB)
    assert (known.outside, known.outside_is_least) == (2 * GIB, False)


def test_a_truncated_record_says_so_and_still_shows_the_failure() -> None:
    it = explained(made_snapshots.in_pieces_after_a_full_ring())
    assert any("when 0." in note and "GiB were allocated already" in note for note in it.notes)
    assert (it.moment.allocated, it.moment.reserved) == (80 * MIB, 1040 * MIB)
    assert it.fidelity is not None
    assert not it.fidelity.trusted


def test_without_events_the_state_is_shown_and_nothing_replayed() -> None:
    whole = made_snapshots.in_pieces()
    device = msgspec.structs.replace(whole.devices[0], trace=Trace())
    other = msgspec.structs.replace(whole.devices[0], index=1)
    it = explained(msgspec.structs.replace(whole, devices=(device, other)))
    assert [moment.name for moment in it.moments] == ["end"]
    assert it.moment.allocated == 80 * MIB
    assert it.fidelity is None
    assert it.what_if == ()
    assert "It holds no events of this device: what led here cannot be told." in it.notes
    assert it.pins[0].unusable == 960 * MIB
    fact = fact_of(it)
    assert fact.failed_bytes is None
    assert isinstance(fact.reading("room_bytes"), Unread)


def test_private_pools_are_apart_and_their_holes_serve_nobody() -> None:
    program = Program(limit=GIB)
    kept = program.allocate(30 * MIB, pool=(1, 0))
    loose = program.allocate(50 * MIB, pool=(1, 0))
    assert kept is not None
    assert loose is not None
    program.free(loose)
    program.allocate(60 * MIB)  # where the peak is
    it = explained(program.snapshot(), what_if=["default"])
    (pool,) = it.pools
    assert (pool.id, pool.reserved, pool.allocated) == ((1, 0), 80 * MIB, 30 * MIB)
    assert it.moment.reserved == 140 * MIB
    assert it.pins == ()


@pytest.mark.parametrize(
    ("frames", "own", "kind"),
    [
        (
            [("linear", "/v/lib/python3.11/site-packages/torch/nn/functional.py"), ("step", "/home/u/run.py")],
            "run.py",
            "forward pass",
        ),
        (
            [("_init_group", "/v/site-packages/torch/optim/adamw.py"), ("train", "/home/u/run.py")],
            "run.py",
            "optimizer",
        ),
        (
            [("torch::autograd::Engine::thread_main", ""), ("__clone", "")],
            "torch::autograd::Engine::thread_main",
            "backward pass",
        ),
        (
            [("empty", "/v/site-packages/torch/utils/_device.py"), ("alloc", "/v/site-packages/vllm/v1/kv_cache.py")],
            "kv_cache.py",
            "KV cache",
        ),
        ([("to", "/v/dist-packages/torch/nn/modules/module.py"), ("<module>", "/x/a.py")], "a.py", "parameters"),
        ([("go", "/usr/lib/python3.11/threading.py"), ("work", "/home/u/pool.py")], "pool.py", "other"),
    ],
)
def test_a_stack_is_named_by_the_programs_own_line(frames: list[tuple[str, str]], own: str, kind: str) -> None:
    stack = tuple(Frame(name, filename, 7) for name, filename in frames)
    chosen = own_frame(stack)
    assert chosen is not None
    assert (chosen.filename or chosen.name).endswith(own)
    assert category(stack) == kind


def test_a_stack_in_one_line_says_through_what_the_program_asked() -> None:
    stack = (Frame("linear", "/v/site-packages/torch/nn/functional.py", 5), Frame("step", "/home/u/run.py", 7))
    assert one_line(stack) == "step at home/u/run.py:7, through linear at torch/nn/functional.py:5"
    assert one_line(()) == "no stack recorded"


def test_candidates_are_what_the_torch_of_the_snapshot_knows() -> None:
    assert all(parse_settings(text) is not None for text in candidates("", limited=True, everything=True))
    assert EXPANDABLE not in candidates("1.13", limited=False)
    assert EXPANDABLE in candidates("2.1 or newer", limited=False)
    assert not any("garbage" in text for text in candidates("2.11", limited=False, everything=True))
    assert "garbage_collection_threshold:0.8" in candidates("2.11", limited=True)
    assert not any("large_segment" in text for text in candidates("2.10 or 2.11", limited=False, everything=True))
    assert any("large_segment" in text for text in candidates("2.12 or newer", limited=False, everything=True))


def test_settings_of_host_memory_and_limits_stay() -> None:
    text = "max_split_size_mb:64, pinned_use_cuda_host_register:True,roundup_power2_divisions:[256:1,>:8]"
    assert kept_settings(text) == "pinned_use_cuda_host_register:True"
    assert kept_settings("per_process_memory_fraction:0.5,not_a_setting:1") == "per_process_memory_fraction:0.5"


def test_the_fact_holds_what_checks_judge() -> None:
    fact = fact_of_snapshot("in_pieces_under_a_fraction")
    assert fact.subject.id == "in_pieces_under_a_fraction.pickle#0"
    assert fact.is_capped
    assert fact.kept_settings == "pinned_num_register_threads:4"
    assert fact.largest_hole_bytes == 60 * MIB
    assert [each.settings for each in fact.alternatives if each.is_recorded] == [
        "default",
        "pinned_num_register_threads:4",
    ]
