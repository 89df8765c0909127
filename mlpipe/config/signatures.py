"""Check parameters against a function's signature without importing it.

Signatures are read from source with `ast`, so that a wrong key or value is reported in milliseconds, before torch is
imported. The annotation is the schema: `int`, `float`, `bool`, `str`, `None`, unions, `Literal`, `list`, `tuple`,
`dict` and `Annotated[int, ">= 1"]`, whose texts are bounds, or for `str` a form: `a sum of losses`. Values with any
other annotation are checked only by the function itself.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlpipe import formulas, limits
from mlpipe.config import catalog, near_values
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

# The number of nested type aliases that are followed.
_DEEPEST = 4
_BOUNDS = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_BOUND = re.compile(r"(?:>=|<=|>|<) [-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Parameter:
    """One parameter that a configuration may set."""

    name: str
    annotation: ast.expr | None
    required: bool
    by_position: bool = False


@dataclass(frozen=True)
class Signature:
    """The parameters of a function or class that configurations may set, read from its source."""

    target: str
    parameters: dict[str, Parameter]
    is_open: bool
    module: ast.Module
    file: Path
    home: str
    is_class: bool
    is_mapping: bool = False

    def problems(self, section: str, given: dict[str, Any], *, may_miss: frozenset[str] = frozenset()) -> list[str]:
        """Return a sentence for every unknown, missing or ill-typed parameter of `given`."""
        problems = []
        for name, value in given.items():
            key = f"{section}.{name}"
            if name not in self.parameters:
                if not self.is_open:
                    fix = did_you_mean(name, self.parameters, otherwise=f"known keys: {listing(self.parameters)}")
                    problems.append(problem(key, "unknown key", fix=fix))
                continue
            annotation = self.parameters[name].annotation
            if value == "???":
                problems.append(problem(key, "a value is needed", fix=f"add {key}=VALUE"))
            elif isinstance(value, dict) and (described := self._typed_dict(annotation)) is not None:
                problems += described.problems(key, value)
            elif annotation is not None and (kind := self._mismatch(annotation, value)):
                fix = self._fix(key, annotation, value) or "give it such a value"
                problems.append(problem(key, f"must be {kind}", got=value, fix=fix))
        for name, parameter in self.parameters.items():
            if parameter.required and name not in given and name not in may_miss:
                problems.append(problem(f"{section}.{name}", "a value is needed", fix=f"add {section}.{name}=VALUE"))
        return problems

    def _fix(self, key: str, annotation: ast.expr, value: Any) -> str:
        """Return a suggestion for an invalid value; empty if there is none."""
        if suggestion := near_values.for_value(key, value, choices(annotation, self.module)):
            return f"write {suggestion if '=' in suggestion else f'{key}={suggestion}'}"
        if suggestion := near_values.example(key):
            return suggestion
        for text, plain in near_values.other_forms(value):
            if not self._mismatch(annotation, plain):
                return f"write {key}={text}"
        if isinstance(value, str) and (search := near_values.sweep_advice(value)):
            return search
        if isinstance(value, list) and len(value) > 1 and not any(self._mismatch(annotation, item) for item in value):
            return f"write {key}={','.join(map(str, value))} -m to run each of them"
        parts = value.split(",") if isinstance(value, str) and "," in value else []
        plain_parts = [near_values.plain(part) for part in parts]
        if parts and not any(self._mismatch(annotation, item) for item in plain_parts):
            return f"add -m to run each of them, or write {key}={parts[0].strip()}"
        return ""

    def _mismatch(self, annotation: ast.expr, value: Any) -> str:
        """Like `mismatch`, but for mappings with known keys too."""
        if isinstance(annotation, ast.BinOp):
            kinds = [self._mismatch(part, value) for part in _union_members(annotation)]
            return "" if not all(kinds) else " or ".join(dict.fromkeys(kinds))
        if self._typed_dict(annotation) is not None:
            return "a mapping"
        return mismatch(annotation, value, self.module)

    def _typed_dict(self, annotation: ast.expr | None) -> Signature | None:
        """Return the TypedDict that defines the keys of a mapping; None if any key is allowed."""
        if isinstance(annotation, ast.BinOp):
            return next(
                (signature for part in _union_members(annotation) if (signature := self._typed_dict(part)) is not None),
                None,
            )
        if not isinstance(annotation, ast.Name) or not self.target.startswith("mlpipe."):
            return None
        signature = read(f"{self.home}.{annotation.id}")
        return signature if signature is not None and signature.is_mapping else None


def module_file(module: str) -> Path | None:
    """Return the source file of a module, found on `sys.path` and in the current folder without importing anything."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for root in [*sys.path, "."]:
        base = Path(root or ".").joinpath(*parts)
        for candidate in (base.with_suffix(".py") if parts else base, base / "__init__.py"):
            if candidate.is_file():
                return candidate
    spec_origin = _editable_origin(parts[0])
    if spec_origin is not None:
        base = spec_origin.joinpath(*parts[1:])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@functools.lru_cache(maxsize=256)
