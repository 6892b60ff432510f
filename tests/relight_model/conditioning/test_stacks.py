"""Stacks: their order, their start, and a stream that gives the same as random access."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.errors import InputError
from relight_model.conditioning import FrameStack, StackLayout, stack


@given(
    frames=st.integers(1, 12),
    step=st.integers(1, 4),
    clip=st.integers(1, 40),
    clips=st.integers(1, 2),
)
def test_a_stream_gives_the_stacks_of_random_access(
    frames: int, step: int, clip: int, clips: int
) -> None:
    layout = StackLayout(("pncc", "mask"), frames, step)
    stream = FrameStack(layout)
    rng = np.random.default_rng(0)
    for _ in range(clips):
        maps = rng.uniform(0, 1, (clip, 4, 2, 3)).astype(np.float32)
        stream.reset()
        for index, frame in enumerate(maps):
            assert np.array_equal(stream.push(frame), stack(maps, index, frames, step))


def test_the_oldest_frame_comes_first_and_the_first_stands_for_those_before() -> None:
    maps = np.arange(30, dtype=np.float32)[:, None, None, None]
    assert stack(maps, 20).ravel().tolist() == list(range(10, 21))
    assert stack(maps, 3).ravel().tolist() == [0] * 7 + [0, 1, 2, 3]
    assert stack(maps, 20, frames=3, step=8).ravel().tolist() == [4, 12, 20]
    with pytest.raises(InputError, match="no frame 30"):
        stack(maps, 30)


def test_a_layout_survives_json_and_names_every_channel() -> None:
    layout = StackLayout()
    assert layout.channels == 99
    names = layout.channel_names()
    assert len(names) == len(set(names)) == 99
    assert names[0] == "diffuse.red@-10" and names[-1] == "landmarks.lips and pupils@0"
    assert StackLayout.from_json(json.loads(json.dumps(layout.as_json()))) == layout
    with pytest.raises(InputError, match="no layout"):
        StackLayout.from_json({"maps": ["pncc"]})
    with pytest.raises(InputError, match="some of"):
        StackLayout(("pncc", "colour"))


def test_a_stream_refuses_another_size() -> None:
    stream = FrameStack(StackLayout(("mask",), 2))
    stream.push(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(InputError, match="reset"):
        stream.push(np.zeros((1, 4, 5), np.float32))
    with pytest.raises(InputError, match="channels"):
        stream.push(np.zeros((3, 4, 4), np.float32))
    stream.reset()
    assert stream.push(np.ones((1, 4, 5), np.float32)).shape == (2, 4, 5)
