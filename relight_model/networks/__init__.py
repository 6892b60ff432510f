"""The networks: the reflectance U-Net, its discriminator, and the regressor of the head's shape."""

from __future__ import annotations

from relight_model.networks.config import PAPER_WIDTHS, NetworkConfig
from relight_model.networks.discriminator import PatchDiscriminator, discriminator_loss
from relight_model.networks.light_basis import fitted_light_basis, smooth_light_basis
from relight_model.networks.reflectance import ReflectanceNetwork, ReflectanceOutput
from relight_model.networks.shape_regressor import ShapeRegressor
from relight_model.networks.vgg import VggFeatures

__all__ = [
    "PAPER_WIDTHS",
    "NetworkConfig",
    "PatchDiscriminator",
    "ReflectanceNetwork",
    "ReflectanceOutput",
    "ShapeRegressor",
    "VggFeatures",
    "discriminator_loss",
    "fitted_light_basis",
    "smooth_light_basis",
]
