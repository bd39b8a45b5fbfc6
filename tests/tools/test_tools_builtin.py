"""The file tools: what they do, and that nothing outside their folder is ever touched."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from praxis.model.errors import PraxisError
from praxis.model.tool import CallContext, ToolResult
from praxis.observe.events import EventBus
from praxis.observe.metrics import Metrics
from praxis.tools import builtin
from praxis.tools.builtin import DEFINITIONS, FileTools
from praxis.tools.confined import ConfinedFolder, Listed, RefusedError
from praxis.tools.registry import ToolRegistry

CONTEXT = CallContext("tester")
SECRET = "the secret outside"


@attrs.frozen
class Place:
    """A shared folder with neighbours that must stay as they are."""

    top: Path
    shared: Path
    tools: FileTools

    async def call(self, name: str, **arguments: Any) -> ToolResult:
        """As the agent calls it: through the registry, which checks the arguments."""
        registry = ToolRegistry("agent", bus=EventBus(), metrics=Metrics())
        registry.add(self.tools)
        return await registry.call(registry.find("fs", name), arguments, CONTEXT)

    async def done(self, name: str, **arguments: Any) -> str:
        result = await self.call(name, **arguments)
        assert not result.is_error, result.text
        return result.text

    async def refused(self, name: str, **arguments: Any) -> str:
        result = await self.call(name, **arguments)
        assert result.is_error
        assert str(self.top) not in result.text
        assert SECRET not in result.text
        return result.text

    def outside(self) -> dict[str, str]:
        """Everything beside the shared folder."""
        found = {}
        for path in sorted(self.top.rglob("*")):
            if path != self.shared and self.shared not in path.parents:
                found[str(path.relative_to(self.top))] = path.read_text() if path.is_file() else "folder"
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "shared-other").mkdir()
    (tmp_path / "shared-other" / "file.txt").write_text(SECRET)
    (tmp_path / "secret.txt").write_text(SECRET)
    made = Place(tmp_path, shared, FileTools(shared, agent="agent"))
    before = made.outside()
    yield made
    assert made.outside() == before


# -- what they do ----------------------------------------------------------------------------------


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


# -- what stays outside ----------------------------------------------------------------------------

ESCAPES = [
    "../secret.txt",
    "a/../../secret.txt",
    "..",
    "./../shared/a",
    "a/..",
    "../shared-other/file.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "a\0b",
    "\0",
    "\ud800",
    "\udcff",
    "x" * 256,
    "x" * 5000,
    "a/" * 600 + "b",
    ".",
    "a/",
    "a/.",
]


@pytest.mark.parametrize("path", ESCAPES, ids=range(len(ESCAPES)))
async def test_a_path_that_leads_out_or_nowhere_is_refused(place: Place, path: str) -> None:
    for name, more in (("write_file", {"content": "x"}), ("read_file", {}), ("delete_file", {})):
        text = await place.refused(name, filename=path, **more)
        assert len(text) < 300
        assert text.isprintable()


async def test_the_path_of_the_folder_itself_is_no_way_in(place: Place) -> None:
    (place.shared / "a").touch()
    registry_text = await place.call("read_file", filename=str(place.shared / "a"))
    assert registry_text.is_error
    assert "is absolute" in registry_text.text


async def test_two_dots_are_refused_before_anything_is_made(place: Place) -> None:
    await place.refused("write_file", filename="new/../../x", content="x")
    assert list(place.shared.iterdir()) == []


@pytest.mark.parametrize("target", ["../secret.txt", "inside.txt", "nowhere", "link"])
async def test_a_link_to_a_file_is_never_followed(place: Place, target: str) -> None:
    (place.shared / "inside.txt").write_text("inside")
    (place.shared / "link").symlink_to(target)
    assert await place.refused("read_file", filename="link") == "'link' is a link, not a file"
    assert await place.refused("write_file", filename="link", content="x") == "'link' is a link, not a file"
    assert (place.shared / "inside.txt").read_text() == "inside"
    await place.done("delete_file", filename="link")
    assert not (place.shared / "link").is_symlink()


@pytest.mark.parametrize("target", ["..", "../shared-other", "inner", "/"])
async def test_a_link_to_a_folder_is_never_followed(place: Place, target: str) -> None:
    (place.shared / "inner").mkdir()
    (place.shared / "link").symlink_to(target)
    for name, more in (("write_file", {"content": "x"}), ("read_file", {}), ("delete_file", {})):
        assert "leads through a link" in await place.refused(name, filename="link/file.txt", **more)
    assert "leads through a link" in await place.refused("list_files", directory="link")
    assert "leads through a link" in await place.refused("write_file", filename="link/new/x", content="x")
    assert list((place.shared / "inner").iterdir()) == []


async def test_pipes_and_devices_are_refused_without_waiting(place: Place) -> None:
    os.mkfifo(place.shared / "pipe")
    assert await place.refused("read_file", filename="pipe") == "'pipe' is a device or pipe, not a file"
    assert await place.refused("write_file", filename="pipe", content="x") == "'pipe' is a device or pipe, not a file"


# What an attacker does between a look and its use: the system call before which it happens, and the deed.


def _swap(place: Place, name: str, target: str) -> Callable[[], None]:
    def swap() -> None:
        path = place.shared / name
        path.rename(place.shared / "moved")
        path.symlink_to(target)

    return swap


def _before(monkeypatch: pytest.MonkeyPatch, call: str, turn: int, deed: Callable[[], None]) -> list[int]:
    """Do the deed just before the `turn`-th use of a function of `os`; the list holds how often it was used."""
    original, used = getattr(os, call), [0]

    def wrapped(*arguments: Any, **names: Any) -> Any:
        used[0] += 1
        if used[0] == turn:
            deed()
        return original(*arguments, **names)

    monkeypatch.setattr(os, call, wrapped)
    return used


async def test_a_link_swapped_in_for_a_file_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the look at the file, before it is opened."""
    (place.shared / "f").write_text("good")
    used = _before(monkeypatch, "open", 2, _swap(place, "f", "../secret.txt"))
    assert "leads through a link" in await place.refused("read_file", filename="f")
    assert used == [2]


