"""Code that lies where the user works and that nobody named: in results, data, archives and task roots, and in stored files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.safety.corpus import PROOF, Hostile
from tests.safety.corpus.projects import _config, _record, _study, _task

Make = Callable[[Path], list[str]]
_HERE = ["out_dir=results", "data_dir=mlpipe_data"]
_NAMED = "would run code of this folder"
_REFUSED = "is not allowed here"


def evil(file: Path) -> None:
    """A module that tells when it runs, with all that a slot may ask for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    proof = file.resolve()
    while proof.name != "work" and proof != proof.parent:
        proof = proof.parent
    file.write_text(
        f"from pathlib import Path\nPath({str(proof.parent / PROOF)!r}).touch()\n"
        "def run(*given, **named): ...\nclass Net:\n    def __init__(self, *given, **named): ...\n"
    )


def recipe(content: dict[str, Any], *more: str, file: str = "r.yaml", module: str = "") -> Make:
    """A native recipe, and a module at a path of the working folder."""

    def make(work: Path) -> list[str]:
        if module:
            evil(work / module)
        (work / file).parent.mkdir(parents=True, exist_ok=True)
        (work / file).write_text(yaml.safe_dump({"defaults": [{"loss": "ce"}], **content}))
        return ["train", "--dry-run", f"recipe={file}", "task=digits", *more]

    return make


def _stored(change: Callable[[dict[str, Any], Path], object], module: str = "evil.py", *more: str) -> Make:
    """A stored run whose configuration names a module of the working folder."""

    def make(work: Path) -> list[str]:
        evil(work / module)
        return _config(change, *more)(work)

    return make


def _put(section: str, value: Any) -> Callable[[dict[str, Any], Path], None]:
    def change(tree: dict[str, Any], work: Path) -> None:
        tree[section] = value

    return change


def _update(section: str, **values: Any) -> Callable[[dict[str, Any], Path], None]:
    def change(tree: dict[str, Any], work: Path) -> None:
        tree[section] = {**tree[section], **values}

    return change


def _own(target: str, **values: Any) -> dict[str, Any]:
    return {"_target_": target, **values, "modules": "evil_modules", "imports": [], "stand_ins": []}


def _of_record(work: Path) -> list[str]:
    """A record whose network is a module of the working folder, to be predicted with."""
    from mlpipe.runs.project import Project
    from tests.build import DIGITS

    evil(work / "evil.py")
    words = _record(lambda stored: None, "predict", *DIGITS)(work)
    path = Project(Path(os.environ["MML_RESULTS_PATH"]) / "default").model_dir("digits", "one") / "config.yaml"
    tree = yaml.safe_load(path.read_text("utf-8"))
    tree["arch"] = {"_target_": "evil.run"}
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return words


def _blueprint(content: dict[str, Any], module: str) -> Make:
    def make(work: Path) -> list[str]:
        evil(work / module)
        (work / "b.yaml").write_text(yaml.safe_dump(content))
        return ["train", "--dry-run", "task=digits", "mode.use_blueprint=true", "reuse.blueprint=b.yaml"]

    return make


def _study_of(module: str, target: str) -> Make:
    def make(work: Path) -> list[str]:
        evil(work / module)
        return [*_study({"loss._target_": target})(work), "task=digits"]

    return make


def _package(work: Path) -> list[str]:
    """A package whose first file is a link to code elsewhere."""
    evil(work / "elsewhere.py")
    (work / "elsewhere.py").rename(work.parent / "outside" / "evil.py")
    (work / "pkg").mkdir()
    (work / "pkg" / "__init__.py").symlink_to(work.parent / "outside" / "evil.py")
    (work / "pkg" / "mine.py").write_text("def run(*, x: int = 1): ...\n")
    return ["train", "--dry-run", "loss._target_=pkg.mine.run"]


def _linked_folder(work: Path) -> list[str]:
    evil(work / "results" / "default" / "evil.py")
    (work / "code").symlink_to(work / "results" / "default")
    return recipe({"loss": {"_target_": "code.evil.run"}})(work)


