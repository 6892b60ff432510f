"""What every camera does, real or simulated: subclass, and give it a camera and a way to beat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import pytest

from lightstage.devices.interfaces import Camera, CameraSettings
from lightstage.errors import DeviceError

PERIOD_NS = 1_000_000
EXPOSURE_NS = 700_000


class CameraContract(ABC):
    """Claims about a camera whose sync input the test drives."""

    @pytest.fixture
    @abstractmethod
    def camera(self) -> Iterator[Camera]:
        """A camera that holds no recording; 128 x 64 pixels and 1000 fps must be possible."""

    @abstractmethod
    def beat(self, edges: int) -> int:
        """Give so many sync edges, PERIOD_NS apart; return the UTC time of the first, ns."""

    def settings(self, frames: int = 20, **changes: object) -> CameraSettings:
        values = {
            "width": 128,
            "height": 64,
            "frame_rate_hz": 1000.0,
            "exposure_ns": EXPOSURE_NS,
            "post_trigger_frames": frames,
            **changes,
        }
        return CameraSettings(**values)  # type: ignore[arg-type]

    def record(self, camera: Camera, frames: int = 20, before: int = 0) -> int:
        """Record; return when the first frame began."""
        camera.configure(self.settings(frames))
        camera.arm()
        begun_ns = self.beat(before) if before else 0
        camera.trigger()
        first_ns = self.beat(frames)
        return begun_ns or first_ns

    def test_it_says_who_it_is(self, camera: Camera) -> None:
        identity = camera.identify()
        assert identity.model
        assert identity.serial
        assert identity.width_max >= 128
        assert identity.dead_time_ns > 0
        assert identity.cfa in ("GRAY", "GBRG", "RGGB", "GRBG", "BGGR")

    def test_settings_that_fit_come_back(self, camera: Camera) -> None:
        became = camera.configure(self.settings())
        assert (became.width, became.height) == (128, 64)
        assert became.exposure_ns == EXPOSURE_NS
        assert became.sync == "external"
        assert camera.configure(self.settings(sync="internal")).sync == "internal"

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"width": 100}, "multiple of"),
            ({"height": 1 << 20}, "multiple of"),
            ({"exposure_ns": 1_000_000}, "over-triggering"),
            ({"exposure_ns": 999_900}, "over-triggering"),
            ({"exposure_ns": 1}, "too short"),
            ({"post_trigger_frames": 10**9}, "memory"),
        ],
    )
    def test_what_cannot_be_recorded_is_refused(
        self, camera: Camera, changes: dict[str, int], says: str
    ) -> None:
        with pytest.raises(DeviceError, match=says) as refused:
            camera.configure(self.settings(**changes))
        assert camera.address in str(refused.value)

    def test_every_edge_is_a_frame(self, camera: Camera) -> None:
        self.record(camera, 20)
        seen: list[tuple[int, int]] = []
        recording = camera.wait_recorded(2.0, lambda done, total: seen.append((done, total)))
        assert (recording.first_frame_number, recording.frame_count) == (0, 20)
        assert seen[-1] == (20, 20)

    def test_frames_before_the_trigger_have_negative_numbers(self, camera: Camera) -> None:
        self.record(camera, 20, before=7)
        recording = camera.wait_recorded(2.0)
        assert (recording.first_frame_number, recording.frame_count) == (-7, 27)
        time_ns, _ = camera.timestamps()
        assert time_ns[6] < recording.trigger_time_ns < time_ns[7]

    def test_stamps_are_the_starts_of_exposures(self, camera: Camera) -> None:
        first_ns = self.record(camera, 20)
        camera.wait_recorded(2.0)
        time_ns, exposure_ns = camera.timestamps()
        expected = first_ns + PERIOD_NS * np.arange(20)
        # stamps count in 32nds of a microsecond, of the end and of the exposure
        assert np.abs(time_ns - expected).max() <= 32
        assert np.abs(exposure_ns - EXPOSURE_NS).max() <= 16

    def test_frames_come_whole_and_in_order(self, camera: Camera) -> None:
        self.record(camera, 20)
        camera.wait_recorded(2.0)
        layout = camera.frame_format()
        frames = list(camera.frames(3, 10))
        assert (layout.width, layout.height, layout.bit_depth) == (128, 64, 8)
        assert [len(frame) for frame in frames] == [128 * 64] * 10
        whole = list(camera.frames(0, 20))
        assert [bytes(f) for f in frames] == [bytes(f) for f in whole[3:13]]

    def test_frames_that_are_not_there_are_refused(self, camera: Camera) -> None:
        self.record(camera, 20)
        camera.wait_recorded(2.0)
        for first, count in ((-1, 2), (19, 2), (0, 0)):
            with pytest.raises(DeviceError, match="recording has 0 to 19"):
                list(camera.frames(first, count))

    def test_a_stored_recording_is_not_lost_unless_told(self, camera: Camera) -> None:
        self.record(camera, 20)
        camera.wait_recorded(2.0)
        with pytest.raises(DeviceError, match="holds a recording"):
            camera.arm()
        assert len(list(camera.frames(0, 20))) == 20
        camera.arm(discard_stored=True)
        with pytest.raises(DeviceError, match="no finished recording"):
            list(camera.frames(0, 1))

    def test_a_trigger_that_never_comes_ends_the_wait(self, camera: Camera) -> None:
        camera.configure(self.settings())
        camera.arm()
        with pytest.raises(DeviceError, match="no trigger came") as failed:
            camera.wait_recorded(0.2)
        assert camera.address in str(failed.value)

    def test_edges_that_never_come_end_the_wait(self, camera: Camera) -> None:
        camera.configure(self.settings(20))
        camera.arm()
        camera.trigger()
        self.beat(5)
        with pytest.raises(DeviceError, match="only 5 of 20 frames"):
            camera.wait_recorded(0.2)

    def test_abort_ends_a_recording_and_never_fails(self, camera: Camera) -> None:
        camera.abort()
        camera.configure(self.settings())
        camera.arm()
        camera.abort()
        camera.abort()
        with pytest.raises(DeviceError, match="nothing is being recorded"):
            camera.wait_recorded(0.2)
        camera.arm()

    def test_abort_keeps_what_is_stored(self, camera: Camera) -> None:
        self.record(camera, 20)
        camera.wait_recorded(2.0)
        camera.abort()
        assert len(list(camera.frames(0, 20))) == 20

    def test_a_trigger_without_recording_is_refused(self, camera: Camera) -> None:
        with pytest.raises(DeviceError, match="trig"):
            camera.trigger()

    def test_it_may_be_closed_twice(self, camera: Camera) -> None:
        camera.close()
        camera.close()
        with pytest.raises(DeviceError, match="closed"):
            camera.identify()
