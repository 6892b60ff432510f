"""How fast the Phantom driver and CineWriter bring a take to disk, against a plain socket copy.

Run ``python benchmarks/download.py [FRAMES]``. A simulated camera in a process of its own sends
2048 x 1440 8-bit frames over loopback; the driver receives them and CineWriter writes them. The
plain copy receives the same bytes from a process that does nothing but send, and writes them to a
file. Both end when the file is flushed to the disk. The goal is 0.8 of the plain copy's speed at
memory that does not grow with the take. The two take turns, and the best of each counts: the disk
is shared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

WIDTH, HEIGHT, ROUNDS = 2048, 1440, 4
FRAME_BYTES = WIDTH * HEIGHT
PERIOD_NS = 1_000_000


def picture_source():
    made = np.random.default_rng(0).integers(4, 255, (8, HEIGHT, WIDTH), dtype=np.uint8)
    return lambda start_ns, exposure_ns, index: made[index % len(made)]


def be_a_camera(pipe: Connection, frames: int) -> None:
    from lightstage.simulation.phantom_camera import PhantomServer

    now = [time.time_ns()]
    with PhantomServer(picture_source(), stage_now=lambda: now[0]) as server:
        pipe.send(server.address)
        while pipe.recv() == "beat":
            for _ in range(frames):
                now[0] += PERIOD_NS
                server.sync_edge(now[0])
            pipe.send("done")


def be_a_sender(pipe: Connection, frames: int) -> None:
    picture = picture_source()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname())
        while pipe.recv() == "send":
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
                for index in range(frames):
                    connection.sendall(picture(0, 0, index).data)


def copy_plainly(address: tuple[str, int], path: Path, total: int) -> float:
    begun = time.perf_counter()
    buffer = memoryview(bytearray(FRAME_BYTES))
    got = 0
    with socket.create_connection(address) as connection, path.open("wb") as file:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        while part := connection.recv_into(buffer):
            file.write(buffer[:part])
            got += part
        file.flush()
        os.fsync(file.fileno())
    assert got == total
    return time.perf_counter() - begun


def download(camera, path: Path, frames: int) -> tuple[float, int]:
    from lightstage.cine import CineWriter

    process = psutil.Process()
    begun = time.perf_counter()
    time_ns, exposure_ns = camera.timestamps()
    layout = camera.frame_format()
    before = peak = process.memory_info().rss
    with CineWriter(
        path,
        width=layout.width,
        height=layout.height,
        frame_count=frames,
        frame_rate_hz=1000.0,
        exposure_us=700.0,
        cfa=layout.cfa,
    ) as writer:
        for place, raw in enumerate(camera.frames(0, frames)):
            writer.write(layout_pixels(raw), int(time_ns[place]), int(exposure_ns[place]))
            if place % 20 == 0:
                peak = max(peak, process.memory_info().rss)
    return time.perf_counter() - begun, peak - before


def layout_pixels(raw: memoryview) -> np.ndarray:
    return np.frombuffer(raw, np.uint8).reshape(HEIGHT, WIDTH)


def main(frames: int = 500) -> None:
    from lightstage.cine import CineFile
    from lightstage.devices.interfaces import CameraSettings
    from lightstage.devices.phantom import PhantomCamera

    total = frames * FRAME_BYTES
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for work in (be_a_camera, be_a_sender):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, frames))
        process.start()
        pipes.append(ours)
        processes.append(process)
    camera_pipe, sender_pipe = pipes
    plain, driver, growth = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        address = sender_pipe.recv()
        with PhantomCamera(camera_pipe.recv(), 10.0) as camera:
            camera.configure(CameraSettings(WIDTH, HEIGHT, 1000.0, 700_000, frames))
            camera.arm()
            camera.trigger()
            camera_pipe.send("beat")
            camera_pipe.recv()
            camera.wait_recorded(5.0)
            for _ in range(ROUNDS):
                path = Path(folder) / "plain.raw"
                sender_pipe.send("send")
                plain.append(copy_plainly(address, path, total))
                path.unlink()
                path = Path(folder) / "take.cine"
                seconds, grown = download(camera, path, frames)
                driver.append(seconds)
                growth.append(grown)
                with CineFile(path) as cine:
                    expected = picture_source()
                    for index in (0, frames // 2, frames - 1):
                        np.testing.assert_array_equal(cine[index], expected(0, 0, index))
                path.unlink()
    for pipe in pipes:
        pipe.send("stop")
    for process in processes:
        process.join()
    megabytes = total / 1e6
    print(f"{frames} frames of {WIDTH} x {HEIGHT}, {megabytes:.0f} MB, best of {ROUNDS}")
    print(f"plain copy         {megabytes / min(plain):7.0f} MB/s")
    print(f"driver, CineWriter {megabytes / min(driver):7.0f} MB/s")
    print(f"ratio              {min(plain) / min(driver):7.2f} (goal 0.8)")
    ratios = [p / d for p, d in zip(plain, driver, strict=True)]
    print(f"ratio, median      {statistics.median(ratios):7.2f}")
    print(f"memory growth      {max(growth) / 1e6:7.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time the download of a full-size take.")
    parser.add_argument("frames", type=int, nargs="?", default=300, help="frames in the take")
    main(parser.parse_args().frames)
