"""Compare the installed packages with this program's requirements: versions, extras, conflicts."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

import mlpipe
from mlpipe.errors import install_command, listing, problem
from mlpipe.modes.doctor.findings import Finding

_PACKAGE = Path(mlpipe.__file__).parent
_COMMAND = "mml"
# Each of these packages provides the module `cv2`; the last one installed wins.
_OPENCV = (
    "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
)  # fmt: skip


@dataclass(frozen=True)
class Declared:
    """The declared requirements of this program.

    Attributes:
        name: The distribution's name.
        needed: The requirements of every installation.
        extras: The additional requirements of each extra.
        pins: The tested versions, by normalised name; only a checkout has them.
        folder: The checkout; None: installed from a wheel.
    """

    name: str
    needed: list[Requirement]
    extras: dict[str, list[Requirement]]
    pins: dict[str, str]
    folder: Path | None


def declared_needs(package: Path = _PACKAGE) -> Declared:
    """Return the requirements of this program, from its checkout or from the metadata of its wheel.

    Args:
        package: The folder of the package.

    Raises:
        LookupError: When neither is there.
    """
    file = package.parent / "pyproject.toml"
    project = tomllib.loads(file.read_text("utf-8")).get("project", {}) if file.is_file() else {}
    if _is_ours(project.get("scripts", {}).get(_COMMAND, "")):
        extras = {name: [*map(Requirement, texts)] for name, texts in project["optional-dependencies"].items()}
        pinned = package.parent / "requirements/base.txt"
        pins = pins_of(pinned.read_text("utf-8")) if pinned.is_file() else {}
        return Declared(project["name"], [*map(Requirement, project["dependencies"])], extras, pins, package.parent)
    for entry in metadata.entry_points(group="console_scripts", name=_COMMAND):
        if _is_ours(entry.value) and entry.dist is not None:
            return needs_in_metadata(entry.dist.metadata["Name"], entry.dist.requires or [])
    raise LookupError(f"no installed package has the command {_COMMAND}")


def _is_ours(entry: str) -> bool:
    """Return whether a command belongs to this package, whatever the distribution is called."""
    return entry.partition(".")[0] == _PACKAGE.name


def needs_in_metadata(name: str, texts: Sequence[str]) -> Declared:
    """Parse the requirements that a wheel's metadata lists.

    Args:
        name: The distribution's name.
        texts: The requirements; those of extras have a marker that names the extra.
    """
    needed: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for text in texts:
        requirement = Requirement(text)
        _, separator, rest = str(requirement.marker or "").partition("extra == ")
        if separator:
            requirement.marker = None
            extras.setdefault(rest.strip("\"'"), []).append(requirement)
        else:
            needed.append(requirement)
    return Declared(name, needed, extras, {}, None)


def pins_of(text: str) -> dict[str, str]:
    """Return the pinned versions of a requirements file, by normalised name.

    Args:
        text: Lines such as `numpy==2.4.6`; other lines are ignored.
    """
    pairs = (line.split("#")[0].split(";")[0].strip().split("==") for line in text.splitlines())
    return {str(canonicalize_name(pair[0].strip())): pair[1].strip() for pair in pairs if len(pair) == 2}


def installed() -> dict[str, str]:
    """Return the versions of all installed packages by normalised name; the first one found counts."""
    version_by_name: dict[str, str] = {}
    for distribution in metadata.distributions():
        if (name := distribution.metadata["Name"]) is not None:
            version_by_name.setdefault(str(canonicalize_name(name)), distribution.version)
    return version_by_name


def versions(needs: Declared, environment: Mapping[str, str]) -> list[Finding]:
    """Report the version of each required package, and whether it satisfies the requirement.

    Args:
        needs: The declared requirements.
        environment: Installed versions by normalised name.
    """
    findings = [Finding("packages", "mlpipe", mlpipe.__version__)]
    for requirement in needs.needed:
        if requirement.marker is None or requirement.marker.evaluate():
            wrong = misfit(requirement, environment)
            name = canonicalize_name(requirement.name)
            findings.append(
                Finding("packages", requirement.name, environment.get(name), "problem" if wrong else "ok", wrong)
            )
    others = [
        f"{name} {environment[name]} ({pin})" for name, pin in needs.pins.items() if environment.get(name, pin) != pin
    ]
    if others:
        wrong = f"{len(others)} versions are not those that were tested: {listing(others, most=8)}"
        fix = "make setup installs these" if needs.folder else ""
        findings.append(Finding("packages", "tested versions", others, "note", problem("packages", wrong, fix=fix)))
    return findings


def misfit(requirement: Requirement, environment: Mapping[str, str]) -> str:
    """Explain in a sentence why an installed package does not satisfy a requirement; empty if it does.

    Args:
        requirement: The package with version bounds.
        environment: Installed versions by normalised name.
    """
    version = environment.get(canonicalize_name(requirement.name))
    fix = f"pip install '{requirement.name}{requirement.specifier}'"
    if version is None:
        return problem(requirement.name, "is not installed", fix=fix)
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return problem(requirement.name, f"{requirement.specifier} is needed", got=version, fix=fix)


def extras(needs: Declared, environment: Mapping[str, str]) -> list[Finding]:
    """Report which extras are installed, and how to install the others.

    Args:
        needs: The declared requirements.
        environment: Installed versions by normalised name.
    """
    findings = []
    for name, requirements in needs.extras.items():
        missing = [requirement for requirement in requirements if misfit(requirement, environment)]
        if not missing:
            versions_here = ", ".join(
                f"{requirement.name} {environment[canonicalize_name(requirement.name)]}" for requirement in requirements
            )
            findings.append(Finding("extras", name, versions_here))
        else:
            findings.append(Finding("extras", name, f"not installed: {install_command(name)}"))
    return findings


def conflicts(needs: Declared, environment: Mapping[str, str]) -> list[Finding]:
    """Report conflicting packages: unmet requirements of other packages, and packages that shadow each other.

    Args:
        needs: The declared requirements.
        environment: Installed versions by normalised name.
    """
    direct = {canonicalize_name(requirement.name) for requirement in needs.needed}
    wrong = [text for text in unmet_needs([str(name) for name in direct], environment) if text]
    findings = [Finding("conflicts", "requirements", text, "problem", text) for text in wrong]
    findings += build_findings(environment.get("torch"), environment.get("torchvision"))
    findings += opencv_findings(environment)
    findings += copy_findings(sys.path, _PACKAGE)
    if canonicalize_name(needs.name) != _PACKAGE.name and _PACKAGE.name in environment:
        commands = metadata.distribution(_PACKAGE.name).entry_points
        findings += name_findings(
            needs.name, environment[_PACKAGE.name], is_ours=any(_is_ours(command.value) for command in commands)
        )
    return findings or [Finding("conflicts", "packages", "none")]


def unmet_needs(names: Iterable[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Return a sentence for each unmet requirement of installed packages, followed recursively.

    Args:
        names: The packages to start from, normalised.
        environment: Installed versions by normalised name.
    """
    waiting, visited_names = list(names), set(names)
    while waiting:
        name = waiting.pop()
        for text in (metadata.requires(name) or []) if name in environment else []:
            requirement = Requirement(text)
            other = str(canonicalize_name(requirement.name))
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            # Missing direct requirements are reported by `versions`.
            if wrong := misfit(requirement, environment):
                yield f"{name} needs it: {wrong}"
            if other not in visited_names:
                visited_names.add(other)
                waiting.append(other)


