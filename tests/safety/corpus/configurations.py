"""Hostile configurations: names of foreign code, YAML bombs, resolvers that leak, values out of all bounds."""

from __future__ import annotations

from pathlib import Path

from tests.safety.corpus import PROOF, Hostile


def _case(name: str, expect: str, *arguments: str) -> Hostile:
    return Hostile(name, lambda work: ["train", "--dry-run", *arguments], expect)


def _option(work: Path, group: str, text: str) -> list[str]:
    """A folder of configuration files from elsewhere with one option, `evil`."""
    folder = work / "more" / group
    folder.mkdir(parents=True)
    (folder / "evil.yaml").write_text(text, "utf-8")
    return ["train", "--dry-run", "--config-dir", "more", f"{group}=evil"]


def _file(name: str, expect: str, group: str, text: str) -> Hostile:
    return Hostile(name, lambda work: _option(work, group, text), expect)


def _module(work: Path, name: str = "evil") -> None:
    (work / f"{name}.py").write_text(
        f"from pathlib import Path\nPath({str(work.parent / PROOF)!r}).touch()\ndef run(*, x: int = 1) -> None: ...\n"
    )


def _linked_module(work: Path) -> list[str]:
    elsewhere = work.parent / "outside"
    _module(elsewhere)
    (work / "evil.py").symlink_to(elsewhere / "evil.py")
    return ["train", "--dry-run", "loss._target_=evil.run"]


def _shadow(work: Path) -> list[str]:
    _module(work, "os")
    return ["train", "--dry-run", "loss._target_=os.run"]


def _broken_module(work: Path) -> list[str]:
    (work / "mine.py").write_text("def run(*, x: int = 1\n")
    return ["train", "--dry-run", "loss._target_=mine.run"]


def _outside_module(work: Path) -> list[str]:
    _module(work.parent / "outside")
    return ["train", "--dry-run", f"loss._target_='torch.nn.{work.parent}/outside/evil.run'"]


def _trusting_file(work: Path) -> list[str]:
    text = "# @package _global_\ntrust: [os]\nloss:\n  _target_: os.system\n  command: touch ../proof\n"
    return _option(work, "loss", text)


MERGES = "\n".join(
    ["a0: &a0 {x: 1, y: 2}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10))]
)
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
)
_DEEP = "[" * 1500 + "]" * 1500

