"""Any light on a reflectance field: environment maps, light weights, studio lights.

::

    from lightstage.relighting import light_weights, load_environment, relight

    weights = light_weights(load_environment("studio"), fields.directions)
    image = relight(fields[0].olat, weights)
"""

from __future__ import annotations

from lightstage.relighting.basis import LightBasis
from lightstage.relighting.combine import (
    exposure_for,
    present_lights,
    relight,
    relight_many,
)
from lightstage.relighting.coverage import Coverage, coverage
from lightstage.relighting.environment import EnvironmentMap, load_environment
from lightstage.relighting.frames import film_exposure, relight_frames
from lightstage.relighting.photometric_stereo import StereoSettings, SurfaceMaps, surface_maps
from lightstage.relighting.procedural import ENVIRONMENTS, procedural_environment
from lightstage.relighting.rig import Rig, StudioLight, load_rig
from lightstage.relighting.sphere import pixel_directions, pixel_solid_angles
from lightstage.relighting.studio import (
    STUDIO_LIGHTS,
    studio_environment,
    studio_rig,
    studio_weights,
)
from lightstage.relighting.weights import divide_by_gains, light_weights, rotation_sweep

__all__ = [
    "ENVIRONMENTS",
    "STUDIO_LIGHTS",
    "Coverage",
    "EnvironmentMap",
    "LightBasis",
    "Rig",
    "StereoSettings",
    "StudioLight",
    "SurfaceMaps",
    "coverage",
    "divide_by_gains",
    "exposure_for",
    "film_exposure",
    "light_weights",
    "load_environment",
    "load_rig",
    "pixel_directions",
    "pixel_solid_angles",
    "present_lights",
    "procedural_environment",
    "relight",
    "relight_frames",
    "relight_many",
    "rotation_sweep",
    "studio_environment",
    "studio_rig",
    "studio_weights",
    "surface_maps",
]
