"""The driver against scripted bytes, the simulated camera against arbitrary ones."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware_protocols.phantom import CommandAssembler, ReplyAssembler, parse_reply
from lightstage.devices.interfaces import CameraSettings
from lightstage.devices.phantom import PhantomCamera
from lightstage.devices.phantom_connection import PhantomConnection
from lightstage.errors import DeviceError
from lightstage.simulation.phantom_camera import CameraModel, PhantomServer
from tests.devices.phantom_stage import HEIGHT, WIDTH, TestStage, picture

Script = Callable[[str], list[bytes]]


@contextlib.contextmanager
def scripted_camera(script: Script) -> Iterator[str]:
    """A TCP server that answers each command with pieces of bytes; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()
    open_sockets: list[socket.socket] = [listener]

    def serve() -> None:
        with contextlib.suppress(OSError):
            while not closing.is_set():
                connection, _ = listener.accept()
                open_sockets.append(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                assembler = CommandAssembler()
                with contextlib.suppress(ConnectionError):
                    while data := connection.recv(4096):
                        for command in assembler.feed(data):
                            for piece in script(command):
                                connection.sendall(piece)
                                if len(piece) < 4:
                                    time.sleep(0.0002)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"phantom:127.0.0.1:{listener.getsockname()[1]}"
    finally:
        closing.set()
        for each in open_sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in open_sockets:
            each.close()


def telnet_session(path: Path) -> dict[str, bytes]:
    """The commands of a recorded telnet session and the bytes that answered them."""
    replies: dict[str, bytes] = {}
    command = ""
    for line in path.read_bytes().splitlines(keepends=True):
        text = line.decode("ascii", "replace").strip()
        if text.startswith("get "):
            command = text
            replies[command] = b""
        elif text.startswith(("^]", "\x1d")):
            break
        elif command:
            replies[command] += line
    return replies


def test_a_real_camera_s_replies_tell_who_it_is(shared_data: Path) -> None:
    session = telnet_session(shared_data / "ph16" / "miroTelnet1.log")
    assert len(session) >= 9
    pieces = 0

    def script(command: str) -> list[bytes]:
        nonlocal pieces
        pieces += 7
        reply = session[command]
        return [reply[i : i + pieces] for i in range(0, len(reply), pieces)]

    with scripted_camera(script) as address, PhantomCamera(address, 1.0) as camera:
        identity = camera.identify()
        assert identity.model == "Phantom Miro M310"
        assert (identity.serial, identity.firmware_version) == ("17277", "39 (software 14967)")
        assert (identity.width_max, identity.height_max) == (1280, 800)
        assert (identity.width_step, identity.height_step) == (64, 8)
        assert (identity.exposure_min_ns, identity.dead_time_ns) == (1000, 427)
        assert (identity.memory_mb, identity.cfa) == (12181, "GRAY")
        assert camera.control.get("info.snstemp") == 29
        with pytest.raises(DeviceError, match="name c17  is unknown"):
            camera.control.get("c17")


_REPLY = b'info : {\t\\\r\n\tmodel : "X \\" Y",\t\\\r\n@trig@\r\n\tserial : 7 }\r\n'


def test_replies_cut_anywhere_are_understood() -> None:
    cut = 0

    def script(command: str) -> list[bytes]:
        nonlocal cut
        cut += 1
        return [_REPLY[:cut], _REPLY[cut:]]

    with scripted_camera(script) as address:
        connection = PhantomConnection(address, 1.0)
        for _ in range(len(_REPLY) - 1):
            assert connection.get("info") == {"model": 'X " Y', "serial": 7}
        assert cut == len(_REPLY) - 1
        assert len(connection.notifications) == cut
        connection.close()
    with scripted_camera(lambda _: [bytes([b]) for b in _REPLY]) as address:
        connection = PhantomConnection(address, 1.0)
        assert connection.get("info") == {"model": 'X " Y', "serial": 7}
        connection.close()


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"info : {\r\n", "damaged"),
        (b"\xff\xfe\x00\r\n", "damaged"),
        (b"cam : { a : 1 }\r\n", "answered with"),
        (b"Ok!\r\n", "answered with"),
        (b"info : 5\r\n", "should be a structure"),
        (b"info : { xmax : \"wide\" }\r\n", "should be a number"),
        (b"info : { a : 1 }\r\ninfo : { a : 2 }\r\n", "2 replies"),
        (b"@trig@\r\n", "no reply"),
        (b"info : { a : 1 }", "no reply"),
        (b"", "no reply"),
        (b"x" * (1 << 21), "did not end|connection broke"),
    ],
)  # fmt: skip
def test_replies_that_cannot_be_are_device_errors(reply: bytes, says: str) -> None:
    with scripted_camera(lambda _: [reply]) as address, PhantomCamera(address, 0.2) as camera:
        begun = time.monotonic()
        with pytest.raises(DeviceError, match=says) as failed:
            camera.identify()
        assert address in str(failed.value)
        assert time.monotonic() - begun < 2.0