CASES = [
    _case("os.system as the loss", "loss._target_: is not allowed here", "loss._target_=os.system"),
    _case("a million threads", "sys.threads: must be a whole number >= 1 and <= 1024", "sys.threads=1000000"),
    _case("subprocess as the optimizer", "is not allowed here", "optimizer._target_=subprocess.Popen"),
    _case("eval as the network", "is not allowed here", "arch._target_=builtins.eval"),
    _case("exec without a module", "is not allowed here", "loss._target_=exec"),
    _case("pickle as the task", "is not allowed here", "task._target_=pickle.loads"),
    _case("os.system as a callback", "callbacks.x._target_: is not allowed here", "+callbacks.x={_target_: os.system}"),
    _case(
        "os.system in a pipeline of augmentations",
        "augmentations.cpu.pipeline[0]._target_: is not allowed here",
        "augmentations.cpu.pipeline=[{_target_: os.system, command: id}]",
    ),
    _case(
        "os.system in a callback of a stage",
        "is not allowed here",
        "stages.list=[{epochs: 1, callbacks: {x: {_target_: os.system}}}]",
    ),
    _case("a class made later by _partial_", "_partial_", "loss._partial_=true"),
    _case("positional arguments by _args_", "_args_", "loss._args_=[id]"),
    _case(
        "a function that mlpipe's module only imports",
        "loss._target_",
        "loss._target_=mlpipe.learn.losses.numbers.os.system",
    ),
    _case("a helper that mlpipe's module imports", "arch._target_", "arch._target_=mlpipe.arch.weights.save_file"),
    _case(
        "a private function of mlpipe",
        "is not allowed here",
        "mode.scheduler._target_=mlpipe.running.scheduler._git_commit",
    ),
    _case("Hydra's own instantiate", "is not allowed here", "loss._target_=hydra.utils.instantiate"),
    _case(
        "a module reached through an allowed one", "loss._target_", "loss._target_=torch.nn.modules.module.os.system"
    ),
    _case("unpickling by torch", "is not allowed here", "loss._target_=torch.load"),
    _case("a name that is a path", "loss._target_", "loss._target_='/etc/passwd.x'"),
    _case("a name full of dots", "loss._target_", "loss._target_='....'"),
    Hostile("a module outside, written as a part of torch.nn", _outside_module, "loss._target_"),
    Hostile("a module linked from outside the working folder", _linked_module, "is not allowed here"),
    Hostile("a user's os.py in place of Python's", _shadow, "is not allowed here"),
    Hostile("a user's module that is no Python", _broken_module, "mine.py: is not Python"),
    Hostile("a file of options that trusts os itself", _trusting_file, "trust: must be said on the command line"),
    _file(
        "a resolver that reads the environment",
        "interpolation",
        "loss",
        "_target_: mlpipe.learn.losses.cross_entropy.ce\nlabel_smoothing: ${oc.env:MML_SECRET}\n",
    ),
    _case("the environment in the project's name", "interpolation", "proj=${oc.env:MML_SECRET}"),
    _case("the environment, nested", "interpolation", "metrics.monitor=${oc.decode:${oc.env:MML_SECRET}}"),
    _case("an interpolation of itself", "leads to itself", "proj=${proj}"),
    _file("a bomb of YAML aliases", "it holds more than", "loss", BOMB),
    _file("a bomb of YAML merges", "it holds more than", "loss", MERGES),
    _file("a key twice in a YAML file", "line 2 has 'x' a second time", "loss", "x: 1\nx: 2\n"),
    _file("a YAML alias of itself", "it holds itself", "loss", "x: &x [*x]\n"),
    _file(
        "a YAML tag that makes objects",
        "evil.yaml: cannot be read",
        "loss",
        "x: !!python/object/apply:os.system [id]\n",
    ),
    _file("YAML nested without end", "it is nested too deeply", "loss", f"x: {_DEEP}\n"),
    _file("YAML that is no text", "evil.yaml: cannot be read", "loss", "x: '\\x00'\n\x01"),
    _case("a value nested without end", "brackets", f"callbacks={_DEEP}"),
    _case("a number of 5,000 digits", "seed", f"seed={'9' * 5000}"),
    _case("a number beyond every machine", "split.folds", "split.folds=1000000000000"),
    _case("epochs beyond every machine", "trainer.max_epochs", f"trainer.max_epochs={10**30}"),
    _case("a learning rate that is not a number", "optimizer.lr: must be a", "optimizer.lr=nan"),
    _case("a sweep of 10^12 seeds", "seed: makes 1,000,000,000,000 runs", "-m", "seed=range(0,1000000000000)"),
    _case("a shuffled sweep of 10^12 seeds", "at most 10,000 are run", "-m", "seed=shuffle(range(0,1000000000000))"),
    _case(
        "a sweep of 10^6 combinations",
        "--multirun: makes 1,000,000 runs",
        "-m",
        "seed=range(0,1000)",
        "split.seed=range(0,1000)",
    ),
    _case(
        "a loss of 10,000 brackets", "letters", "loss=composite", f"loss.expression='{'(' * 10_000}ce{')' * 10_000}'"
    ),
    _case("a tag of a billion images", "use fewer", "task=digits+shrink?999999999"),
    _case("tags by the ten thousand", "letters", "task=digits" + "+subset?0.9" * 10_000),
    _case("an infinite learning rate", "optimizer.lr: must be a", "optimizer.lr=inf"),
    _case("a loss's number that is not a number", "loss.gamma: must be a", "loss=focal", "loss.gamma=nan"),
    _case("a negative size", "preprocessing.size: must be a", "preprocessing.size=-1"),
    _case("a key of dots", "is not a key", "...=1"),
    _case("a key that is empty", "is not an override", "=1"),
    _case("a key with control characters", "is not a key", "opti\x1b[31mmizer.lr=1"),
    _case("control characters in a value", r"\x1b]0;", "proj=\x1b]0;owned\x07"),
    _case("a value that reverses the writing direction", "\\u202e", "proj=a\u202eb/"),
    _case("a value with a NUL", "proj", "proj=a\0b"),
    _case("a project that climbs out", "proj: must be a plain folder name", "proj=../../outside"),
    _case("a project named ..", "proj: must be a plain folder name", "proj=.."),
    _case("a project named as a device of Windows", "proj: must be a plain folder name", "proj=CON"),
    _case("a project with 300 letters", "proj: must be a plain folder name", f"proj={'a' * 300}"),
    _case("a mapping where a name belongs", "proj: must be a plain folder name", "proj={a: 1}"),
    _case("a list in place of a task's name", "task.name: must be text", "task=created", "task.name=[a, {b: c}]"),
    _case("a text in place of trust", "trust: must be a list of modules", "trust=os", "loss._target_=os.system"),
    _case("Hydra's own folders", "hydra", "hydra.run.dir=/etc"),
    _case("a launcher of Hydra", "hydra/launcher", "hydra/launcher=joblib"),
    _case(
        "a checkpoint that goes elsewhere",
        "ModelCheckpoint",
        "+callbacks.x={_target_: pytorch_lightning.callbacks.ModelCheckpoint, dirpath: /etc}",
    ),
    _case("a task that climbs out", "task", "task=created", "task.name=../../outside"),
    _case("a tag that climbs out", "task", "task='digits+remove?../../x'"),
    _case(
        "a study that climbs out",
        "hpo.study: must be a plain name",
        "hpo=optuna",
        "search_space=basic",
        "hpo.study=../../x",
    ),
]
