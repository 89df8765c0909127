"""From overrides to a checked configuration: what works, and the sentence for everything that does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mlpipe.config import catalog, snapshot, written_paths
from mlpipe.config.compose import Facts, compose
from mlpipe.config.overrides import expand, name_and_tags, parse
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError

FACTS = Facts(lambda: ("resnet10t", "resnet18", "resnet50"), ("pets-0a1b2c3d",))


def composed(*overrides: str, mode: str = "train") -> RunConfig:
    return compose(mode, list(overrides), FACTS)


def problems(*overrides: str, mode: str = "train") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose(mode, list(overrides), FACTS)
    return list(caught.value.problems)


@pytest.mark.program
@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in catalog.groups() for option in catalog.options(group)]
)
def test_every_conf_file_composes_checks_and_says_what_it_is_for(group: str, option: str) -> None:
    needed = {
        "folder": ["task.root=/tmp"],
        "created": ["task.name=x"],
        "csv": ["task.file=/tmp/x.csv"],
        "arrays": ["task.file=/tmp/x.npz"],
        "import": ["task._target_=mlpipe.data.sources.digits"],
        "records": [
            "task.train=t.csv",
            "task.validation=v.csv",
            "task.kind=regression",
            "task.loader={}",
            "task.output=y",
        ],
        "items": ["task.train=[{call: get}]", "task.kind=classification"],
        "slices": ["task.slices=[{sizes: [1, 8, 8]}]"],
        "initial_values": ["task.size=8"],
        "convert": ["mode.recipe=x.yaml"],
        "score": ["mode.folder=x", "mode.file=x.csv"],
        "tl": ["mode.pretrain_task=x"],
        "upgrade": ["mode.version=0.1.0"],
        "downgrade": ["mode.version=0.1.0"],
    }.get(option if group in ("task", "mode") else "", [])
    if group == "mode":
        composed(*needed, mode=option)
    else:
        if (group, option) in (("optimizer", "linear"), ("optimizer", "nearest")):
            needed = ["arch.freeze=true", "augmentations=none"]
        if (group, option) == ("arch", "records"):
            needed = ["arch.network={}", "arch.output=y"]
        if (group, option) in (("loss", "keras_outputs"), ("loss", "heads")):
            needed = ["loss.parts=[]"]
        if (group, option) == ("loss", "keras"):
            needed = ["loss.name=huber"]
        if option == "keras_json":
            needed = ["arch.layers=[]"]
        if option == "import_block":
            needed = [f"{group}.name=my_code.Mine"]
        if option == "own":
            key = {"arch": "name=f", "loss": "expression=f", "tta": "function=f", "metrics": "functions=[f]"}[group]
            needed = [f"{group}.{key}"]
        composed(f"{group}={option}", *needed)
    assert "mml " in catalog.purpose(group, option)


def test_a_task_with_tags_is_the_task_and_its_tags() -> None:
    config = composed("task=digits+subset?0.1+remove?7")
    assert (config.task.target, config.tags) == ("mlpipe.data.sources.digits", "subset?0.1+remove?7")
    stored = composed("task=pets-0a1b2c3d+remove?what's a, b")
    assert (stored.task.params["name"], stored.tags) == ("pets-0a1b2c3d", "remove?what's a, b")
    assert composed("task=folder", "task.root=/tmp", "tags=subset?0.1").tags == "subset?0.1"
    assert composed().tags == ""


_RECORDS = (
    "task=records", "task.train=t.csv", "task.validation=v.csv", "task.kind=regression", "task.output=y",
    "arch=records", "arch.output=y", "preprocessing=none", "augmentations=none", "split=given",
)  # fmt: skip


def test_keys_below_one_that_is_null_or_missing_are_set_in_any_form() -> None:
    ramp = ("lr_scheduler=variator", "lr_scheduler.epochs=1")
    expected = {"to_lr": 0.1, "epochs": 2, "then": {"to_lr": 0.2}}
    for texts in (
        ["lr_scheduler.then.to_lr=0.1", "lr_scheduler.then.epochs=2", "lr_scheduler.then.then.to_lr=0.2"],
        ["lr_scheduler.then={to_lr:0.1,epochs:2,then:{to_lr:0.2}}"],
        ["lr_scheduler.then={to_lr:0.1}", "lr_scheduler.then.epochs=2", "lr_scheduler.then.then={to_lr:0.2}"],
    ):
        assert composed(*ramp, *texts).recipe.lr_scheduler.params["then"] == expected
    plateau = composed(*ramp, "lr_scheduler.plateau.watch=val/loss", "lr_scheduler.plateau_from=start")
    assert plateau.recipe.lr_scheduler.params["plateau"] == {"watch": "val/loss"}
    block = {"import": "mine.T", "params": {"key": "x", "more": {"a": 1}}}
    config = composed(
        *_RECORDS,
        "task.loader.import=KeySelector",
        "task.loader.params.inputs.x=[a,b]",
        "task.transformer={import:mine.T,params:{key:x,more:{a:1}}}",
        "arch.network.import=mine.T",
        "arch.network.params.key=x",
        "arch.network.params.more.a=1",
    )
    assert config.task.params["loader"] == {"import": "KeySelector", "params": {"inputs": {"x": ["a", "b"]}}}
    assert config.task.params["transformer"] == config.recipe.arch.params["network"] == block


@pytest.mark.parametrize(("text", "sentence"), [
    ("lr_scheduler.then.to_rl=0.1", "lr_scheduler.then.to_rl: unknown key; did you mean 'to_lr'?"),
    ("lr_scheduler.then.then.to_rl=0.1", "lr_scheduler.then.then.to_rl: unknown key; did you mean 'to_lr'?"),
    ("lr_scheduler.then=3", "lr_scheduler.then: must be a mapping or null, got 3; give it such a value"),
    ("lr_scheduler.to_lr.x=3", "lr_scheduler.to_lr.x: unknown key; lr_scheduler.to_lr holds one value, no keys"),
    ("optimizer.clip_norm.x=3", "optimizer.clip_norm.x: unknown key; optimizer.clip_norm holds one value, no keys"),
])  # fmt: skip
def test_keys_below_one_that_is_null_are_checked(text: str, sentence: str) -> None:
    assert problems("lr_scheduler=variator", text) == [sentence]


def test_a_key_of_a_group_that_nothing_was_chosen_of_is_refused_with_its_options() -> None:
    (told,) = problems("callbacks.nope=1")
    assert told.startswith("callbacks.nope: unknown key; keys come with a chosen option: callbacks=NAME, one of ")
    assert "early" in told and "none," not in told
    assert problems("callbacks=early", "callbacks.nope=1") == ["callbacks.nope: unknown key; known keys: early"]


def test_tags_may_be_a_reference_and_what_is_deleted_has_its_default() -> None:
    facts = dataclasses.replace(FACTS, tag_problems=lambda tags: [f"tags: {tags}"])
    with pytest.raises(ConfigError, match=r"^tags: subset\?0\.1$"):
        compose("train", ["task=digits", "given.share=0.1", "tags='subset?${given.share}'"], facts)
    config = composed("tags=subset?0.1", "~tags", "out_dir=x", "~out_dir", "data_dir=y", "~data_dir")
    assert (config.tags, config.out_dir, config.data_dir) == ("", Path.cwd() / "results", Path.cwd() / "mlpipe_data")


def test_wrong_tags_are_listed_with_the_rest() -> None:
    facts = dataclasses.replace(FACTS, tag_problems=lambda tags: [f"task: wrong {tags}"] if tags else [])
    with pytest.raises(ConfigError) as caught:
        compose("train", ["task=digits+x?1", "optimizer.lr=-1"], facts)
    assert [one.partition(",")[0] for one in caught.value.problems] == [
        "task: wrong x?1",
        "optimizer.lr: must be a number > 0",
    ]
    assert problems("task=digits+subset?0.1", "tags=noise?0.1") == [
        "tags: the task's name has tags already, got 'noise?0.1'; write all of them in one place"
    ]
    assert problems("task=digts+subset?0.1") == ["task: unknown option, got 'digts+subset?0.1'; did you mean 'digits'?"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", ("digits", "")),
        ("digits+subset?0.1", ("digits", "subset?0.1")),
        ("a+b-12", ("a+b-12", "")),
        ("a+b-12+subset?1+noise?0.1", ("a+b-12", "subset?1+noise?0.1")),
        ("unknown+subset?1+noise?2", ("unknown", "subset?1+noise?2")),
    ],
)
def test_a_name_apart_from_its_tags(name: str, expected: tuple[str, str]) -> None:
    assert name_and_tags(name, ("digits", "a+b-12")) == expected


def test_all_mistakes_are_listed_at_once_with_what_was_meant() -> None:
    found = problems(
        "arch=resnet5O", "loss=foca", "optimzer.lr=3", "optimizer.lr=abc", "trainer.max_epoch=3", "task=fashon_mini"
    )
    assert found == [
        "arch: unknown network, got 'resnet5O'; did you mean 'resnet50'?",
        "loss: unknown option, got 'foca'; did you mean 'focal'?",
        "task: unknown option, got 'fashon_mini'; did you mean 'fashion_mini'?",
        "optimzer.lr: unknown key; write optimizer.lr=3",
        "trainer.max_epoch: unknown key; write trainer.max_epochs=3",
        "optimizer.lr: must be a number > 0, got 'abc'; give it such a value",
    ]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer.lr=-1", "optimizer.lr: must be a number > 0, got -1; give it such a value"),
        ("split.folds=1", "split.folds: must be a whole number >= 2, got 1; give it such a value"),
        ("split.folds=2.5", "split.folds: must be a whole number >= 2, got 2.5; write split.folds=2"),
        ("mode.cv=maybe", "mode.cv: must be true or false, got 'maybe'; give it such a value"),
        (
            "optimizer.betas=[0.9]",
            "optimizer.betas: must be a list of 2 values, got [0.9]; for example optimizer.betas=[0.9,0.999]",
        ),
        *(
            (
                f"optimizer={name} optimizer.betas=[0.9,1.0]",
                "optimizer.betas: must be a list in which each item is a number >= 0 and < 1, got [0.9, 1.0]; "
                "for example optimizer.betas=[0.9,0.999]",
            )
            for name in ("adam", "adamax", "nadam", "lamb")
        ),
        (
            "trainer.max_epochs=0",
            "trainer.max_epochs: must be a whole number >= 1, got 0; for example trainer.max_epochs=20",
        ),
        (
            "trainer.accumulate_grad_batches=0 trainer.gradient_clip_val=-1 trainer.gradient_clip_algorithm=max",
            "trainer.accumulate_grad_batches: must be a whole number >= 1, got 0; 1: every batch is a step of its own\n"
            "trainer.gradient_clip_val: must be a number >= 0 or null, got -1; leave it out: gradients are then not bounded\n"
            "trainer.gradient_clip_algorithm: must be one of norm, value, got 'max'; "
            "write trainer.gradient_clip_algorithm=norm",
        ),
        (
            "optimizer=none optimizer.clip_norm=1.0 optimizer.clip_value=2.0",
            "optimizer.clip_norm: optimizer=none takes no steps, got 1.0; leave it out\n"
            "optimizer.clip_value: optimizer=none takes no steps, got 2.0; leave it out",
        ),
        (
            "optimizer=linear arch.freeze=true augmentations=none +optimizer.layer_decay=0.5",
            "optimizer.layer_decay: optimizer=linear takes no steps, got 0.5; leave it out",
        ),
        ("trainer.logger=true", "trainer.logger: is set by mlpipe itself; write logging=csv"),
        ("seed=-1", "seed: must be a whole number from 0 to 4294967295, got -1"),
        ("proj=a/b", "proj: must be a plain folder name, got 'a/b'; for example proj=default"),
        ("mode.subroutines=[train,tset]", "mode.subroutines: unknown subroutine, got 'tset'; did you mean 'test'?"),
        ("mode.pipeline_keys=[lss]", "mode.pipeline_keys: unknown section, got 'lss'; did you mean 'loss'?"),
        ("reuse.models=PROJ#3", "reuse.models: mml train does not use it; it is for predict, test, tl; leave it out"),
        (
            "mode.multitask=2",
            "task_list: mode.multitask=2 draws 1 of it, got []; name 1 tasks or more, for example task_list=[digits]",
        ),
        ("mode.co_tasks=[digits]", "mode.co_tasks: is for several tasks; add mode.multitask=2"),
        ("mode.task_weights=uncertainty", "mode.task_weights: is for several tasks; add mode.multitask=2"),
        (
            "mode.use_blueprint=true",
            "mode.use_blueprint: there is no blueprint to use; add reuse.blueprint=PROJ#3 or reuse.blueprint=FILE.yaml",
        ),
        (
            "cbs=zzz",
            "callbacks (cbs for short): unknown option, got 'zzz'; options: best_practice, default, early, early_train, ema, "
            "graph_file, layer_files, none, output_files, output_files_half, swa, time_limit, volume_file",
        ),
        ("tta=flip", "tta: unknown option, got 'flip'; did you mean 'flips'?"),
        ("tta=flips tta.mix=mean", "tta.mix: must be one of probabilities, logits, got 'mean'; give it such a value"),
        ("peft=lora peft.rank=0", "peft.rank: must be a whole number >= 1, got 0; give it such a value"),
        ("tune=lr_find tune.steps=2", "tune.steps: must be a whole number >= 3, got 2; give it such a value"),
        (
            "optimizer.layer_decay=2",
            "optimizer.layer_decay: must be a number > 0 and <= 1 or null, got 2; give it such a value",
        ),
        (
            "stages.list=[{epoch:1}]",
            "stages.list[0].epoch: unknown key; did you mean 'epochs'?\n"
            "stages.list[0].epochs: a value is needed; add stages.list[0].epochs=VALUE",
        ),
        (
            "stages.list=[{epochs:1},{epochs:1,loss:focl}] metrics.monitor=val/accuracy",
            "stages.list[1].loss: unknown option, got 'focl'; did you mean 'focal'?",
        ),
        (
            "stages.list=[{epochs:1,callbacks:[early,emma]}]",
            "stages.list[0].callbacks: unknown option, got 'emma'; did you mean 'ema'?",
        ),
        (
            "stages.list=[{epochs:1},{epochs:1,loss:focal}]",
            "metrics.monitor: val/loss cannot choose among epochs of stages with different losses; "
            "use another metric, for example metrics.monitor=val/accuracy, or mode.store_best=false",
        ),
        (
            "stages.list=[{epochs:1,freeze:backbone}] peft=lora",
            "stages.list[0].freeze: peft decides what learns; leave it out, or use peft=none",
        ),
        (
            "stages.list=[{epochs:1,freeze:backbone,head:linear},{epochs:1,lr:0.5}] tune=lr_find",
            "tune: finds a rate that no stage takes, as each names its own, got 'lr_find'; "
            "leave lr out of one, or use tune=none",
        ),
        ("stages.list=3", "stages.list: must be a list of stages, got 3; use [] for one"),
        (
            "arch.freeze=0",
            "arch.freeze: must be true or false or one of backbone or a whole number >= 1, got 0; write arch.freeze=false",
        ),
        ("task=folder", "task.root: a value is needed; add task.root=VALUE"),
        ("mode=predict", "mode: is the first word of the command; write mml predict ..."),
        ("given=3", "given: is a section of several keys, got 3; write given.NAME=VALUE"),
        ("+given=[1]", "given: is a section of several keys, got [1]; write given.NAME=VALUE"),
        ("recommend=3", "recommend: is a section of several keys, got 3; write recommend.lr=0.001"),
        (
            "search_space.params=3",
            "search_space.params: is a section of several keys, got 3; write search_space.params.KEY='choice(1,2)'",
        ),
        ("optimizer@x=adam", "optimizer@x: options cannot be moved to another place with @; write optimizer=adam"),
    ],
)
def test_one_mistake_one_sentence(override: str, sentence: str) -> None:
    assert problems(*override.split()) == sentence.splitlines()


def test_weights_that_are_not_kept_cannot_predict() -> None:
    (sentence,) = problems("mode.store_parameters=false", "mode.subroutines=[train,predict,test]")
    assert sentence.startswith(
        "mode.store_parameters=false: keeps no weights, but mode.subroutines asks for predict and test"
    )


def test_strict_validation_refuses_a_score_that_also_chose() -> None:
    (sentence,) = problems("mode.strict_validation=true", "mode.nested=false", "cbs=early", "lr_scheduler=plateau")
    assert "best_checkpoint, early_stopping, lr_plateau" in sentence
    composed("mode.strict_validation=true")
    composed("mode.strict_validation=true", "mode.nested=false", "mode.store_best=false")


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "subprocess.Popen", "mlpipe.files.write_text"])
def test_foreign_code_is_refused(target: str) -> None:
    (sentence,) = problems(f"loss._target_={target}")
    assert sentence.startswith(f"loss._target_: is not allowed here, got '{target}'")


def test_a_class_of_torch_fits_a_loss_and_its_keys_are_checked() -> None:
    config = composed("loss._target_=torch.nn.MultiMarginLoss", "loss.margin=0.5")
    assert type(config.recipe.loss.build("late arguments are not for it")).__name__ == "MultiMarginLoss"
    assert problems("loss._target_=torch.nn.MultiMarginLoss", "loss.margn=1") == [
        "loss.margn: unknown key; did you mean 'margin'? write loss.margin=1"
    ]


def test_a_module_in_the_current_folder_is_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "my_losses.py").write_text("def twice(class_counts, *, factor: float = 2.0):\n    return factor\n")
    assert composed("loss._target_=my_losses.twice", "loss.factor=3").recipe.loss.build(None) == 3


def test_keys_that_only_the_signature_knows_are_accepted() -> None:
    assert composed("trainer.benchmark=true").recipe.trainer["benchmark"] is True


def test_the_last_of_several_options_is_all_that_counts() -> None:
    """The name of the first network stayed beside the second one, which leaderboards then called by it."""
    words = ["arch=unet", "arch.encoder=resnet50", "task=digits"]
    assert composed("arch=resnet18", "task=pets-0a1b2c3d", *words).tree == composed(*words).tree


def test_names_of_networks_and_of_created_tasks_are_options() -> None:
    config = composed("arch=resnet50", "task=pets-0a1b2c3d")
    assert config.recipe.arch.params["name"] == "resnet50"
    assert config.task.params["name"] == "pets-0a1b2c3d"


def test_a_tag_of_a_networks_weights_is_part_of_its_name() -> None:
    tagged_facts = dataclasses.replace(
        FACTS, network_tags=lambda name: ("a1_in1k", "tv_in1k") if name == "resnet18" else ()
    )
    config = compose("train", ["task=digits", "arch=resnet18.tv_in1k"], tagged_facts)
    assert config.recipe.arch.params["name"] == "resnet18.tv_in1k"
    for name, sentence in (
        ("resnet18.tv_in2k", "resnet18 has no weights with the tag tv_in2k, got 'resnet18.tv_in2k'; did you mean"),
        ("resnet50.a1_in1k", "arch: unknown network, got 'resnet50.a1_in1k'; did you mean 'resnet50'?"),
    ):
        with pytest.raises(ConfigError) as caught:
            compose("train", ["task=digits", f"arch={name}"], tagged_facts)
        assert sentence in caught.value.problems[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["arch=timm", "arch.name=resnet5O"], "arch.name: unknown network, got 'resnet5O'; did you mean 'resnet50'?"),
        (
            ["arch=timm", "arch.name='hf-hub:evil/model'"],
            "arch.name: unknown network, got 'hf-hub:evil/model'; use the",
        ),
        (["arch=unet", "arch.encoder='local-dir:x'"], "arch.encoder: unknown network, got 'local-dir:x'; use the name"),
    ],
)
def test_a_network_is_checked_however_it_is_named(words: list[str], sentence: str) -> None:
    known = dataclasses.replace(FACTS, is_network=lambda name: name in FACTS.architectures())
    with pytest.raises(ConfigError) as caught:
        compose("train", ["task=digits", *words], known)
    assert [text[: len(sentence)] for text in caught.value.problems] == [sentence]


def test_a_task_suggests_and_the_command_line_decides() -> None:
    assert composed().recipe.arch.params["pretrained"] is False
    assert composed("arch.pretrained=true").recipe.arch.params["pretrained"] is True
    assert composed("task=folder", "task.root=/tmp").recipe.arch.params["pretrained"] is True
    assert composed("preprocessing=size96").recipe.preprocessing.params["size"] == 96


def test_create_and_split_share_the_number_of_folds() -> None:
    assert composed("mode.n_folds=7", mode="create").split.params["folds"] == 7
    assert composed("split.folds=7", mode="create").tree["mode"]["n_folds"] == 7
    assert composed("mode.ensure_balancing=false", mode="create").split.params["stratify"] is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"a=patient(\d+)\.png", r"patient(\d+)\.png"),
        (r"a=it's (\'1)\\", r"it's (\'1)\\"),
        ("a=PROJ#3", "PROJ#3"),
        ("a=~/w.pt", "~/w.pt"),
        ("a=im(1).png", "im(1).png"),
        ("a=one,two", "one,two"),
        ("a=[1,2]", [1, 2]),
    ],
)
def test_what_the_grammar_cannot_lex_is_quoted(text: str, value: object) -> None:
    (change,), found = parse([text])
    assert (change.value, found) == (value, [])


def test_cbs_is_short_for_callbacks() -> None:
    assert composed("cbs=early", "cbs.early.patience=3").recipe.callbacks["early"].params["patience"] == 3


def test_a_sweep_is_every_combination() -> None:
    jobs = expand(["arch=resnet18,resnet50", "seed=1,2", "proj=x"])
    assert jobs[0] == ["arch=resnet18", "seed=1", "proj=x"]
    assert len(jobs) == 4


def test_a_snapshot_gives_the_same_configuration(tmp_path: Path) -> None:
    config = composed("arch=resnet50", "cbs=early", "optimizer=sgd", "sys.threads=3", "optimizer.weight_decay=1e-5")
    snapshot.save(config, tmp_path / "config.yaml")
    assert snapshot.load(tmp_path / "config.yaml") == config


def test_a_snapshot_of_a_moved_project_names_its_new_folder_of_data_everywhere(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    snapshot.save(composed("task=created", "task.name=x", f"data_dir={old}"), tmp_path / "config.yaml")
    moved = snapshot.load(tmp_path / "config.yaml", data_dir=new)
    assert moved.task.params["data_dir"] == moved.tree["task"]["data_dir"] == new
    written_paths.check(moved.tree, [], ours=("out_dir", "data_dir"))
    # The recipes of a preset are whole configurations.
    tree = {**moved.tree, "data_dir": old, "preset": {**moved.tree["preset"], "trees": {"probe": {"data_dir": old}}}}
    snapshot.save(dataclasses.replace(moved, tree=tree), tmp_path / "config.yaml")
    assert snapshot.load(tmp_path / "config.yaml", data_dir=new).tree["preset"]["trees"]["probe"]["data_dir"] == new
    # A folder that the task names itself stays.
    other = str(tmp_path / "other")
    snapshot.save(
        composed("task=created", "task.name=x", f"data_dir={old}", f"task.data_dir={other}"), tmp_path / "config.yaml"
    )
    assert snapshot.load(tmp_path / "config.yaml", data_dir=new).task.params["data_dir"] == other


def test_the_recipe_hash_ignores_folds_and_folders_only() -> None:
    base = composed().recipe_hash("t")
    assert composed("mode.folds=[0]", "out_dir=/x", "proj=y", "sys.num_workers=4").recipe_hash("t") == base
    others = [
        composed(text).recipe_hash("t") for text in ("seed=1", "optimizer.lr=1", "mode.nested=false", "sys.threads=7")
    ]
    assert len({base, *others, composed().recipe_hash("u")}) == 6
    exact = ("arch.freeze=true", "augmentations=none", "optimizer=linear")
    without = composed(*exact)
    assert without.recipe_hash("t") == "fee04daf"
    assert composed(*exact, "optimizer.flips=true").recipe_hash("t") != without.recipe_hash("t")
    here, there = (composed("callbacks=best_practice", f"sys.artifact_dir=/{name}").recipe_hash("t") for name in "ab")
    assert here == there != base


def test_paths_mean_the_same_from_another_folder(tmp_path: Path) -> None:
    config = composed("task=folder", "task.root=pictures", "arch.weights=w.safetensors")
    assert config.task.params["root"] == str(tmp_path / "pictures")
    assert config.recipe.arch.params["weights"] == str(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("text", "part", "section"),
    [
        ("task_list.x=", "x", "task_list"),
        ("task_list.0=digits", "0", "task_list"),
        ("mode.subroutines.7=test", "7", "mode.subroutines"),
        ("task_list.x.y=1", "x", "task_list"),
    ],
)
def test_what_is_no_entry_of_a_list_is_a_sentence(text: str, part: str, section: str) -> None:
    (sentence,) = problems("task=digits", text)
    key = text.partition("=")[0]
    assert sentence == f"{key}: names no entry of a list, got {part!r}; write {section}=[...]"


def test_an_entry_of_a_list_may_be_set_beside_a_mistake() -> None:
    stages = "stages.list=[{epochs:2},{epochs:3}]"
    (sentence,) = problems("task=digits", "mode.subroutines.0=predict", "trainer.max_epoch=3", stages)
    assert sentence.startswith("trainer.max_epoch: unknown key")


def test_several_loggers_have_each_their_own_keys(tmp_path: Path) -> None:
    found = composed("logging=[csv,tensorboard,none]", "logging.log_dir=x", "logging.every_n_steps=3").logging
    loggers = found.params["loggers"]
    assert found.target == "mlpipe.learn.logging.several" and found.params["every_n_steps"] == 3
    assert {name: one.target.rpartition(".")[2] for name, one in loggers.items()} == {
        "csv": "csv",
        "tensorboard": "tensorboard",
    }
    assert loggers["tensorboard"].params["log_dir"] == "x" and "log_dir" not in loggers["csv"].params
    assert {one.params["every_n_steps"] for one in loggers.values()} == {3}
    # What is stored is read again as it is.
    config = composed("logging=[csv,tensorboard]")
    snapshot.save(config, tmp_path / "config.yaml")
    assert snapshot.load(tmp_path / "config.yaml").logging == config.logging
    assert composed("logging=[csv]").logging == composed("logging=csv").logging
    # One of them that is no option is told, with what was meant.
    (told,) = problems("logging=[csv,tensorbord]")
    assert told.startswith("logging: unknown option, got 'tensorbord'; did you mean 'tensorboard'?")


def test_a_logger_of_lightning_s_needs_no_folder_of_its_own() -> None:
    found = composed("logging._target_=pytorch_lightning.loggers.CSVLogger", "+logging.name=mine").logging
    assert found.params == {"name": "mine"} and not found.is_users
    (told,) = problems("logging._target_=torch.nn.Linear")
    assert told.startswith("logging._target_: is not allowed here, got 'torch.nn.Linear'")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("optimizer.betas={a:1}", "optimizer.betas: must be a list, got {'a': 1}; write optimizer.betas=[...]"),
        (
            "augmentations.cpu=[1]",
            "augmentations.cpu: is a section of several keys, got [1]; write augmentations.cpu.pipeline=VALUE",
        ),
        ("callbacks.early={patience:2,nope:1}", "callbacks.early.nope: unknown key; known keys: patience, "),
        (
            "trainer={max_epochs:3}",
            "trainer: takes the name of an option, no mapping, got {'max_epochs': 3}; write trainer.max_epochs=3",
        ),
        (
            "split=[kfold,holdout]",
            "split: is one option, no list, got ['kfold', 'holdout']; write split=kfold,holdout -m",
        ),
        # Each of them sets both pipelines, so that only the last one would act.
        (
            "augmentations=[mixup,cutmix]",
            "augmentations: is one option, no list, got ['mixup', 'cutmix']; write augmentations=mixup,cutmix -m",
        ),
        ("out_dir=[1]", "out_dir: must be text, got [1]"),
        ("+max_epochs=3", "max_epochs: unknown key; write trainer.max_epochs=3"),
        ("++nothing.at=3", "nothing: unknown key; "),
    ],
)
def test_what_does_not_fit_into_a_section_is_said_of_its_key(text: str, sentence: str) -> None:
    """Hydra says `Error merging override optimizer.betas={a:1}`, whatever is wrong with it."""
    (told,) = problems("callbacks=early", text)
    assert told.startswith(sentence)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ("preset=fast preset.sizes=abc", "preset.sizes: must be a mapping or null, got 'abc'"),
        (
            "preset=fast preset.sizes.larger=abc",
            "preset.sizes: must be a mapping in which each value is a number > 0 or a list or null, got {'larger': 'abc'",
        ),
        ("preset=fast preset.sizes.larger=-1", "preset.sizes: must be a mapping in which each value is a number > 0"),
        ("preset=fast preset.spare=probe", "preset.spare: must be a list or null, got 'probe'"),
        ("trust_paths=[1]", "trust_paths: must be a list of files and folders, got [1]"),
        ("arch.extra_channels=-1", "arch.extra_channels: must be one of timm, zero, copy_last, got -1"),
    ],
)
def test_values_without_a_meaning_are_refused(texts: str, sentence: str) -> None:
    (told,) = problems(*texts.split())
    assert told.startswith(sentence)


def test_no_output_goes_to_the_home_of_a_user_that_there_is_not() -> None:
    there = "~nobody-of-a-test"
    words = [f"{key}={there}/x" for key in ("out_dir", "data_dir", "sys.outfile")]
    found = problems(*words, "logging=tensorboard", f"logging.log_dir={there}/x")
    assert sorted(sentence.partition(": ")[0] for sentence in found) == [
        "data_dir", "logging.log_dir", "out_dir", "sys.outfile",
    ]  # fmt: skip
    assert all(f": there is no home folder {there}, got '{there}/x'; write " in sentence for sentence in found)


def test_names_that_look_like_numbers_are_read_as_they_are_typed() -> None:
    config = composed("proj=007", "task=folder", "task.root=2024", "seed=3")
    assert config.proj == "007" and config.tree["task"]["root"] == str(Path("2024").absolute()) and config.seed == 3
    assert composed("proj='1e3'").proj == composed("proj=1e3").proj == "1e3"


def test_an_empty_list_is_no_option() -> None:
    assert problems("optimizer=[]") == [
        "optimizer: is one option, no list, got '[]'; leave it out, or see mml help optimizer"
    ]
