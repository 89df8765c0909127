"""What a section names is called the same wherever its code lies."""

from __future__ import annotations

import pytest

from mlpipe import names
from mlpipe.config import components, signatures
from mlpipe.config.components import Component


@pytest.mark.parametrize(
    ("target", "params", "title"),
    [
        # Records of 0.1.0 have this as the name of their network, and leaderboards join by it.
        (names.path_of("arch", "records"), {"network": "net"}, "mlpipe.learn.record_network.records"),
        (names.path_of("arch", "keras_json"), {"name": "net"}, "net"),
        ("nets.small", {}, "nets.small"),
    ],
)
def test_title_of_a_network_is_no_place_of_code(target: str, params: dict[str, str], title: str) -> None:
    assert Component("arch", target, params).title == title


def test_a_component_of_a_package_that_only_an_extra_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    read = signatures.module_file
    monkeypatch.setattr(signatures, "module_file", lambda name: None if name.startswith("kornia") else read(name))
    found = components._unknown_target("augmentations.device.pipeline[0]", "kornia.augmentation.RandomAffine")
    assert found.startswith(
        "augmentations.device.pipeline[0]._target_: the package kornia is not installed; pip install"
    )
