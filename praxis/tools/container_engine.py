"""Docker's Engine API over a unix socket, as Docker and Podman both speak it.

Where the two differ, the status decides, and of an answer only what both have: see `Engine.kill` and `_message`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import trio

from praxis import __version__
from praxis.model.tool import JSON
from praxis.net.http_client import BodyTooLargeError, HttpClient, HttpResponse
from praxis.net.http_upgrade import RefusedUpgradeError, Upgraded, open_upgraded
from praxis.tools.show import short

PING_LIMIT = 5.0
"""Seconds for an engine to say that it is there. It takes one millisecond; one that starts takes some seconds."""
ANSWER_LIMIT = 60.0
"""Seconds for all else but waiting and pulling; a disk that is busy makes creating a container take some seconds."""
PULL_LIMIT = 900.0
"""Seconds to pull an image: one of a gigabyte over a slow line."""
MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer: a list of a thousand containers."""
MAX_MESSAGE = 500
"""Characters of an engine's own words that are repeated."""
IDLE = 4
"""Connections that are kept open between requests."""
OLDEST = "1.40"
"""The version of the API where an engine does not say which it has: what Podman 3 and Docker 19.03 speak."""


class EngineError(OSError):
    """The engine answers that it cannot, or not at all. `status` is that of its answer, 0 for none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """The engine on one socket. All methods raise EngineError, or HttpError while it cannot be reached."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._client = HttpClient(keep=IDLE, agent=f"praxis/{__version__}", unix=socket)
        self._version = OLDEST

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ping(self) -> None:
        """Ask whether it is there, and for the version of the API that it speaks best."""
        with trio.move_on_after(PING_LIMIT):
            async with self._client.request("GET", "http://engine/_ping") as response:
                await response.read(MAX_ANSWER)
                if response.status != 200:
                    raise EngineError(f"it answers with status {response.status}", response.status)
                version = response.headers.get("api-version", OLDEST)
                self._version = version if version.replace(".", "").isdigit() else OLDEST
                return
        raise EngineError(f"it does not answer within {PING_LIMIT:g} s")

    async def create(self, name: str, body: Mapping[str, JSON]) -> None:
        """Make a container of this name. The status is 404 where there is no such image."""
        await self._ask("POST", "/containers/create", {"name": name}, body)

    async def put_archive(self, name: str, archive: bytes) -> None:
        """Unpack a tar at the container's root."""
        await self._ask("PUT", f"/containers/{name}/archive", {"path": "/"}, archive)

    def attach(self, name: str, *streams: str) -> AbstractAsyncContextManager[Upgraded]:
        """These of the container's standard streams: ``stdin``, ``stdout``, ``stderr``. What comes is frames whatever
        the answer's type says: it has no terminal. Leaving the context closes it."""
        query = {"stream": "1"} | dict.fromkeys(streams, "1")
        return self._attached(f"/v{self._version}/containers/{name}/attach?{urlencode(query)}")

    @asynccontextmanager
    async def _attached(self, target: str) -> AsyncIterator[Upgraded]:
        try:
            async with open_upgraded(self.socket, "POST", target) as line:
                yield line
        except RefusedUpgradeError as refused:
            raise EngineError(_message(refused.status, refused.body), refused.status) from None

    async def start(self, name: str) -> None:
        await self._ask("POST", f"/containers/{name}/start")

    async def wait(self, name: str) -> int:
        """The exit status, once it has ended. Without a limit: cancel it."""
        async with self._request("POST", f"/containers/{name}/wait") as response:
            answer = _decoded(await self._body(response))
        status = answer.get("StatusCode") if isinstance(answer, dict) else None
        if not isinstance(status, int):
            raise EngineError("it does not say how the container ended")
        return status

    async def kill(self, name: str) -> None:
        """End it, whatever it does. One that has ended already, or is not there, is as good as killed: Docker answers
        that with 409, Podman with 500."""
        try:
            await self._ask("POST", f"/containers/{name}/kill", {"signal": "KILL"})
        except EngineError as error:
            if error.status not in (404, 409, 500):
                raise

    async def remove(self, name: str) -> None:
        """Remove it with its unnamed volumes. Killed first: with `force` alone Podman waits for it to end politely."""
        await self.kill(name)
        try:
            await self._ask("DELETE", f"/containers/{name}", {"force": "1", "v": "1"})
        except EngineError as error:
            if error.status not in (404, 409):  # gone, or somebody else is removing it
                raise

    async def labelled(self, label: str) -> list[tuple[str, str]]:
        """Id and name of every container with this label, running or not."""
        filters = json.dumps({"label": [label]})
        found = _decoded(await self._ask("GET", "/containers/json", {"all": "1", "filters": filters}))
        listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [(str(one.get("Id")), str((one.get("Names") or [""])[0]).lstrip("/")) for one in listed]

    async def pull(self, image: str) -> None:
        """Fetch an image from its registry. What goes wrong on the way is told within an answer of status 200."""
        tagged = "@" in image or ":" in image.rpartition("/")[2]
        query = {"fromImage": image} | ({} if tagged else {"tag": "latest"})
        with trio.move_on_after(PULL_LIMIT):
            async with self._request("POST", "/images/create", query) as response:
                if response.status >= 400:
                    await self._body(response)
                last = b""
                while piece := await response.receive():
                    last = (last + piece)[-MAX_ANSWER:]
            for line in last.splitlines()[1 if len(last) == MAX_ANSWER else 0 :]:
                news = _decoded(line)
                if isinstance(news, dict) and news.get("error"):
                    raise EngineError(short(str(news["error"]), MAX_MESSAGE))
            return
        raise EngineError(f"the image is not there after {PULL_LIMIT:g} s")

    async def get_archive(self, name: str, path: str, most: int) -> tuple[bytes, bool]:
        """A tar of a folder in the container, at most so many bytes of it, and whether that is all. The status is 404
        where there is no such folder."""
        with trio.move_on_after(ANSWER_LIMIT):
            async with self._request("GET", f"/containers/{name}/archive", {"path": path}) as response:
                if response.status >= 400:
                    await self._body(response)
                archive = bytearray()
                while piece := await response.receive():
                    archive += piece
                    if len(archive) > most:
                        return bytes(archive[:most]), False
                return bytes(archive), True
        raise EngineError(f"it does not give {path} within {ANSWER_LIMIT:g} s")

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, JSON] | bytes = b""
    ) -> bytes:
        with trio.move_on_after(ANSWER_LIMIT):
            async with self._request(method, path, query, body) as response:
                return await self._body(response)
        raise EngineError(f"it does not answer {method} {path} within {ANSWER_LIMIT:g} s")

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, JSON] | bytes = b""
    ) -> AbstractAsyncContextManager[HttpResponse]:
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        # The host is only there because a URL has one.
        url = f"http://engine/v{self._version}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        return self._client.request(method, url, headers=[("Content-Type", kind)] if content else [], body=content)

    async def _body(self, response: HttpResponse) -> bytes:
        """Raises EngineError for a status that is no success; 304 says that it is so already."""
        try:
            body = await response.read(MAX_ANSWER)
        except BodyTooLargeError as error:
            raise EngineError(f"its answer is too large: {error}", response.status) from None
        if response.status >= 400:
            raise EngineError(_message(response.status, body), response.status)
        return body


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _message(status: int, body: bytes) -> str:
    """Docker says ``{"message"}``; Podman has ``{"cause", "message"}``, of which the message is the longer one."""
    answer = _decoded(body)
    message = answer.get("message") if isinstance(answer, dict) else None
    text = message if isinstance(message, str) and message else body[:MAX_MESSAGE].decode(errors="replace")
    return short(" ".join(text.split()) or f"status {status}", MAX_MESSAGE)
