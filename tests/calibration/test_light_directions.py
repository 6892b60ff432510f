"""Light directions come back from ray-traced and from real mirror spheres, or are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import lightstage.cli
from lightstage import CaptureSequence, Dome, Session
from lightstage.calibration.light_directions import SphereSetup, calibrate_lights
from lightstage.calibration.light_pictures import FilePictures, read_gray
from lightstage.calibration.mirror_sphere import angle_deg
from lightstage.calibration.silhouette import Circle
from lightstage.errors import InputError
from lightstage.images import read_image, write_stored
from lightstage.simulation.mirror_ball import MirrorBall, MirrorBallScene, expose

LIGHTS = 24
DOME = Dome.evenly_spread(LIGHTS, 1.3)
RADIUS_M = 0.06


class Stack:
    """Pictures in memory."""

    def __init__(self, pictures):
        self.pictures = list(pictures)
        self.names = [f"light_{index:02d}" for index in range(len(self.pictures))]

    def read(self, index):
        return self.pictures[index]


def scene(**changes):
    settings = {"balls": [MirrorBall((0.0, 0.0, 0.0), RADIUS_M)], "lights_m": DOME.positions_m}
    return MirrorBallScene(**{**settings, "light_radius_m": 0.02, **changes})


def exposed(of, noise=False):
    rng = np.random.default_rng(5) if noise else None
    return Stack(expose(picture, rng) for picture in of.pictures())


@pytest.fixture(scope="module")
def ideal():
    return exposed(scene())


@pytest.fixture(scope="module")
def noisy():
    # an 8-bit sensor that the lights do not overexpose
    return exposed(scene(), noise=True)


def near(**changes):
    return SphereSetup(**{"focal_px": 2400.0, "radius_m": RADIUS_M, "distance_m": 1.3, **changes})


def errors(found, truth=DOME.directions):
    return angle_deg(found.directions, truth)[found.seen]


def test_without_noise_directions_are_right_to_a_tenth_of_a_degree(ideal):
    found = calibrate_lights(ideal, near())
    assert found.seen.all()
    assert np.median(errors(found)) < 0.1
    assert errors(found).max() < 0.3


def test_with_camera_noise_directions_are_right_to_half_a_degree(noisy):
    found = calibrate_lights(noisy, near())
    assert found.seen.sum() >= LIGHTS - 1
    assert np.median(errors(found)) < 0.1
    assert errors(found).max() < 0.5


def test_burnt_out_highlights_are_right_to_half_a_degree():
    found = calibrate_lights(exposed(scene(light_level=12.0), noise=True), near())
    # at the rim a light is thinner than a pixel, and darker
    assert sum(spot.saturated for (spot,) in found.highlights) > 0.7 * LIGHTS
    assert errors(found).max() < 0.5


def test_a_camera_far_away_needs_no_focal_length():
    far = exposed(scene(focal_px=None, lights_m=100 * DOME.positions_m, light_radius_m=2.0))
    found = calibrate_lights(far)
    assert found.seen.sum() >= LIGHTS - 1
    assert np.median(errors(found)) < 0.1
    assert errors(found).max() < 0.3


def test_the_parallax_of_near_lights_is_taken_out(ideal):
    without = errors(calibrate_lights(ideal, near(distance_m=None)))
    # up to radius / distance = 2.6 degrees
    assert 1.0 < np.median(without) < 2.7


def test_a_sphere_off_the_axis_is_an_ellipse_and_its_directions_are_right():
    # wide angle: the sphere's picture is 20 degrees off the axis and 6 % longer than wide
    off = scene(
        balls=[MirrorBall((0.4, 0.1, 0.0), RADIUS_M)],
        lights_m=DOME.positions_m[::3] + [0.4, 0.1, 0.0],
        focal_px=1500.0,
        width=1100,
        height=420,
        samples=3,
    )
    stack = exposed(off)
    found = calibrate_lights(stack, near(focal_px=1500.0))
    assert np.median(errors(found, DOME.directions[::3])) < 0.15
    assert found.silhouettes[0].sphere.centre_m == pytest.approx((0.4, 0.1, -1.5), abs=2e-3)
    with pytest.raises(InputError, match=r"--focal"):
        calibrate_lights(stack)


@pytest.fixture(scope="module")
def two_spheres():
    balls = [MirrorBall((-0.15, 0.0, 0.0), RADIUS_M), MirrorBall((0.15, 0.02, 0.05), RADIUS_M)]
    positions = DOME.positions_m * np.linspace(0.8, 1.2, LIGHTS)[:, None]
    picture = scene(balls=balls, lights_m=positions, width=720, height=280, samples=3)
    middle = np.array([0.0, 0.01, 0.025])
    return exposed(picture), positions - middle


def test_two_spheres_tell_how_far_each_light_is(two_spheres):
    stack, truth = two_spheres
    found = calibrate_lights(stack, near(spheres=2, distance_m=None))
    placed = np.isfinite(found.positions_m[:, 0])
    assert placed.sum() >= 0.8 * LIGHTS
    true_distance = np.linalg.norm(truth, axis=1)
    assert np.median(angle_deg(found.directions, truth / true_distance[:, None])[found.seen]) < 0.1
    off = np.linalg.norm(found.positions_m, axis=1) / true_distance - 1.0
    assert np.median(np.abs(off[placed])) < 0.02
    assert np.nanmedian(found.residual_deg) < 0.2


def test_spheres_that_do_not_agree_are_refused(two_spheres):
    stack, _ = two_spheres
    left, right = (s.circle for s in calibrate_lights(stack, near(spheres=2)).silhouettes)
    misread = (left._replace(y=left.y + 8.0), right)
    with pytest.raises(InputError, match="do not agree where the lights are"):
        calibrate_lights(stack, near(circles=misread, distance_m=None))


def test_another_focal_length_does_not_fit_the_outlines(two_spheres):
    stack, _ = two_spheres
    with pytest.raises(InputError, match="--focal or --fov is wrong"):
        calibrate_lights(stack, near(spheres=2, focal_px=1000.0))


def test_spheres_that_look_unequal_need_a_focal_length(two_spheres):
    stack, _ = two_spheres
    with pytest.raises(InputError, match=r"look equally large.*--focal"):
        calibrate_lights(stack, SphereSetup(spheres=2, radius_m=RADIUS_M))


def test_lights_behind_the_sphere_are_said_to_be_hidden(ideal):
    lights = DOME.positions_m.copy()
    lights[3] = [0.0, 0.01, -1.3]
    stack = Stack(ideal.pictures)
    stack.pictures[3] = expose(next(scene(lights_m=lights[3:4]).pictures()))
    found = calibrate_lights(stack, near(), nominal=lights / 1.3)
    assert found.verdicts[3] == "hidden behind the sphere"
    assert not found.seen[3]
    assert found.seen.sum() == LIGHTS - 1


def test_a_dark_light_is_not_seen_and_two_at_once_are_told(ideal):
    stack = Stack(ideal.pictures)
    dark = np.min(ideal.pictures, axis=0)
    stack.pictures[5] = dark
    stack.pictures[6] = ideal.pictures[8] + ideal.pictures[10] - dark
    found = calibrate_lights(stack, near(), nominal=DOME.directions)
    assert found.verdicts[5] == "not seen"
    assert found.verdicts[6] == "several highlights"
    assert found.seen.sum() == LIGHTS - 2


def test_one_light_in_two_pictures_is_told(ideal):
    stack = Stack(ideal.pictures)
    stack.pictures[5] = stack.pictures[4]
    found = calibrate_lights(stack, near())
    assert any("light_04 and light_05" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (near(circles=(Circle(30.0, 30.0, 20.0),)), r"only 0 of 24 lights .* \(not seen: light_00"),
        (near(mask=np.zeros((300, 400))), "mask shows 0 spheres"),
        (near(mask=np.zeros((10, 10))), "mask is 10 x 10, the pictures are 400 x 300"),
        (near(spheres=2), "1 of 2 mirror spheres were found"),
        (near(radius_m=-1.0), "radius must be above 0 m"),
        (near(distance_m=0.01), "within the sphere"),
    ],
)
def test_what_cannot_be_trusted_is_refused(ideal, setup, reason):
    with pytest.raises(InputError, match=reason):
        calibrate_lights(ideal, setup)


@pytest.mark.parametrize(
    ("nominal", "reason"),
    [
        (DOME.directions * [-1, 1, 1], "mirrored left to right"),
        (DOME.directions * [1, -1, 1], "upside down"),
        (np.roll(DOME.directions, 5, axis=0), "in another order"),
        (DOME.directions[:20], "24 pictures of single lights, the dome has 20"),
    ],
)
def test_pictures_that_do_not_fit_the_dome_are_refused(ideal, nominal, reason):
    with pytest.raises(InputError, match=reason):
        calibrate_lights(ideal, near(), nominal=nominal)


def test_a_given_circle_beside_a_plain_outline_is_told(ideal):
    found = calibrate_lights(ideal, near(circles=(Circle(199.5, 149.5, 150.0),)))
    assert any("a round outline is seen at 199.5,1" in warning for warning in found.warnings)
    right = calibrate_lights(ideal, near(circles=(Circle(199.5, 149.5, 96.1),)))
    assert not right.warnings
    assert np.median(errors(right)) < 0.2


def test_noise_is_no_sphere():
    rng = np.random.default_rng(2)
    stack = Stack(rng.random((5, 120, 160), dtype=np.float32) * 0.1)
    with pytest.raises(InputError, match=r"mirror spheres were found|outline was found"):
        calibrate_lights(stack)


def test_pictures_are_of_one_size(ideal):
    with pytest.raises(InputError, match="light_01: is 20 x 10, light_00 is 400 x 300"):
        calibrate_lights(Stack([ideal.pictures[0], np.zeros((10, 20), np.float32)]))


# the real sphere


def half(picture, parity):
    """Return a picture made of one half of its pixels, as on a chequerboard.

    The others become the mean of their four neighbours, which are all of the first half.
    """
    around = np.pad(picture, 1, mode="reflect")
    mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
    rows, columns = np.indices(picture.shape)
    return np.where((rows + columns) % 2 == parity, picture, mean).astype(np.float32)


@pytest.fixture(scope="module")
def chrome(shared_data):
    folder = shared_data / "chrome_sphere"
    if not folder.is_dir():
        pytest.skip("the real mirror sphere (shared/data/chrome_sphere) is absent")
    return folder


def chrome_stack(folder):
    return FilePictures([folder / f"chrome.{index}.tga" for index in range(12)])


def test_a_real_sphere_gives_the_same_directions_from_two_halves_of_its_pixels(chrome):
    stack, mask = chrome_stack(chrome), read_gray(chrome / "chrome.mask.tga")
    first, second = (
        calibrate_lights(
            Stack(half(stack.read(index), parity) for index in range(12)),
            SphereSetup(mask=half(mask, parity)),
        )
        for parity in (0, 1)
    )
    apart = angle_deg(first.directions, second.directions)
    assert apart.max() < 1.0
    whole = calibrate_lights(stack, SphereSetup(mask=mask))
    assert angle_deg(first.directions, whole.directions).max() < 1.0


def test_holes_in_mask_and_highlights_move_a_real_spheres_directions_little(chrome):
    # half of all pixels black, as on a chequerboard; and every second row
    stack, mask = chrome_stack(chrome), read_gray(chrome / "chrome.mask.tga")
    whole = calibrate_lights(stack, SphereSetup(mask=mask))
    rows, columns = np.indices(mask.shape)
    for kept in ((rows + columns) % 2 == 0, rows % 2 == 0):
        pictures = Stack(np.where(kept, stack.read(index), np.float32(0)) for index in range(12))
        found = calibrate_lights(pictures, SphereSetup(mask=mask))
        assert angle_deg(found.directions, whole.directions).max() < 1.0
    holes = calibrate_lights(stack, SphereSetup(mask=np.where((rows + columns) % 2, mask, 0)))
    assert angle_deg(holes.directions, whole.directions).max() < 0.2


def test_a_real_sphere_agrees_with_the_textbook_formula(chrome):
    # the mean place of burnt-out pixels, and the mask's mean place and area: no fit at all
    stack, mask = chrome_stack(chrome), read_gray(chrome / "chrome.mask.tga")
    rows, columns = np.indices(mask.shape)
    x, y = ((mask * place).sum() / mask.sum() for place in (columns, rows))
    radius = np.sqrt(mask.sum() / np.pi)
    found = calibrate_lights(stack, SphereSetup(mask=mask))
    for index in range(12):
        burnt = (stack.read(index) > 0.9) & (mask > 0.5)
        n_x = (columns[burnt].mean() - x) / radius
        n_y = -(rows[burnt].mean() - y) / radius
        n_z = np.sqrt(1 - n_x**2 - n_y**2)
        assert (
            angle_deg(found.directions[index], [2 * n_z * n_x, 2 * n_z * n_y, 2 * n_z**2 - 1]) < 1
        )
    # all twelve stood above and before the sphere
    assert (found.directions[:, 1:] > 0).all()


# the command


def run(*arguments):
    return CliRunner().invoke(
        lightstage.cli.main, ["calibrate", "lights", *map(str, arguments)], prog_name="lightstage"
    )


@pytest.fixture(scope="module")
def folder(ideal, tmp_path_factory):
    path = tmp_path_factory.mktemp("ball")
    for name, picture in zip(ideal.names, ideal.pictures, strict=True):
        write_stored(path / f"{name}.tif", np.rint(picture * 65535).astype(np.uint16))
    return path


CAMERA = ("--radius", RADIUS_M, "--focal", 2400)


def test_the_command_corrects_the_sessions_dome(folder, tmp_path):
    # the dome as built is turned from the drawing by 2 degrees
    turn = np.radians(2.0)
    drawn = DOME.directions @ [
        [np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]
    ]  # fmt: skip
    nominal = Dome.from_directions(drawn, 1.3)
    sequence = CaptureSequence(lights=LIGHTS)
    session = Session.create(tmp_path / "s", dome=nominal, sequence=sequence)
    result = run(folder, "--session", session.path, *CAMERA, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert told["seen"] == LIGHTS
    assert told["from_nominal_median_deg"] == pytest.approx(1.6, abs=0.4)
    corrected = Session.open(session.path).dome
    assert np.median(angle_deg(corrected.directions, DOME.directions)) < 0.1
    assert corrected.radius_m == pytest.approx(1.3)
    assert read_image(session.path / "calibration" / "lights.png").shape[2] == 3


def test_the_command_writes_light_positions_for_other_tools(folder, tmp_path):
    result = run(folder, *CAMERA, "--distance", 1.3, "--lp", tmp_path / "l.lp", "-q")
    assert result.exit_code == 0, (result.output, result.exception)
    found = Dome.load(tmp_path / "l.lp")
    assert np.median(angle_deg(found.directions, DOME.directions)) < 0.1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--focal", 100, "--fov", 3], "either --focal or --fov"),
        (["--fov", 200], "--fov must be"),
        (["--sphere", "1,2"], "--sphere must be X,Y,RADIUS"),
        (["--sphere", "40,40,20"], "lights have a usable highlight"),
        (["--mask", "nowhere.png"], "nowhere.png: there is no such file"),
        (["--session", "nowhere"], "nowhere: there is no such folder"),
    ],
)
def test_the_command_refuses_with_the_reason(folder, arguments, reason):
    result = run(folder, *arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert reason in " ".join(result.stderr.split())


def test_the_command_refuses_a_folder_without_pictures(tmp_path):
    assert "holds no pictures" in run(tmp_path).stderr
