"""A network of the user's says where landmarks are; what it is shown is the upright face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lightstage.errors import InputError
from relight_model.head.dlib_file import mean_shape
from relight_model.head.landmark_dlib import Box, DlibLandmarks, packaged_model
from relight_model.head.landmark_network import SIDE_PX, NetworkPredictor
from relight_model.head.landmarks import landmark_detector, require_face

data = pytest.importorskip("skimage.data")


class BrightSpot(torch.nn.Module):
    """All landmarks at the middle of what is bright, a little apart from each other."""

    def __init__(self, heat: bool) -> None:
        super().__init__()
        self.heat = heat

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        bright = torch.nn.functional.avg_pool2d(picture.mean(1, keepdim=True), 2)
        if self.heat:
            return bright.expand(1, 68, bright.shape[2], bright.shape[3])
        share = bright[0, 0] / (bright.sum() + 1e-6)
        at = (torch.arange(share.shape[0]) + 0.5) / share.shape[0]
        place = torch.stack([(share.sum(0) * at).sum(), (share.sum(1) * at).sum()])
        return place.expand(1, 68, 2)


def spot_network(path: Path, heat: bool) -> Path:
    torch.jit.trace(BrightSpot(heat), torch.ones(1, 3, SIDE_PX, SIDE_PX)).save(str(path))
    return path


@pytest.mark.parametrize("heat", [False, True], ids=["places", "heat maps"])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_places_in_the_crop_become_places_in_the_picture(tmp_path: Path, heat: bool) -> None:
    """A bright spot at a known pixel is found there, from every box, turned and mirrored."""
    predict = NetworkPredictor.load(spot_network(tmp_path / "spot.pt", heat))
    picture = np.zeros((240, 320, 3), np.uint8)
    y, x = np.mgrid[:240, :320]
    picture[:] = (255 * np.exp(-((x - 171.3) ** 2 + (y - 95.6) ** 2) / 18.0))[:, :, None]
    starts = np.array([[0.0, 0.0, 0.0], [0.05, -0.1, 0.1]])
    for box in (Box(160.0, 110.0, 90.0), Box(180.0, 100.0, 70.0, 0.4)):
        found = predict(picture, box, starts)
        assert found.shape == (4, 68, 2)
        assert np.abs(found - (171.3, 95.6)).max() < 0.6


def constant_network(path: Path, output: np.ndarray) -> Path:
    given = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])
    made = helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, [1, output.size])
    weights = numpy_helper.from_array(np.zeros((3, output.size), np.float32), "weights")
    constant = numpy_helper.from_array(output.ravel().astype(np.float32), "constant")
    nodes = [
        helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "constant"], ["landmarks"]),
    ]
    graph = helper.make_graph(nodes, "constant", [given], [made], [weights, constant])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_an_onnx_network_takes_the_trees_place(tmp_path: Path) -> None:
    """One that always says the mean face puts it into the box of dlib's detector."""
    mean = mean_shape(packaged_model())
    file = constant_network(tmp_path / "mean.onnx", 0.25 + 0.5 * mean)
    detector = DlibLandmarks.load(file, predictions=1)
    assert landmark_detector(model=file).name == detector.name == "network:mean"
    astronaut = data.astronaut()
    face = require_face(detector.detect(astronaut), "astronaut")
    # the detector's box: 179, 83 to 266, 170
    expected = np.array([179.0, 83.0]) + 88.0 * mean - 0.5
    assert np.abs(face.landmarks - expected).max() < 1.0


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx: there is no such landmark network"):
        landmark_detector(model=tmp_path / "none.onnx")
    for name, output in (("few", np.zeros((1, 5, 2))), ("nan", np.full((1, 136), np.nan))):
        file = constant_network(tmp_path / f"{name}.onnx", output)
        with pytest.raises(InputError, match=rf"{name}\.onnx: gives .* a landmark network gives"):
            landmark_detector(model=file)
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.onnx: cannot be read as ONNX"):
        landmark_detector(model=tmp_path / "bad.onnx")
