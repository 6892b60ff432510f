"""Pictures of fixed frames while a network learns: prediction under the truth."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lightstage.report.contact_sheet import Panel, contact_sheet
from relight_model.losses import display_exposure
from relight_model.networks import ReflectanceNetwork
from relight_model.training_batches import Batch

Array = NDArray[np.float32]

#: Single lights in a picture, and lights relit from.
_LIGHTS, _RELIT = 6, ("from the left", "from the right")
_RELIT_DIRECTIONS = np.array([[-0.8, 0.3, 0.52], [0.8, 0.3, 0.52]])


@torch.no_grad()  # type: ignore[untyped-decorator]
def sample_picture(
    network: ReflectanceNetwork,
    batch: Batch,
    directions: NDArray[np.float64],
    caption: str,
    panel_width: int = 128,
) -> Array:
    """Return one linear picture of a frame: full-lit, relit, normal, albedo and single lights.

    Truth above, prediction below; each pair is shown by the truth's exposure.

    Args:
        network: set to evaluation.
        batch: one sample with all lights.
        directions: ``(lights, 3)``.
        caption: what the frame is called.
        panel_width: of each picture.
    """
    given = batch.supervision
    output = network(batch.conditioning)
    lights = len(directions)
    weights = [np.ones(lights)]
    for towards in _RELIT_DIRECTIONS:
        lobe = np.exp(8.0 * (directions @ towards - 1.0))
        weights.append(lobe / lobe.sum())
    shares = torch.from_numpy(np.asarray(weights, np.float32)).to(batch.conditioning.device)
    shares = shares[None, :, :, None].expand(1, -1, -1, 3)
    truth = torch.einsum("blchw,bplc->bpchw", given.olat, shares)
    guess = output.relight_many(shares)
    exposure = display_exposure(truth, given.matte)
    chosen = _spread(directions)
    single = given.olat[:, chosen]
    picked = torch.tensor(chosen, device=batch.conditioning.device)
    predicted = output.chosen_lights(picked)
    light_exposure = display_exposure(single, given.matte)
    names = ["full-lit", *_RELIT, "normal", "albedo", *(f"light {k}" for k in chosen)]
    inside = given.matte[0]
    rows = []
    for who, relit, normal, albedo, olat in (
        ("truth", truth, given.normal, given.albedo, single),
        ("prediction", guess, output.normal, output.albedo, predicted),
    ):
        pictures = [
            *(relit * exposure)[0],
            # a normal is shown as display values, so it is decoded as those
            ((normal[0] * 0.5 + 0.5) * inside).clamp(0, 1).pow(2.2),
            albedo[0] * inside,
            *(olat * light_exposure)[0],
        ]
        rows.append(
            [
                Panel(f"{who}: {name}" if k == 0 else name, _shown(picture))
                for k, (name, picture) in enumerate(zip(names, pictures, strict=True))
            ]
        )
    return contact_sheet(rows, caption, panel_width=panel_width)


def _shown(picture: torch.Tensor) -> Array:
    found: Array = picture.float().clamp(0.0, 1.0).permute(1, 2, 0).cpu().numpy()
    return found


def _spread(directions: NDArray[np.float64]) -> list[int]:
    """Return lights that are far from each other, beginning with the one nearest the camera."""
    chosen = [int(np.argmax(directions[:, 2]))]
    while len(chosen) < min(_LIGHTS, len(directions)):
        nearest = (directions @ directions[chosen].T).max(axis=1)
        # those from behind show little
        chosen.append(int(np.argmin(nearest + np.where(directions[:, 2] < -0.3, 2.0, 0.0))))
    return sorted(chosen)
