"""The servers of the MCP benchmark: processes, their CPU time, and one measurement of one of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TEXT = "hello " * 4
ECHOED = TEXT.encode()
ID = re.compile(rb'"id": ?([0-9]+)')
META = "io.modelcontextprotocol/"
LEGACY, MODERN = "2025-06-18", "2026-07-28"
PATIENCE = 30.0
"""Seconds for a server to start, and for one answer."""


@attrs.frozen
class Figures:
    """Of one measurement: calls per second, seconds, and CPU seconds a call of all processes of the target."""

    rate: float
    p50: float
    p99: float
    cpu: float


class Program:
    """A process that runs while it is wanted, and all that it starts."""

    def __init__(self, command: Sequence[str], *, ready: Callable[[str], bool] | None = None) -> None:
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said = ""
        if ready is not None:
            while not ready(self.said):
                self.said = self.line()

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise RuntimeError(f"{self.process.args!r} ended")
        return said.decode()

    @property
    def cpu(self) -> float:
        """CPU seconds of the process and all below it, to a hundredth."""
        return sum(map(_cpu_of, _family(self.process.pid)))

    def stop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from _family(int(child))


def _cpu_of(pid: int) -> float:
    # After the name, which may hold anything: the 12th and 13th are ticks of the process.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- over pipes -------------------------------------------------------------------------------------


class PipeTarget:
    """A server over stdio, driven by this process: so many requests are always under way."""

    def __init__(self, command: Sequence[str], *, argument: str = "text") -> None:
        self._program = Program(command)
        params = json.dumps({"name": "echo", "arguments": {argument: TEXT}})
        self._call = b'{"jsonrpc":"2.0","id":%%d,"method":"tools/call","params":%s}\n' % params.encode()
        self._id = 0
        assert self._program.process.stdin is not None
        assert self._program.process.stdout is not None
        self._to = self._program.process.stdin.fileno()
        self._from = self._program.process.stdout.fileno()
        self._rest = b""
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        self._write([json.dumps(first).encode() + b"\n"])
        while b'"result"' not in self._read()[0]:
            pass
        self._write([b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'])

    def measure(self, callers: int, seconds: float) -> Figures:
        began: dict[int, float] = {}
        times: list[float] = []
        spent, start = -self._program.cpu, time.perf_counter()
        end = start + seconds
        self._send(callers, began)
        while began:
            lines = self._read()
            now = time.perf_counter()
            done = 0
            for line in lines:
                # Reading all of the JSON would cost more than the servers take that are to be measured.
                found = ID.search(line)
                if found is None:
                    continue  # a notification
                if ECHOED not in line:
                    raise RuntimeError(f"the server answered {line[:300]!r}")
                times.append(now - began.pop(int(found[1])))
                done += 1
            if now < end:
                self._send(done, began)
        rate = len(times) / (time.perf_counter() - start)
        spent += self._program.cpu
        cuts = statistics.quantiles(times, n=100)
        return Figures(rate, cuts[49], cuts[98], spent / len(times))

    def stop(self) -> None:
        self._program.stop()

    def _send(self, count: int, began: dict[int, float]) -> None:
        first, self._id = self._id + 1, self._id + count
        self._write([self._call % id for id in range(first, self._id + 1)])
        began.update(dict.fromkeys(range(first, self._id + 1), time.perf_counter()))

    def _write(self, lines: Sequence[bytes]) -> None:
        left = b"".join(lines)
        while left:
            left = left[os.write(self._to, left) :]

    def _read(self) -> list[bytes]:
        """The lines that come next, one at least."""
        while True:
            if not select.select([self._from], [], [], PATIENCE)[0]:
                raise RuntimeError(f"{self._program.process.args!r} answers nothing")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise RuntimeError(f"{self._program.process.args!r} ended")
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return lines


class PairTarget:
    """A client that calls a server which it has started: it measures itself, as it is told on its standard input."""

    def __init__(self, command: Sequence[str]) -> None:
        self._program = Program(command)

    def measure(self, callers: int, seconds: float) -> Figures:
        spent = -self._program.cpu
        assert self._program.process.stdin is not None
        self._program.process.stdin.write(b"%d %g\n" % (callers, seconds))
        self._program.process.stdin.flush()
        seen = json.loads(self._program.line())
        return Figures(seen["rate"], seen["p50"], seen["p99"], (spent + self._program.cpu) / seen["calls"])

    def stop(self) -> None:
        self._program.stop()


# -- over HTTP --------------------------------------------------------------------------------------


class HttpTarget:
    """The tool `tool` at `url`, driven by wrk; the CPU is that of `programs`, which others stop."""

    def __init__(self, url: str, programs: Sequence[Program], *, tool: str = "echo", version: str = LEGACY) -> None:
        self._url = url
        self._programs = programs
        self._first = 1000
        params: dict[str, Any] = {"name": tool, "arguments": {"text": TEXT}}
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
        }
        if version == MODERN:
            params["_meta"] = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}}
            self._headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        self._call = {"jsonrpc": "2.0", "id": "@ID@", "method": "tools/call", "params": params}
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if version != MODERN:
                    self._open()
                said = self._post({**self._call, "id": 1})[1]
                if TEXT in said and '"isError":true' not in said:
                    return
            except (OSError, http.client.HTTPException) as error:
                said = str(error)
            if time.monotonic() > end:
                raise RuntimeError(f"{url} answered {said[:300]}")
            time.sleep(0.1)

    def measure(self, callers: int, seconds: float) -> Figures:
        body = json.dumps(self._call, separators=(",", ":")).replace('"@ID@"', "@ID@")
        headers = [f"{name}={value}" for name, value in self._headers.items()]
        command = ["wrk", "-t1", f"-c{callers}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        command += ["-s", str(HERE / "mcp_wrk.lua"), self._url, "--", str(self._first), body, TEXT, *headers]
        self._first += 10_000_000
        spent = -sum(program.cpu for program in self._programs)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent += sum(program.cpu for program in self._programs)
        if "BAD" in done.stdout:
            raise RuntimeError(f"{self._url}: {done.stdout}")
        calls, took, p50, p99 = (float(word) for word in done.stdout.rpartition("FIGURES ")[2].split())
        return Figures(calls / took * 1e6, p50 / 1e6, p99 / 1e6, spent / calls)

    def stop(self) -> None:
        pass

    def _open(self) -> None:
        """Make a session, if the server has such."""
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self._headers.pop("Mcp-Session-Id", None)
        found, _ = self._post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
        if found:
            self._headers["Mcp-Session-Id"] = found
        self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _post(self, message: object) -> tuple[str, str]:
        """The session's id, if one is given, and what is said."""
        address, _, path = self._url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        try:
            connection.request("POST", f"/{path}", json.dumps(message), self._headers)
            answer = connection.getresponse()
            return answer.headers.get("Mcp-Session-Id", ""), answer.read().decode()
        finally:
            connection.close()
