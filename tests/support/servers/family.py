"""A program with a child of its own: prints both pids as JSON, then lives on as its argument says.

wait      until its standard input ends
stubborn  ignores the end of its standard input and SIGTERM
leave N   exits with status N at once and leaves its child behind
shout     writes to its standard output until nobody can take more, then waits like `wait`
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def main(mode: str, status: int) -> None:
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    print(json.dumps({"pid": os.getpid(), "child": child.pid}), flush=True)
    if mode == "leave":
        os._exit(status)
    if mode == "shout":
        sys.stdout.write("x" * 1_000_000)
        sys.stdout.flush()
    sys.stdin.buffer.read()
    while mode == "stubborn":
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
