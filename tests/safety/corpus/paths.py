"""Paths that a recipe or a stored run names, and links in folders of results and data: nothing of the user's is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.safety.corpus import Hostile
from tests.safety.corpus.archives import _zip
from tests.safety.corpus.own_code import Make, recipe
from tests.safety.corpus.projects import _config, _data, _project

_OUT, _HIDDEN, _OTHER = "leads outside of this folder", "is hidden", "which is of another kind"
_RUN = ["train", "--dry-run", "task=digits", "arch=test_resnet", "arch.pretrained=false"]
_LAYERS = [
    {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 16, 16, 1]}},
    {"class_name": "Dense", "config": {"name": "y", "units": 10, "activation": "softmax"}},
]


def _graph(file: str, *more: str) -> Make:
    content = {"defaults": [{"callbacks": "graph_file"}], "callbacks": {"graph": {"file": file}}}
    return recipe(content, *more)


def _with(make: Make, **there: str) -> Make:
    """With files of the user's in the working folder."""

    def made(work: Path) -> list[str]:
        words = make(work)
        for name, text in there.items():
            (work / name.replace("_DOT_", ".")).write_text(text)
        return words

    return made


def _linked(make: Make) -> Make:
    """With a folder in the working folder that leads outside."""

    def made(work: Path) -> list[str]:
        (work / "link").symlink_to(work.parent / "outside")
        return make(work)

    return made


def _run(section: str, value: Any, *more: str) -> Make:
    """A stored run whose section is another."""

    def change(tree: dict[str, Any], work: Path) -> None:
        tree[section] = {**(tree.get(section) or {}), **value}

    return _config(change, *more)


def _link(*parts: str, to: str = "secret.txt") -> Make:
    """A project of which a file or folder is a link to the user's own."""

    def made(work: Path) -> list[str]:
        words = _config(lambda tree, folder: None)(work)
        (run,) = _project().runs_dir().glob("*/*")
        place = run.joinpath(*parts[1:]) if parts[0] == "RUN" else _project().root.joinpath(*parts)
        place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(work.parent / "outside" / to)
        return words

    return made


def _data_link(work: Path) -> list[str]:
    """A folder of data whose cache is a link."""
    (_data() / "digits").mkdir(parents=True)
    (_data() / "digits" / "cache").symlink_to(work.parent / "outside")
    return ["pp", "task=digits", "preprocessing.size=8"]


def _archives_link(work: Path) -> list[str]:
    """A folder of data that unpacks what it is given elsewhere."""
    words = _zip({})(work)
    _data().mkdir(parents=True)
    (_data() / "archives").symlink_to(work.parent / "outside")
    return words


def _pipe(work: Path) -> list[str]:
    """A run whose log is a pipe that nobody reads."""
    words = _config(lambda tree, folder: None)(work)
    (run,) = _project().runs_dir().glob("*/*")
    os.mkfifo(run / "log.txt")
    return words


_FOREIGN = """{"neural_network": {"num_epochs": 1, "outfile": "OUTFILE", "layers": LAYERS,
"checkpoints": {"save": "SAVE"}, "optimizer": {"type": "SGD"}, "loss": {"function": "NLL"},
"data": {"input_type": "images", "target_type": "labels", "input_path": "a", "test_input_path": "b"}}}"""


def _foreign(outfile: str = "log.txt", save: str = "checkpoints") -> Make:
    """A file of another program."""

    def made(work: Path) -> list[str]:
        import json

        last = {"class_name": "Dense", "config": {"name": "out", "units": 10, "activation": "log_softmax"}}
        text = _FOREIGN.replace("LAYERS", json.dumps([_LAYERS[0], last]))
        (work / "c.json").write_text(text.replace("OUTFILE", outfile).replace("SAVE", save))
        return ["train", "--dry-run", "recipe=c.json", "task=digits"]

    return made


def _recipe(section: str, option: str | None, values: dict[str, Any], *more: str) -> Make:
    return recipe({"defaults": [{section: option}] if option else [], section: values}, *more)


def _unpacks(data_dir: str) -> Make:
    """A recipe with an archive of good pictures, and where it is to be unpacked."""

    def made(work: Path) -> list[str]:
        _zip({})(work)
        content = {"defaults": [{"task": "folder"}], "task": {"root": "a.zip", "data_dir": data_dir}}
        return [word for word in recipe(content)(work) if word != "task=digits"]

    return made


def _checkpoint(target: str, **values: str) -> Make:
    return recipe({"callbacks": {"x": {"_target_": f"pytorch_lightning.callbacks.{target}", **values}}})


