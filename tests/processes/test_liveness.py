"""on_gone is called once, soon, and for nobody else."""

import asyncio
import errno
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mcp_sessions.processes import Liveness, Process, is_alive, liveness, process

from .conftest import Child, Spawn

has_pidfd = sys.platform == "linux" and hasattr(os, "pidfd_open")


class Watch:
    """A Liveness and what it told."""

    def __init__(self, **options: float) -> None:
        self.told: list[tuple[Process, float]] = []
        self.news = asyncio.Event()
        self.liveness = Liveness(self._on_gone, **options)  # type: ignore[arg-type]

    def _on_gone(self, gone: Process) -> None:
        self.told.append((gone, time.perf_counter()))
        self.news.set()

    async def wait(self, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self.news.clear()
                await self.news.wait()

    @property
    def names(self) -> list[Process]:
        return [gone for gone, _ in self.told]


type Make = Callable[..., Watch]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Watch] = []

    def start(**options: float) -> Watch:
        made.append(Watch(**options))
        return made[-1]

    yield start
    for watch in made:
        watch.liveness.close()


def of(child: Child) -> Process:
    found = process.read(child.pid)
    assert found is not None
    return found


PIDFD = pytest.param({}, id="pidfd", marks=pytest.mark.skipif(not has_pidfd, reason="no pidfd_open"))
POLLED = pytest.param({"max_pidfds": 0, "interval": 0.01}, id="polled")
both = pytest.mark.parametrize("options", [PIDFD, POLLED])


