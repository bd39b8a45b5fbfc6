"""An agent to be killed: keeps `family.py` running under a guard and passes its first line on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from praxis.net.process import open_guarded


async def main() -> None:
    family = Path(__file__).with_name("family.py")
    async with open_guarded([sys.executable, "-S", str(family), "stubborn"], env=dict(os.environ)) as process:
        os.write(1, await process.stdout.receive_some())
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
