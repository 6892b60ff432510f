"""Conditioning maps, equation (7) of the paper: the same code in training and in driving."""

from __future__ import annotations

from relight_model.conditioning.maps import MAP_CHANNELS, NETWORK_MAPS, ConditioningMaps
from relight_model.conditioning.renderer import ConditioningRenderer
from relight_model.conditioning.stacks import FrameStack, StackLayout, stack

__all__ = [
    "MAP_CHANNELS",
    "NETWORK_MAPS",
    "ConditioningMaps",
    "ConditioningRenderer",
    "FrameStack",
    "StackLayout",
    "stack",
]