@pytest.mark.skipif(not has_pidfd, reason="no pidfd_open")
async def test_killed(sleeper: Callable[[], Child], make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    watch = make()
    latencies = []
    for number in range(1, 11):
        child = sleeper()
        watch.liveness.watch(of(child))
        start = time.perf_counter()
        child.kill(reap=False)
        await watch.wait(number)
        latencies.append(watch.told[-1][1] - start)
        assert watch.names[-1].pid == child.pid
    with capsys.disabled():
        print(f"\ngone, pidfd: median {statistics.median(latencies) * 1e3:.2f} ms, ", end="")
        print(f"worst {max(latencies) * 1e3:.2f} ms after SIGKILL", end="")
    assert max(latencies) < 0.05


async def test_killed_with_a_hint(sleeper: Callable[[], Child], make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    watch = make(max_pidfds=0, interval=3600)
    latencies = []
    for number in range(1, 11):
        child = sleeper()
        watch.liveness.watch(of(child))
        start = time.perf_counter()
        child.kill(reap=False)
        for _ in range(3):
            watch.liveness.check(of_gone(watch, child))
        await watch.wait(number)
        latencies.append(watch.told[-1][1] - start)
    with capsys.disabled():
        print(f"\ngone, polled with a hint: median {statistics.median(latencies) * 1e3:.2f} ms, ", end="")
        print(f"worst {max(latencies) * 1e3:.2f} ms", end="")
    assert max(latencies) < 0.05


def of_gone(watch: Watch, child: Child) -> Process:
    return next(watched for watched in watch.liveness._polled if watched.pid == child.pid)


async def test_hint_before_the_end(sleeper: Callable[[], Child], make: Make) -> None:
    """Sockets close before the process is gone: the looks go on for half a second."""
    watch = make(max_pidfds=0, interval=3600)
    child = sleeper()
    watch.liveness.watch(of(child))
    watch.liveness.check(of(child))
    await asyncio.sleep(0.03)
    assert not watch.told
    child.kill(reap=False)
    await watch.wait()
    assert not watch.liveness._looks


@both
async def test_polled_or_not_exactly_once(sleeper: Callable[[], Child], make: Make, options: dict[str, float]) -> None:
    watch = make(**options)
    child, other = sleeper(), sleeper()
    target, bystander = of(child), of(other)
    watch.liveness.watch(target)
    descriptors = len(os.listdir("/proc/self/fd")) if has_pidfd else 0
    for _ in range(2):
        watch.liveness.watch(target)
    if has_pidfd:
        assert len(os.listdir("/proc/self/fd")) == descriptors
    watch.liveness.watch(bystander)
    child.kill(reap=False)
    watch.liveness.check(target)
    await watch.wait()
    other.kill()
    await watch.wait(2)
    assert watch.names == [target, bystander]
    assert not watch.liveness._polled
    assert not watch.liveness._pidfds


@both
async def test_already_gone_and_reused(sleeper: Callable[[], Child], make: Make, options: dict[str, float]) -> None:
    watch = make(**options)
    child, living = sleeper(), sleeper()
    zombie = of(child)
    reused = replace(of(living), started=of(living).started - 5)
    child.kill(reap=False)
    child.until_zombie()
    watch.liveness.watch(zombie)
    watch.liveness.watch(reused)
    assert not watch.told  # never from within watch()
    await watch.wait(2)
    child.popen.wait()
    watch.liveness.watch(zombie)
    await watch.wait(3)
    assert watch.names == [zombie, reused, zombie]
    living.kill()


@both
async def test_exec_and_fork_are_no_end(spawn: Spawn, make: Make, options: dict[str, float]) -> None:
    watch = make(**options)
    child = spawn(
        "import os\nprint('ready', flush=True)\n"
        "if os.fork() == 0: os._exit(0)\n"
        "os.wait(); os.read(0, 3); os.execvp('cat', ['cat'])"
    )
    watched = of(child)
    watch.liveness.watch(watched)
    child.say("go")
    child.say("done")
    assert child.line() == "done"
    await asyncio.sleep(0.05)
    assert not watch.told
    assert is_alive(watched)
    child.kill(reap=False)
    await watch.wait()
    assert watch.names == [watched]


@both
async def test_unwatch_and_close(sleeper: Callable[[], Child], make: Make, options: dict[str, float]) -> None:
    watch, control = make(**options), make(**options)
    children = [sleeper() for _ in range(3)]
    first, second, third = map(of, children)
    descriptors = len(os.listdir("/proc/self/fd")) if has_pidfd else 0
    for target in (first, second):
        watch.liveness.watch(target)
    control.liveness.watch(second)
    watch.liveness.unwatch(first)
    watch.liveness.unwatch(first)
    watch.liveness.unwatch(third)
    watch.liveness.check(third)
    children[0].kill()
    # Told in the same turn of the loop, had it not been unwatched.
    watch.liveness.watch(first)
    watch.liveness.unwatch(first)
    watch.liveness.close()
    watch.liveness.watch(third)
    children[1].kill()
    children[2].kill()
    await control.wait()
    await asyncio.sleep(0.03)
    assert not watch.told
    if has_pidfd and not options:
        assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.skipif(not has_pidfd, reason="no pidfd_open")
@pytest.mark.parametrize("code", [errno.EMFILE, errno.EPERM, errno.ENOSYS, errno.ENODEV])
async def test_falls_back_to_polling(
    sleeper: Callable[[], Child], make: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    watch = make(interval=0.01)
    child = sleeper()
    watch.liveness.watch(of(child))
    assert len(watch.liveness._polled) == 1
    child.kill(reap=False)
    await watch.wait()


@pytest.mark.skipif(not has_pidfd, reason="no pidfd_open")
async def test_pidfds_are_bounded_and_reused(sleeper: Callable[[], Child], make: Make) -> None:
    watch = make(max_pidfds=2, interval=0.01)
    children = [sleeper() for _ in range(4)]
    for child in children:
        watch.liveness.watch(of(child))
    assert (len(watch.liveness._pidfds), len(watch.liveness._polled)) == (2, 2)
    for child in children:
        child.kill(reap=False)
    await watch.wait(4)
    assert sorted(p.pid for p in watch.names) == sorted(c.pid for c in children)
    last = sleeper()
    watch.liveness.watch(of(last))
    assert len(watch.liveness._pidfds) == 1


async def test_polled_are_bounded(sleeper: Callable[[], Child], make: Make, caplog: pytest.LogCaptureFixture) -> None:
    watch = make(max_pidfds=0, max_polled=1)
    for _ in range(2):
        watch.liveness.watch(of(sleeper()))
    assert len(watch.liveness._polled) == 1
    assert "Not watching" in caplog.text


@pytest.mark.skipif(not has_pidfd, reason="no pidfd_open")
async def test_out_of_descriptors_nobody_is_declared_gone(
    sleeper: Callable[[], Child], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = make(interval=0.01)
    child = sleeper()
    target = of(child)
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = liveness._gone_among

    def count(processes: tuple[Process, ...]) -> list[Process]:
        gone = real(processes)
        loop.call_soon_threadsafe(looked.set)
        return gone

    def exhausted(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(liveness, "_gone_among", count)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", exhausted)
        patch.setattr(process, "_bytes", exhausted)
        watch.liveness.watch(target)
        async with asyncio.timeout(5):
            for _ in range(3):
                looked.clear()
                await looked.wait()
        assert not watch.told
    child.kill(reap=False)
    await watch.wait()


@both
async def test_a_failing_callback_stops_nothing(
    sleeper: Callable[[], Child], options: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    both_told = asyncio.Event()
    told: list[Process] = []

    def on_gone(gone: Process) -> None:
        told.append(gone)
        if len(told) == 2:
            both_told.set()
        raise KeyError("callback")

    subject = Liveness(on_gone, **options)  # type: ignore[arg-type]
    for _ in range(2):
        child = sleeper()
        subject.watch(of(child))
        child.kill(reap=False)
    async with asyncio.timeout(10):
        await both_told.wait()
    subject.close()
    assert caplog.text.count("KeyError: 'callback'") == 2


@pytest.mark.skipif(not has_pidfd, reason="no pidfd_open")
async def test_cost_of_watch(sleeper: Callable[[], Child], make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    watch = make()
    target = of(sleeper())
    times = []
    for _ in range(200):
        start = time.perf_counter()
        watch.liveness.watch(target)
        times.append(time.perf_counter() - start)
        watch.liveness.unwatch(target)
    with capsys.disabled():
        print(f"\nwatch, pidfd: median {statistics.median(times) * 1e6:.0f} µs in the event loop", end="")
