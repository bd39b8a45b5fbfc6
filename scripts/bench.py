#!/usr/bin/env python3
"""Measures the hot paths as ratios against a peer or a limit that runs in the same call.

usage: scripts/bench.py NAME [--json] [--seconds S]
  NAME       p2p, http, mcp, events, start or workflow
  --seconds  for each measurement of each round (default 1)
  --json     one object {"benchmark", "figures": {name: number}} instead of a table

Client and server are separate processes. Rounds are interleaved and medians taken, so that a machine that slows down
meanwhile slows down both sides of a ratio. Rates are calls per second, cpu is microseconds per call.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

NAMES = ("p2p", "http", "events", "start", "mcp", "workflow")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the hot paths.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    figures: dict[str, float] = importlib.import_module(f"scripts.benchmarks.{options.name}").run(options.seconds)
    if options.json:
        print(json.dumps({"benchmark": options.name, "figures": figures}))
        return 0
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name.ljust(width)}  {value:>12,.3f}" if abs(value) < 100 else f"{name.ljust(width)}  {value:>12,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
