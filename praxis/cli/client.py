"""Talks to a running agent: over its unix socket, or HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OK, FAILED, USAGE, UNREACHABLE, DENIED, TIMED_OUT, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143
"""Exit codes of every verb."""

DEFAULT_URL = "http://127.0.0.1:8000"
DEV_PREFIX = "praxis-dev-"
"""Of the temporary folder in which `praxis dev` keeps the state of its agents."""


class CommandError(Exception):
    """What a verb has to say before it ends with `code`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """One agent. `url` is ``http://HOST:PORT``, ``https://...`` or ``unix:PATH``; `timeout` is in seconds."""

    def __init__(self, url: str, *, token: str = "", timeout: float | None = None) -> None:
        self.url = url
        self._token = token
        self._timeout = timeout

    def _connection(self) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _UnixConnection(self.url.removeprefix("unix:"), self._timeout)
        kinds: dict[str, type[http.client.HTTPConnection]] = {
            "http": http.client.HTTPConnection,
            "https": http.client.HTTPSConnection,
        }
        try:
            parts = urlsplit(self.url)
            if not parts.hostname or parts.path not in ("", "/") or parts.query:
                raise self._no_address()
            parts.hostname.encode("idna")
            return kinds[parts.scheme](parts.hostname, parts.port, timeout=self._timeout)
        except (KeyError, ValueError, http.client.InvalidURL):
            raise self._no_address() from None

    def _no_address(self) -> CommandError:
        return CommandError(USAGE, f"{self.url!r} is no address of an agent: write http://HOST:PORT or unix:PATH")

    def request(
        self, method: str, path: str, body: Any = None, *, holds: str = "", headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON object that the agent answers, which `holds` this key, if one is given.

        Raises CommandError with the exit code.
        Closing the connection, as Ctrl-C does, cancels what the agent runs for it.
        """
        status, content_type, raw = self.exchange(method, path, body, headers=headers or {})
        value: Any = raw.decode(errors="replace")
        if "json" in content_type:
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError):
                raise CommandError(FAILED, f"{self.url} answered with something that is not JSON") from None
        if status >= 300:
            raise _refusal(status, value)
        if not isinstance(value, dict) or (holds and holds not in value):
            raise no_agent(status)
        return value

    def exchange(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of one request."""
        sent = {"Accept": "application/json", **(headers or {})}
        if self._token:
            if not (self._token.isascii() and self._token.isprintable()):
                raise CommandError(USAGE, "PRAXIS_TOKEN holds a character that no token has, such as a line's end")
            sent["Authorization"] = f"Bearer {self._token}"
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, path, payload, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # our own; the kernel's has a number
                raise CommandError(TIMED_OUT, f"{self.url} did not answer within {self._timeout:g} s") from None
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            looked = f", and there is none of {', '.join(self.url.looked)}" if isinstance(self.url, Guess) else ""
            advice = "start one with `praxis run --config FILE`, or say where it is with --url"
            raise CommandError(UNREACHABLE, f"no agent answers at {self.url}: {reason}{looked} ({advice})") from None
        finally:
            connection.close()


def no_agent(status: int) -> CommandError:
    """For an answer that no agent gives."""
    return CommandError(UNREACHABLE, f"what answers there is no agent (HTTP {status})")


def _refusal(status: int, problem: Any) -> CommandError:
    """An RFC 9457 problem as one line and an exit code."""
    code = {401: DENIED, 403: DENIED, 421: DENIED, 504: TIMED_OUT}.get(status, FAILED)
    if not isinstance(problem, dict):
        return CommandError(code, f"the agent answered HTTP {status}: {str(problem)[:200]}")
    where = f"{problem['where']}: " if problem.get("where") else ""
    hint = f" ({problem['hint']})" if problem.get("hint") else ""
    if problem.get("code") in ("syntax", "invalid") and status == 400:
        code = USAGE
    return CommandError(code, f"{where}{problem.get('detail') or problem.get('title') or status}{hint}")


class Guess(str):
    """The address where an agent is by default, after it was looked for elsewhere; `looked` says where."""

    looked: tuple[str, ...] = ()


def _guess(*looked: object) -> Guess:
    url = Guess(DEFAULT_URL)
    url.looked = tuple(map(str, looked))
    return url


def find_agent(url: str | None, name: str | None) -> str:
    """The address of the agent that is meant: asked for, or PRAXIS_URL, or the one whose local socket is there.

    Raises CommandError when several run and none is named, or the one that is named does not.
    """
    if url:
        return url
    if not name and (given := os.environ.get("PRAXIS_URL")):
        return given
    given = os.environ.get("PRAXIS_STATE_DIR")
    if given and not name:
        path = Path(given) / "api.sock"
        return f"unix:{path}" if path.exists() else _guess(path)
    base = Path.home() / ".local" / "state" / "praxis"
    dev = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - where `praxis dev` puts it; see `_is_ours`
    found = {path: path.parent.name for path in sorted(base.glob("*/api.sock"))}
    running = sorted(path for path in dev.glob(f"{DEV_PREFIX}*/*/state/api.sock") if _is_ours(path))
    found |= {path: path.parent.parent.name for path in running}
    wanted = [path for path, agent in found.items() if name in (None, agent)]
    if len(wanted) == 1:
        return f"unix:{wanted[0]}"
    looked = (base / (name or "*") / "api.sock", dev / f"{DEV_PREFIX}*" / (name or "*") / "state" / "api.sock")
    names = ", ".join(dict.fromkeys(found.values()))
    if name and wanted:
        paths = " or ".join(f"--url unix:{path}" for path in wanted)
        raise CommandError(USAGE, f"several agents {name} run here: take {paths}")
    if wanted:
        raise CommandError(USAGE, f"several agents run here: {names}; name one with --agent")
    if name:
        others = f"; those that are there: {names}" if names else ""
        raise CommandError(
            UNREACHABLE,
            f"no agent {name!r} runs here: there is neither {looked[0]} nor {looked[1]}{others} (one with a state "
            "directory elsewhere is reached with --url unix:DIRECTORY/api.sock)",
        )
    return _guess(*looked)


def _is_ours(path: Path) -> bool:
    """Whether this user's `praxis dev` listens at a socket in a folder where anybody may put one, such as /tmp."""
    try:
        if path.parents[2].lstat().st_uid != os.getuid():
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)  # one that nobody accepts on must hold up nothing
            probe.connect(str(path))
    except OSError:
        return False
    return True
