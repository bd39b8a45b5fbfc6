"""MCP for programs that start their servers: standard input and output, joined to the running agent's local socket."""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
from pathlib import Path

from praxis.cli.client import DEFAULT_URL, OK, UNREACHABLE, USAGE, CommandError, find_agent

PIECE = 65536
"""Bytes that one direction holds at most: a side that does not read stops the other, and nothing piles up here."""


def stdio(options: argparse.Namespace) -> int:
    """Ends when standard input does and all is answered."""
    address = find_agent(options.url, options.agent)
    if not options.url and address == DEFAULT_URL and not os.environ.get("PRAXIS_URL"):
        raise CommandError(UNREACHABLE, "no agent runs here (start one with `praxis run --config FILE`)")
    path = _socket_path(address)
    with socket.socket(socket.AF_UNIX) as agent:
        try:
            agent.connect(str(path))
        except OSError as error:
            raise CommandError(
                UNREACHABLE,
                f"no agent answers at {path}: {error.strerror or error} "
                "(start one with `praxis run --config FILE`; its mcp.enabled must be true)",
            ) from None
        return _join(agent)


def _socket_path(address: str) -> Path:
    if not address.startswith("unix:"):
        raise CommandError(
            USAGE, f"{address!r} is not on this machine: give an MCP client the address {address}/mcp instead"
        )
    return Path(address.removeprefix("unix:")).with_name("mcp.sock")


def _join(agent: socket.socket) -> int:
    """Copy both ways until the agent has said its last."""
    agent.setblocking(False)
    incoming, outgoing = sys.stdin.fileno(), sys.stdout.fileno()
    to_agent = to_client = b""
    asking = True
    while True:
        readable, writable, _ = select.select(
            ([incoming] if asking and not to_agent else []) + ([] if to_client else [agent]),
            ([agent] if to_agent else []) + ([outgoing] if to_client else []),
            [],
        )
        if incoming in readable:
            to_agent = os.read(incoming, PIECE)
            if not to_agent:
                asking = False
                agent.shutdown(socket.SHUT_WR)
        if agent in readable:
            to_client = agent.recv(PIECE)
            if not to_client:
                break
        if agent in writable:
            to_agent = to_agent[agent.send(to_agent) :]
        if outgoing in writable:
            to_client = to_client[os.write(outgoing, to_client[: select.PIPE_BUF]) :]
    if asking:
        raise CommandError(UNREACHABLE, "the agent has stopped")
    return OK
