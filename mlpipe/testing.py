"""Checks for authors of plugins: the options are found, complete, valid, and can be instantiated.

from mlpipe import testing


def test_plugin():
    testing.check_plugin("mine")
"""

from __future__ import annotations

from typing import Any

from mlpipe import files, kinds, plugins
from mlpipe.config import catalog, components
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError, MlpipeError, did_you_mean, in_short, listing, problem
from mlpipe.plugins import Plugin

# Number of classes or labels, and of rows, in the batch that losses are tested with.
_OUTPUTS, _ROWS = 3, 6
_KINDS = ("classification", "multilabel", "regression")


def check_plugin(name: str) -> None:
    """Check an installed plugin by the name of its entry point.

    Files of `conf/` must belong to groups of mlpipe, begin with a comment that describes them, shadow no option of mlpipe, and
    have values that fit the signature of their `_target_`. The target is imported: a mode must be a `Scheduler`, and a loss must
    return one finite number with a gradient for a small batch of some kind of task.

    Args:
        name: The entry point's name.

    Raises:
        AssertionError: With a sentence for each problem.
    """
    by_name = {plugin.name: plugin for plugin in plugins.installed()}
    if name not in by_name:
        fix = did_you_mean(
            name, by_name, otherwise=f"installed: {listing(by_name)}" if by_name else "install the package first"
        )
        raise AssertionError(problem(plugins.GROUP, "there is no such plugin", got=name, fix=fix))
    if wrong := problems(by_name[name]):
        raise AssertionError("\n".join(wrong))


def problems(plugin: Plugin) -> list[str]:
    """Return a sentence for each problem with a plugin's files and their targets, which are imported.

    Args:
        plugin: The plugin.
    """
    if plugin.folder is None:
        return [problem(plugin.package, "is not installed, though its entry point names it", fix="install it again")]
    if not plugin.options:
        fix = "add files such as conf/loss/NAME.yaml to the package, and let the wheel have them"
        return [problem(str(plugin.folder), "brings no options", fix=fix)]
    return [sentence for group, name in plugin.options for sentence in _option_problems(plugin, group, name)]


def _option_problems(plugin: Plugin, group: str, name: str) -> list[str]:
    assert plugin.conf is not None
    key, path = f"{group}={name}", plugin.conf / group / f"{name}.yaml"
    known = catalog.groups()
    if group not in known:
        fix = did_you_mean(group, known, otherwise=f"groups: {listing(known, most=40)}")
        return [problem(key, "is of no group of mlpipe", got=group, fix=fix)]
    sentences = (
        [problem(key, "is an option of mlpipe", fix="rename the file")] if name in catalog.options(group) else []
    )
    text = path.read_text("utf-8")
    if not text.startswith("#"):
        sentences.append(problem(key, "does not say what it is for", fix="begin the file with a comment line"))
    try:
        content = files.plain_yaml(text)
    except ValueError as error:
        return [*sentences, problem(key, f"cannot be read ({error})", fix="correct the file")]
    for slot, node in _described_components(group, content):
        component, wrong = components.check(key, slot, node)
        # Values that the command line must give are no mistake of the file.
        sentences += [sentence for sentence in wrong if "a value is needed" not in sentence]
        sentences += _code_problems(key, component) if component is not None and not wrong else []
    return sentences


def _described_components(group: str, content: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return slot and section of each component in an option's file."""
    if not isinstance(content, dict) or group not in components.SLOTS:
        return []
    if group == "mode":
        keys = {name: value for name, value in content.items() if name != "scheduler"}
        scheduler = content.get("scheduler")
        return [(group, {**scheduler, **keys})] if isinstance(scheduler, dict) else []
    if group == "task":
        content = content.get("task", content)
    if "_target_" in content:
        return [(group, {name: value for name, value in content.items() if name != "defaults"})]
    parts = [part for part in content.values() if isinstance(part, dict) and "_target_" in part]
    return [(group, part) for part in parts]


def _code_problems(key: str, component: Component) -> list[str]:
    """Return a sentence if the target of an option cannot be imported, or is not what its group requires."""
    try:
        loaded = component.load()
        if component.slot == "mode":
            return [] if _is_scheduler(loaded) else [problem(key, "is no Scheduler", got=component.target)]
        return _loss_problems(key, component) if component.slot == "loss" else []
    except MlpipeError as error:
        return str(error).splitlines()
    except Exception as error:
        return [problem(key, f"fails ({in_short(error)})", got=component.target, fix="correct the code")]


def _is_scheduler(loaded: Any) -> bool:
    from mlpipe.running.scheduler import Scheduler

    return isinstance(loaded, type) and issubclass(loaded, Scheduler)


def _loss_problems(key: str, component: Component) -> list[str]:
    """Return a sentence if a loss gives no number, or no gradient, for any kind of task that it can be built for."""
    import torch

    from mlpipe.learn.build.loss import built
    from mlpipe.learn.losses.labels import Labels

    wrong = list[str]()
    for kind in _KINDS:
        outputs = torch.randn(_ROWS, _OUTPUTS, generator=torch.Generator().manual_seed(0), requires_grad=True)
        labels = torch.arange(_ROWS) % _OUTPUTS
        targets = labels if kinds.of(kind).has_classes else torch.nn.functional.one_hot(labels, _OUTPUTS).float()
        try:
            counts = torch.full((_OUTPUTS,), _ROWS // _OUTPUTS)
            value = built(component, Labels(kind, counts, _ROWS))(outputs, targets)
            value.backward()
        except ConfigError:
            continue
        except Exception as error:
            wrong.append(problem(key, f"fails for {kind} ({in_short(error)})", got=component.target, fix="correct it"))
            continue
        if value.ndim or not bool(torch.isfinite(value)) or outputs.grad is None:
            fix = "return one number that the outputs have a gradient of"
            wrong.append(problem(key, f"gives no finite number for {kind}", got=component.target, fix=fix))
            continue
        return []
    return wrong or [problem(key, "can be made for no kind of task", got=component.target, fix="see docs/own_parts.md")]
