"""Settings: checks, presets, hash."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovsslib.errors import OvssError
from ovsslib.paths import data
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.presets import PRESETS, preset


def test_table_2_values() -> None:
    blip, bridge = preset("blip"), preset("bridgetower")
    assert (blip.layer, blip.head, blip.threshold, blip.blur) == (8, 10, 0.15, 0.05)
    assert (bridge.layer, bridge.head, bridge.threshold, bridge.blur) == (2, 8, 0.15, 0.05)
    assert (blip.rounds, blip.patches_per_round) == (4, 10)


def test_released_preset_differs_from_blip_in_deviations_only() -> None:
    blip, released = preset("blip").to_dict(), preset("released-code").to_dict()
    assert {key for key in blip if blip[key] != released[key]} == {
        "last_name", "name_spaces", "drop_value", "drop_zero", "drop_sep", "ties", "round0_twice",
        "align_corners", "constant_planes", "normalise",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_round_trip_through_json(name: str) -> None:
    config = preset(name)
    again = PnPConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.hash() == config.hash()


def test_hash_changes_with_every_field() -> None:
    other: dict[str, Any] = {
        "layer": 3, "head": None, "salience": "random", "score": "margin", "threshold": 0.2,
        "rounds": 1, "patches_per_round": 3, "blur": 0.0, "crf": False, "crf_iterations": 3,
        "background": "few", "max_side": None, "image_size": 96, "prompt": "a", "separator": ", ",
        "classes_per_prompt": 4, "seed": 1, "last_name": "sum", "name_spaces": False,
        "drop_value": "mean", "drop_zero": True, "drop_sep": True, "ties": "numpy",
        "round0_twice": True, "align_corners": True, "constant_planes": "nan",
        "crf_gaussian_sxy": 1.0, "crf_gaussian_compat": 1.0, "crf_bilateral_sxy": 1.0,
        "crf_bilateral_srgb": 1.0, "crf_bilateral_compat": 1.0, "normalise": False,
        "pamr": 1, "pamr_dilations": (1, 2), "crf_backend": "torch",
    }  # fmt: skip
    assert set(other) == {field.name for field in dataclasses.fields(PnPConfig)}
    hashes = {PnPConfig().replace(**{key: value}).hash() for key, value in other.items()}
    assert len(hashes | {PnPConfig().hash()}) == len(other) + 1
    assert all(len(value) == 10 for value in hashes)


def test_whole_number_and_float_are_one_setting() -> None:
    assert PnPConfig(blur=0).hash() == PnPConfig(blur=0.0).hash()


def test_list_and_tuple_are_one_setting() -> None:
    one, two = (PnPConfig.from_dict({"pamr_dilations": kind([1, 2])}) for kind in (list, tuple))
    assert one == two
    assert hash(one) == hash(two)
    assert one.to_dict()["pamr_dilations"] == [1, 2]


def test_later_fields_leave_stored_results_their_names() -> None:
    """Hashes as they are in file names below `data/results`, from before there was PAMR."""
    assert not {"pamr", "pamr_dilations", "crf_backend"} & PnPConfig().to_dict().keys()
    assert PnPConfig(pamr=3).to_dict()["pamr"] == 3
    stored = sorted(data("results").glob("pnp-ovss_*.json"))
    assert stored
    for path in stored:
        record = json.loads(path.read_text())
        assert PnPConfig.from_dict(record["config"]).hash() == record["config_hash"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshhold": 0.1}, "unknown setting 'threshhold'; did you mean 'threshold'"),
        ({"salience": "grad"}, "unknown value of salience 'grad'; did you mean 'gradcam'"),
        ({"layer": 0}, "layer must be int >= 1, got 0"),
        ({"layer": 2.0}, "layer must be int >= 1, got 2.0"),
        ({"layer": True}, "layer must be int >= 1, got True"),
        ({"head": "3"}, "head must be int >= 1 or None, got '3'"),
        ({"threshold": 1.5}, "threshold must be float from 0 to 1, got 1.5"),
        ({"blur": float("nan")}, "blur must be float from 0 to 1, got nan"),
        ({"crf": 1}, "crf must be bool, got 1"),
        (
            {"crf_backend": "pytorch"},
            "unknown value of crf_backend 'pytorch'; did you mean 'torch'",
        ),
        ({"pamr": -1}, "pamr must be int from 0 to 1000, got -1"),
        ({"pamr_dilations": (0,)}, r"pamr_dilations must be .*from 1 to 1000.*, got \(0,\)"),
        ({"pamr_dilations": []}, r"pamr_dilations must be .* of length >= 1, got \[\]"),
        ({"rounds": 0}, "rounds must be int from 1 to 1000"),
        ({"max_side": 2}, "max_side must be int >= 16"),
        ({"background": []}, "unknown value of background"),
    ],
)
def test_bad_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OvssError, match=message):
        PnPConfig.from_dict(fields)


def test_unknown_preset() -> None:
    with pytest.raises(OvssError, match="unknown preset 'blipp'; did you mean 'blip'"):
        preset("blipp")


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PnPConfig().layer = 3  # type: ignore[misc]


@given(st.text(max_size=12))
def test_any_unknown_key_is_refused_with_one_line(key: str) -> None:
    if key in {field.name for field in dataclasses.fields(PnPConfig)}:
        return
    with pytest.raises(OvssError) as caught:
        PnPConfig.from_dict({key: 1})
    assert "\n" not in str(caught.value)


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    wanted = preset("micro-blip", threshold=0.35, head=2)
    path.write_text(json.dumps({"config": wanted.to_dict(), "found": {"reward": 0.5}}))
    assert preset(str(path)) == wanted
    assert preset(str(path), crf=False) == wanted.replace(crf=False)
    for content in ("", "[]", "{}", '{"config": {"threshhold": 0.1}}', '{"config": {"layer": 0}}'):
        path.write_text(content)
        with pytest.raises(OvssError, match=r"mine\.json: no preset .* ovss tune"):
            preset(str(path))
    with pytest.raises(OvssError, match="No such file"):
        preset(str(tmp_path / "gone.json"))