_LONG = "x" * 300
# Words with a name that is longer than any disk takes, by what the name is.
_TOO_LONG = {
    "data": ["pp", "task=digits", f"data_dir={_LONG}"],
    "weights": [*_RUN, f"arch.weights={_LONG}.pt"],
    "a recipe": ["train", "--dry-run", f"recipe={_LONG}.yaml"],
    "a network": [*_RUN, "arch=keras_json", f"arch.file={_LONG}.json"],
    "a folder of images": ["create", "task=folder", f"task.root={_LONG}"],
    "a folder too deep": ["create", "task=folder", f"task.root={'d/' * 2500}"],
    "labels of boxes": ["create", "task=boxes", "task.root=.", f"task.file={_LONG}.json"],
    "a folder of masks": ["create", "task=masks", f"task.root={_LONG}"],
    "arrays": ["create", "task=arrays", f"task.file={_LONG}.npz"],
    "a model": ["serve", f"mode.file={_LONG}.onnx"],
    "a foreign project": ["upgrade", f"mode.source={_LONG}"],
    "options": [*_RUN, "--config-dir", _LONG],
    "a mode": [_LONG],
}
_HOME = "~nobody-of-a-test/x"
CASES = [
    *(
        Hostile(
            f"a name of 300 letters: {name}", lambda work, words=words: list(words), "is longer than the system lets"
        )
        for name, words in _TOO_LONG.items()
    ),
    *(
        Hostile(
            f"an output in the home of nobody: {key}",
            lambda work, key=key: [*_RUN, f"{key}={_HOME}"],
            f"{key}: there is no home folder",
        )
        for key in ("out_dir", "data_dir", "sys.outfile", "sys.artifact_dir")
    ),
    Hostile(
        "images in the home of nobody",
        lambda work: ["create", "task=folder", f"task.root={_HOME}"],
        "task.root: there is no such folder",
    ),
    Hostile(
        "weights in the home of nobody",
        lambda work: [*_RUN, f"arch.weights={_HOME}"],
        "arch.weights: there is no such file",
    ),
    Hostile("a recipe that unpacks an archive outside", _unpacks("../outside"), f"task.data_dir: {_OUT}"),
    Hostile("a recipe that unpacks an archive in a hidden folder", _unpacks(".cache"), f"task.data_dir: {_HIDDEN}"),
    Hostile(
        "a checkpoint of Lightning whose name climbs",
        _checkpoint("ModelCheckpoint", dirpath="c", filename="../../outside/x"),
        "callbacks.x",
    ),
    Hostile(
        "a checkpoint of a failure whose name climbs",
        _checkpoint("OnExceptionCheckpoint", dirpath="c", filename="../../outside/x"),
        "callbacks.x",
    ),
    Hostile("a drawing to a file outside", _graph("../outside/x.dot"), _OUT),
    Hostile("a drawing over the user's text outside", _graph("../outside/secret.txt"), _OUT),
    Hostile(
        "MLflow in a file outside, spelt by the numbers of its letters",
        recipe({"defaults": [{"logging": "mlflow"}], "logging": {"tracking_uri": "sqlite:///..%2Foutside%2Fm.db"}}),
        _OUT,
    ),
    Hostile("a drawing to an absolute path", _graph("/etc/mlpipe-of-a-test.dot"), _OUT),
    Hostile("a drawing to the home folder", _graph("~/mlpipe-of-a-test.dot"), _OUT),
    Hostile("a drawing that climbs in the middle", _graph("a/../../outside/x.dot"), _OUT),
    Hostile("a drawing through a link of the working folder", _linked(_graph("link/x.dot")), _OUT),
    Hostile("a drawing as a start file of the shell", _graph(".bashrc"), _HIDDEN),
    Hostile("a drawing in a hidden folder", _graph(".config/autostart/x.desktop"), _HIDDEN),
    Hostile("a drawing over a text of the working folder", _with(_graph("notes.txt"), notes_DOT_txt="mine"), _OTHER),
    Hostile("a drawing over code of the working folder", _with(_graph("mine.py"), mine_DOT_py="x = 1\n"), _OTHER),
    Hostile("a drawing with a path that is trusted by the recipe", recipe({"trust_paths": ["/etc"]}), "trust_paths"),
    Hostile("a drawing beside a path that is trusted", _graph("../outside/x.dot", "trust_paths=['../outside2']"), _OUT),
    Hostile(
        "a drawing to a path that is trusted", _graph("../outside/x.dot", "trust_paths=['../outside']"), "", code=0
    ),
    Hostile(
        "a drawing to a path that the command line says", _graph("x.dot", "cbs.graph.file=../outside/x.dot"), "", 0
    ),
    Hostile(
        "weights of layers to a folder outside",
        _recipe("callbacks", "layer_files", {"checkpoints": {"folder": "../outside"}}),
        _OUT,
    ),
    Hostile(
        "outputs to a folder outside", _recipe("callbacks", "output_files", {"outputs": {"folder": "../outside"}}), _OUT
    ),
    Hostile("curves to a folder outside", _recipe("logging", "tensorboard", {"log_dir": "../outside"}), _OUT),
    Hostile("tables to a file outside", _recipe("sys", None, {"outfile": "../outside/X.txt"}), _OUT),
    Hostile(
        "tables over a text of the working folder",
        _with(_recipe("sys", None, {"outfile": "x.txt"}), x_train_DOT_txt="the user's own"),
        _OTHER,
    ),
    Hostile("artifacts to a folder outside", _recipe("sys", None, {"artifact_dir": "../outside"}), _OUT),
    Hostile(
        "a callback of a stage to a file outside",
        recipe(
            {
                "stages": {
                    "list": [
                        {
                            "epochs": 1,
                            "callbacks": {
                                "x": {"_target_": "mlpipe.learn.callbacks.graph_file.once", "file": "../outside/x.dot"}
                            },
                        }
                    ]
                }
            }
        ),
        _OUT,
    ),
    Hostile("a recipe's results folder outside", recipe({"out_dir": "../outside"}), _OUT),
    Hostile("a recipe's data folder outside", recipe({"data_dir": "../outside"}), _OUT),
    Hostile("a recipe's results folder, in the home folder", recipe({"out_dir": "~/.ssh"}), _OUT),
    Hostile("a recipe's results folder that is hidden", recipe({"out_dir": ".git"}), _HIDDEN),
    Hostile("a foreign recipe's tables outside", _foreign(outfile="../outside/X.txt"), _OUT),
    Hostile("a foreign recipe's weights outside", _foreign(save="../outside"), _OUT),
    Hostile("a foreign recipe's weights in the home folder", _foreign(save="~/w"), _OUT),
    Hostile("a stored run's tables outside", _run("sys", {"outfile": "../outside/X.txt"}), _OUT),
    Hostile("a stored run's artifacts outside", _run("sys", {"artifact_dir": "../outside"}), _OUT),
    Hostile(
        "a stored run's drawing outside",
        _run("callbacks", {"x": {"_target_": "mlpipe.learn.callbacks.graph_file.once", "file": "../outside/x.dot"}}),
        _OUT,
    ),
    Hostile(
        "a stored run's outputs outside",
        _run(
            "callbacks", {"x": {"_target_": "mlpipe.learn.callbacks.output_files.every_epoch", "folder": "../outside"}}
        ),
        _OUT,
    ),
    Hostile(
        "a stored run's curves outside",
        _run("logging", {"_target_": "mlpipe.learn.logging.tensorboard", "log_dir": "../outside"}),
        _OUT,
    ),
    Hostile("a stored run's log is a link", _link("RUN", "log.txt"), "is a link that leads elsewhere"),
    Hostile("a stored run's journal is a link", _link("RUN", "journal.jsonl"), "journal.jsonl", begun=True),
    Hostile(
        "a stored run's folder of states is a link",
        _link("RUN", "checkpoints", to=""),
        "is a link that leads elsewhere",
    ),
    Hostile("a project's reports are a link", _link("reports", to=""), "is a link that leads elsewhere"),
    Hostile("a project's plots are a link", _link("reports", "plots", to=""), "is a link that leads elsewhere"),
    Hostile(
        "a project's models are a link", _link("tasks", "digits", "models", to=""), "is a link that leads elsewhere"
    ),
    Hostile(
        "a project's table of models is a link", _link("reports", "leaderboard.csv"), "is a link that leads elsewhere"
    ),
    Hostile("a stored run's log is a pipe", _pipe, "no ordinary file", begun=True),
    Hostile("unpacked archives are a link", _archives_link, "archives: is a link that leads elsewhere"),
    Hostile("a task's cache is a link", _data_link, "is a link that leads elsewhere"),
    Hostile(
        "a network's name that asks a server",
        lambda work: ["train", "--dry-run", "task=digits", "arch=timm", "arch.name=hf-hub:evil/model"],
        "arch.name: unknown network",
    ),
    Hostile(
        "a network's name that asks a server, of old",
        lambda work: ["train", "--dry-run", "task=digits", "arch=timm", "arch.name=hf_hub:evil/model"],
        "arch.name: unknown network",
    ),
    Hostile(
        "a network's name that is a folder",
        lambda work: ["train", "--dry-run", "task=digits", "arch=timm", "arch.name='local-dir:.'"],
        "arch.name: unknown network",
    ),
    Hostile(
        "an encoder's name that asks a server",
        lambda work: ["train", "--dry-run", "task=digits", "arch=unet", "arch.encoder=hf-hub:evil/model"],
        "arch.encoder: unknown network",
    ),
]
