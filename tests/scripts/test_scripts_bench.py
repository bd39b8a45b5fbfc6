"""The benchmarks run; what they measure is for no test."""

from __future__ import annotations

import pytest

from scripts.benchmarks import workflow


def test_the_benchmark_of_runs_measures_all_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "ROUNDS", 1)
    monkeypatch.setattr(workflow, "PARALLEL", 100)
    monkeypatch.setattr(workflow, "CHAIN", 10)
    figures = workflow.run(0.0)
    kinds = ("direct", "parallel_1000", "chain_200", "fan_out_100")
    assert figures.keys() == {*kinds, *(f"{kind}_cpu" for kind in kinds), "executor_cpu_us_per_step"}
    assert all(figures[kind] > 0 for kind in kinds)
    assert figures["executor_cpu_us_per_step"] == figures["parallel_1000_cpu"] - figures["direct_cpu"] > 0
