"""A remembered composition with values put into it is what Hydra composes from all of it at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlpipe.config import catalog
from mlpipe.config import compose as composition
from mlpipe.config.compose import Composer

REFUSALS = (HydraException, OmegaConfBaseException, ValueError, IndexError, TypeError)
CHOICES = ["mode=train", "task=digits", "optimizer=sgd"]
VALUES = (
    "seed=7", "trainer.max_epochs=3", "+optimizer.lr=1", "++optimizer.lr=0.5", "~optimizer.lr", "~optimizer.momentum=0.9",
    "optimizer.lr=[1,2]", "optimizer={lr: 3}", "nothing.of.it=1", "+nothing.of.it=1", "proj=${seed}", "arch.name='a b'",
    "augmentations.cpu.pipeline=[]", "augmentations.cpu.pipeline.0.p=0.1", "tags=null", "~callbacks", "a/b=c", "x@y=z",
    "hydra.job.name=mine", "mode.folds=[0,1]", "~seed=3",
)  # fmt: skip


def at_once(texts: list[str]) -> DictConfig:
    with initialize_config_dir(str(catalog.conf_dir()), version_base="1.3"):
        return compose("config", texts)


@settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(VALUES), max_size=3))
@example(["hydra.job.name=mine"])
@example(["~optimizer.lr", "+optimizer.lr=2"])
def test_values_are_put_in_as_hydra_does_it(values: list[str]) -> None:
    try:
        expected = at_once([*CHOICES, *values])
    except REFUSALS as error:
        with pytest.raises(type(error)) as caught:
            Composer(CHOICES).put(values)
        assert str(caught.value) == str(error)
        return
    got = Composer(CHOICES).put(values)
    assert OmegaConf.to_container(got, resolve=False) == OmegaConf.to_container(expected, resolve=False)
    assert OmegaConf.is_struct(got) == OmegaConf.is_struct(expected)


def test_what_is_put_in_stays_out_of_the_next() -> None:
    composer = Composer(CHOICES)
    before = OmegaConf.to_yaml(composer.base)
    composer.put(["seed=99", "~callbacks", "+optimizer.other=[1,{a: 2}]"])
    assert OmegaConf.to_yaml(composer.base) == before == OmegaConf.to_yaml(Composer(CHOICES).put([]))


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    own = tmp_path / "optimizer" / "own.yaml"
    own.write_text("_target_: mlpipe.learn.optimizers.sgd.sgd\nlr: 1.0\n")
    choices = ["mode=train", "optimizer=own"]
    assert Composer(choices, [tmp_path]).base.optimizer.lr == 1.0
    own.write_text("_target_: mlpipe.learn.optimizers.sgd.sgd\nlr: 2.0\n")
    os.utime(own, ns=(1, 1))
    assert Composer(choices, [tmp_path]).base.optimizer.lr == 2.0


def test_options_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    hydra = composition._hydra
    monkeypatch.setattr(composition, "_hydra", lambda *given: calls.append(given) or hydra(*given))
    choices = ["mode=train", "task=digits", "optimizer=lamb"]
    for seed in range(3):
        assert Composer(choices).put([f"seed={seed}"]).seed == seed
    assert len(calls) == 1
