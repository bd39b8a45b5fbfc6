"""The file tools: what they do, and how they fail."""

from __future__ import annotations

import os
import resource
import stat
from functools import partial
from typing import Any

import pytest
import trio

from praxis.model.errors import PraxisError
from praxis.tools import builtin
from praxis.tools.builtin import DEFINITIONS
from praxis.tools.confined import ConfinedFolder
from tests.tools.conftest import CONTEXT, Place


async def test_a_file_is_written_read_listed_and_deleted(place: Place) -> None:
    assert await place.done("write_file", filename="hello.txt", content="Grüße") == "wrote 7 bytes to hello.txt"
    assert (place.shared / "hello.txt").read_bytes() == "Grüße".encode()
    assert await place.done("read_file", filename="hello.txt") == "Grüße"
    assert await place.done("list_files") == "hello.txt"
    assert await place.done("delete_file", filename="hello.txt") == "deleted hello.txt"
    assert list(place.shared.iterdir()) == []
    assert await place.done("list_files") == "the folder is empty"


async def test_writing_makes_folders_and_replaces(place: Place) -> None:
    await place.done("write_file", filename="a/b/c.txt", content="one")
    await place.done("write_file", filename="./a//b/./c.txt", content="2")
    assert (place.shared / "a/b/c.txt").read_text() == "2"
    assert [path.name for path in (place.shared / "a/b").iterdir()] == ["c.txt"]


async def test_an_empty_file_is_a_file(place: Place) -> None:
    assert await place.done("write_file", filename="e", content="") == "wrote 0 bytes to e"
    assert await place.done("read_file", filename="e") == ""


async def test_text_comes_back_as_it_was(place: Place) -> None:
    text = "\ufeffa\r\nb\n\0\x1b[31m😀"
    await place.done("write_file", filename="t", content=text)
    assert await place.done("read_file", filename="t") == text


async def test_a_folder_is_listed_with_kinds_and_sizes(place: Place) -> None:
    (place.shared / "d").mkdir()
    (place.shared / "d" / "inner").write_text("12345")
    (place.shared / "a.txt").write_text("123")
    (place.shared / "link").symlink_to(place.top / "secret.txt")
    os.mkfifo(place.shared / "pipe")
    result = await place.call("list_files", directory=".")
    assert result.text == "a.txt\nd/\nlink\npipe"
    assert result.structured == {
        "files": [
            {"name": "a.txt", "type": "file", "size": 3},
            {"name": "d", "type": "folder", "size": 0},
            {"name": "link", "type": "link", "size": 0},
            {"name": "pipe", "type": "device", "size": 0},
        ],
        "truncated": False,
    }
    assert await place.done("list_files", directory="d/") == "inner"


async def test_a_long_list_says_that_it_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "MAX_LISTED", 3)
    for n in range(3):
        (place.shared / str(n)).touch()
    assert await place.done("list_files") == "0\n1\n2"
    (place.shared / "3").touch()
    result = await place.call("list_files")
    assert result.text.endswith("\n... and more; 3 are shown")
    assert (len(result.structured["files"]), result.structured["truncated"]) == (3, True)


async def test_a_name_that_is_no_unicode_is_shown_all_the_same(place: Place) -> None:
    os.mknod(os.fsencode(place.shared) + b"/\xff.txt")
    assert await place.done("list_files") == "\ufffd.txt"