def test_random_replies_give_only_device_errors() -> None:
    rng = random.Random(3)
    seeds = [
        b"info : { xmax : 64, ymax : 8, state : { WTR } }\r\n",
        b"c1 : { state : { STR }, res : 64 x 8, firstfr : 0, lastfr : 3 }\r\n",
        b"Ok! { cine : 1, res : 64x8 }\r\n",
        b"defc : { res : 64 x 8, rate : 1000, exp : 5, ptframes : 3 }\r\n",
    ]

    def script(command: str) -> list[bytes]:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return [bytes(data) + b"\r\n"]

    with scripted_camera(script) as address, PhantomCamera(address, 0.05) as camera:
        acts: list[Callable[[], object]] = [
            camera.identify,
            lambda: camera.configure(CameraSettings(64, 8, 1000.0, 5000, 3)),
            camera.arm,
            camera.trigger,
            lambda: camera.wait_recorded(0.02),
            camera.timestamps,
            camera.frame_format,
            lambda: list(camera.frames(0, 1)),
            camera.abort,
            camera.drive.files,
        ]
        for _ in range(15):
            for act in acts:
                with contextlib.suppress(DeviceError):
                    act()


def test_arbitrary_bytes_never_stop_the_simulated_camera() -> None:
    rng = random.Random(4)
    commands = [
        b"get info", b"get c1.state", b"set defc {res:64x8, rate:1000}", b"rec 1", b"trig",
        b"img {cine:1, start:0, cnt:1, fmt:8}", b"time {cine:1,start:0,cnt:1}", b"cfls",
        b'cfread {filename:"x", offset:0, count:1}', b"attach {port:1}", b"startdata {port:1}",
        b"partition 2", b"del 1", b"cstats", b"notify 1", b"get c1.trigtime.secs", b"cfsave {}",
    ]  # fmt: skip
    with PhantomServer(picture) as server:
        connection = socket.create_connection(("127.0.0.1", server.port), 5.0)
        assembler = ReplyAssembler()
        with connection:
            for number in range(2000):
                line = bytearray(rng.choice(commands))
                for _ in range(rng.randrange(4)):
                    line[rng.randrange(len(line))] = rng.randrange(256)
                if line.startswith(b"attach"):
                    continue
                sane = bytes(line).replace(b"\r", b"").replace(b"\n", b"").rstrip(b"\\ ")
                if not sane.strip():
                    continue
                connection.sendall(sane + b"\r\n")
                replies = 0
                while not replies:
                    for message in assembler.feed(connection.recv(65536)):
                        if isinstance(message, str):
                            parse_reply(message)
                            replies += 1
                assert replies == 1, number
        with PhantomCamera(server.address, 1.0) as camera:
            assert camera.identify().serial == "26001"


# What the camera made of the settings


def test_a_camera_that_is_too_slow_is_refused() -> None:
    with TestStage(model=CameraModel(full_rate_hz=500)) as stage:
        settings = CameraSettings(2048, 1440, 1000.0, 700_000, 10)
        with pytest.raises(DeviceError, match="frame rate: 1000 fps was asked for"):
            stage.camera.configure(settings)


def test_a_camera_that_rounds_the_size_is_refused() -> None:
    with TestStage() as stage:
        # the camera says one step and obeys another
        stage.server.recorder.parameters.tree["info"]["xinc"] = 16
        with pytest.raises(DeviceError, match=r"144 x 64 was asked for.*128 x 64"):
            stage.camera.configure(CameraSettings(144, 64, 1000.0, 700_000, 10))


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT)])
def test_frames_are_written_top_row_first(size: tuple[int, int]) -> None:
    with TestStage() as stage:
        stage.record(5)
        stage.camera.wait_recorded(1.0)
        raw = next(iter(stage.camera.frames(2, 1)))
        frame = np.frombuffer(raw, np.uint8).reshape(size[1], size[0])
        np.testing.assert_array_equal(frame, picture(0, 0, 2))
