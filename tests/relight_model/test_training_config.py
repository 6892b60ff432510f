"""Training configurations: what is written is what is done, and mistakes are told by name."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.errors import InputError
from relight_model.conditioning.stacks import StackLayout
from relight_model.losses import PAPER_WEIGHTS
from relight_model.networks import PAPER_WIDTHS
from relight_model.training_config import TrainingConfig, shipped_configs
from relight_model.training_schedule import learning_rate, progress


@pytest.mark.parametrize("name", shipped_configs())
def test_a_shipped_configuration_survives_being_saved(tmp_path, name):
    config = TrainingConfig.read(name).with_lights(96)
    config.save(tmp_path / "config.json")
    assert TrainingConfig.read(tmp_path / "config.json") == config
    assert config.network.in_channels == config.data.layout.channels
    assert config.network.lights == 96


def test_paper_is_the_papers():
    config = TrainingConfig.read("paper")
    assert config.network.widths == PAPER_WIDTHS
    assert (config.network.size, config.data.frames) == (512, 11)
    assert config.network.in_channels == 99
    assert config.losses.weights == PAPER_WEIGHTS


def test_toml_and_yaml_say_the_same(tmp_path):
    (tmp_path / "a.toml").write_text(
        "steps = 5\n[network]\nsize = 64\nwidths = [8, 16]\n[losses]\nlight_mse = 2.0\n"
    )
    (tmp_path / "a.yaml").write_text(
        "steps: 5\nnetwork:\n  size: 64\n  widths: [8, 16]\nlosses:\n  light_mse: 2.0\n"
    )
    toml, yaml = (TrainingConfig.read(tmp_path / f"a.{kind}") for kind in ("toml", "yaml"))
    assert toml == yaml
    assert toml.losses.weights == {"light_mse": 2.0}


def test_an_override_changes_one_field_alone():
    before = TrainingConfig.read("paper").model_dump()
    after = TrainingConfig.read("paper", ["losses.gan=0"]).model_dump()
    assert after["losses"]["weights"].pop("gan") == 0
    before["losses"]["weights"].pop("gan")
    assert after == before


def test_one_frame_makes_a_network_of_one_frames_channels():
    config = TrainingConfig.read("small_128", ["data.frames=1"])
    names = config.data.layout.channel_names()
    assert config.network.in_channels == len(names)
    assert names[config.network.albedo_from] == "diffuse.red@0"
    assert names[config.network.normal_from] == "normal.x@0"


def test_time_and_steps_replace_each_other():
    config = TrainingConfig.read("small_128", ["steps=7"])
    assert (config.steps, config.hours) == (7, None)
    config = TrainingConfig.read("paper", ["hours=0.5"])
    assert (config.steps, config.hours) == (None, 0.5)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("bach_size=2", "bach_size: there is no such field; did you mean batch_size"),
        ("network.sise=64", "network.sise: there is no such field; did you mean size"),
        ("losses.lihgt_mse=1", "did you mean light_mse"),
        ("network.size=60", "network.size: must be a power of two"),
        ("batch_size=0", "batch_size: input should be greater than or equal to 1, not 0"),
        ("batch_size=many", "batch_size: input should be a valid integer"),
        ("losses.light_mse=-1", "light_mse weighs -1"),
        ("data.maps=['colour']", "data.maps: maps must be some of diffuse"),
        ("optimiser=3", "optimiser:"),
        ("lights_per_step=200", "lights_per_step: is 200"),
        ("steps", "FIELD=VALUE was expected"),
        ("data.augmentation.zoom=2", "data.augmentation.zoom: input should be less"),
    ],
)
def test_a_mistake_is_told_by_file_and_field(override, told):
    with pytest.raises(InputError) as error:
        TrainingConfig.read("tiny", ["network.lights=24", override])
    assert told in str(error.value)
    assert "tiny" in str(error.value) or "--set" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "steps = [", "is not valid TOML"),
        ("a.yaml", "steps: [1", "is not valid YAML"),
        ("a.yml", "- 1\n- 2\n", "a table of fields was expected"),
        ("a.json", "{", "is not valid JSON"),
        ("a.txt", "steps = 1", "a .toml, .yaml or .json file"),
        ("a.toml", "batch_size = 2", "give either steps or hours"),
        ("a.toml", "steps = 1\nhours = 1.0", "give either steps or hours"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=told) as error:
        TrainingConfig.read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(InputError, match="did you mean small_128"):
        TrainingConfig.read("small_12")


def test_the_takes_lights_are_the_networks_unless_it_was_said_otherwise():
    assert TrainingConfig.read("tiny").with_lights(24).network.lights == 24
    with pytest.raises(InputError, match="the takes have 24"):
        TrainingConfig.read("tiny", ["network.lights=96"]).with_lights(24)


@given(st.integers(0, 2000), st.integers(1, 2000), st.integers(0, 50))
def test_the_rate_rises_then_falls_and_ends_at_its_share(step, steps, warmup):
    config = TrainingConfig.read(
        "tiny", [f"steps={steps}", f"optimiser.warmup_steps={warmup}", "optimiser.final_share=0.1"]
    )
    rate = learning_rate(config.optimiser, step, progress(config, step, 0.0))
    assert 0 < rate <= 1
    if step >= warmup:
        after = learning_rate(config.optimiser, step + 1, progress(config, step + 1, 0.0))
        assert after <= rate + 1e-12
    if step >= max(steps, warmup):
        assert math.isclose(rate, 0.1)


def test_a_budget_of_time_decays_the_rate_by_the_clock():
    config = TrainingConfig.read("tiny", ["hours=1", "optimiser.final_share=0"])
    half = progress(config, 123, 1800.0)
    assert half == 0.5
    assert math.isclose(learning_rate(config.optimiser, 123, half), 0.5)
    assert progress(config, 1, 9999.0) == 1.0


def test_the_layout_follows_the_data():
    config = TrainingConfig.read("paper", ["data.frames=4", "data.step=2"])
    assert config.data.layout == StackLayout(frames=4, step=2)
    json.dumps(config.model_dump(mode="json"))
