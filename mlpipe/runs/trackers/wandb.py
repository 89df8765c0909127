"""Weights & Biases runs: one per fold and one for their result, in a group; without a key, they stay in files."""

from __future__ import annotations

import netrc
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from mlpipe import files, limits
from mlpipe.errors import ConfigError, listing, not_installed, problem
from mlpipe.runs.trackers.tracker import FINISHED, Marks, Place

_HOST = "api.wandb.ai"
# Seconds that a training waits for the server, at its start and at its end.
_WAIT = 30.0
# The settings allowed in a settings file of the current folder.
_HARMLESS = ("project", "entity", "disabled", "mode")


def require_own_server(folder: Path) -> None:
    """Refuse settings in a folder that the package reads automatically, except those that name a project and its owner.

    Other settings include the address to which the key is sent, and the folder may come from somebody else.

    Args:
        folder: The current folder.

    Raises:
        ConfigError: When there are other settings.
        OSError: When they are unreadable.
    """
    for file in (folder / "wandb" / "settings", folder / ".wandb" / "settings"):
        if not file.exists():
            continue
        lines = (line.partition("=")[0].partition(":")[0].strip().lower() for line in limits.text(file).splitlines())
        odd = [name for name in lines if name and name[0] not in "[#;" and name not in _HARMLESS]
        if odd:
            wrong = f"{file} has settings that are not taken from the folder of a command: {listing(odd, most=3)}"
            raise ConfigError(problem("logging=wandb", wrong, fix="remove them, or set them in the environment"))


class WandbRun:
    """A Weights & Biases run.

    Args:
        place: The fold or run that it tracks; the runs of one training form a group.
        project: The project on the server; None: the project's own name.
        entity: The team or user; None: the owner of the key.
        wandb_mode: `auto`: online if there is a key, else offline.
        wandb_tags: Further tags.

    Raises:
        Exception: Any error of the package at the start of the run.
    """

    def __init__(
        self,
        place: Place,
        *,
        project: str | None = None,
        entity: str | None = None,
        wandb_mode: Literal["auto", "online", "offline"] = "auto",
        wandb_tags: list[str] | None = None,
    ) -> None:
        # Error reports would also go to the network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        require_own_server(Path.cwd())
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(not_installed("logging=wandb", "wandb")) from error
        self._wandb, self._place = wandb, place
        self.marks = Marks(place.folder / "wandb.json")
        name = files.digest([place.project, place.run, place.record])[:16]
        if not self.marks.known:
            # Files of a training that was restarted, of which nothing counts.
            for folder in place.logs.glob(f"wandb/offline-run-*-{name}"):
                shutil.rmtree(folder, ignore_errors=True)
        self.marks.keep(id=name)
        self._run = wandb.init(
            mode=mode_of(wandb_mode),
            dir=str(place.logs),
            project=project or place.project,
            entity=entity,
            group=place.run,
            job_type="fold" if place.record else "result",
            id=name,
            name=place.record or place.run,
            tags=wandb_tags,
            resume="allow",
            reinit="create_new",
            # Print nothing, ask nothing, and send nothing about the machine, its user or the command line.
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                init_timeout=_WAIT,
                finish_timeout=_WAIT,
                x_disable_stats=True,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )
        self._drop_links()
        # Points are placed at their epoch: a continued run counts its own steps from 0.
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")

    def configure(self, tree: Mapping[str, Any], text: str) -> None:
        """Store the configuration, also as a file."""
        self._run.config.update(dict(tree), allow_val_change=True)  # type: ignore[no-untyped-call]
        # The package copies the file later, so it must still exist then.
        path = self._place.folder / "config.yaml"
        files.write_text(path, text)
        self.file(path)

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Store a point of each curve."""
        self._drop_links()
        self._run.log({**values, "epoch": step})

    def file(self, path: Path) -> None:
        """Store a copy of a file as an artifact."""
        artifact = self._wandb.Artifact(f"{self._run.id}-{files.safe_name(path.name)}", type="file")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, status: str) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if status == FINISHED else 1)
        self._drop_links()

    def _drop_links(self) -> None:
        """Delete links to the package's own log elsewhere: a project with links to the outside is refused."""
        for link in files.links_out(self._place.logs / "wandb"):
            link.unlink(missing_ok=True)


def mode_of(setting: str) -> Literal["online", "offline"]:
    """Return whether runs go to the server: as requested, as the environment says, or if there is a key."""
    mode = os.environ.get("WANDB_MODE") if setting == "auto" else setting
    if mode in ("online", "offline"):
        return "online" if mode == "online" else "offline"
    if mode:
        return "offline"
    has_key = bool(os.environ.get("WANDB_API_KEY"))
    with suppress(OSError, netrc.NetrcParseError):
        has_key = has_key or netrc.netrc().authenticators(_HOST) is not None
    return "online" if has_key else "offline"
