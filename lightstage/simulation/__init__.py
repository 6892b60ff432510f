"""The simulated stage: a performer that the camera sees under whatever the LEDs did."""

from __future__ import annotations

from lightstage.head import HeadFile, pose_head, procedural_head
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.flow import true_flow, true_flow_to_times
from lightstage.simulation.mosaic import render_mosaic
from lightstage.simulation.performer import HeadParameters, Performer
from lightstage.simulation.render import Scene, render_full_lit, render_lights, render_sum
from lightstage.simulation.sensor import SimulatedSensor
from lightstage.simulation.take import (
    SimulatedFrame,
    SimulatedStage,
    simulate_frames,
    simulate_take,
    take_steps,
)
from lightstage.simulation.take_faults import TakeFaults
from lightstage.simulation.take_steps import FAULTS, TakeSteps, read_steps, write_steps
from lightstage.simulation.truth import (
    GroundTruth,
    frozen_frames,
    ground_truth,
    read_truth,
    write_truth,
)

__all__ = [
    "FAULTS",
    "GroundTruth",
    "HeadFile",
    "HeadParameters",
    "Performer",
    "Scene",
    "SimulatedCamera",
    "SimulatedFrame",
    "SimulatedSensor",
    "SimulatedStage",
    "TakeFaults",
    "TakeSteps",
    "frozen_frames",
    "ground_truth",
    "pose_head",
    "procedural_head",
    "read_steps",
    "read_truth",
    "render_full_lit",
    "render_lights",
    "render_mosaic",
    "render_sum",
    "simulate_frames",
    "simulate_take",
    "take_steps",
    "true_flow",
    "true_flow_to_times",
    "write_steps",
    "write_truth",
]