def read(target: str) -> Signature | None:
    """Return the signature of the function or class with a dotted name; None if no source defines it."""
    origin = definition(target)
    if origin is None:
        return None
    node, source = origin
    if isinstance(node, ast.ClassDef):
        return _class_signature(target, node, source)
    return _function_signature(target, node, source)


def definition(target: str) -> tuple[ast.FunctionDef | ast.ClassDef, Source] | None:
    """Find the definition of the function or class with a dotted name, following re-exports; None if there is none."""
    module, _, name = target.rpartition(".")
    return _definition(module, name, depth=0)


def takes_mapping(target: str, name: str) -> bool:
    """Return whether a parameter of the function or class with a dotted name accepts a mapping; read from its source.

    Args:
        target: The dotted name.
        name: The parameter.
    """
    signature = read(target)
    parameter = signature.parameters.get(name) if signature is not None else None
    if signature is None or parameter is None or parameter.annotation is None:
        return False
    of_known_keys = signature._typed_dict(parameter.annotation) is not None
    return of_known_keys or not mismatch(parameter.annotation, {}, signature.module)


@functools.lru_cache(maxsize=64)
def gives(target: str) -> tuple[str, ...]:
    """Return the names of the class that a function or class creates, and of its bases, read from source.

    Args:
        target: The dotted name; for a function, the return annotation counts.

    Returns:
        The class first; empty if the source does not say.
    """
    module, _, name = target.rpartition(".")
    origin = _definition(module, name, depth=0)
    if origin is not None and isinstance(origin[0], ast.FunctionDef):
        annotation = origin[0].returns
        module, name = origin[1].module, annotation.id if isinstance(annotation, ast.Name) else ""
        origin = _definition(module, name, depth=0)
    names: list[str] = []
    while origin is not None and isinstance(node := origin[0], ast.ClassDef) and node.name not in names:
        names.append(node.name)
        base = node.bases[0] if node.bases else None
        origin = _definition(origin[1].module, base.id, depth=0) if isinstance(base, ast.Name) else None
    return tuple(names)


