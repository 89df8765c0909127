"""Reader for a Musket experiment: its folder, its project's additions, and numbers that YAML reads as strings."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpipe import files, limits
from mlpipe.errors import ConfigError, did_you_mean, problem

_HEADER = "#%Musket "
_SCHEMAS = ("classification", "segmentation")
_FOR_OTHERS = (
    "here are Classification and Segmentation; write the network as a function in modules/ that architecture names"
)
# Settings of a project for all of its experiments.
COMMON = "common.yaml"
# Sections of it that are merged with the experiment's entry by entry.
_UNITED = ("declarations", "callbacks", "datasets", "tasks")
# Decorators that register a function and return it unchanged.
_NOTES = (
    "dataset_provider",
    "dataset_preprocessor",
    "dataset_transformer",
    "preprocessor",
    "deferred",
    "after_download",
)
# Source file of the built-in data sets.
_SETS = Path(__file__).parents[2] / "data" / "items" / "sets.py"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Home:
    """The folder of an experiment, and its project.

    Attributes:
        config: Its configuration file.
        project: The folder with `experiments/` and `modules/`; the experiment's own folder if there is none.
        also: Names of functions that a Python program registered, in addition to those of the modules.
    """

    config: Path
    project: Path
    also: frozenset[str] = frozenset()

    @staticmethod
    def of(config: Path, also: frozenset[str] = frozenset()) -> Home:
        """Return the home of a configuration file; its project is the folder above `experiments`, the nearest with `modules/`."""
        config = config.absolute()
        above = [folder.parent for folder in config.parents if folder.name == "experiments"]
        projects = [folder for folder in above if (folder / "modules").is_dir()]
        return Home(config, next(iter([*projects, *above]), config.parent), also)

    @property
    def experiment(self) -> Path:
        """The experiment's folder."""
        return self.config.parent

    @property
    def name(self) -> str:
        """The experiment's name: its path below `experiments`, else its folder's name."""
        root = self.project / "experiments"
        return self.experiment.relative_to(root).as_posix() if root in self.config.parents else self.experiment.name

    @property
    def modules(self) -> Path | None:
        """The folder of the project's Python files; None if there is none."""
        folder = self.project / "modules"
        return folder if folder.is_dir() else None

    def functions(self) -> frozenset[str]:
        """The names of the functions and classes in the project's modules, found without running them."""
        return self.also | (
            frozenset(name for file in sorted(self.modules.glob("*.py")) for name in _public_names(file))
            if self.modules
            else frozenset()
        )

    def makes_names(self) -> bool:
        """Whether the project's modules define names dynamically, so that not all of them can be found without running."""
        files = sorted(self.modules.glob("*.py")) if self.modules else []
        return any(re.search(r"\b(globals|exec|setattr)\(|import \*|custom", _file_text(file)) for file in files)

    def assigned(self) -> frozenset[str]:
        """The names that the project's modules assign."""
        files = sorted(self.modules.glob("*.py")) if self.modules else []
        nodes = [node for file in files for node in ast.walk(_tree(file)) if isinstance(node, ast.Name)]
        return frozenset(node.id for node in nodes if isinstance(node.ctx, ast.Store))

    def parameters(self, name: str) -> tuple[frozenset[str], bool] | None:
        """Return the parameters of a function or class in the modules, and whether it takes others; None if undeterminable."""
        for file in sorted(self.modules.glob("*.py")) if self.modules else []:
            for node in _tree(file).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                    return _parameters(node)
        return None

    def signature(self, name: str) -> inspect.Signature | None:
        """Return the signature of a function or class in the modules without running it; None if undeterminable.

        If several files define the name, the last one counts, as when they are run.
        """
        definition = None
        for file in sorted(self.modules.glob("*.py")) if self.modules else []:
            for node in _tree(file).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                    definition = node
        return None if definition is None else _signature(definition)

    def is_class(self, name: str) -> bool:
        """Return whether the modules define a class with this name."""
        trees = [_tree(file) for file in (sorted(self.modules.glob("*.py")) if self.modules else [])]
        return any(isinstance(node, ast.ClassDef) and node.name == name for tree in trees for node in tree.body)

    def common(self) -> dict[str, Any]:
        """The content of the project's `common.yaml`.

        Raises:
            ConfigError: When it cannot be read.
        """
        path = self.project / COMMON
        if not path.is_file():
            return {}
        try:
            content = files.read_yaml(path) or {}
        except (OSError, ValueError) as error:
            raise ConfigError(problem(str(path), f"cannot be read ({' '.join(str(error).split())})")) from error
        if not isinstance(content, dict):
            raise ConfigError(problem(str(path), "must be a mapping", got=content))
        return content


def built_in(name: str) -> inspect.Signature | None:
    """Return the signature of a built-in data set without importing it; None if there is none of this name."""
    body = _tree(_SETS).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    for statement in body:
        # An alias of a class.
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.value, ast.Name)
            and statement.value.id in classes
        ):
            classes |= {
                target.id: classes[statement.value.id] for target in statement.targets if isinstance(target, ast.Name)
            }
    node = classes.get(name) if name.endswith("DataSet") else None
    while node is not None and not any(
        isinstance(child, ast.FunctionDef) and child.name == "__init__" for child in node.body
    ):
        base = node.bases[0] if node.bases else None
        node = classes.get(base.id) if isinstance(base, ast.Name) else None
    return None if node is None else _signature(node)


