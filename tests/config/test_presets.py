"""What a preset's recipes are composed of, and times that people write."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.config import presets
from mlpipe.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", None),
        (90, 90),
        ("45s", 45),
        ("30m", 1800),
        ("1h30m", 5400),
        ("0.5h", 1800),
        ("5min", 300),
        ("1 hour 30 minutes", 5400),
        (None, None),
    ],
)
def test_times(text: object, seconds: float | None) -> None:
    if text == "90":
        with pytest.raises(ConfigError, match="write a number of seconds"):
            presets.seconds_of(text)
    else:
        assert presets.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["5 monkeys", "m", "5 minutesx", "-3m", "0s", 0, -1, True, "3m5"])
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(ConfigError, match="time_limit"):
        presets.seconds_of(text)


def test_the_command_line_wins_over_the_preset_but_not_over_what_makes_a_recipe() -> None:
    preset: dict[str, Any] = {
        "common": ["split=holdout", "mode.nested=false"],
        "recipes": {
            "a": ["callbacks=ema", "optimizer=linear", "arch.freeze=true", "loss.label_smoothing=0.1"],
            "b": [],
        },
    }
    given = ["arch=resnet50", "cbs=early", "loss=focal", "optimizer.lr=1e-3", "seed=3"]
    own = ["split=holdout", "mode.nested=false"]
    assert presets.recipe_overrides(preset, "a", given) == [
        *own, "arch=resnet50", "loss=focal", "seed=3", *preset["recipes"]["a"],
    ]  # fmt: skip
    assert presets.recipe_overrides(preset, "b", given) == [*own, *given]
    assert presets.recipe_overrides(preset, "b", ["split=kfold"]) == ["mode.nested=false", "split=kfold"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mlpipe.arch.classifier.timm", ["arch.pool=stages"]), ("mlpipe.arch.nasnet.mobile", []), ("own.network", [])],
)
def test_options_of_the_network_are_taken_where_it_has_them(name: str, expected: list[str]) -> None:
    assert presets._network_overrides({"arch": {"pool": "stages", "wings": 2}}, {"_target_": name}) == expected
    assert presets._network_overrides({}, {"_target_": name}) == []