def public_names(file: Path) -> list[str]:
    """Return the public functions and classes that a source file defines."""
    nodes = [node for node in _parsed(file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node.name for node in nodes if not node.name.startswith("_")]


# A value whose type no configuration has.
_NOTHING = object()
# Resolved type names for a value, so that recursive names terminate and no name is resolved twice.
_Seen = dict[tuple[str, int, int], str]


def mismatch(annotation: ast.expr, value: Any, module: ast.Module) -> str:
    """Return the type that `value` should have, in words; empty if it fits the annotation.

    An annotation nested too deeply for Python's stack is not checked.
    """
    try:
        return _mismatch(annotation, value, module, {})
    except RecursionError:
        return ""


def _mismatch(annotation: ast.expr, value: Any, module: ast.Module, memo: _Seen) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return _mismatch(ast.parse(annotation.value, mode="eval").body, value, module, memo)
        except SyntaxError:
            # A text that is not a type, in a module of the user's own.
            return ""
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return "" if value is None else "null"
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _union_mismatch(_union_members(annotation), value, module, memo)
    if isinstance(annotation, ast.Name | ast.Attribute):
        return _plain_mismatch(annotation, value, module, memo)
    if isinstance(annotation, ast.Subscript):
        return _subscript_mismatch(annotation, value, module, memo)
    return ""


def _union_members(annotation: ast.expr) -> list[ast.expr]:
    """Return the types joined by `|`, in order; iterative, because hundreds of them nest deeply to the left."""
    parts = []
    while isinstance(annotation, ast.BinOp):
        parts.append(annotation.right)
        annotation = annotation.left
    return [annotation, *parts[::-1]]


def choices(annotation: ast.expr, module: ast.Module, depth: int = 0) -> list[str]:
    """Return the values in the `Literal`s of an annotation as texts, including those of named types.

    Args:
        annotation: The annotation.
        module: The module that contains it.
        depth: How many names were already resolved.
    """
    if isinstance(annotation, ast.BinOp):
        return [text for part in _union_members(annotation) for text in choices(part, module, depth)]
    if isinstance(annotation, ast.Name | ast.Attribute):
        name = annotation.id if isinstance(annotation, ast.Name) else annotation.attr
        alias = _type_definition(name, _home(annotation, module)) if depth < _DEEPEST else None
        return choices(*alias, depth + 1) if alias is not None else []
    if not isinstance(annotation, ast.Subscript):
        return []
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    outer = annotation.value
    if isinstance(outer, ast.Name | ast.Attribute) and "Literal" in (
        getattr(outer, "id", ""),
        getattr(outer, "attr", ""),
    ):
        return [str(item.value) for item in inner if isinstance(item, ast.Constant)]
    return [text for item in inner for text in choices(item, module, depth)]


def _type_definition(name: str, module: ast.Module) -> tuple[ast.expr, ast.Module] | None:
    """Return the definition of a type name and its module, in any package."""
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value, module
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            origins = [alias.name for alias in node.names if (alias.asname or alias.name) == name]
            if origins and (file := module_file(node.module)) is not None:
                return _type_definition(origins[0], _parsed(file))
    return None


def _plain_mismatch(annotation: ast.Name | ast.Attribute, value: Any, module: ast.Module, memo: _Seen) -> str:
    name = annotation.id if isinstance(annotation, ast.Name) else annotation.attr
    match name:
        case "bool":
            return "" if isinstance(value, bool) else "true or false"
        case "int":
            return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
        case "float":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return "" if is_number and _is_finite(value) else "a number"
        case "str" | "Path":
            return "" if isinstance(value, str) else "text"
        case "list" | "List" | "tuple" | "Tuple" | "Sequence" | "Iterable":
            return "" if isinstance(value, list | tuple) else "a list"
        case "dict" | "Dict" | "Mapping":
            return "" if isinstance(value, dict) else "a mapping"
    alias, key = _alias(name, _home(annotation, module)), (name, id(value), id(module))
    if alias is not None and key not in memo:
        memo[key] = ""
        memo[key] = _mismatch(alias, value, module, memo)
    return memo.get(key, "")


def _home(annotation: ast.Name | ast.Attribute, module: ast.Module) -> ast.Module:
    """Return the module of a type's name: for `timm_body.Filling`, the module of mlpipe imported as `timm_body`."""
    if not isinstance(annotation, ast.Attribute) or not isinstance(annotation.value, ast.Name):
        return module
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("mlpipe"):
            names = [alias.name for alias in node.names if (alias.asname or alias.name) == annotation.value.id]
            if names and (file := module_file(f"{node.module}.{names[0]}")) is not None:
                return _parsed(file)
    return module


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer too large for a float.
        return False


def _subscript_mismatch(annotation: ast.Subscript, value: Any, module: ast.Module, memo: _Seen) -> str:
    outer = annotation.value
    name = outer.id if isinstance(outer, ast.Name) else outer.attr if isinstance(outer, ast.Attribute) else ""
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if not inner:
        return ""
    match name:
        case "Annotated":
            return _bound_mismatch(inner, value, module, memo)
        case "Literal":
            options = [item.value for item in inner if isinstance(item, ast.Constant)]
            if len(options) < len(inner):
                # Names from other modules are known only at runtime.
                return ""
            fits = any(value == option and type(value) is type(option) for option in options)
            return "" if fits else f"one of {listing(options)}"
        case "Union":
            return _union_mismatch(inner, value, module, memo)
        case "Optional":
            return "" if value is None else _mismatch(inner[0], value, module, memo)
        case "list" | "List" | "Sequence" | "Iterable":
            return _item_mismatch([inner[0]], value, module, memo, many=True)
        case "tuple" | "Tuple":
            is_repeated = len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is Ellipsis
            return _item_mismatch(inner[:1] if is_repeated else inner, value, module, memo, many=is_repeated)
        case "dict" | "Dict" | "Mapping":
            if not isinstance(value, dict):
                return "a mapping"
            wrong = [text for item in value.values() if (text := _mismatch(inner[-1], item, module, memo))]
            return f"a mapping in which each value is {wrong[0]}" if wrong else ""
    return ""


def _item_mismatch(annotations: list[ast.expr], value: Any, module: ast.Module, memo: _Seen, *, many: bool) -> str:
    if not isinstance(value, list | tuple):
        return "a list"
    if not many and len(value) != len(annotations):
        return f"a list of {len(annotations)} values"
    for index, item in enumerate(value):
        if kind := _mismatch(annotations[0 if many else index], item, module, memo):
            return f"a list in which each item is {kind}"
    return ""


def _union_mismatch(annotations: list[ast.expr], value: Any, module: ast.Module, memo: _Seen) -> str:
    kinds = [_mismatch(annotation, value, module, memo) for annotation in annotations]
    return "" if not all(kinds) else " or ".join(dict.fromkeys(kinds))


def _bound_mismatch(inner: list[ast.expr], value: Any, module: ast.Module, memo: _Seen) -> str:
    kind = _mismatch(inner[0], value, module, memo)
    notes = [item.value for item in inner[1:] if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    # Any other text is a note by the author.
    bounds = [note for note in notes if _BOUND.fullmatch(note)]
    for note in notes if not kind and isinstance(value, str) else ():
        if note in _FORMS and (reason := _FORMS[note](value)):
            return f"{note} such as ce+0.1*dice ({reason})"
    is_number = isinstance(value, int | float)
    for bound in bounds if not kind and is_number else ():
        sign, _, limit = bound.partition(" ")
        if not _BOUNDS[sign](value, float(limit)):
            kind = _mismatch(inner[0], _NOTHING, module, memo)
    return f"{kind} {' and '.join(bounds)}" if kind and bounds else kind


def _sum_problem(text: str) -> str:
    """Explain why a text is not a sum of functions; empty if it is."""
    try:
        formulas.terms(text, "")
    except ConfigError as error:
        return str(error.__cause__)
    return ""


def _loss_sum_problem(text: str) -> str:
    """Explain why a text is not a sum of losses; whether they fit the task is known only with its images."""
    if wrong := _sum_problem(text):
        return wrong
    file = module_file("mlpipe.learn.losses.probabilities")
    known = {*catalog.options("loss"), *(public_names(file) if file is not None else ())}
    unknown = [term.name for term in formulas.terms(text) if term.name not in known]
    return f"{unknown[0]} is no loss{did_you_mean(unknown[0], known).replace('did', ', did', 1)}" if unknown else ""


# The forms that texts may be required to have.
_FORMS: dict[str, Callable[[str], str]] = {"a sum of losses": _loss_sum_problem, "a sum of functions": _sum_problem}


def _alias(name: str, module: ast.Module, depth: int = 0) -> ast.expr | None:
    if depth > 6:
        return None
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("mlpipe."):
            # A type shared by several modules.
            origins = [alias.name for alias in node.names if (alias.asname or alias.name) == name]
            if origins and (file := module_file(node.module)) is not None:
                return _alias(origins[0], _parsed(file), depth + 1)
    return None


@dataclass(frozen=True)
class Source:
    """A parsed source file.

    Attributes:
        file: The file.
        tree: Its syntax tree.
        module: The module's dotted name.
    """

    file: Path
    tree: ast.Module
    module: str


def _function_signature(target: str, node: ast.FunctionDef, source: Source) -> Signature:
    """Return keyword-only parameters for mlpipe's own code; otherwise all parameters, for classes except the late ones."""
    arguments = node.args
    parameters = {
        argument.arg: Parameter(argument.arg, argument.annotation, default is None)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }
    is_class = node.name == "__init__"
    if not target.startswith("mlpipe."):
        plain = [*arguments.posonlyargs, *arguments.args]
        first_default = len(plain) - len(arguments.defaults)
        for index, argument in enumerate(plain):
            if not is_class or argument.arg not in ("self", "params", "optimizer"):
                parameters[argument.arg] = Parameter(argument.arg, argument.annotation, index < first_default, True)
    where = source.tree, source.file, source.module
    return Signature(target, parameters, arguments.kwarg is not None, *where, is_class=is_class)


def _class_signature(target: str, node: ast.ClassDef, source: Source) -> Signature:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            own = _function_signature(target, item, source)
            return _with_base(own, node) if own.is_open and target.startswith("mlpipe.") else own
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    if not fields and target.startswith("mlpipe.") and (base := _base(target, node)) is not None:
        return replace(base, target=target)
    may_miss = any(word.arg == "total" and ast.literal_eval(word.value) is False for word in node.keywords)
    is_mapping = any(isinstance(base, ast.Name) and base.id == "TypedDict" for base in node.bases)
    parameters = {
        item.target.id: Parameter(item.target.id, item.annotation, item.value is None and not may_miss)
        for item in fields
        if isinstance(item.target, ast.Name)
    }
    where = source.tree, source.file, source.module
    return Signature(target, parameters, not fields, *where, is_class=True, is_mapping=is_mapping)


def _base(target: str, node: ast.ClassDef) -> Signature | None:
    """Return the signature of the only base class; None if there are none or several."""
    if len(node.bases) != 1 or not isinstance(node.bases[0], ast.Name):
        return None
    return read(f"{target.rpartition('.')[0]}.{node.bases[0].id}")


def _with_base(own: Signature, node: ast.ClassDef) -> Signature:
    """Add the base class's parameters to a class of mlpipe that accepts `**`.

    Annotations of the base are resolved in the module of the class: type names in them must mean the same there.
    """
    base = _base(own.target, node)
    return own if base is None else replace(own, parameters={**base.parameters, **own.parameters}, is_open=base.is_open)


def _definition(module: str, name: str, *, depth: int) -> tuple[ast.FunctionDef | ast.ClassDef, Source] | None:
    """Find the definition of a name, following re-exports such as `from .x import name` and `from .x import *`."""
    file = module_file(module)
    if file is None or depth > 6:
        return None
    tree = _parsed(file)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node, Source(file, tree, module)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for origin, imported in _imports(tree, package, name):
        if result := _definition(origin, imported, depth=depth + 1):
            return result
    return None


def _imports(tree: ast.Module, package: str, name: str) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = node.module or ""
        if node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*base, origin] if origin else base)
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                yield origin, alias.name
            elif alias.name == "*":
                yield origin, name


@functools.lru_cache(maxsize=128)
def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(limits.content(file, limits.TEXT), str(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise ConfigError(problem(file.name, f"is not Python ({reason}{line})", fix="correct it")) from error


def _editable_origin(package: str) -> Path | None:
    """Return the folder of an already imported package, for installations that are not on `sys.path` themselves."""
    module = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None
