"""From the start of a process to a ready agent, its memory when idle, and how fast a client verb is."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.worker import ROOT

ROUNDS = 5
PORTS = ("http.port", "websocket.port", "sse.port", "p2p.port")


def run(seconds: float) -> dict[str, float]:
    """Medians: `ready_s` and `version_s` in seconds, `idle_rss_mib` after `seconds` of idleness."""
    ready, rss, version, bare = [], [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            took, memory = _start(Path(folder), seconds)
        ready.append(took)
        rss.append(memory)
        version.append(_time([sys.executable, "-m", "praxis", "version"]))
        bare.append(_time([sys.executable, "-c", "pass"]))
    return {
        "ready_s": statistics.median(ready),
        "idle_rss_mib": statistics.median(rss),
        "version_s": statistics.median(version),
        "bare_python_s": statistics.median(bare),
    }


def _start(folder: Path, seconds: float) -> tuple[float, float]:
    command = [sys.executable, "-m", "praxis", "run", *(f"--set={name}=0" for name in PORTS)]
    environment = {**os.environ, "PRAXIS_STATE_DIR": str(folder), "DISCOVERY_PORT": "62999"}
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        if '"ready"' not in process.stdout.readline():
            raise RuntimeError("the agent did not start")
        took = time.perf_counter() - began
        time.sleep(seconds)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.send_signal(signal.SIGTERM)
    return took, int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _time(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