def _dialect(work: Path) -> list[str]:
    """A recipe of a project in a folder whose ancestor has modules."""
    evil(work.parent / "outside" / "work" / "modules" / "evil.py")
    inside = work.parent / "outside" / "work" / "sub"
    inside.mkdir()
    os.chdir(inside)
    content = {"defaults": [{"loss": "own"}], "loss": {"expression": "run", "modules": "../modules"}}
    (inside / "r.yaml").write_text(yaml.safe_dump(content))
    return ["train", "recipe=r.yaml", "task=digits", *_tiny()]


def _archived(work: Path) -> list[str]:
    """A recipe beside a data folder with an archive that was unpacked."""
    evil(work / "mlpipe_data" / "archives" / "pets-0123" / "code" / "evil.py")
    content = {
        "defaults": [{"loss": "own"}],
        "loss": {"expression": "run", "modules": "mlpipe_data/archives/pets-0123/code"},
    }
    return ["train", *recipe(content)(work)[2:], *_tiny()]


def _tiny() -> list[str]:
    from tests.build import SMALL

    return [*SMALL, "split=holdout", "mode.nested=false", "sys.num_workers=0", "mode.subroutines=[train]"]


def _code_of_root(key: str, word: str) -> Make:
    def make(work: Path) -> list[str]:
        from tests.safety.corpus.archives import good

        for member, data in good().items():
            (work / "set" / member).parent.mkdir(parents=True, exist_ok=True)
            (work / "set" / member).write_bytes(data)
        evil(work / "set" / "evil.py")
        (work / "r.yaml").write_text(yaml.safe_dump({"defaults": [{"task": "folder"}], "loss": {"_target_": key}}))
        return ["train", "--dry-run", "recipe=r.yaml", word]

    return make


_IN_RESULTS, _IN_DATA = "results/default/evil.py", "mlpipe_data/x/evil.py"
_OF_RESULTS, _OF_DATA = "results.default.evil.run", "mlpipe_data.x.evil.run"


def _split(target: str) -> Make:
    """A task whose stored split is code."""

    def make(work: Path) -> list[str]:
        evil(work / "evil.py")
        decided = {"split": {"section": {"_target_": target}, "given": []}}
        words = ["train", "--dry-run", "task=mine", "arch=test_resnet", "arch.pretrained=false"]
        return _task(lambda stored: stored.update(decided=decided), *words)(work)

    return make


