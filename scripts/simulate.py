#!/usr/bin/env python
"""Simulates networks of agents and prints how fast news spread and wounds heal: medians over seeds, a line per size.

usage: scripts/simulate.py [--seeds N] [--first-seed N] [--max-peers N] [--json] SIZE [SIZE ...]

Every run is printed as it ends. The figures are compared with what the network has to reach; `messages` are those that
carry news about the directory, per agent and change, and may not grow with the network.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from functools import partial

import attrs

from praxis.peers.gossip import ROUND
from praxis.sim.run import simulate
from praxis.sim.scenarios import Figures, measure

COLUMNS = {
    "agents": "agents",
    "lines": "lines",
    "spread_hops": "95 %: hops",
    "rounds": "all: rounds",
    "messages": "messages",
    "churn": "churn s",
    "merge": "merge s",
}
BARS = {"spread_hops": 13.0, "rounds": 3.0, "messages": 6.0, "churn": 90.0, "merge": 90.0}
"""Medians that may not be exceeded. A churn is over when the silence of the last dead is noticed, 28 s, and directories
have been compared; after a merge a peer that could not be reached is dialed again within a minute."""
MAX_PEERS = 32
"""Agents up to which all have lines to all. By default it is 256; with more agents than that they end up with the same
lines, but by way of a full mesh, which takes longer to simulate than all the rest."""
LATENCY, JITTER, LOSS = 0.02, 0.002, 0.05
"""Seconds, seconds, part of beacons: machines of one country."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", type=int, nargs="+", metavar="SIZE", help="agents, five or more")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--max-peers", type=int, default=MAX_PEERS, help=f"default: {MAX_PEERS}")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable()
    rows = []
    for size in options.sizes:
        runs = []
        began = time.monotonic()
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            figures = simulate(
                partial(measure, size=size, max_peers=options.max_peers),
                seed,
                latency=LATENCY,
                jitter=JITTER,
                loss=LOSS,
            )
            runs.append(figures)
            print(f"{size} agents, seed {seed}: {figures}", file=sys.stderr, flush=True)
        rows.append(row_of(runs, (time.monotonic() - began) / len(runs)))
    if options.json:
        print(json.dumps({"simulation": "directory", "round": ROUND, "rows": rows}))
    else:
        print("\n".join(table(rows, options.seeds)))
    return 0 if all(reached(row) for row in rows) else 1


def row_of(runs: list[Figures], seconds: float) -> dict[str, float]:
    """Medians by column, and the seconds of a run on this machine."""
    return {name: statistics.median(attrs.asdict(run)[name] for run in runs) for name in COLUMNS} | {"seconds": seconds}


def reached(row: dict[str, float]) -> bool:
    return all(row[name] <= bar for name, bar in BARS.items())


def table(rows: list[dict[str, float]], seeds: int) -> list[str]:
    """Lines for people: the bars, then each size, and behind it what it has missed."""
    bars = [f"<= {BARS[name]:g}" if name in BARS else "" for name in COLUMNS]
    lines = [f"medians of {seeds} seeds", _line([*COLUMNS.values(), "s per run", ""]), _line([*bars, "", ""])]
    for row in rows:
        missed = [COLUMNS[name] for name, bar in BARS.items() if row[name] > bar]
        verdict = f"MISSED {', '.join(missed)}" if missed else "ok"
        lines.append(_line([*(f"{value:.1f}" for value in row.values()), verdict]))
    return lines


def _line(cells: list[str]) -> str:
    return " ".join(f"{cell:>11}" for cell in cells[:-1]) + f"  {cells[-1]}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
