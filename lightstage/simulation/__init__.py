"""The simulated stage: a performer that the camera sees under whatever the LEDs did."""

from __future__ import annotations

from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.head import HeadFile, pose_head, procedural_head
from lightstage.simulation.performer import HeadParameters, Performer
from lightstage.simulation.render import Scene, render_full_lit, render_lights, render_sum
from lightstage.simulation.sensor import SimulatedSensor
from lightstage.simulation.take import (
    SimulatedFrame,
    SimulatedStage,
    simulate_frames,
    simulate_take,
)
from lightstage.simulation.truth import (
    GroundTruth,
    ground_truth,
    read_truth,
    true_flow,
    write_truth,
)

__all__ = [
    "GroundTruth",
    "HeadFile",
    "HeadParameters",
    "Performer",
    "Scene",
    "SimulatedCamera",
    "SimulatedFrame",
    "SimulatedSensor",
    "SimulatedStage",
    "ground_truth",
    "pose_head",
    "procedural_head",
    "read_truth",
    "render_full_lit",
    "render_lights",
    "render_sum",
    "simulate_frames",
    "simulate_take",
    "true_flow",
    "write_truth",
]
