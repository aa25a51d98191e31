"""Explanations of snapshots made by hand, for renderers."""

from __future__ import annotations

from typing import Any

from sample_reports import NASTY, clear, finding, gap, report

from gpudoctor.allocator.explanation import (
    Explanation,
    Growth,
    Holder,
    Hole,
    Moment,
    Pin,
    Pool,
    Timeline,
    WhatIf,
)
from gpudoctor.allocator.fidelity import Fidelity
from gpudoctor.allocator.replay import Outcome, Run
from gpudoctor.allocator.settings import MIB, parse_settings
from gpudoctor.allocator.snapshot import DEFAULT_POOL, Segment, SnapshotBlock
from gpudoctor.report import Evidence, Fix, LayerVerdict, Report, Source, Subject

GIB = 1 << 30
DEVICE = Subject("gpu", "oom.pickle#0", "device 0 of oom.pickle")
NAMES = ("fragmented", "healthy", "no_trace", "nasty")


def segment(address: int, *blocks: tuple[int, str], **other: Any) -> Segment:
    """Blocks as (MiB, state), one after the other."""
    made, at = [], address
    for mib, state in blocks:
        made.append(SnapshotBlock(at, mib * MIB, mib * MIB - 100, state, 0))  # type: ignore[arg-type]
        at += mib * MIB
    known: dict[str, Any] = {"stream": 0, "is_small": False, "is_expandable": False, "pool": DEFAULT_POOL}
    return Segment(address, at - address, blocks=tuple(made), **{**known, **other})


def moment(name: str, place: int, segments: tuple[Segment, ...], wanted: int = 0) -> Moment:
    blocks = [(index, block) for index, each in enumerate(segments) for block in each.blocks]
    holes = [Hole(b.address, b.size, index, segments[index].is_expandable) for index, b in blocks if b.state == "free"]
    return Moment(
        name,
        place,
        segments,
        sum(b.requested for _, b in blocks if b.state == "allocated"),
        sum(b.size for _, b in blocks if b.state == "allocated"),
        sum(each.size for each in segments),
        tuple(sorted(holes, key=lambda hole: -hole.size)),
        wanted,
    )


def run(ooms: int = 0, reserved_peak: int = 3 * GIB, device_allocs: int = 120, **other: Any) -> Run:
    known: dict[str, Any] = {
        "first_oom": 4011 if ooms else None,
        "first_oom_bytes": 600 * MIB if ooms else 0,
        "allocated_peak": 3 * GIB,
        "segments_peak": 30,
        "device_frees": 12,
        "retries": 2 if ooms else 0,
        "tied": False,
        "segments": (),
    }
    return Run(ooms=ooms, reserved_peak=reserved_peak, device_allocs=device_allocs, **{**known, **other})


def tried(settings: str, made: Run, *, apart: int = 0, certain: bool = True, cap: int | None = 5 * GIB) -> WhatIf:
    doubt = "" if certain else "it depends on the addresses that the driver gives, or on when other streams were done"
    outcome = Outcome(made, made.reserved_peak, made.reserved_peak + apart, certain, doubt)
    return WhatIf(settings, parse_settings(settings), cap, outcome)


def explanation(**other: Any) -> Explanation:
    points = 200
    allocated = tuple(int(GIB * (0.5 + 2.5 * p / points)) for p in range(points))
    reserved = tuple(int(GIB * (1 + 3.9 * min(1, p * 1.4 / points))) for p in range(points))
    same = run(1, int(4.9 * GIB))
    known: dict[str, Any] = {
        "source": "oom.pickle",
        "device": 0,
        "device_count": 1,
        "torch_era": "2.11",
        "settings_text": "",
        "notes": (),
        "events": 9001,
        "allocations": 4012,
        "failures": 1,
        "timeline": Timeline(
            tuple(p * 45 for p in range(points)),
            tuple(p * 61_000 for p in range(points)),
            tuple(int(a * 0.97) for a in allocated),
            allocated,
            reserved,
        ),
        "moments": (moment("end", 0, ()),),
        "stacks": (
            "forward at train.py:88, Linear.forward at torch/nn/modules/linear.py:125",
            "keep_loss at train.py:131",
            "step at optim.py:40",
        ),
        "pins": (),
        "by_frame": (),
        "by_category": (),
        "growing": (),
        "pools": (),
        "outside": None,
        "device_free": None,
        "room": None,
        "live_peak": 3 * GIB,
        "fidelity": Fidelity(same, 815, 812, same.reserved_peak, 0, ()),
        "what_if": (),
    }
    return Explanation(**{**known, **other})


