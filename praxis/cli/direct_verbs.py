"""`praxis mcp call` and `inspect`: any MCP server, reached by this command itself, which loads what it needs for it."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxis.cli.client import FAILED, OK, TIMED_OUT, UNREACHABLE, USAGE, CommandError
from praxis.cli.client_verbs import argument, emit_result
from praxis.cli.output import emit, plain, say
from praxis.cli.source_verbs import pairs

if TYPE_CHECKING:
    from praxis.config.schema import McpServer
    from praxis.tools.mcp_source import McpSource

MAX_PAGES = 100
"""Pages of a list; a server that goes on is taken to be running in circles."""
LISTS = (
    ("resources", "resources/list"),
    ("resourceTemplates", "resources/templates/list"),
    ("prompts", "prompts/list"),
)


def inspect(options: argparse.Namespace) -> int:
    """What the server says of itself, and everything that it lists."""

    async def look(source: McpSource) -> dict[str, Any]:
        described = source.describe()
        found: dict[str, Any] = {
            "transport": source.state().transport,
            "protocol": source.state().protocol,
            "era": "modern" if source.state().protocol >= "2026" else "legacy",
            "serverInfo": described.info,
            "capabilities": described.capabilities,
            "instructions": described.instructions,
            "tools": [tool.definition for tool in source.tools()],
        }
        for key, method in LISTS:
            found[key] = await _every(source, method, key)
        return found

    found = _with(options, look)
    if options.output != "table":
        emit(found, options.output)
        return OK
    info = found["serverInfo"]
    print(f"server        {plain(info.get('name'))} {plain(info.get('version'))}")
    print(f"protocol      {found['protocol']} ({found['era']}) by {found['transport']}")
    print(f"capabilities  {plain(' '.join(found['capabilities']))}")
    for title, names in (("tools", "name"), *((key, "uriTemplate name uri") for key, _ in LISTS)):
        print(f"\n{title}: {len(found[title])}")
        for item in found[title]:
            name = next((item[key] for key in reversed(names.split()) if key in item), "?")
            text = str(item.get("description") or item.get("title") or "").strip().partition("\n")[0]
            print(f"  {plain(name)}{f'  {plain(text[:100])}' if text else ''}")
    return OK


def call(options: argparse.Namespace) -> int:
    """0 when the tool answered, 1 when it says that it failed."""
    words = [argument(text) for text in options.arguments]

    async def ask(source: McpSource) -> dict[str, Any]:
        from praxis.model.errors import PraxisError
        from praxis.model.tool import CallContext
        from praxis.tools.coerce import coerce

        tools = {tool.name: tool for tool in source.tools()}
        if options.tool not in tools:
            raise PraxisError("not_found", f"it has no tool {options.tool!r}", hint=f"it has: {', '.join(tools)}")
        arguments = coerce(tools[options.tool].input_schema, words)
        context = CallContext("praxis mcp call", on_progress=lambda params: _say_progress(dict(params)))
        return dict((await source.call(options.tool, arguments, context)).value)

    result = _with(options, ask)
    emit_result(result, options.output)
    return FAILED if result.get("isError") is True else OK


def _with(options: argparse.Namespace, work: Any) -> dict[str, Any]:
    """Do something with the server, once it is reached. Raises CommandError."""
    import trio

    from praxis.model.errors import PraxisError

    server = _server(options)
    found: dict[str, Any] = {}

    async def main() -> None:
        with trio.fail_after(options.timeout):
            found.update(await _reached(server, work))

    try:
        trio.run(main)
    except trio.TooSlowError:
        raise CommandError(TIMED_OUT, f"{options.target}: no answer within {options.timeout:g} s") from None
    except PraxisError as error:
        code = {"unavailable": UNREACHABLE, "invalid": USAGE, "timeout": TIMED_OUT}.get(error.code, FAILED)
        raise CommandError(code, f"{options.target}: {error}") from None
    return found


async def _reached(server: McpServer, work: Any) -> dict[str, Any]:
    """As an agent would reach it, but once."""
    import trio

    from praxis.config.schema import McpLimits
    from praxis.model.errors import PraxisError
    from praxis.observe.metrics import Metrics
    from praxis.tools.mcp_source import McpSource

    settled = trio.Event()

    def look(state: Any) -> None:
        if state.state not in ("starting", "disabled"):
            settled.set()

    source = McpSource(
        server,
        McpLimits(retry_attempts=0),
        "praxis",
        base_dir=Path.cwd(),
        on_change=lambda: None,
        on_state=look,
        metrics=Metrics(),
    )
    error: PraxisError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        await settled.wait()
        try:
            if source.state().state != "ready":
                raise PraxisError("unavailable", source.state().reason)
            found: dict[str, Any] = await work(source)
        except PraxisError as told:
            error = told  # out of the nursery it would come as a group
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error
    return found


async def _every(source: McpSource, method: str, key: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    from praxis.model.tool import CallContext

    items: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    for _ in range(MAX_PAGES):
        page = await source.request(method, params, CallContext("praxis mcp inspect"))
        listed = page.get(key)
        items += [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        if page.get("nextCursor") is None:
            return items
        params = {"cursor": page["nextCursor"]}
    say(f"{method} does not end; the first {len(items)} are shown")
    return items


def _server(options: argparse.Namespace) -> McpServer:
    """The target as an entry of the configuration, and checked as one."""
    from praxis.cli.local_verbs import told
    from praxis.config.entries import read_server
    from praxis.config.schema import Config

    entry: dict[str, Any] = {"name": "server"}
    if options.target.startswith(("http://", "https://")):
        entry |= {"transport": options.transport or "http", "url": options.target}
    else:
        try:
            words = shlex.split(options.target)
        except ValueError as error:
            raise CommandError(USAGE, f"{options.target}: {error}") from None
        if not words or options.transport:
            raise CommandError(USAGE, "write a URL, or a command; --transport is for a URL")
        entry |= {"command": words[0], "args": words[1:]}
    entry |= {"env": pairs(options.env, "--env"), "headers": pairs(options.header, "--header")}
    if options.protocol:
        entry["protocol"] = options.protocol
    with told():
        return read_server(entry, Config(), base_dir=Path.cwd(), environ=os.environ, where="server")


def _say_progress(params: dict[str, Any]) -> None:
    total = f" of {params['total']}" if "total" in params else ""
    text = f": {params['message']}" if params.get("message") else ""
    say(f"progress {params.get('progress')}{total}{text}")
