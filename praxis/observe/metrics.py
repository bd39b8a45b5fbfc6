"""Metrics in Prometheus's text exposition format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/

Counters and histograms are written where things happen, gauges are read when somebody asks. All of it is for the Trio
thread only: nothing here takes a lock.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

import attrs

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MAX_SERIES = 256
"""Label sets of one metric: more than the tools of a large network, and still a page of a few hundred kilobytes."""

OTHER = "other"
"""The label value that stands for all label sets above `MAX_SERIES`."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets for durations, from a local built-in tool to a slow MCP server."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[str, ...]
Reading = float | Mapping[Labels, float]
M = TypeVar("M", "Counter", "Histogram", "_Gauge")


@attrs.define(eq=False)
class Counter:
    """A sum that only grows. Without labels it is shown from the start, as 0."""

    name: str
    help: str
    labels: Labels
    _series: dict[Labels, float] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        if not self.labels:
            self._series[()] = 0.0

    def inc(self, amount: float = 1.0, *label_values: str) -> None:
        """Add `amount`, 0 or more; raises ValueError for less or for another number of labels."""
        if amount < 0:
            raise ValueError(f"{self.name}: a counter cannot go down by {-amount}")
        series = self._series
        if label_values not in series:
            label_values = _admit(self.name, self.labels, series, label_values)
            series.setdefault(label_values, 0.0)
        series[label_values] += amount

    def value(self, *label_values: str) -> float:
        """The sum so far; 0 for labels that never came."""
        return self._series.get(label_values, 0.0)

    def lines(self) -> list[str]:
        head = _head(self.name, self.help, "counter")
        return head + [_line(self.name, self.labels, key, value) for key, value in self._series.items()]


@attrs.define(eq=False)
class Histogram:
    """How often a value fell at or under each bound, with the sum of all."""

    name: str
    help: str
    labels: Labels
    buckets: tuple[float, ...]
    _series: dict[Labels, _Tally] = attrs.field(init=False, factory=dict)

    def observe(self, value: float, *label_values: str) -> None:
        """Count one value, such as the seconds that something took; ValueError for another number of labels."""
        series = self._series
        tally = series.get(label_values)
        if tally is None:
            label_values = _admit(self.name, self.labels, series, label_values)
            tally = series.setdefault(label_values, _Tally([0] * (len(self.buckets) + 1)))
        tally.counts[bisect_left(self.buckets, value)] += 1
        tally.sum += value

    def lines(self) -> list[str]:
        lines = _head(self.name, self.help, "histogram")
        for key, tally in self._series.items():
            running = 0
            for bound, count in zip((*self.buckets, math.inf), tally.counts, strict=True):
                running += count
                lines.append(_line(f"{self.name}_bucket", (*self.labels, "le"), (*key, _number(bound)), running))
            lines.append(_line(f"{self.name}_sum", self.labels, key, tally.sum))
            lines.append(_line(f"{self.name}_count", self.labels, key, running))
        return lines


@attrs.define
class _Tally:
    counts: list[int]
    sum: float = 0.0


@attrs.define(eq=False)
class _Gauge:
    name: str
    help: str
    labels: Labels
    read: Callable[[], Reading]
    kind: Literal["gauge", "counter"] = "gauge"

    def lines(self) -> list[str]:
        reading = self.read()
        series: dict[Labels, float] = {}
        if isinstance(reading, Mapping):
            for key, value in reading.items():
                admitted = _admit(self.name, self.labels, series, key)
                series[admitted] = series.get(admitted, 0.0) + value
        else:
            series[_admit(self.name, self.labels, series, ())] = reading
        head = _head(self.name, self.help, self.kind)
        return head + [_line(self.name, self.labels, key, value) for key, value in series.items()]


class Metrics:
    """All metrics of one agent, in the order in which they were registered.

    A name that is registered again with the same kind, labels and buckets gives the same object, so that each part of
    the house can ask for what it counts; another shape under the same name raises ValueError.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Histogram | _Gauge] = {}

    def counter(self, name: str, help: str, labels: Labels = ()) -> Counter:
        """A counter; by convention its name ends in ``_total``."""
        return self._register(Counter(name, help, tuple(labels)))

    def gauge(self, name: str, help: str, read: Callable[[], Reading], labels: Labels = ()) -> None:
        """A value that `read` gives whenever it is asked for: a number, or with labels one per tuple of label values.

        Registered again, the new `read` takes the place of the old one: a service that was started again.
        """
        self._register(_Gauge(name, help, tuple(labels), read)).read = read

    def counted(self, name: str, help: str, read: Callable[[], Reading], labels: Labels = ()) -> None:
        """A counter that somebody else keeps, perhaps on another thread: `read` gives it as for a gauge."""
        self._register(_Gauge(name, help, tuple(labels), read, "counter")).read = read

    def histogram(self, name: str, help: str, buckets: Sequence[float] = SECONDS, labels: Labels = ()) -> Histogram:
        """A histogram with these upper bounds, which must grow; the last one, infinity, is added."""
        bounds = tuple(float(bound) for bound in buckets)
        if not bounds or list(bounds) != sorted(set(bounds)) or not all(math.isfinite(bound) for bound in bounds):
            raise ValueError(f"{name}: expected growing, finite buckets, got {bounds}")
        return self._register(Histogram(name, help, tuple(labels), bounds))

    def render(self) -> str:
        """The page for ``GET /metrics``, to be sent as `CONTENT_TYPE`."""
        return "".join(f"{line}\n" for metric in self._metrics.values() for line in metric.lines())

    def _register(self, metric: M) -> M:
        name = metric.name
        if not _NAME.fullmatch(name) or not all(_LABEL.fullmatch(label) for label in metric.labels):
            raise ValueError(f"{name}{metric.labels}: not the name of a metric and its labels")
        known = self._metrics.setdefault(name, metric)
        if not isinstance(known, type(metric)) or _shape(known) != _shape(metric):
            raise ValueError(f"{name} is registered already with another shape")
        return known


def _shape(metric: Counter | Histogram | _Gauge) -> tuple[Labels, object]:
    if isinstance(metric, _Gauge):
        return metric.labels, metric.kind
    return metric.labels, metric.buckets if isinstance(metric, Histogram) else ()


def _admit(name: str, labels: Labels, series: Mapping[Labels, object], values: Labels) -> Labels:
    """The label set to count under: the given one, or `OTHER` when there is no room for a new one."""
    if len(values) != len(labels):
        raise ValueError(f"{name}: expected values for the labels {labels}, got {values}")
    if labels and values not in series and len(series) >= MAX_SERIES:
        return (OTHER,) * len(labels)
    return values


def _head(name: str, help: str, kind: str) -> list[str]:
    text = help.replace("\\", "\\\\").replace("\n", "\\n")
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: Labels, values: Labels, value: float) -> str:
    pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in zip(labels, values, strict=True))
    return f"{name}{{{pairs}}} {_number(value)}" if pairs else f"{name} {_number(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