async def test_a_pipe_swapped_in_for_a_file_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.shared / "f").write_text("good")

    def swap() -> None:
        (place.shared / "f").unlink()
        os.mkfifo(place.shared / "f")

    _before(monkeypatch, "open", 2, swap)
    assert await place.refused("read_file", filename="f") == "'f' is a device or pipe, not a file"


async def test_a_link_swapped_in_for_a_file_is_replaced_not_written_through(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.shared / "f").write_text("old")
    used = _before(monkeypatch, "rename", 1, _swap(place, "f", "../secret.txt"))
    # `Path.rename` in the deed is a use too; the original is reached either way.
    await place.done("write_file", filename="f", content="new")
    assert used[0] >= 1
    assert not (place.shared / "f").is_symlink()
    assert (place.shared / "f").read_text() == "new"


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("name", ["write_file", "read_file", "delete_file"])
async def test_a_folder_swapped_for_a_link_leads_nowhere(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, turn: int
) -> None:
    """Before each of the opens in turn; what was opened already stays the folder that it was."""
    (place.shared / "d").mkdir()
    (place.shared / "d" / "file.txt").write_text("good")
    _before(monkeypatch, "open", turn, _swap(place, "d", "../shared-other"))
    more = {"content": "new"} if name == "write_file" else {}
    result = await place.call(name, filename="d/file.txt", **more)
    assert SECRET not in result.text
    if result.is_error:
        assert "leads through a link" in result.text
        assert (place.shared / "moved" / "file.txt").read_text() == "good"


async def test_a_folder_swapped_while_it_is_made_leads_nowhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between mkdir and the open that follows."""

    def swap() -> None:
        (place.shared / "d").rmdir()
        (place.shared / "d").symlink_to("../shared-other")

    _before(monkeypatch, "open", 3, swap)
    assert "leads through a link" in await place.refused("write_file", filename="d/file.txt", content="x")


def test_whoever_reads_meanwhile_sees_the_old_content_or_the_new(place: Place) -> None:
    folder = ConfinedFolder(place.shared)
    contents = (b"a" * 100_000, b"b" * 100_000)
    folder.write("f", contents[0])
    seen = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(folder.read("f", 200_000))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(100):
            folder.write("f", contents[turn % 2])
    finally:
        stop.set()
        reader.join()
    assert seen
    assert seen <= set(contents)


def test_no_descriptor_stays_open(place: Place) -> None:
    folder = ConfinedFolder(place.shared)
    os.mkfifo(place.shared / "pipe")
    (place.shared / "link").symlink_to("..")

    def everything() -> None:
        folder.write("a/b/c", b"x")
        folder.read("a/b/c", 10)
        folder.entries("a", 10)
        folder.entries("a", 0)
        for path in ("pipe", "link", "link/x", "no/x", "a", "a/b/c/d", "x" * 300):
            with pytest.raises(RefusedError):
                folder.read(path, 10)
        for path in ("pipe", "link", "link/x", "a", "a/b/c/d", "x" * 300):
            with pytest.raises(RefusedError):
                folder.write(path, b"")

    everything()
    before = len(os.listdir("/proc/self/fd"))
    everything()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_vanishes_while_it_is_listed_is_left_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.shared / "a").touch()
    scandir = os.scandir

    class Vanishing:
        def __init__(self, folder: int) -> None:
            self._entries = scandir(folder)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            found = list(self._entries)
            (place.shared / "a").unlink()
            return iter(found)

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    monkeypatch.setattr(os, "scandir", Vanishing)
    (place.shared / "b").touch()
    assert ConfinedFolder(place.shared).entries("", 10) == ([Listed("b", "file", 0)], False)


pieces = st.sampled_from(
    ["..", ".", "", "a", "link", "secret.txt", "shared-other", "file.txt", "\0", "\ud800", "x" * 300]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=6).map("/".join) | st.text(max_size=20), st.sampled_from(["write", "read", "delete"]))
@example("link/../../secret.txt", "write")
@example("\n", "write")
def test_no_path_leads_out(place: Place, path: str, deed: str) -> None:
    """Whatever the path, a refusal or a deed inside; the fixture compares the outside."""
    link = place.shared / "link"
    if not link.is_symlink():
        if link.exists():
            return
        link.symlink_to("..")
    folder = ConfinedFolder(place.shared)
    try:
        if deed == "write":
            folder.write(path, b"x")
        elif deed == "read":
            assert folder.read(path, 10) == b"x"
        else:
            folder.delete(path)
    except RefusedError as error:
        assert str(place.top) not in str(error)
        assert re.match(r"'|\"", str(error))
    assert place.shared.is_dir()