def build_findings(torch: str | None, torchvision: str | None) -> list[Finding]:
    """Check that torch and torchvision are from the same build, `+cpu` or `+cu130` for example.

    Args:
        torch: Its version; None: it is not installed.
        torchvision: Likewise.
    """
    try:
        builds = [Version(text).local for text in (torch, torchvision) if text is not None]
    except InvalidVersion:
        return []
    if len(builds) < 2 or None in builds or builds[0] == builds[1]:
        return []
    wrong = f"is built for {builds[1]}, torch for {builds[0]}"
    fix = "install both with one command, from one --index-url"
    text = problem("torchvision", wrong, got=torchvision, fix=fix)
    return [Finding("conflicts", "torchvision", torchvision, "problem", text)]


def opencv_findings(environment: Mapping[str, str]) -> list[Finding]:
    """Check whether several packages provide OpenCV.

    Args:
        environment: Installed versions by normalised name.
    """
    present = [name for name in _OPENCV if name in environment]
    if len(present) < 2:
        return []
    fix = f"pip uninstall {' '.join(present)}, then pip install {_OPENCV[1]}"
    text = problem("cv2", "several packages bring it and overwrite each other", got=", ".join(present), fix=fix)
    return [Finding("conflicts", "cv2", present, "note", text)]


def copy_findings(path: Sequence[str], package: Path) -> list[Finding]:
    """Check whether Python finds another package of this name.

    Args:
        path: The module search path.
        package: The folder of this package.
    """
    findings = []
    others = {(Path(entry or ".") / package.name).resolve() for entry in path}
    for other in sorted(others - {package.resolve()}):
        if (other / "__init__.py").is_file():
            wrong = f"another one lies in {other.parent}; this is {package}"
            text = problem(package.name, wrong, fix="remove one of them")
            findings.append(Finding("conflicts", package.name, str(other), "note", text))
    return findings


def name_findings(name: str, version: str, *, is_ours: bool) -> list[Finding]:
    """Report a distribution that has this package's name, while this program's has another.

    Args:
        name: This program's distribution.
        version: The version of the other one.
        is_ours: Whether it provides this program's command; then it is an earlier version.
    """
    package = _PACKAGE.name
    explanation = (
        "an earlier version of this program" if is_ours else "another program, whose files may replace this one's"
    )
    fix = f"pip uninstall {package}, then install {name} again"
    text = problem(package, f"the distribution of this name is {explanation}", got=version, fix=fix)
    return [Finding("conflicts", "distribution", version, "note" if is_ours else "problem", text)]