def fragmented() -> Explanation:
    segments = (
        segment(0x7F0000000000, (700, "allocated"), (300, "free"), (2, "allocated"), (498, "free")),
        segment(0x7F1000000000, (512, "free"), (8, "allocated"), (180, "pending_free"), (100, "free")),
        segment(0x7F2000000000, (64, "allocated"), (64, "free"), (64, "allocated"), (64, "free"), stream=0x5F),
        segment(0x7F3000000000, (1, "allocated"), (1, "free"), is_small=True),
        segment(0x7F4000000000, (900, "allocated")),
        segment(0x7F5000000000, (20, "free")),
        *(segment(0x7F6000000000 + n * GIB, (10, "allocated"), (10, "free")) for n in range(40)),
    )
    failed = moment("out of memory", 8999, segments, 600 * MIB)
    return explanation(
        moments=(moment("peak", 7000, segments), failed, moment("end", 9001, segments)),
        pins=(
            Pin(1, 2 * MIB, 798 * MIB, 8123, 1, 0x7F0000000000),
            Pin(0, 8 * MIB, 612 * MIB, 411, 3, 0x7F1000000000),
            Pin(-1, 64 * MIB, 128 * MIB, 17, 1, 0x7F2000000000),
            Pin(2, 10 * MIB, 10 * MIB, 17, 40, 0x7F6000000000),
        ),
        by_frame=(
            Holder("forward at train.py:88", 1900 * MIB, 812, 0.61),
            Holder("keep_loss at train.py:131", 700 * MIB, 91, 0.22),
            Holder("step at optim.py:40", 300 * MIB, 12, 0.1),
            Holder("no stack was recorded", 200 * MIB, 3, 0.07),
        ),
        by_category=(Holder("activations", 1900 * MIB, 812, 0.61), Holder("parameters", 1200 * MIB, 106, 0.39)),
        growing=(Growth(1, 20 * MIB, 700 * MIB, 9, 91),),
        pools=(Pool((0, 1), 512 * MIB, 310 * MIB, 4),),
        outside=740 * MIB,
        device_free=310 * MIB,
        room=(int(4.9 * GIB), 5 * GIB),
        what_if=(
            tried("expandable_segments:True", run(0, int(3.2 * GIB), 812)),
            tried("max_split_size_mb:128", run(0, int(4.1 * GIB), 240), apart=200 * MIB),
            tried("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]", run(0, 4 * GIB, 99), certain=False),
            tried("default", run(1, int(4.9 * GIB))),
        ),
    )


def healthy() -> Explanation:
    segments = (segment(0x7F0000000000, (700, "allocated"), (68, "allocated")),)
    return explanation(
        failures=0,
        moments=(moment("peak", 7000, segments), moment("end", 9001, segments)),
        settings_text="expandable_segments:True",
        what_if=(tried("default", run(0), cap=None),),
    )


def no_trace() -> Explanation:
    """A file that tells how memory is, and nothing of how it became so."""
    return explanation(
        notes=("the file holds no events: record them with torch.cuda.memory._record_memory_history()",),
        events=0,
        allocations=0,
        failures=0,
        timeline=Timeline((), (), (), (), ()),
        moments=(moment("end", 0, (segment(0x7F0000000000, (10, "allocated"), (10, "free")),)),),
        stacks=(),
        live_peak=0,
        fidelity=None,
    )


def nasty() -> Explanation:
    """Names that try to steer the terminal, forge markup and break out of a page."""
    made = fragmented()
    return explanation(
        source=NASTY,
        settings_text=NASTY,
        torch_era=NASTY,
        notes=(NASTY,),
        moments=made.moments,
        stacks=(NASTY,),
        pins=(Pin(0, MIB, MIB, 1, 1, 0), Pin(99, MIB, MIB, 1, 1, 0)),
        by_frame=(Holder(NASTY, MIB, 1, 1.0),),
        by_category=(Holder(NASTY, 1, 1, 0.0),),
        growing=(Growth(0, 0, MIB, 9, 1),),
        what_if=(tried("default", run(3)),),
        device_count=0,
    )


def judged(name: str) -> Report:
    """What checks might have said."""
    if name in ("healthy", "no_trace"):
        outcome = (clear if name == "healthy" else gap)("OOM_FRAGMENTATION", "allocator", *GAP[name == "healthy"])  # type: ignore[operator]
        layer = LayerVerdict("allocator", "ok", int(name == "healthy"), 0, int(name != "healthy"))
        return report(layer, source=Source("files", "oom.pickle"), outcomes=(outcome,))
    found = finding(
        "OOM_FRAGMENTATION",
        "allocator",
        "error",
        "600 MiB could not be had although 1.6 GiB were free in pieces" if name != "nasty" else NASTY,
        DEVICE,
        why="Free memory lies in blocks that live ones keep apart; no single block is large enough.",
        evidence=(Evidence("device_traces oom", None, None, "600 MiB wanted, largest free block 512 MiB"),),
        fixes=(
            Fix(
                "Start the program with segments that can grow.",
                "export PYTORCH_ALLOC_CONF=expandable_segments:True",
                False,
                "restart_process",
            ),
        ),
        verify="gpudoctor memory oom.pickle --what-if expandable_segments:True",
    )
    return report(
        LayerVerdict("allocator", "error", 3, 1, 0),
        source=Source("files", "oom.pickle"),
        verdict="error",
        exit_code=1,
        findings=(found,),
        root_causes=(found.id,),
    )


GAP = {True: (DEVICE,), False: ("device_traces: the file holds no events", DEVICE)}