CASES = [
    Hostile("code of the working folder as a task's split", _split("evil.run"), _NAMED),
    Hostile("code of the system as a task's split", _split("os.mknod"), "split._target_: is not allowed here"),
    Hostile(
        "code in results, named by a recipe",
        recipe({"loss": {"_target_": _OF_RESULTS}}, *_HERE, module=_IN_RESULTS),
        _REFUSED,
    ),
    Hostile(
        "code in the data folder, named by a recipe",
        recipe({"loss": {"_target_": _OF_DATA}}, *_HERE, module=_IN_DATA),
        _REFUSED,
    ),
    Hostile(
        "code in results as a callback of a recipe",
        recipe({"callbacks": {"x": {"_target_": _OF_RESULTS}}}, *_HERE, module=_IN_RESULTS),
        _REFUSED,
    ),
    Hostile(
        "code in an archive that was unpacked, as an augmentation",
        recipe(
            {"augmentations": {"cpu": {"pipeline": [{"_target_": "mlpipe_data.archives.pets.evil.run"}]}}},
            *_HERE,
            module="mlpipe_data/archives/pets/evil.py",
        ),
        _REFUSED,
    ),
    Hostile(
        "code in results where results go elsewhere now",
        recipe({"optimizer": {"_target_": _OF_RESULTS}}, module=_IN_RESULTS),
        _REFUSED,
    ),
    Hostile(
        "code in results through a folder of another name",
        _linked_folder,
        _REFUSED,
    ),
    Hostile(
        "code in another project of a results folder that is the working folder",
        recipe({"loss": {"_target_": "other.evil.run"}}, "out_dir=.", module="other/evil.py"),
        "",
        code=0,
    ),
    Hostile(
        "code among the images of a task, named by a recipe",
        _code_of_root("set.evil.run", "task.root=set"),
        _REFUSED,
    ),
    Hostile(
        "code beside a recipe of a folder below",
        recipe({"loss": {"_target_": "sub.evil.run"}}, file="sub/r.yaml", module="sub/evil.py"),
        _NAMED,
    ),
    Hostile(
        "a folder of modules named by a recipe of a folder below",
        recipe(
            {"defaults": [{"loss": "own"}], "loss": {"expression": "run", "modules": "sub/code"}},
            file="sub/r.yaml",
            module="sub/code/evil.py",
        ),
        _NAMED,
    ),
    Hostile(
        "an import block in a recipe of a folder below",
        recipe(
            {"defaults": [{"arch": "records"}], "arch": {"network": {"import": "sub.evil.Net"}}},
            file="sub/r.yaml",
            module="sub/evil.py",
        ),
        _NAMED,
    ),
    Hostile(
        "code of the working folder as a stored run's loss", _stored(_put("loss", {"_target_": "evil.run"})), _NAMED
    ),
    Hostile(
        "code of the working folder as a stored run's network", _stored(_put("arch", {"_target_": "evil.run"})), _NAMED
    ),
    Hostile(
        "code of the working folder as a stored run's callback",
        _stored(_put("callbacks", {"x": {"_target_": "evil.Net"}})),
        _NAMED,
    ),
    Hostile(
        "a folder of modules in a stored run's loss",
        _stored(_put("loss", _own("mlpipe.learn.losses.own.own", expression="run")), "evil_modules/evil.py"),
        _NAMED,
    ),
    Hostile(
        "a folder of modules in a stored run's views",
        _stored(_put("tta", _own("mlpipe.learn.tta.own", function="run")), "evil_modules/evil.py"),
        _NAMED,
    ),
    Hostile(
        "a module beside none in a stored run's metrics",
        _stored(_update("metrics", functions=["run"], modules=None, imports=["evil"], stand_ins=[])),
        _NAMED,
    ),
    Hostile(
        "an import block in a stored run's task",
        _stored(_update("task", loader={"import": "evil.Net"})),
        _NAMED,
    ),
    Hostile(
        "code in a stage of a stored run",
        _stored(_update("stages", list=[{"epochs": 1, "loss": {"_target_": "evil.run"}}])),
        _NAMED,
    ),
    Hostile(
        "a stored run's code, another module trusted",
        _stored(_put("loss", {"_target_": "evil.run"}), "evil.py", "trust=[evil_too]"),
        _NAMED,
    ),
    Hostile(
        "a stored run's code in a package of which a neighbour is trusted",
        _stored(_put("loss", {"_target_": "pkg.evil.run"}), "pkg/evil.py", "trust=[pkg.evi]"),
        _NAMED,
    ),
    Hostile(
        "a stored run's code and a text in place of trust",
        _stored(_put("loss", {"_target_": "evil.run"}), "evil.py", "trust=evil"),
        "trust",
    ),
    Hostile("code of the working folder as a record's network", _of_record, _NAMED, begun=True),
    Hostile(
        "code of the working folder in a blueprint",
        _blueprint({"arch": {"_target_": "evil.run"}}, "evil.py"),
        _NAMED,
    ),
    Hostile(
        "code of the working folder in a study's best trial",
        _study_of("evil.py", "evil.run"),
        _NAMED,
    ),
    Hostile("a package whose first file leads elsewhere", _package, _REFUSED),
    Hostile(
        "modules of an ancestor, named by a recipe",
        _dialect,
        "holds code from outside the current folder",
        begun=True,
    ),
    Hostile(
        "modules of an unpacked archive, named by a recipe",
        _archived,
        "holds code from outside the current folder",
        begun=True,
    ),
    Hostile(
        "a full-width name of a module of Python",
        recipe({"loss": {"_target_": "ｏs.system"}}),
        _REFUSED,
    ),
    Hostile(
        "a module with the name of an installed one",
        recipe({"loss": {"_target_": "yaml.run"}}, module="yaml.py"),
        _REFUSED,
    ),
    Hostile(
        "code in a folder called site-packages",
        recipe({"loss": {"_target_": "dist-packages.evil.run"}}, module="dist-packages/evil.py"),
        _REFUSED,
    ),
    Hostile(
        "code named by the command line itself",
        lambda work: [evil_named(work), "train", "--dry-run", "task=digits", "loss._target_=mine_of_a_test.twice"][1:],
        "train",
        code=0,
    ),
]


def evil_named(work: Path) -> str:
    """Code of the user's own, which they name; it does nothing while its source is read."""
    (work / "mine_of_a_test.py").write_text("def twice(labels, *, x: int = 1): ...\n")
    return ""
