"""YAML as we read it: nothing guessed, nothing twice, no input that hurts the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis.config import yaml_reader
from praxis.config.yaml_reader import Document, read_file, read_scalar


def read(tmp_path: Path, text: str | bytes) -> Document:
    file = tmp_path / "x.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(file, name="x.yaml", source="x.yaml", layer=0)


def plain(tmp_path: Path, text: str) -> Any:
    document = read(tmp_path, text)
    assert document.root is not None, document.problems
    assert document.problems == ()
    return document.root.plain()


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    return [what for _, what in read(tmp_path, text).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        *((text, text) for text in ("on", "off", "yes", "no", "True", "NO", "010", "8:30", "0x10", "0o7", "1_000")),
        *((text, text) for text in (".inf", ".nan", "2024-01-01", "1e999")),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    got = read_scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_quoted_scalars_are_text(tmp_path: Path) -> None:
    assert plain(tmp_path, "a: '1'\nb: \"true\"\nc: !!str 2\nd: |\n  3\n") == {
        "a": "1",
        "b": "true",
        "c": "2",
        "d": "3\n",
    }


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    root = read(tmp_path, "http:\n  port: 1\n\n  hosts:\n    - a\n    - b: {c: 2,\n       d: 3}\n").root
    assert root is not None
    found = {path: root.nearest(path).place for path in [("http",), ("http", "port"), ("http", "hosts")]}
    assert {place.label for place in found.values()} == {"x.yaml:1", "x.yaml:2", "x.yaml:4"}
    assert root.nearest(("http", "hosts", 1, "b", "d")).place.order == (0, 7)
    assert root.nearest(("http", "port", "deeper")).place.order == (0, 2)
    assert root.find(("http", "hosts", 2)) is None


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "---\n", "null\n", "\ufeff"):
        assert plain(tmp_path, text) == {}


def test_all_duplicates_are_told_and_the_first_counts(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb: {c: 1, 'c': 2}\na: 2\n")
    assert [what for _, what in document.problems] == [
        "x.yaml:2: b.c: duplicate key, first on line 2",
        "x.yaml:3: a: duplicate key, first on line 1",
    ]
    assert document.root is not None
    assert document.root.plain() == {"a": 1, "b": {"c": 1}}


def test_aliases(tmp_path: Path) -> None:
    assert plain(tmp_path, "a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: *x\n", "x.yaml:1: the alias *x has no anchor before it"),
        ("\na: &x [*x]\n", "x.yaml:2: the alias *x has no anchor before it"),
        (
            "a: !!python/object:os.system x\n",
            "x.yaml:1: the tag tag:yaml.org,2002:python/object:os.system is not supported",
        ),
        ("a: !!int '3'\n", "x.yaml:1: the tag tag:yaml.org,2002:int is not supported"),
        ("a: !x {}\n", "x.yaml:1: the tag !x is not supported"),
        ("8000: 1\n", "x.yaml:1: 8000: expected text as a key (put it in quotes)"),
        ("? [a]\n: 1\n", "x.yaml:1: expected text as a key"),
        ("- 1\n", "x.yaml:1: expected a mapping of sections at the top"),
        ("just text\n", "x.yaml:1: expected a mapping of sections at the top"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: a second document; one file is one configuration"),
        (b"a: 1\nb: \xff\n", "x.yaml:2: not UTF-8"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "a: 1\nb: [1, 2\nc: 3\n")
    assert found.startswith("x.yaml:3: ")
    (found,) = problems(tmp_path, "a: 1\n\x00b: 1\n")
    assert found.startswith("x.yaml:")


def test_missing_unreadable_and_huge_files(tmp_path: Path) -> None:
    missing = read_file(tmp_path / "none.yaml", name="none.yaml", source="", layer=0)
    assert missing == Document(None, ((0, "none.yaml: No such file or directory"),))
    folder = read_file(tmp_path, name="folder", source="", layer=0)
    assert folder == Document(None, ((0, "folder: Is a directory"),))
    assert problems(tmp_path, b"#" * (yaml_reader.MAX_BYTES + 1)) == ["x.yaml: more than 1,048,576 bytes"]


def test_deep_nesting_is_refused_and_does_not_crash(tmp_path: Path) -> None:
    assert problems(tmp_path, "a: " + "[" * 100_000) == ["x.yaml:1: nested too deeply"]
    assert problems(tmp_path, "a: " + "{b: " * 1000) == ["x.yaml:1: nested too deeply"]


def test_aliases_of_aliases_do_not_explode(tmp_path: Path) -> None:
    lines = ["l0: &l0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert problems(tmp_path, "\n".join(lines)) == ["x.yaml:5: too many values"]


def test_both_parsers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x {b: [1, two, 'x: y']}\nc: *x\nd: |\n  long\n  text\n"
    fast = plain(tmp_path, text)
    monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)
    assert plain(tmp_path, text) == fast
    assert problems(tmp_path, "a: " + "[" * 100_000) == ["x.yaml:1: nested too deeply"]


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#?,% \n\t${}", max_size=80).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_garbage_is_read_or_told(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    document = read(tmp_path_factory.getbasetemp(), content)
    assert (document.root is None) <= bool(document.problems)
    assert all(what.startswith("x.yaml:") for _, what in document.problems)
