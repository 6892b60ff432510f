"""The running command is killed or interrupted, and run again: nothing is lost, nothing redone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lightstage import CaptureSequence, Dome, ReflectanceFields
from lightstage.preprocess.import_take import import_take
from tests.preprocess.moving_ball import MovingBall, record

DOME = Dome.evenly_spread(12)
SEQUENCE = CaptureSequence(lights=12)
FRAMES = 520
#: A test that hangs is ended: a run takes seconds.
WITHIN_S = 120


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A session, its sets' number, and the store that an unbroken run makes."""
    folder = tmp_path_factory.mktemp("session")
    ball = MovingBall(DOME, SEQUENCE, FRAMES, speed_px_per_s=(40.0, -15.0), noise=0.002)
    record(ball, folder / "ball.cine")
    take, _ = import_take(
        folder / "s", folder / "ball.cine", name="ball", dome=DOME, sequence=SEQUENCE
    )
    whole = Path(shutil.copytree(folder / "s", folder / "whole", symlinks=True))
    finish(whole, 1)
    store = whole / "takes" / "ball" / "aligned.zarr"
    return take, len(ReflectanceFields.open(store)), files_of(store)


@pytest.fixture
def session(recorded, tmp_path):
    return Path(shutil.copytree(recorded[0].path.parents[1], tmp_path / "s", symlinks=True))


def files_of(store):
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def store_of(session):
    return session / "takes" / "ball" / "aligned.zarr"


def start(session, workers):
    """Start the command as a shell would: in a process group of its own."""
    command = [
        sys.executable, "-m", "lightstage.cli", "preprocess", str(session), "--rate", "all",
        "--workers", str(workers),
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(session, workers):
    process = start(session, workers)
    try:
        _, errors = process.communicate(timeout=WITHIN_S)
    finally:
        end_group(process)
    assert process.returncode == 0, errors


def group_of(process):
    """Every living process of the command's group."""
    found = []
    for other in psutil.process_iter():
        try:
            if os.getpgid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                found.append(other)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def end_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=WITHIN_S)


def wait_until_gone(process):
    deadline = time.monotonic() + 30
    while left := group_of(process):
        assert time.monotonic() < deadline, [other.cmdline() for other in left]
        time.sleep(0.05)


def finished_sets(session):
    """What each finished set's record says, and when it and its images were written."""
    records = {}
    folder = session / "takes" / "ball" / "ledger" / "aligned"
    if not folder.is_dir() or not (store_of(session) / "zarr.json").is_file():
        return records
    for path in folder.glob("*.json"):
        index = int(path.name.split(".")[0].removeprefix("set_"))
        shard = store_of(session) / "olat" / "c" / str(index) / "0" / "0" / "0" / "0"
        records[index] = (path.read_text(), path.stat().st_mtime_ns, shard.stat().st_mtime_ns)
    return records


def count_records(session):
    folder = session / "takes" / "ball" / "ledger" / "aligned"
    return sum(1 for _ in folder.glob("*.json")) if folder.is_dir() else 0


def wait_for_records(process, session, count):
    """Return whether so many sets were recorded before the command ended."""
    deadline = time.monotonic() + WITHIN_S
    while count_records(session) < count:
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "no set was finished"
        time.sleep(0.002)
    return True


def kill_at_a_random_moment(session, workers, sets, rng):
    """Start the command and kill all of it somewhere; return whether it was still running."""
    process = start(session, workers)
    try:
        done = count_records(session)
        if rng.random() < 0.25:  # while it starts, looks at frames, or makes the store
            time.sleep(rng.uniform(0.2, 1.0))
        else:  # within the sets, or while the store is finished
            wait_for_records(process, session, min(sets, done + rng.randint(1, 1 + sets // 4)))
            time.sleep(rng.uniform(0, 0.06))
        running = process.poll() is None
    finally:
        end_group(process)
    wait_until_gone(process)
    return running


def survive_kills(session, recorded, workers, kills, seed):
    """Kill a take's runs until it is done, or as often as asked; return how often it was killed."""
    _, sets, expected = recorded
    rng = random.Random(seed)
    before, killed = {}, 0
    while killed < kills:
        if not kill_at_a_random_moment(session, workers, sets, rng):
            break
        killed += 1
        after = finished_sets(session)
        assert {index: after.get(index) for index in before} == before, "sets were made again"
        before = after
    finish(session, workers)
    after = finished_sets(session)
    assert {index: after[index] for index in before} == before, "sets were made again"
    assert len(after) == sets
    assert files_of(store_of(session)) == expected
    return killed


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_run_ends_as_an_unbroken_one_and_redoes_nothing(session, recorded, seed):
    assert survive_kills(session, recorded, 1, 2, seed) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("workers", "moments"), [(1, 30), (2, 20)])
def test_runs_killed_at_fifty_moments_end_as_unbroken_ones(tmp_path, recorded, workers, moments):
    killed = seed = 0
    while killed < moments:
        folder = tmp_path / f"s{seed}"
        shutil.copytree(recorded[0].path.parents[1], folder, symlinks=True)
        killed += survive_kills(folder, recorded, workers, moments - killed, 1000 * workers + seed)
        seed += 1
        shutil.rmtree(folder)
        assert seed < 4 * moments, "the command cannot be killed"
    assert killed == moments


@pytest.mark.parametrize(
    ("workers", "whole_group"),
    [
        (1, True),
        (2, True),
        pytest.param(1, False, marks=pytest.mark.slow),
        pytest.param(2, False, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_ends_with_130_and_what_is_done_is_kept(session, recorded, workers, whole_group):
    """From a terminal the signal goes to the whole group; a supervisor sends it to one process."""
    _, sets, expected = recorded
    process = start(session, workers)
    try:
        assert wait_for_records(process, session, 3)
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert "run the same command again to go on" in errors
        wait_until_gone(process)
    finally:
        end_group(process)
    kept = finished_sets(session)
    assert 3 <= len(kept) < sets
    finish(session, workers)
    after = finished_sets(session)
    assert {index: after[index] for index in kept} == kept
    assert files_of(store_of(session)) == expected


@pytest.mark.slow
def test_workers_end_when_only_the_command_is_killed(session, recorded):
    """As the kernel does when memory runs out: its workers must not go on beside the next run."""
    process = start(session, 2)
    try:
        assert wait_for_records(process, session, 3)
        process.kill()
        process.wait(timeout=WITHIN_S)
        wait_until_gone(process)
    finally:
        end_group(process)
    kept = finished_sets(session)
    finish(session, 1)
    after = finished_sets(session)
    assert {index: after[index] for index in kept} == kept
    assert files_of(store_of(session)) == recorded[2]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_at_any_moment_leaves_no_traceback(tmp_path, recorded, workers):
    rng = random.Random(workers)
    for attempt in range(8):
        folder = tmp_path / f"s{attempt}"
        shutil.copytree(recorded[0].path.parents[1], folder, symlinks=True)
        process = start(folder, workers)
        try:
            # after Python itself has started: an interpreter that starts is not ours to silence
            time.sleep(rng.uniform(1.0, 5.0))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=WITHIN_S)
            # of a signal that comes while the interpreter ends, all being done, it dies silently
            assert process.returncode in (0, 130, -signal.SIGINT), errors
            assert "Traceback" not in errors, errors
            wait_until_gone(process)
        finally:
            end_group(process)
        shutil.rmtree(folder)
