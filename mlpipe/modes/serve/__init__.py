"""`mml serve`: serve a trained model over HTTP, for programs and, on one page, for people."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from mlpipe import current_folder, limits
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, DataError, MlpipeError, first_line, no_such_file, not_installed, problem
from mlpipe.running import tasks
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import references
from mlpipe.runs.journal import Run

if TYPE_CHECKING:
    from mlpipe.modes.serve.gate import Gate
    from mlpipe.running.loaded_model import Model

log = logging.getLogger("mlpipe")

TOKEN = "MML_SERVE_TOKEN"
_SHORTEST_TOKEN = 16
_NEEDED = ("fastapi", "uvicorn", "python_multipart")
_BACKLOG = 2048
# The maximum number of connections; a process may open a thousand files on most systems.
_CONNECTIONS = 512


class ServeScheduler(Scheduler):
    """Load the model, then answer requests until asked to stop.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        ensemble: `latest` or an ensemble's name; None: the refit of the latest training, else the mean of its folds.
        record: A record's number or name; None: all that predict.
        file: An exported file, used in place of a project's models.
        host: The name or address to listen on.
        port: The port; 0: any free one.
        hosts: Host names, beside addresses and `localhost`, by which clients reach the server.
        token: The file with the token; None: the token of the environment, or no token.
        largest_batch: The maximum number of images predicted together.
        longest_wait: The maximum time that a request waits for others, in milliseconds.
        most_bytes: The maximum size of a request in bytes.
        most_pixels: The maximum number of pixels of all images of a request.
        most_images: The maximum number of images of a request.
        rate: The maximum number of requests per second from one address; None: unlimited.
        concurrency: The maximum number of requests read or answered at the same time.
        timeout: The timeout in seconds for receiving a request, and for answering it once the server stops.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        ensemble: str | None,
        record: str | int | None,
        file: str | None,
        host: str,
        port: Annotated[int, ">= 0", "<= 65535"],
        hosts: list[str],
        token: str | None,
        largest_batch: Annotated[int, ">= 1"],
        longest_wait: Annotated[float, ">= 0"],
        most_bytes: Annotated[int, ">= 1"],
        most_pixels: Annotated[int, ">= 1"],
        most_images: Annotated[int, ">= 1"],
        rate: Annotated[float, "> 0"] | None,
        concurrency: Annotated[int, ">= 1"],
        timeout: Annotated[float, "> 0"],
    ) -> None:
        super().__init__(run_config, context)
        self._ensemble, self._record, self._file = ensemble, record, file
        self._host, self._port, self._hosts, self._token_file = host, port, hosts, token
        self._largest_batch, self._longest_wait = largest_batch, longest_wait / 1000
        self._most_bytes, self._most_pixels, self._most_images = most_bytes, most_pixels, most_images
        self._rate, self._concurrency, self._timeout = rate, concurrency, timeout

    def plan(self) -> list[Step]:
        """Plan one step, which writes nothing.

        Raises:
            ConfigError: When a package or the token is missing, or the model cannot predict single images.
            ProjectError: When there is no such model.
        """
        if any(find_spec(name) is None for name in _NEEDED):
            raise ConfigError(not_installed("mml serve", "fastapi"))
        sources = {"file": self._file, "ensemble": self._ensemble, "record": self._record}
        first, *others = [name for name, value in sources.items() if value is not None] or [""]
        wrong = f"mode.{first} says what predicts already"
        problems = [problem(f"mode.{name}", wrong, got=sources[name], fix="leave one out") for name in others]
        self._token = _token(self._token_file, os.environ.get(TOKEN), problems)
        self._address = _address(self._host, self._port, problems)
        if self._token is None and self._address is not None and not _is_loopback(self._address):
            fix = f"set {TOKEN}, or name a file by mode.token=FILE; openssl rand -hex 32 makes one"
            problems.append(problem("mode.token", "is needed where others reach the server", got=self._host, fix=fix))
        raise_all(problems)
        assert self._address is not None
        self._socket = _bound_socket(self._address, self._port)
        self._model = self._load_model()
        return [Step("serve", self._serve, in_project=False)]

    def _load_model(self) -> Model:
        from mlpipe.running import loaded_model, predictor

        config = self.run_config
        if self._file is not None:
            return loaded_model.of_file(current_folder.expanded(self._file), config.tree["trust"], "mode.file")
        # Checked before the task is looked up, which would create it.
        project = references.project(self.context.project.name, "proj", config.out_dir)
        where = project.name if self._record is None else f"{project.name}#{self._record}"
        stored = predictor.stored_models(
            where,
            task_name=tasks.recorded_pivot(config, project).name if self._record is None else None,
            ensemble=self._ensemble,
            out_dir=config.out_dir,
            data_dir=config.data_dir,
            trust=config.tree["trust"],
            keys=predictor.OF_MODES,
        )
        log.info(stored.told(predictor.LATEST if self._record is None else ""))
        return loaded_model.of_stored(stored)

    def _serve(self, run: Run | None) -> None:
        import uvicorn

        from mlpipe.modes.serve import gate as gates

        # A server ends normally by being stopped.
        self.context.stop.go_on = ""
        self.context.stop.meanwhile = "stopping when everything that was asked is answered"
        with self._gate(explains=self._warm_up()) as gate, closing(self._socket) as listening:
            # HTTP only, with the parser that limits headers; proxy headers about clients are not trusted.
            settings = uvicorn.Config(
                gate,
                http=gates.connections(self._timeout, _CONNECTIONS),
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=round(self._timeout) or 1,
            )
            server = uvicorn.Server(settings)
            # In a thread of its own it does not handle signals, which ask this process to stop.
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="mml-serve", daemon=True)
            thread.start()
            host, port = listening.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            try:
                while thread.is_alive() and not server.started:
                    thread.join(0.01)
                self.context.facts["url"] = url
                log.info(f"{url}: a page for images; POST {url}/predict for programs; Ctrl-C stops")
                while thread.is_alive() and not self.context.stop():
                    thread.join(0.1)
            finally:
                server.should_exit = True
                thread.join()
        if not self.context.stop():
            raise MlpipeError(problem(url, "the server ended by itself", fix="MML_DEBUG=1 tells more"))
        self.context.stop.asked = False
        log.info("stopped; everything that was asked is answered")

    def _warm_up(self) -> bool:
        """Load all networks before the first request, and check that none is missing.

        Returns:
            Whether heat maps are available.
        """
        if self._file is None or Path(self._file).suffix.lower() != ".onnx":
            from mlpipe.learn.machine import quiet

            quiet.prepare_torch(self.run_config.recipe.threads)
        if self._model.has_arrays:
            return False
        image_facts = self._model.card()["images"]
        channels = image_facts["channels"]
        blank = np.zeros((64, 64, channels) if channels != 1 else (64, 64), np.dtype(image_facts["type"]))
        try:
            self._model.predict(blank)
            self._model.explain(blank, output=self._model.classes[0])
        except (ConfigError, DataError) as error:
            log.debug(f"a blank image has no prediction or heat map: {first_line(error)}")
            return False
        return True

    @contextmanager
    def _gate(self, *, explains: bool) -> Iterator[Gate]:
        """Provide the application that answers requests; on exit, all pending predictions are answered."""
        from mlpipe.modes.serve import app, batching, gate

        model = self._model

        # Messages about a prediction are for the client that asked.
        def is_told(line: logging.LogRecord) -> bool:
            return line.threadName != batching.THREAD or line.levelno >= logging.WARNING

        batches = batching.Batches(
            lambda contents, options: app.answers(model, contents, options), self._largest_batch, self._longest_wait
        )
        log.addFilter(is_told)
        try:
            service = app.Service(
                model, model.card() | {"explains": explains}, batches, self._most_images, self._most_pixels
            )
            passed = gate.Limits(self._most_bytes, self._rate, self._concurrency, self._timeout)
            hosts = [*self._hosts, self._host]
            yield gate.Gate(app.made(service), passed, hosts, self._token)
        finally:
            batches.close()
            log.removeFilter(is_told)


