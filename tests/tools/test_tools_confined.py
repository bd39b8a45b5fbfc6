"""Nothing outside the shared folder is ever touched; the fixture compares what is there before and after."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from praxis.tools.confined import ConfinedFolder, Listed, RefusedError
from tests.tools.conftest import SECRET, Place

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