async def test_a_file_keeps_its_permissions(place: Place) -> None:
    path = place.shared / "run.sh"
    path.write_text("old")
    path.chmod(0o750)
    await place.done("write_file", filename="run.sh", content="new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o750)


def test_the_definitions_are_complete() -> None:
    assert [definition["name"] for definition in DEFINITIONS] == [
        "write_file",
        "read_file",
        "list_files",
        "delete_file",
    ]
    for definition in DEFINITIONS:
        schema = definition["inputSchema"]
        assert definition["description"].endswith(".")
        assert schema["additionalProperties"] is False
        assert all(part["description"] for part in schema["properties"].values())
        assert set(schema["required"]) <= set(schema["properties"])
    hints = {definition["name"]: definition["annotations"] for definition in DEFINITIONS}
    assert [name for name, each in hints.items() if each["readOnlyHint"]] == ["read_file", "list_files"]
    assert [name for name, each in hints.items() if each.get("destructiveHint")] == ["write_file", "delete_file"]


async def test_a_bad_argument_is_named(place: Place) -> None:
    for name, arguments, where in (
        ("write_file", {"filename": "a"}, "arguments.content"),
        ("write_file", {"filename": "a", "content": 5}, "arguments.content"),
        ("read_file", {"filename": ""}, "arguments.filename"),
        ("read_file", {"path": "a"}, "arguments.path"),
        ("list_files", {"directory": None}, "arguments.directory"),
    ):
        with pytest.raises(PraxisError) as caught:
            await place.call(name, **arguments)
        assert (caught.value.code, caught.value.where) == ("invalid", where)


async def test_another_tool_is_not_found(place: Place) -> None:
    with pytest.raises(PraxisError) as caught:
        await place.tools.call("format_disk", {}, CONTEXT)
    assert caught.value.code == "not_found"


def test_the_state_tells_of_a_folder_that_is_missing(place: Place) -> None:
    assert (place.tools.state().state, place.tools.state().tools) == ("ready", 4)
    place.shared.rmdir()
    state = place.tools.state()
    assert state.state == "failed"
    assert "agent.shared_dir" in state.reason
    place.shared.mkdir()


# -- what fails ------------------------------------------------------------------------------------


async def test_a_file_that_is_missing_is_named(place: Place) -> None:
    for name in ("read_file", "delete_file"):
        assert await place.refused(name, filename="a/no.txt") == "'a/no.txt': No such file or directory"
    assert await place.refused("list_files", directory="no") == "'no': No such file or directory"
    assert not (place.shared / "a").exists()


async def test_a_file_that_is_too_large_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "MAX_READ", 10)
    (place.shared / "a").write_text("1234567890")
    assert await place.done("read_file", filename="a") == "1234567890"
    (place.shared / "a").write_text("12345678901")
    assert await place.refused("read_file", filename="a") == "'a' has 11 bytes; no more than 10 can be read"


async def test_the_bound_of_a_read_is_a_mebibyte(place: Place) -> None:
    with (place.shared / "big").open("wb") as file:
        file.truncate(1024 * 1024 + 1)
    assert "1048576 can be read" in await place.refused("read_file", filename="big")


async def test_content_that_is_too_large_is_not_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "MAX_WRITE", 3)
    await place.done("write_file", filename="a", content="123")
    assert "has 4 bytes; 3 can be written" in await place.refused("write_file", filename="a", content="1234")
    assert (place.shared / "a").read_text() == "123"


async def test_a_file_that_is_no_text_is_named(place: Place) -> None:
    (place.shared / "image").write_bytes(b"abc\xff")
    assert await place.refused("read_file", filename="image") == "'image' is not UTF-8 text: see byte 3"


async def test_content_that_is_no_text_is_refused(place: Place) -> None:
    assert "surrogate" in await place.refused("write_file", filename="a", content="x\ud800")
    assert not (place.shared / "a").exists()


async def test_a_folder_is_no_file(place: Place) -> None:
    (place.shared / "d").mkdir()
    assert await place.refused("read_file", filename="d") == "'d' is a folder, not a file"
    assert await place.refused("write_file", filename="d", content="x") == "'d' is a folder, not a file"
    assert await place.refused("delete_file", filename="d") == "'d': Is a directory"
    (place.shared / "f").touch()
    assert "no folder" in await place.refused("list_files", directory="f")
    assert "no folder" in await place.refused("write_file", filename="f/x", content="x")


async def test_a_full_disk_leaves_the_old_content_and_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.shared / "a").write_text("old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    assert await place.refused("write_file", filename="a", content="new") == "'a': No space left on device"
    assert [(path.name, path.read_text()) for path in place.shared.iterdir()] == [("a", "old")]


async def test_a_write_under_way_is_not_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    rename = os.rename

    def look_first(*arguments: Any, **names: Any) -> None:
        listed.append((len(list(place.shared.iterdir())), ConfinedFolder(place.shared).entries(".", 10)[0]))
        rename(*arguments, **names)

    monkeypatch.setattr(os, "rename", look_first)
    await place.done("write_file", filename="a", content="x")
    assert listed == [(1, [])]


async def test_the_shared_folder_itself_may_be_gone(place: Place) -> None:
    place.shared.rmdir()
    text = await place.refused("write_file", filename="a", content="x")
    assert text == "the shared folder cannot be opened: No such file or directory"
    place.shared.mkdir()


async def test_a_disk_that_ends_in_the_middle_of_a_file_leaves_the_old_one(place: Place) -> None:
    """The real thing: the system writes a part and then refuses. A good call goes on beside it."""
    (place.shared / "a").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(place.done, "write_file", filename="b", content="good"))
            text = await place.refused("write_file", filename="a", content="x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert text == "'a': File too large"
    assert {path.name: path.read_text() for path in place.shared.iterdir()} == {"a": "old", "b": "good"}


async def test_of_a_huge_file_no_more_than_its_bound_is_read(place: Place) -> None:
    with (place.shared / "huge").open("wb") as file:
        file.truncate(2**40)
    assert await place.refused("read_file", filename="huge") == (
        f"'huge' has {2**40} bytes; no more than 1048576 can be read"
    )