def _token(file: str | None, text: str | None, problems: list[str]) -> str | None:
    """Return the token from the file or the environment."""
    key, token = TOKEN, (text or "").strip()
    if file is not None:
        key, path = "mode.token", current_folder.expanded(file)
        if not path.is_file():
            problems.append(no_such_file("mode.token", path, otherwise="name the file that holds the token"))
            return None
        try:
            token = limits.text(path, limits.TEXT).strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(problem(key, f"cannot be read ({first_line(error)})", got=file))
            return None
    elif not token:
        return None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        wrong = f"must be at least {_SHORTEST_TOKEN} letters and digits without blanks"
        problems.append(problem(key, wrong, fix="openssl rand -hex 32 makes one"))
    return token


def _address(host: str, port: int, problems: list[str]) -> str | None:
    """Return the address of a host name, preferably IPv4."""
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        problems.append(problem("mode.host", f"is no address of this machine ({first_line(error)})", got=host))
        return None
    return str(min(known, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def _bound_socket(address: str, port: int) -> socket.socket:
    """Return a socket bound to an address and port, not yet listening."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        fix = "choose another mode.port; mode.port=0 takes a free one"
        raise ConfigError(problem("mode.port", f"cannot be had ({error.strerror})", got=port, fix=fix)) from error
    return listener


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
