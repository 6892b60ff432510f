"""On a cluster the same store is made, also when a worker dies; scheduler and workers are real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
from distributed import Client

from lightstage import CaptureSequence, Dome, ReflectanceFields
from lightstage.errors import FieldsError, LightstageError
from lightstage.preprocess.import_take import import_take
from lightstage.preprocess.jobs import JobOptions, plan_job, preprocess_take
from lightstage.preprocess.settings import PreprocessSettings
from tests.preprocess.moving_ball import MovingBall, record

DOME = Dome.evenly_spread(12)
SEQUENCE = CaptureSequence(lights=12)
SETTINGS = PreprocessSettings(rate_hz=None)
WITHIN_S = 60
pytestmark = pytest.mark.timeout(180)

#: What a worker runs before it works: every set that is begun there gets a line in a file of the
#: worker's own, without a change to what is tested.
_COUNTING = """
import os
from lightstage.preprocess.set_maker import SetMaker

def counting(motion):
    def counted(self, plan):
        folder = self._source.path.parent / "begun"
        folder.mkdir(exist_ok=True)
        with open(folder / str(os.getpid()), "a") as file:
            file.write(f"{plan.index}\\n")
        return motion(self, plan)
    return counted

if SetMaker.motion.__name__ != "counted":  # a worker loads this more than once
    SetMaker.motion = counting(SetMaker.motion)
"""


class Cluster:
    """A scheduler and two workers of one thread each, on this machine's loopback."""

    def __init__(self, folder):
        self._folder = folder
        self._processes = []
        (folder / "counting.py").write_text(_COUNTING)
        file = folder / "scheduler.json"
        self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0",
            "--no-show",
            "--scheduler-file", file,
        )  # fmt: skip
        self.wait_for(file.is_file)
        self.workers = [
            self._start(
                "worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny",
                "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0",
                "--local-directory", folder,
                "--preload", folder / "counting.py", "--death-timeout", "60",
            )
            for _ in range(2)
        ]  # fmt: skip
        with Client(scheduler_file=str(file), timeout=WITHIN_S) as client:
            client.wait_for_workers(2, timeout=WITHIN_S)
            self.address = client.scheduler.address

    def _start(self, what, *options):
        log = (self._folder / f"{what}{len(self._processes)}.log").open("w")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + what, *map(str, options)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )
        self._processes.append(process)
        return process

    def wait_for(self, condition):
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, self.logs()
            assert all(p.poll() is None for p in self._processes), self.logs()
            time.sleep(0.05)

    def logs(self):
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))

    def close(self):
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=WITHIN_S)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    made = None
    try:
        made = Cluster(folder)
        yield made
    finally:
        if made is not None:
            made.close()


@pytest.fixture
def take(tmp_path):
    ball = MovingBall(DOME, SEQUENCE, 400, speed_px_per_s=(40.0, -15.0), noise=0.002)
    record(ball, tmp_path / "ball.cine")
    return import_take(
        tmp_path / "s", tmp_path / "ball.cine", name="ball", dome=DOME, sequence=SEQUENCE
    )[0]


def files_of(store):
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def begun(take):
    """The sets that each worker process has begun, by its process id."""
    folder = Path(take.path) / "begun"
    found = folder.iterdir() if folder.is_dir() else ()
    return {int(path.name): [int(line) for line in path.read_text().split()] for path in found}


def test_a_workers_error_is_told_and_ends_the_job(cluster, take):
    """A recording that was cut off after it had been looked at: frames cannot be read."""
    plan = plan_job(take, SETTINGS)
    assert plan.costs.sets > 10
    whole = take.cine_path.resolve()
    size = whole.stat().st_size

    def cut(done, total):
        os.truncate(whole, size // 3)

    options = JobOptions(scheduler=cluster.address)
    with pytest.raises(LightstageError, match=r"ball\.cine|take\.cine"):
        preprocess_take(take, SETTINGS, options=options, progress=cut)
    with pytest.raises(FieldsError, match="unfinished"):
        ReflectanceFields.open(take.path)


def test_a_cluster_makes_the_same_store_and_survives_the_death_of_a_worker(cluster, take):
    on_cluster = JobOptions(scheduler=cluster.address)
    local = preprocess_take(take, SETTINGS, output=take.path / "local.zarr")
    expected = files_of(local.path)

    shared = preprocess_take(take, SETTINGS, output=take.path / "shared.zarr", options=on_cluster)
    assert files_of(shared.path) == expected
    by_worker = begun(take)
    assert set(by_worker) == {worker.pid for worker in cluster.workers}
    assert sorted(chain(*by_worker.values())) == list(range(local.sets))

    # again, and one worker is killed when a fourth of the sets are done
    for path in (take.path / "begun").iterdir():
        path.unlink()
    killed = cluster.workers[0]

    def kill(done, total):
        if done == total // 4:
            killed.kill()

    again = preprocess_take(
        take, SETTINGS, output=take.path / "again.zarr", options=on_cluster, progress=kill
    )
    assert killed.wait(timeout=WITHIN_S) == -signal.SIGKILL
    assert files_of(again.path) == expected
    by_worker = begun(take)
    all_begun = sorted(chain(*by_worker.values()))
    assert sorted(set(all_begun)) == list(range(local.sets))
    twice = [index for index in set(all_begun) if all_begun.count(index) > 1]
    assert len(all_begun) - local.sets == len(twice) <= 1, "more than one set was made twice"
    # it was the killed worker's last
    assert not twice or twice == by_worker[killed.pid][-1:]
