"""Shares by name are those of the classes in their order."""

import pytest

from mlpipe.errors import ConfigError
from mlpipe.post.rows import in_order


def test_shares_by_name_are_in_the_order_of_the_classes() -> None:
    assert in_order({"ill": 0.1, "healthy": 0.9}, ["healthy", "ill"], key="mode.prior") == [0.9, 0.1]
    # A class that is a number is a number in the mapping of a command line too.
    assert in_order({1: 0.2, 0: 0.8}, ["0", "1"], key="mode.prior") == [0.8, 0.2]


@pytest.mark.parametrize("prior", ["val", "estimate", None, [0.9, 0.1]])
def test_other_forms_stay_as_they_are(prior: object) -> None:
    assert in_order(prior, ["healthy", "ill"], key="mode.prior") is prior


@pytest.mark.parametrize(
    ("prior", "sentences"),
    [
        ({"ill": 0.1}, ["mode.prior: has no share of healthy; give one for each class"]),
        (
            {"ill": 0.1, "healty": 0.9},
            [
                "mode.prior: there is no such class, got 'healty'; did you mean 'healthy'?",
                "mode.prior: has no share of healthy; give one for each class",
            ],
        ),
    ],
)
def test_every_wrong_name_has_a_sentence(prior: dict[str, float], sentences: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        in_order(prior, ["healthy", "ill"], key="mode.prior")
    assert list(error.value.problems) == sentences