def _file_text(file: Path) -> str:
    try:
        return limits.text(file)
    except (OSError, UnicodeDecodeError):
        return ""


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(limits.content(file, limits.TEXT), str(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        # Syntax errors are reported when the file is run.
        return ast.Module([], [])


def _public_names(file: Path) -> list[str]:
    nodes = [node for node in _tree(file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node.name for node in nodes if not node.name.startswith("_")]


def _parameters(node: ast.FunctionDef | ast.ClassDef) -> tuple[frozenset[str], bool] | None:
    if isinstance(node, ast.ClassDef):
        begin = next(
            (child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"), None
        )
        return None if begin is None else _parameters(begin)
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return frozenset(names), arguments.kwarg is not None


def _signature(node: ast.FunctionDef | ast.ClassDef) -> inspect.Signature | None:
    # A decorator may change the signature; those of the stand-ins do not.
    if any(
        ast.unparse(decorator).partition("(")[0].rpartition(".")[2] not in _NOTES for decorator in node.decorator_list
    ):
        return None
    if isinstance(node, ast.ClassDef):
        begin = next(
            (child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"), None
        )
        if begin is None or node.decorator_list or begin.decorator_list:
            return None if node.bases or node.keywords or begin else inspect.Signature()
        whole = _signature(begin)
        return None if whole is None else whole.replace(parameters=list(whole.parameters.values())[1:])
    arguments, kinds = node.args, inspect.Parameter
    listed = [*arguments.posonlyargs, *arguments.args]
    defaults: list[Any] = [kinds.empty] * (len(listed) - len(arguments.defaults)) + [None] * len(arguments.defaults)
    parameters = [
        kinds(
            argument.arg,
            kinds.POSITIONAL_ONLY if argument in arguments.posonlyargs else kinds.POSITIONAL_OR_KEYWORD,
            default=default,
        )
        for argument, default in zip(listed, defaults, strict=True)
    ]
    parameters += [kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL)] if arguments.vararg else []
    parameters += [
        kinds(argument.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    parameters += [kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD)] if arguments.kwarg else []
    return inspect.Signature(parameters)


def header(text: str) -> str | None:
    """Return the schema in the first line of a file in lower case; None if there is none."""
    first = text.lstrip("\ufeff").split("\n", 1)[0].strip()
    return first[len(_HEADER) :].split()[0].lower() if first.startswith(_HEADER) and first[len(_HEADER) :] else None


def check_header(text: str) -> None:
    """Refuse a file whose first line names a schema other than classification's or segmentation's.

    Raises:
        ConfigError: When it does.
    """
    schema = header(text)
    if schema is None or schema in _SCHEMAS:
        return
    fix = did_you_mean(schema.capitalize(), [choice.capitalize() for choice in _SCHEMAS], otherwise=_FOR_OTHERS)
    raise ConfigError(problem(f"first line: {_HEADER}{schema.capitalize()}", "cannot be trained here", fix=fix))


def united(own: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """Merge an experiment's configuration with its project's.

    Args:
        own: The experiment's configuration.
        common: The project's `common.yaml`.
    """
    merged = dict(own)
    for key, value in common.items():
        if key not in merged or (key == "callbacks" and merged[key] is None):
            merged[key] = value
        elif key in _UNITED and isinstance(merged[key], Mapping) and isinstance(value, Mapping):
            merged[key] = {**value, **merged[key]}
    return merged


def is_of_common(key: str, own: Mapping[str, Any], common: Mapping[str, Any]) -> bool:
    """Return whether a dotted key of a merged configuration has its value from `common.yaml`.

    Args:
        key: The key.
        own: The experiment's configuration.
        common: The project's configuration.
    """
    root, _, rest = key.partition(".")
    root, entry = root.partition("[")[0], rest.partition(".")[0].partition("[")[0]
    if root not in common:
        return False
    if root not in own or (root == "callbacks" and own[root] is None):
        return True
    parts = own[root], common[root]
    return (
        root in _UNITED
        and all(isinstance(part, Mapping) for part in parts)
        and entry in parts[1]
        and entry not in parts[0]
    )


def with_numbers(value: Any, key: str = "", found: list[str] | None = None) -> Any:
    """Convert strings that are numbers, such as `1e-4`, to numbers; `found` collects their keys.

    PyYAML reads YAML 1.1, in which `1e-4` is a string because it has no decimal point.
    """
    if isinstance(value, Mapping):
        return {
            str(part): with_numbers(item, f"{key}.{part}" if key else str(part), found) for part, item in value.items()
        }
    if isinstance(value, list):
        return [with_numbers(item, f"{key}[{place}]", found) for place, item in enumerate(value)]
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        if found is not None:
            found.append(key)
        return float(value) if re.search(r"[.eE]", value) else int(value)
    return value
