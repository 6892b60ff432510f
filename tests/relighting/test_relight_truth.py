"""Relit sums against the head rendered directly under a real map by thousands of directions."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage import Dome
from lightstage.relighting import light_weights, load_environment, relight
from lightstage.simulation import Performer, Scene, SimulatedCamera, render_lights, render_sum


@pytest.fixture(scope="module")
def head():
    performer = Performer(0, "still")
    camera = SimulatedCamera(width=96, height=72)
    return Scene(performer.model, camera, performer.vertices(0.0))


@pytest.mark.parametrize("name", ["studio", "sunset"])
def test_smooth_maps_relight_the_head_to_35_db(shared_data, head, name):
    environment = load_environment(shared_data / "hdri" / f"{name}.hdr").blurred(10)
    fine, dome = Dome.evenly_spread(1500), Dome.evenly_spread(96)
    gains = light_weights(environment, fine.directions)
    truth = render_sum(head, fine, range(len(fine)), gains)
    olat = render_lights(head, dome, range(len(dome)))
    inside = head.matte > 0.999
    peak = np.percentile(truth[inside], 99.9)
    figures = {}
    for method in ("voronoi", "cosine", "harmonics"):
        image = relight(olat, light_weights(environment, dome.directions, method))
        error = ((image - truth)[inside].astype(float) ** 2).mean()
        figures[method] = 10 * np.log10(peak**2 / error)
    assert min(figures.values()) > 35, figures
    assert figures["harmonics"] > figures["cosine"], figures
