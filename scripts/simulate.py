#!/usr/bin/env python
"""Simulates networks of agents and prints how fast news spread and wounds heal: medians over seeds, a line per size.

usage: scripts/simulate.py [--seeds N] [--first-seed N] [--max-peers N] [--json] SIZE [SIZE ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial

import attrs

from praxis.sim.run import simulate
from praxis.sim.scenarios import Figures, measure

COLUMNS = ("agents", "lines", "spread_hops", "rounds", "messages", "churn", "merge")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", type=int, nargs="+", metavar="SIZE", help="agents")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--max-peers", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        began = time.monotonic()
        runs = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            runs.append(simulate(partial(_measure, size, options.max_peers), seed))
            print(f"{size} agents, seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
        row = {name: statistics.median(attrs.asdict(run)[name] for run in runs) for name in COLUMNS}
        rows.append({**row, "seconds": (time.monotonic() - began) / len(runs)})
    if options.json:
        print(json.dumps({"simulation": "directory", "rows": rows}))
        return 0
    titles = ("agents", "lines", "95 % hops", "all: rounds", "messages", "churn s", "merge s", "s per run")
    print(" ".join(f"{title:>11}" for title in titles))
    for row in rows:
        print(" ".join(f"{value:11.1f}" for value in row.values()))
    return 0


async def _measure(size: int, max_peers: int, seed: int) -> Figures:
    return await measure(size, seed, max_peers=max_peers)


if __name__ == "__main__":
    sys.exit(main())
