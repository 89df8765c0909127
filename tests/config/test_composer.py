"""A remembered composition with values put into it is what Hydra composes from all of it at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlpipe.config import catalog
from mlpipe.config import composer as composition
from mlpipe.config.composer import Composer, Refused

REFUSALS = (HydraException, OmegaConfBaseException, ValueError, IndexError, TypeError)
CHOICES = ["mode=train", "task=digits", "optimizer=sgd"]
VALUES = (
    "seed=7", "trainer.max_epochs=3", "+optimizer.lr=1", "++optimizer.lr=0.5", "~optimizer.lr", "~optimizer.momentum=0.9",
    "optimizer.lr=[1,2]", "optimizer={lr: 3}", "nothing.of.it=1", "+nothing.of.it=1", "proj=${seed}", "arch.name='a b'",
    "augmentations.cpu.pipeline=[]", "augmentations.cpu.pipeline.0.p=0.1", "tags=null", "~callbacks", "a/b=c", "x@y=z",
    "hydra.job.name=mine", "mode.folds=[0,1]", "~seed=3", "mode.folds=1", "++optimizer.new=[a,'b c']", "++nothing.new=1",
    "optimizer=null", "seed.of.it=1", "mode.folds.0=1", "optimizer.lr='a\\\\b'", "out_dir='x y'", "++seed.of.it=2",
)  # fmt: skip


def at_once(texts: list[str]) -> DictConfig:
    with initialize_config_dir(str(catalog.conf_dir()), version_base="1.3"):
        return compose("config", texts)


@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(VALUES), max_size=3))
@example(["hydra.job.name=mine"])
@example(["~optimizer.lr", "+optimizer.lr=2"])
@example(["++optimizer.new=[a,'b c']", "optimizer.lr=[1,2]", "mode.folds=[0,1]"])
@example(["seed=7", "seed.of.it=1"])
def test_values_are_put_in_as_hydra_does_it(values: list[str]) -> None:
    try:
        expected = at_once([*CHOICES, *values])
    except REFUSALS as error:
        with pytest.raises(Refused) as caught:
            Composer(CHOICES).put(values)
        assert str(caught.value) == str(error)
        return
    got = Composer(CHOICES).put(values)
    assert repr(got) == repr(OmegaConf.to_container(expected, resolve=False))


def test_what_is_put_in_stays_out_of_the_next() -> None:
    composer = Composer(CHOICES)
    before = repr(composer.base)
    composer.put(["seed=99", "~callbacks", "+optimizer.other=[1,{a: 2}]"])
    composer.put(["seed=98"])["arch"]["name"] = "another"
    assert repr(composer.base) == before == repr(Composer(CHOICES).put([]))


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    own = tmp_path / "optimizer" / "own.yaml"
    own.write_text("_target_: mlpipe.learn.optimizers.sgd.sgd\nlr: 1.0\n")
    choices = ["mode=train", "optimizer=own"]
    assert Composer(choices, [tmp_path]).base["optimizer"]["lr"] == 1.0
    own.write_text("_target_: mlpipe.learn.optimizers.sgd.sgd\nlr: 2.0\n")
    os.utime(own, ns=(1, 1))
    assert Composer(choices, [tmp_path]).base["optimizer"]["lr"] == 2.0


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of byte code; nothing is remembered in this process, and bytes may be written."""
    folder = tmp_path / "bytes"
    monkeypatch.setattr(sys, "pycache_prefix", str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    composition._composed.cache_clear()
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    found: list[object] = []
    hydra = composition._hydra
    monkeypatch.setattr(composition, "_hydra", lambda *given: found.append(given) or hydra(*given))
    return found


def test_options_are_composed_once(kept: Path, calls: list[object]) -> None:
    choices = ["mode=train", "task=digits", "optimizer=lamb"]
    for seed in range(3):
        assert Composer(choices).put([f"seed={seed}"])["seed"] == seed
    assert len(calls) == 1


@pytest.mark.parametrize(
    "choices",
    [
        ["mode=train", "callbacks=[early,swa]"],
        ["mode=post"],
        ["mode=train", "task=folder", "hpo=optuna", "stages=freeze_then_finetune", "augmentations=randaugment"],
        ["mode=train", "preset=fast", "tags='subset?0.5'"],
    ],
)
def test_what_was_kept_is_what_hydra_composes(choices: list[str], kept: Path, calls: list[object]) -> None:
    expected = at_once(choices)
    Composer(choices)
    composition._composed.cache_clear()
    read = Composer(choices).base
    assert len(calls) == 1, "the second one is read"
    assert repr(read) == repr(OmegaConf.to_container(expected, resolve=False))
    for refused in ("nothing.of.it=1", "nothing.of.it='a\\\\b'"):
        with pytest.raises(Refused, match="nothing"):
            Composer(choices).put([refused])
    assert [Composer(choices).put([text])["seed"] for text in ("seed=7", "++seed=8")] == [7, 8]


def test_what_was_kept_is_of_these_files_alone(
    kept: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    Composer(CHOICES)
    composition._composed.cache_clear()
    monkeypatch.setattr(composition, "_content", lambda: "other texts")
    Composer(CHOICES)
    assert len(calls) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[1]"])
def test_a_damaged_file_is_composed_anew(content: bytes, kept: Path, calls: list[object]) -> None:
    expected = repr(Composer(CHOICES).base)
    (file,) = kept.rglob("composed-*.json")
    file.write_bytes(content)
    composition._composed.cache_clear()
    assert repr(Composer(CHOICES).base) == expected
    assert len(calls) == 2 and file.read_bytes() != content


def test_nothing_is_kept_where_byte_code_is_not(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Composer(CHOICES)
    assert not list(kept.rglob("composed-*.json"))


def test_the_oldest_of_too_many_go(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "_MOST_FILES", 2)
    names = []
    for number, optimizer in enumerate(("sgd", "adam", "lamb")):
        Composer(["mode=train", f"optimizer={optimizer}"])
        (new,) = {file.name for file in kept.rglob("composed-*.json")}.difference(names)
        names.append(new)
        next(kept.rglob(new)).touch()
        os.utime(next(kept.rglob(new)), ns=(number, number))
    assert {file.name for file in kept.rglob("composed-*.json")} == set(names[1:])


def test_a_folder_that_cannot_be_written_keeps_nothing(kept: Path) -> None:
    kept.write_text("a file stands where the folder should")
    assert Composer(CHOICES).base["mode"] is not None
