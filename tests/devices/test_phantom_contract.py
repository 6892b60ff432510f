"""The simulated Phantom through the real driver keeps the contract of cameras."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lightstage.devices.interfaces import Camera
from tests.devices.camera_contract import CameraContract
from tests.devices.phantom_stage import TestStage


class TestSimulatedPhantom(CameraContract):
    stage: TestStage

    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        with TestStage() as stage:
            self.stage = stage
            yield stage.camera

    def beat(self, edges: int) -> int:
        return self.stage.beat(edges)


class TestSimulatedPhantomAttached(TestSimulatedPhantom):
    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        with TestStage(data="attach") as stage:
            self.stage = stage
            yield stage.camera
