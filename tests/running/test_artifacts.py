"""Every option of a folder that is no group has what running asks of its class."""

from __future__ import annotations

import inspect

import pytest

from mlpipe.config import catalog, components
from mlpipe.config.schema import Sys
from mlpipe.running import artifacts, console

OPTIONS = [
    (group, option, protocol)
    for group, protocol in ((console.GROUP, console.Console), (artifacts.GROUP, artifacts.Artifact))
    for option in catalog.options(group)
]


@pytest.mark.parametrize(("group", "option", "protocol"), OPTIONS)
def test_a_class_has_every_function_of_its_protocol(group: str, option: str, protocol: type) -> None:
    made = components.of_option(group, option).load()
    for method, wanted in inspect.getmembers(protocol, inspect.isfunction):
        if not method.startswith("_"):
            assert list(inspect.signature(getattr(made, method)).parameters.values()) == list(
                inspect.signature(wanted).parameters.values()
            ), method
    for attribute in protocol.__annotations__:
        assert hasattr(made, attribute), attribute


def test_a_key_asks_for_each_artifact() -> None:
    assert set(catalog.options(artifacts.GROUP)) <= set(Sys.__dataclass_fields__)
