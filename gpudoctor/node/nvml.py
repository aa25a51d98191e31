"""The parent's side of NVML: who asks what of which worker, until when, and who is to blame.

All lanes share one worker until something in it hangs or dies. Whoever is under suspicion goes on
in a worker of its own, so that the next time there is no doubt which call it was.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gpudoctor.node.child import Child
from gpudoctor.node.gaps import gap_of_errno, gap_of_nvml
from gpudoctor.node.surface import NvmlCall
from gpudoctor.node.worker import INIT
from gpudoctor.unread import Gap, Reading, Unread

CALL_SECONDS = 2.0
STRIKES = 2  # hung or crashed calls after which a lane is left alone


@dataclass(eq=False, slots=True)
class Job:
    lane: str
    where: str  # the call, or the path to read
    function: str
    gpu: int | None
    args: tuple[int | str, ...]
    answered: threading.Semaphore
    reading: Reading[Any] = None

    def __post_init__(self) -> None:
        self.reading = Unread(Gap.TIMED_OUT, self.where, "was not answered")

    def resolve(self, reading: Reading[Any]) -> None:
        self.reading = reading
        self.answered.release()

    def miss(self, gap: Gap, detail: str, remedy: str = "") -> None:
        self.resolve(Unread(gap, self.where, detail, remedy))


@dataclass(eq=False, slots=True)
class Lane:
    """Calls that run one after the other: those on one GPU, those on none, reads of one kind."""

    name: str
    waiting: deque[Job] = field(default_factory=deque)
    sent: deque[Job] = field(default_factory=deque)
    began: float = 0.0  # when the first of `sent` began to run
    strikes: int = 0
    fault: Gap = Gap.TIMED_OUT  # of the last strike
    alone: bool = False
    bad: set[tuple[Any, ...]] = field(default_factory=set)  # calls that hung or crashed here

    @property
    def of_nvml(self) -> bool:
        return not self.name.startswith("read")

    @property
    def whom(self) -> str:
        return "this GPU" if self.name.startswith("gpu") else "this surface"


@dataclass(eq=False, slots=True)
class Worker:
    child: Child
    began: float
    lanes: list[Lane] = field(default_factory=list)
    flying: dict[int, tuple[Lane, Job]] = field(default_factory=dict)
    ready: bool = False  # nvmlInit has answered
    tainted: bool = False  # a call hangs in it, perhaps with a lock of NVML that others wait for

    @property
    def shared(self) -> bool:
        return not any(lane.alone for lane in self.lanes)


class Nvml:
    def __init__(self, seconds: float) -> None:
        now = time.monotonic()
        self.seconds = seconds
        self._deadline = now + seconds * 0.9
        self._patience = seconds * 0.6  # without persistence nvmlInit initialises every GPU
        self._failed: tuple[Gap, str, str] | None = None  # nvmlInit's verdict, once it is not a success
        self._init_crashes = 0
        self._inbox: deque[Job] = deque()
        self._lanes: dict[str, Lane] = {}
        self._workers: list[Worker] = []
        self._killed: list[Child] = []
        self._ended = False
        self._lock = threading.Lock()
        self._bell = self._rope = -1  # the two ends of what wakes the pump
        self._number = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start a worker now, so that NVML comes up while the caller does other things."""
        with self._lock:
            if self._thread is None and not self._ended:
                self._bell, self._rope = os.pipe()
                os.set_blocking(self._rope, False)
                with suppress(OSError):  # it is tried again, and told, when somebody asks
                    self._spawn(nvml=True)
                self._thread = threading.Thread(target=self._pump, name="nvml", daemon=True)
                self._thread.start()

    def ask(self, calls: Sequence[NvmlCall]) -> tuple[Reading[Any], ...]:
        done = threading.Semaphore(0)
        jobs = [Job(_lane_of(c), str(c), c.function, c.gpu, c.args, done) for c in calls]
        self._submit(jobs)
        self._await(done, len(jobs))
        return tuple(job.reading for job in jobs)

    def read(self, path: str, lane: str) -> Reading[bytes]:
        done = threading.Semaphore(0)
        job = Job(f"read {lane}", path, "read", None, (path,), done)
        self._submit([job])
        self._await(done, 1)
        return job.reading if isinstance(job.reading, Unread) else job.reading.encode("latin-1")

    def close(self) -> None:
        with self._lock:
            self._ended = True
            if self._thread is not None:
                self._ring()
        if self._thread is not None:
            self._thread.join(1.0)

    def _submit(self, jobs: list[Job]) -> None:
        self.start()
        with self._lock:
            if not self._ended:
                self._inbox += jobs
                self._ring()
                jobs = []
        for job in jobs:
            self._late(job)

    def _await(self, done: threading.Semaphore, jobs: int) -> None:
        for _ in range(jobs):
            if not done.acquire(timeout=max(0.0, self._deadline - time.monotonic()) + 1.0):
                return

    def _ring(self) -> None:
        with suppress(OSError):  # full: it will wake up; closed: it has ended
            os.write(self._rope, b"!")

    # From here on only the pump's thread.

    def _pump(self) -> None:
        try:
            while self._turn():
                self._listen(min([self._deadline, *self._dues()]) - time.monotonic())
        finally:
            self._end()

    def _turn(self) -> bool:
        with self._lock:
            arrived, ended = list(self._inbox), self._ended
            self._inbox.clear()
        for job in arrived:
            self._admit(job)
        if ended or time.monotonic() >= self._deadline:
            return False
        if any(due <= time.monotonic() for due in self._dues()):
            self._listen(0.0)  # this process may be the one that was stopped, and the answers lie there
        for worker in list(self._workers):
            self._judge(worker, time.monotonic())
        self._dispatch()
        return True

    def _admit(self, job: Job) -> None:
        lane = self._lanes.setdefault(job.lane, Lane(job.lane))
        if (job.function, job.args) in lane.bad:
            job.miss(lane.fault, "not asked: the same call hung or crashed before")
        elif lane.strikes >= STRIKES:
            job.miss(lane.fault, f"not asked: two calls on {lane.whom} hung or crashed before")
        elif lane.of_nvml and self._failed is not None:
            job.miss(*self._failed)
        else:
            lane.waiting.append(job)

    def _dispatch(self) -> None:
        for lane in self._lanes.values():
            if not lane.waiting:
                continue
            try:
                worker = self._worker_of(lane)
            except OSError as error:
                gap = Gap.DENIED if isinstance(error, PermissionError) else Gap.ABSENT
                while lane.waiting:
                    lane.waiting.popleft().miss(gap, f"no process could be started for it: {error}")
                continue
            if not lane.sent:
                lane.began = time.monotonic()
            while lane.waiting:
                job = lane.waiting.popleft()
                lane.sent.append(job)
                self._number += 1
                worker.flying[self._number] = (lane, job)
                worker.child.send(self._number, lane.name, job.function, job.gpu, job.args)

    def _worker_of(self, lane: Lane) -> Worker:
        for worker in self._workers:
            if lane in worker.lanes:
                return worker
        shared = None if lane.alone else next((w for w in self._workers if w.shared and not w.tainted), None)
        worker = shared or self._spawn(nvml=self._failed is None and (lane.of_nvml or not lane.alone))
        worker.lanes.append(lane)
        return worker

    def _spawn(self, *, nvml: bool) -> Worker:
        worker = Worker(Child(nvml), time.monotonic())
        self._workers.append(worker)
        return worker

    def _dues(self) -> list[float]:
        return [self._due(w, lane) for w in self._workers for lane in w.lanes if lane.sent]

    def _due(self, worker: Worker, lane: Lane) -> float:
        if lane.of_nvml and not worker.ready:
            return worker.began + self._patience
        return lane.began + CALL_SECONDS

    def _listen(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        for worker in self._workers:
            poll.register(worker.child.answers, select.POLLIN)
            if worker.child.has_unsent:
                poll.register(worker.child.commands, select.POLLOUT)
        ready = {fd for fd, _ in poll.poll(max(0.0, seconds) * 1e3)}
        if self._bell in ready:
            os.read(self._bell, 4096)
        for worker in list(self._workers):
            worker.child.flush()
            if worker.child.answers in ready:
                self._hear(worker)

    def _hear(self, worker: Worker) -> None:
        try:
            for number, *outcome in worker.child.receive():
                if number == INIT:
                    self._initialised(worker, outcome)
                else:
                    self._answered(worker, number, outcome)
        except (EOFError, ValueError, TypeError, KeyError, IndexError):  # nonsense: its memory is not sound any more
            self._died(worker)

    def _initialised(self, worker: Worker, outcome: list[Any]) -> None:
        now = time.monotonic()
        if outcome[0] != "ok":
            self._fail(*_gap_of(outcome))
            return
        worker.ready = True
        self._patience = min(self._patience, max(2 * CALL_SECONDS, 5 * (now - worker.began)))
        for lane in worker.lanes:
            if lane.of_nvml:
                lane.began = now

    def _answered(self, worker: Worker, number: int, outcome: list[Any]) -> None:
        lane, job = worker.flying.pop(number, (None, None))
        if lane is None or job is None or job not in lane.sent:
            return
        lane.sent.remove(job)
        lane.began = time.monotonic()
        if outcome[0] == "ok":
            job.resolve(outcome[1])
        else:
            job.miss(*_gap_of(outcome))

    def _fail(self, gap: Gap, detail: str, remedy: str = "") -> None:
        """NVML does not come up: nobody need ask again."""
        self._failed = (gap, detail, remedy)
        for lane in self._lanes.values():
            if lane.of_nvml:
                lane.waiting.extendleft(reversed(lane.sent))
                lane.sent.clear()
                while lane.waiting:
                    lane.waiting.popleft().miss(gap, detail, remedy)

    def _judge(self, worker: Worker, now: float) -> None:
        late = [lane for lane in worker.lanes if lane.sent and self._due(worker, lane) <= now]
        if not late:
            return
        if not worker.ready and any(lane.of_nvml for lane in late):
            asleep = worker.child.sleeps()
            self._abandon(worker)
            self._fail(Gap.TIMED_OUT, f"nvmlInit did not answer within {now - worker.began:.1f} s{asleep}")
            return
        # several in flight for long: one may hold a lock of NVML that the others wait for
        waits = [lane for lane in worker.lanes if lane.sent and (worker.ready or not lane.of_nvml)]
        stuck = [lane for lane in waits if now - lane.began > CALL_SECONDS / 2]
        certain = len(stuck) == 1 and not worker.tainted
        worker.tainted = True
        asleep = worker.child.sleeps()
        for lane in stuck:
            self._leave(worker, lane)
        if not worker.lanes:
            self._abandon(worker)
        self._suspect(stuck, certain, Gap.TIMED_OUT, f"did not answer within {CALL_SECONDS:g} s{asleep}")

    def _died(self, worker: Worker) -> None:
        for _ in range(50):
            if worker.child.reap():
                break
            time.sleep(0.001)
        fate = worker.child.fate()
        flying = [lane for lane in worker.lanes if lane.sent]
        of_init = not worker.ready and any(lane.of_nvml for lane in flying)
        self._abandon(worker)
        if not of_init:
            self._suspect(flying, len(flying) == 1, Gap.CRASHED, f"killed the process that called it: {fate}")
            return
        self._init_crashes += 1
        if self._init_crashes >= STRIKES:
            self._fail(Gap.CRASHED, f"nvmlInit killed the process that called it: {fate}")

    def _suspect(self, lanes: list[Lane], certain: bool, gap: Gap, detail: str) -> None:
        """Where it is not certain who did it, each goes on alone, and the guilty one will do it again."""
        for lane in lanes:
            lane.alone = True
        if certain:
            self._blame(lanes[0], gap, detail)

    def _blame(self, lane: Lane, gap: Gap, detail: str) -> None:
        job = lane.waiting.popleft()
        lane.strikes += 1
        lane.fault = gap
        lane.bad.add((job.function, job.args))
        job.miss(gap, f"{job.function} {detail}" if lane.of_nvml else detail)
        rest = list(lane.waiting)
        lane.waiting.clear()
        for job in rest:
            self._admit(job)

    def _leave(self, worker: Worker, lane: Lane) -> None:
        """What the lane had in flight there waits again; an answer that comes late is not heard."""
        worker.lanes.remove(lane)
        worker.flying = {n: (whose, job) for n, (whose, job) in worker.flying.items() if whose is not lane}
        lane.waiting.extendleft(reversed(lane.sent))
        lane.sent.clear()

    def _abandon(self, worker: Worker) -> None:
        self._workers.remove(worker)
        for lane in list(worker.lanes):
            self._leave(worker, lane)
        worker.child.kill()
        self._killed.append(worker.child)

    def _end(self) -> None:
        for worker in list(self._workers):
            self._abandon(worker)
        with self._lock:
            self._ended = True
            late = [*self._inbox, *(job for lane in self._lanes.values() for job in lane.waiting)]
            for end in (self._rope, self._bell):
                os.close(end)
            self._rope = self._bell = -1
        for job in late:
            self._late(job)
        for child in self._killed:
            child.reap()

    def _late(self, job: Job) -> None:
        job.miss(Gap.TIMED_OUT, f"not answered before the scan's {self.seconds:g} s were spent", "raise --timeout")


def _lane_of(call: NvmlCall) -> str:
    return "system" if call.gpu is None else f"gpu {call.gpu}"


def _gap_of(outcome: list[Any]) -> tuple[Gap, str, str]:
    kind, *rest = outcome
    if kind == "nvml":
        return gap_of_nvml(*rest)
    if kind == "os":
        return gap_of_errno(*rest)
    return (Gap.UNSUPPORTED if kind == "unsupported" else Gap.MALFORMED, str(rest[0]), "")
