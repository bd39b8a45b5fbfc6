"""Metrics: the text format, bounds, and registration."""

from __future__ import annotations

import math

import pytest

from praxis.observe.metrics import MAX_SERIES, OTHER, Metrics


def test_the_page_reads_as_the_format_says() -> None:
    metrics = Metrics()
    calls = metrics.counter("praxis_calls_total", 'Calls,\nby "tool" and \\.', ("tool", "state"))
    calls.inc(1, "fs/read", "ok")
    calls.inc(2.5, 'a"b\\c\nd', "ok")
    metrics.counter("praxis_plain_total", "Shown as 0 from the start.")
    metrics.gauge("praxis_peers", "Peers.", lambda: 3)
    metrics.gauge("praxis_load", "By peer.", lambda: {("a",): math.inf, ("b",): math.nan, ("c",): 0.1}, ("peer",))
    seconds = metrics.histogram("praxis_seconds", "Time.", (0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        seconds.observe(value)
    assert metrics.render() == (
        '# HELP praxis_calls_total Calls,\\nby "tool" and \\\\.\n'
        "# TYPE praxis_calls_total counter\n"
        'praxis_calls_total{tool="fs/read",state="ok"} 1\n'
        'praxis_calls_total{tool="a\\"b\\\\c\\nd",state="ok"} 2.5\n'
        "# HELP praxis_plain_total Shown as 0 from the start.\n"
        "# TYPE praxis_plain_total counter\n"
        "praxis_plain_total 0\n"
        "# HELP praxis_peers Peers.\n"
        "# TYPE praxis_peers gauge\n"
        "praxis_peers 3\n"
        "# HELP praxis_load By peer.\n"
        "# TYPE praxis_load gauge\n"
        'praxis_load{peer="a"} +Inf\n'
        'praxis_load{peer="b"} NaN\n'
        'praxis_load{peer="c"} 0.1\n'
        "# HELP praxis_seconds Time.\n"
        "# TYPE praxis_seconds histogram\n"
        'praxis_seconds_bucket{le="0.1"} 2\n'
        'praxis_seconds_bucket{le="1"} 3\n'
        'praxis_seconds_bucket{le="+Inf"} 4\n'
        "praxis_seconds_sum 7.65\n"
        "praxis_seconds_count 4\n"
    )


def test_a_histogram_keeps_its_labels_apart() -> None:
    metrics = Metrics()
    seconds = metrics.histogram("s", "S.", (1,), ("route",))
    seconds.observe(0.5, "/a")
    seconds.observe(2, "/b")
    lines = metrics.render().splitlines()
    assert 's_bucket{route="/a",le="1"} 1' in lines
    assert 's_bucket{route="/b",le="1"} 0' in lines
    assert 's_count{route="/b"} 1' in lines


def test_a_gauge_is_read_when_the_page_is_made() -> None:
    metrics = Metrics()
    reading = [1.0]
    metrics.gauge("g", "G.", lambda: reading[0])
    assert "g 1\n" in metrics.render()
    reading[0] = 2
    assert "g 2\n" in metrics.render()
    metrics.gauge("g", "G.", lambda: 9)
    assert metrics.render().endswith("\ng 9\n")


def test_label_sets_are_bounded_and_the_rest_is_counted_as_other() -> None:
    metrics = Metrics()
    counter = metrics.counter("c_total", "C.", ("x", "y"))
    histogram = metrics.histogram("h", "H.", (1,), ("x",))
    for number in range(MAX_SERIES + 10):
        counter.inc(1, str(number), "y")
        histogram.observe(0, str(number))
    metrics.gauge("g", "G.", lambda: {(str(number),): 1.0 for number in range(MAX_SERIES + 10)}, ("x",))
    lines = metrics.render().splitlines()
    assert f'c_total{{x="{OTHER}",y="{OTHER}"}} 10' in lines
    assert f'h_count{{x="{OTHER}"}} 10' in lines
    assert f'g{{x="{OTHER}"}} 10' in lines
    assert sum(line.startswith("c_total{") for line in lines) == MAX_SERIES + 1
    counter.inc(1, "0", "y")
    assert counter.value("0", "y") == 2
    assert counter.value(OTHER, OTHER) == 10


def test_registering_again_gives_the_same_object_and_another_shape_is_refused() -> None:
    metrics = Metrics()
    counter = metrics.counter("a_total", "A.", ("x",))
    histogram = metrics.histogram("h", "H.", (1, 2))
    assert metrics.counter("a_total", "A.", ("x",)) is counter
    assert metrics.histogram("h", "H.", (1.0, 2.0)) is histogram
    for wrong in (
        lambda: metrics.counter("a_total", "A."),
        lambda: metrics.histogram("h", "H.", (1, 3)),
        lambda: metrics.gauge("a_total", "A.", lambda: 0, ("x",)),
    ):
        with pytest.raises(ValueError, match="registered already"):
            wrong()


def test_what_cannot_be_is_refused() -> None:
    metrics = Metrics()
    counter = metrics.counter("a_total", "A.", ("x",))
    with pytest.raises(ValueError, match="cannot go down"):
        counter.inc(-1, "v")
    with pytest.raises(ValueError, match="expected values for the labels"):
        counter.inc()
    with pytest.raises(ValueError, match="expected values for the labels"):
        metrics.histogram("h", "H.", (1,)).observe(1, "v")
    for name, labels in (("1a", ()), ("a b", ()), ("a", ("le gal",)), ("", ())):
        with pytest.raises(ValueError, match="not the name"):
            metrics.counter(name, "", labels)
    for buckets in ((), (2, 1), (1, 1), (1, math.inf)):
        with pytest.raises(ValueError, match="growing, finite buckets"):
            metrics.histogram("b", "", buckets)
    metrics.gauge("g", "G.", lambda: {("a", "b"): 1.0}, ("x",))
    with pytest.raises(ValueError, match="expected values"):
        metrics.render()


def test_a_counter_that_somebody_else_keeps_is_shown_as_one() -> None:
    metrics = Metrics()
    lost: dict[tuple[str, ...], float] = {("file",): 2.0}
    metrics.counted("lost_total", "Lost.", lambda: lost, ("output",))
    assert metrics.render().splitlines() == [
        "# HELP lost_total Lost.",
        "# TYPE lost_total counter",
        'lost_total{output="file"} 2',
    ]
    lost[("file",)] = 3.0
    assert 'lost_total{output="file"} 3' in metrics.render()
    with pytest.raises(ValueError, match="another shape"):
        metrics.gauge("lost_total", "Lost.", lambda: lost, ("output",))
