"""Whatever goes wrong with a Phantom or its network is told, in time, or mended."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytest

from lightstage.cine import CineFile
from lightstage.devices.interfaces import CameraSettings
from lightstage.devices.phantom import PhantomCamera, discover
from lightstage.errors import DeviceError, InputError
from lightstage.simulation.phantom_camera import (
    CameraClock,
    CameraFaults,
    CameraModel,
    PhantomServer,
)
from tests.devices.phantom_stage import BEGIN_NS, HEIGHT, WIDTH, TestStage, picture

FRAME_BYTES = WIDTH * HEIGHT


# Lights, triggers and memory


def test_a_missed_edge_is_a_missing_frame_and_a_gap_in_time() -> None:
    with TestStage(CameraFaults(missed_edges=(5,))) as stage:
        stage.record(20)
        with pytest.raises(DeviceError, match="only 19 of 20"):
            stage.camera.wait_recorded(0.1)
        stage.beat(1)
        assert stage.camera.wait_recorded(1.0).frame_count == 20
        steps = np.diff(stage.camera.timestamps()[0])
        assert np.flatnonzero(steps > 1_400_000).tolist() == [4, 18]


def test_an_extra_edge_is_an_extra_frame() -> None:
    with TestStage(CameraFaults(extra_edges=(5,))) as stage:
        stage.record(20)
        assert stage.camera.wait_recorded(1.0).frame_count == 20
        starts = [e.start_ns for e in stage.server.exposures]
        assert len(starts) == 20
        assert np.diff(starts).min() < 800_000
        assert stage.server.recorder.edges_seen == 19
    with TestStage(CameraFaults(extra_first_frame=True)) as stage:
        stage.record(20)
        assert stage.camera.wait_recorded(1.0).frame_count == 20


def test_over_triggering_halves_the_rate() -> None:
    with TestStage() as stage:
        stage.camera.configure(CameraSettings(WIDTH, HEIGHT, 1000.0, 700_000, 10))
        stage.camera.arm()
        stage.camera.trigger()
        stage.beat(20, period_ns=600_000)
        stage.camera.wait_recorded(1.0)
        assert set(np.diff([e.start_ns for e in stage.server.exposures])) == {1_200_000}
        # the recording was full at the 19th edge
        assert stage.server.recorder.edges_ignored == 9


def test_a_full_memory_ends_the_recording() -> None:
    with TestStage(CameraFaults(memory_full_after=12)) as stage:
        stage.record(20)
        assert stage.camera.wait_recorded(1.0).frame_count == 12


def test_the_ring_keeps_the_newest_frames() -> None:
    # 1 MB holds 122 frames
    with TestStage(model=CameraModel(memory_mb=1)) as stage:
        stage.record(20, before=300)
        recording = stage.camera.wait_recorded(1.0)
        assert recording.first_frame_number == -(1_000_000 // FRAME_BYTES - 20)
        assert recording.frame_count == 1_000_000 // FRAME_BYTES
        newest = next(iter(stage.camera.frames(19, 1)))
        assert newest[-1] == 319 % 200 + 10


def test_a_camera_that_runs_freely_gives_its_strobe() -> None:
    strobes: list[int] = []
    with TestStage(on_strobe=strobes.append) as stage:
        settings = CameraSettings(WIDTH, HEIGHT, 1000.0, 700_000, 20, sync="internal")
        stage.camera.configure(settings)
        stage.camera.arm()
        stage.camera.trigger()
        stage.now_ns += 50_000_000
        stage.camera.wait_recorded(1.0)
        assert strobes == [e.start_ns for e in stage.server.exposures]
        assert set(np.diff(strobes)) == {1_000_000}


def test_a_busy_camera_is_asked_again() -> None:
    with TestStage(CameraFaults(busy_commands=3)) as stage:
        stage.record(20)
        assert stage.camera.wait_recorded(1.0).frame_count == 20
    with TestStage(CameraFaults(busy_commands=10_000)) as stage:
        begun = time.monotonic()
        with pytest.raises(DeviceError, match="automatic operation"):
            stage.record(20)
        assert time.monotonic() - begun < 2.0


# Time


def test_garbage_stamps_are_marked_and_named(caplog: pytest.LogCaptureFixture) -> None:
    with TestStage(CameraFaults(garbage_stamps=(3, -1))) as stage:
        stage.record(20)
        stage.camera.wait_recorded(1.0)
        with caplog.at_level(logging.WARNING):
            time_ns, _ = stage.camera.timestamps()
        assert np.flatnonzero(time_ns == 0).tolist() == [3, 19]
        assert "2 frames cannot be true: 3, 19" in caplog.text
    with TestStage(CameraFaults(garbage_stamps=tuple(range(15)))) as stage:
        stage.record(20)
        stage.camera.wait_recorded(1.0)
        with pytest.raises(DeviceError, match="15 of 20 time stamps"):
            stage.camera.timestamps()


def test_a_take_over_new_year_keeps_its_time() -> None:
    new_year_ns = 1_767_225_600_000_000_000  # 2026-01-01
    clock = CameraClock(offset_ns=new_year_ns - BEGIN_NS - 10_500_000, reference_ns=BEGIN_NS)
    with TestStage(clock=clock) as stage:
        stage.record(20)
        recording = stage.camera.wait_recorded(1.0)
        time_ns, _ = stage.camera.timestamps()
        assert recording.trigger_time_ns < new_year_ns < time_ns[-1]
        assert np.abs(np.diff(time_ns) - 1_000_000).max() <= 64


def test_a_drifting_clock_shows_in_the_stamps() -> None:
    with TestStage(CameraFaults(clock_drift_ppm=100.0)) as stage:
        stage.record(1000)
        stage.camera.wait_recorded(1.0)
        time_ns, _ = stage.camera.timestamps()
        assert time_ns[-1] - time_ns[0] == pytest.approx(999e6 * 1.0001, abs=100)


# The data connection


@pytest.mark.parametrize("kind", ["stall", "break", "short"])
@pytest.mark.parametrize("at_byte", [0, 1, FRAME_BYTES, 10 * FRAME_BYTES + 17])
def test_a_download_goes_on_where_it_broke(kind: str, at_byte: int) -> None:
    faults = CameraFaults(data_fault=kind, data_fault_at_byte=at_byte, data_fault_times=2)
    with TestStage(faults, timeout_s=0.5) as stage:
        stage.record(50)
        stage.camera.wait_recorded(1.0)
        reports: list[tuple[int, int]] = []
        frames = stage.camera.frames(0, 50, lambda *done: reports.append(done))
        assert [frame[-1] for frame in frames] == [10 + i for i in range(50)]
        assert reports == [(i + 1, 50) for i in range(50)]


def test_a_download_that_never_ends_says_what_is_there_and_what_is_missing() -> None:
    with TestStage(timeout_s=0.1) as stage:
        stage.record(50)
        stage.camera.wait_recorded(1.0)
        faults = {"data_fault": "break", "data_fault_times": 1000}
        for at, says in (
            (0, r"no frames are there, 0 to 49 are missing \(50 of 50\)"),
            (8 * FRAME_BYTES, None),
        ):
            stage.server.commands.faults = CameraFaults(**faults, data_fault_at_byte=at)
            stage.camera.data.close()
            if says is None:
                # each connection brings eight: it takes longer, and comes to an end
                assert len(list(stage.camera.frames(0, 50))) == 50
                continue
            with pytest.raises(DeviceError, match=says) as failed:
                list(stage.camera.frames(0, 50))
            assert stage.camera.address in str(failed.value)


def test_a_download_that_stops_on_the_way_names_the_frames() -> None:
    with TestStage(timeout_s=0.1) as stage:
        stage.record(50)
        stage.camera.wait_recorded(1.0)
        frames = stage.camera.frames(0, 50)
        stage.server.commands.faults = CameraFaults(
            data_fault="short", data_fault_at_byte=9 * FRAME_BYTES + 5, data_fault_times=1
        )
        got = [next(frames) for _ in range(9)]
        stage.server.commands.faults = CameraFaults(data_fault="short", data_fault_times=1000)
        with pytest.raises(DeviceError, match="frames 0 to 8 are there, 9 to 49 are missing"):
            got += list(frames)
        stage.server.commands.faults = CameraFaults()
        got += list(stage.camera.frames(9, 41))
        assert [frame[-1] for frame in got] == [10 + i for i in range(50)]


def test_requests_stay_below_their_limit_and_join() -> None:
    with TestStage(request_bytes=7 * FRAME_BYTES) as stage:
        stage.record(50)
        stage.camera.wait_recorded(1.0)
        assert [f[-1] for f in stage.camera.frames(0, 50)] == [10 + i for i in range(50)]


def test_a_control_connection_that_hangs_in_a_download_is_made_anew() -> None:
    with TestStage(CameraFaults(hangs_at="img"), request_bytes=10 * FRAME_BYTES) as stage:
        stage.record(50)
        stage.camera.wait_recorded(1.0)
        assert [f[-1] for f in stage.camera.frames(0, 50)] == [10 + i for i in range(50)]


def test_where_the_camera_may_not_connect_the_computer_does() -> None:
    with TestStage(CameraFaults(refuse_startdata=True)) as stage:
        stage.record(20)
        stage.camera.wait_recorded(1.0)
        assert len(list(stage.camera.frames(0, 20))) == 20
    with TestStage(CameraFaults(refuse_startdata=True), data="startdata") as stage:
        stage.record(20)
        stage.camera.wait_recorded(1.0)
        with pytest.raises(DeviceError, match="Cannot start data conn"):
            list(stage.camera.frames(0, 20))


def test_a_download_that_is_left_does_not_upset_the_next() -> None:
    with TestStage() as stage:
        stage.record(50)
        stage.camera.wait_recorded(1.0)
        frames = stage.camera.frames(0, 50)
        next(frames)
        frames.close()
        assert [f[-1] for f in stage.camera.frames(7, 3)] == [17, 18, 19]


def test_a_slow_network_is_only_slow() -> None:
    with TestStage(CameraFaults(data_mb_per_s=5.0), timeout_s=0.2) as stage:
        stage.record(100)
        stage.camera.wait_recorded(1.0)
        assert len(list(stage.camera.frames(0, 100))) == 100


def test_sixteen_bit_frames_come_right_aligned() -> None:
    def deep(start_ns: int, exposure_ns: int, index: int) -> np.ndarray:
        return np.full((HEIGHT, WIDTH), 4000 + index, np.uint16)

    with TestStage(image_format="P16", picture_source=deep) as stage:
        stage.record(20)
        stage.camera.wait_recorded(1.0)
        layout = stage.camera.frame_format()
        assert (layout.bit_depth, layout.black_level, layout.white_level) == (12, 64, 4064)
        frame = next(iter(stage.camera.frames(5, 1)))
        assert set(np.frombuffer(frame, "<u2")) == {4005}


# The control connection


@pytest.mark.parametrize("verb", ["get", "set", "rec", "trig"])
def test_a_camera_that_does_not_answer_is_named_in_time(verb: str) -> None:
    with TestStage(CameraFaults(hangs_at=verb), timeout_s=0.2) as stage:
        begun = time.monotonic()
        with pytest.raises(DeviceError, match=f"no reply to '{verb}") as failed:
            stage.record(20)
        assert time.monotonic() - begun < 1.0
        assert stage.camera.address in str(failed.value)
        # the next command has a new connection
        assert stage.camera.identify().serial == "26001"


def test_a_cable_that_is_pulled_out_is_named() -> None:
    with TestStage() as stage:
        stage.camera.identify()
        stage.server.drop_clients()
        time.sleep(0.05)
        with pytest.raises(DeviceError, match="connection broke"):
            stage.camera.identify()
        assert stage.camera.identify().width_max == 2048


def test_nobody_there_is_told_at_once() -> None:
    with TestStage() as stage:
        address = stage.server.address
    begun = time.monotonic()
    with pytest.raises(DeviceError, match="no camera answers there"):
        PhantomCamera(address, 0.5)
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize("address", ["", "phantom:", "serial:x", "phantom:h:0", "phantom:h:x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="no camera's address"):
        PhantomCamera(address)


def test_notifications_inside_replies_do_no_harm() -> None:
    with TestStage(CameraFaults(notify_inside_replies=True)) as stage:
        stage.camera.control.ask("notify", value=1)
        stage.record(20)
        assert stage.camera.wait_recorded(1.0).frame_count == 20
        names = [notification.name for notification in stage.camera.control.notifications]
        assert names == ["startaq", "trig", "stored"]


def test_several_clients_see_one_camera() -> None:
    with TestStage() as stage, PhantomCamera(stage.server.address, 0.4) as other:
        stage.camera.configure(CameraSettings(WIDTH, HEIGHT, 1000.0, 700_000, 5))
        stage.camera.arm()
        other.trigger()
        stage.beat(5)
        assert other.wait_recorded(1.0) == stage.camera.wait_recorded(1.0)


def test_errors_are_those_of_the_real_camera() -> None:
    with TestStage() as stage:
        ask = stage.camera.control.ask
        stage.record(5)
        stage.camera.wait_recorded(1.0)
        stage.camera.data.open()
        img = {"cine": 1, "start": 0, "cnt": 1, "fmt": 8}
        for changes, says in (
            ({"cine": 9}, "invalid cine number"),
            ({"start": -1}, "start frame outside range"),
            ({"cnt": 6}, "start\\+count frame outside range"),
            ({"cnt": 0}, "count should be > 0"),
            ({"fmt": 77}, "unsupported image format"),
        ):
            with pytest.raises(DeviceError, match=says):
                ask("img", value=img | changes)
        with pytest.raises(DeviceError, match="name c17  is unknown"):
            ask("get", "c17")
        with pytest.raises(DeviceError, match="attach failure"):
            ask("attach", value={"port": 1})
        ask("partition", value=3)
        with pytest.raises(DeviceError, match="requested cine not stored"):
            ask("img", value=img)
        with pytest.raises(DeviceError, match="cine status invalid"):
            ask("trig")
        assert set(ask("cstats")["cstats"]) == {"c0", "c1", "c2", "c3"}  # type: ignore[arg-type]
        with pytest.raises(DeviceError, match="unknown"):
            ask("set", "defc", {"rate": 500, "nonsense": 1})
        assert stage.camera.control.get("defc.rate") == 1000, "a set is whole or not at all"


# Others


def test_a_camera_is_discovered() -> None:
    with TestStage(discovery_port=0) as stage:
        assert stage.server.discovery_port is not None
        found = discover(0.2, target="127.0.0.1", port=stage.server.discovery_port)
        assert [(c.address, c.serial) for c in found] == [(stage.server.address, 26001)]
    assert discover(0.05, target="127.0.0.1", port=stage.server.discovery_port) == []


def test_the_camera_s_own_files_can_be_read(tmp_path: Path) -> None:
    faults = CameraFaults(data_fault="break", data_fault_at_byte=1000)
    with TestStage(faults) as stage:
        stage.record(20)
        stage.camera.wait_recorded(1.0)
        assert stage.camera.drive.files() == []
        percent: list[int] = []
        stage.camera.drive.save(1, 5.0, lambda done, _: percent.append(done))
        assert percent[-1] == 100
        (file,) = stage.camera.drive.files()
        with (tmp_path / file.name).open("wb") as target:
            for piece in stage.camera.drive.read(file.name):
                target.write(piece)
        assert (tmp_path / file.name).stat().st_size == file.size_bytes
        with CineFile(tmp_path / file.name) as cine:
            assert len(cine) == 20
            np.testing.assert_array_equal(cine[7], picture(0, 0, 7))
        with pytest.raises(DeviceError, match="cannot open file"):
            list(stage.camera.drive.read("../../etc/passwd"))


def test_the_simulated_camera_leaves_this_computer_alone() -> None:
    with PhantomServer(picture, discovery_port=0) as server:
        for listener in (server._control, server._attach, server._discovery):
            assert listener is not None
            assert listener.getsockname()[0] == "127.0.0.1"
