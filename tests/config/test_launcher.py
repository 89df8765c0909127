"""Hydra's ways of asking for launchers and searches are understood, or answered with mlpipe's."""

from __future__ import annotations

import pytest

from mlpipe.config import launcher
from mlpipe.errors import ConfigError


def test_hydras_names_of_launchers_that_are_here() -> None:
    found, rest = launcher.split(["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=90", "optimizer.lr=1,2"])
    assert found is not None and found.timeout_min == 90 and rest == ["optimizer.lr=1,2"]
    assert found == launcher.split(["hydra/launcher=slurm", "hydra.launcher.timeout_min=90"])[0]
    assert launcher.split(["hydra/launcher=basic"]) == (None, [])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra/launcher=joblib"], r"got 'joblib'; leave it out: .* side by side with sys\.fold_workers=4"),
        (["hydra/launcher=submitit_local"], r"got 'submitit_local'; leave it out"),
        *(
            ([f"hydra/launcher={name}"], r"use hydra/launcher=slurm on a cluster, or leave it out")
            for name in ("ray", "ray_aws", "rq")
        ),
        (["hydra/launcher=slum"], r"got 'slum'; did you mean 'slurm'"),
        (["hydra.launcher.n_jobs=4"], r"hydra\.launcher\.n_jobs: belongs to a launcher; add hydra/launcher=slurm"),
    ],
)
def test_other_launchers_are_answered(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        launcher.split(words)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("hydra/sweeper=optuna", r"hydra/sweeper: .*got 'optuna'; write hpo=optuna search_space=basic, without -m"),
        ("+hydra/sweeper=ax", r"got 'ax'; write hpo=optuna"),
        ("hydra/sweeper=basic", r"got 'basic'; leave it out"),
        ("hydra.sweeper.n_trials=20", r"got '20'; write hpo=optuna hpo\.trials=20"),
        ("hydra.sweeper.study_name=first", r"write hpo=optuna hpo\.study=first"),
        ("hydra/sweeper/sampler=tpe", r"write hpo=optuna hpo\.sampler=NAME"),
        ("hydra.sweeper.params.lr=interval(0,1)", r"write hpo=optuna search_space=basic, or keys of search_space"),
    ],
)
def test_sweepers_are_answered(word: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        launcher.refuse_sweepers([word])
    launcher.refuse_sweepers(["hpo=optuna", "optimizer.lr=1,2", "hydra/launcher=slurm"])
