from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_servers import filesystem_server
from mcp_servers.filesystem_server import Folders, make_tools
from mcp_servers.stdio import Server
from tests.mcp_servers.talk import Talk, call_of, cancel_of, text_of

SECRET = "do not tell"


@attrs.frozen
class Place:
    """A folder that is served, what lies around it, and the server."""

    around: Path
    inside: Path
    talk: Talk

    def call(self, tool: str, /, **arguments: Any) -> str:
        return text_of(self.talk.call(tool, **arguments))

    def refusal(self, tool: str, /, **arguments: Any) -> str:
        return text_of(self.talk.call(tool, **arguments), is_error=True)

    def find(self, **arguments: Any) -> list[Any]:
        result = self.talk.call("search_files", **arguments)
        assert result["isError"] is False
        matches: list[Any] = result["structuredContent"]["matches"]
        return matches

    def outside(self) -> dict[str, Any]:
        """All that lies around the folder: contents and what links point to."""
        found: dict[str, Any] = {}
        for parent, folders, files in os.walk(self.around):
            folders[:] = [name for name in folders if Path(parent, name) != self.inside]
            for path in (Path(parent, name) for name in folders + files):
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[str(path)] = content
        return found


@contextmanager
def make_place(around: Path) -> Iterator[Place]:
    inside = around / "root"
    (inside / "deep" / "er").mkdir(parents=True)
    (around / "root-evil").mkdir()
    for path in (around / "secret.txt", around / "root-evil" / "secret.txt", around / "root.txt"):
        path.write_text(SECRET)
    (inside / "a.txt").write_text("one\ntwo\nthree\n")
    (inside / "deep" / "b.py").write_text("two = 2\n")
    (inside / "file-link").symlink_to(around / "secret.txt")
    (inside / "folder-link").symlink_to(around)
    (inside / "deep" / "up").symlink_to("../..")
    (inside / "deep" / "here").symlink_to("../a.txt")
    (inside / "dangling").symlink_to(around / "new.txt")
    os.mkfifo(inside / "pipe")
    folders = Folders([str(inside)])
    try:
        yield Place(around, inside, Talk(Server("fs", "1", make_tools(folders))))
    finally:
        for root in folders._roots:
            os.close(root.descriptor)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with make_place(tmp_path) as place:
        yield place


# --- what the tools do


def test_the_tools_say_what_they_do_to_files(place: Place) -> None:
    tools = {tool["name"]: tool for tool in place.talk.ask("tools/list")["tools"]}
    read_only = {name for name, tool in tools.items() if tool["annotations"]["readOnlyHint"]}
    assert read_only == {"read_file", "list_directory", "search_files", "list_allowed_directories"}
    assert {
        name for name, tool in tools.items() if tool["annotations"].get("destructiveHint")
    } == tools.keys() - read_only
    idempotent = {name for name, tool in tools.items() if tool["annotations"]["idempotentHint"]}
    assert idempotent == {*read_only, "write_file"}
    structured = {name for name, tool in tools.items() if "outputSchema" in tool}
    assert structured == {"list_directory", "search_files", "list_allowed_directories"}


def test_a_file_is_written_read_edited_and_deleted(place: Place) -> None:
    content = "grüß\u2028dich\n\0"
    assert place.call("write_file", path="new/er/file.txt", content=content) == "made new/er/file.txt: 15 bytes"
    assert place.call("read_file", path="new/er/file.txt") == content
    assert place.call("write_file", path="new/er/file.txt", content="x y") == "replaced new/er/file.txt: 3 bytes"
    place.call("edit_file", path="new/er/file.txt", old="y", new="ÿ")
    assert (place.inside / "new/er/file.txt").read_text() == "x ÿ"
    place.call("delete_file", path="new/er/file.txt")
    assert list((place.inside / "new/er").iterdir()) == []
    assert "No such file" in place.refusal("delete_file", path="new/er/file.txt")


@pytest.mark.parametrize(("old", "count"), [("t", 2), ("zero", 0), ("", 0)])
def test_an_edit_must_be_clear(place: Place, old: str, count: int) -> None:
    assert f"stands there {count} times" in place.refusal("edit_file", path="a.txt", old=old, new="x")
    assert (place.inside / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_a_large_file_is_read_in_parts_and_no_character_is_cut(place: Place) -> None:
    whole = "aä€😀" * 1000
    (place.inside / "big").write_text(whole)
    read, offset = "", 0
    for _ in range(10_000):
        first, *rest = place.talk.call("read_file", path="big", offset=offset, length=7)["content"]
        read += first["text"]
        if not rest:
            break
        assert f"of {len(whole.encode())}; go on with offset" in rest[0]["text"]
        assert int(rest[0]["text"].rstrip("]").split()[-1]) > offset
        offset = int(rest[0]["text"].rstrip("]").split()[-1])
    assert read == whole
    assert place.call("read_file", path="big", offset=10**12) == ""


def test_a_huge_file_costs_no_memory(place: Place) -> None:
    with (place.inside / "huge").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    text, more = place.talk.call("read_file", path="huge", offset=1 << 39)["content"]
    assert len(text["text"]) == filesystem_server.MAX_READ
    assert f"of {1 << 40}; go on" in more["text"]
    assert "only be replaced whole" in place.refusal("edit_file", path="huge", old="a", new="b")
    assert place.find(text="\0", path="deep") == []


def test_what_is_no_text_is_refused(place: Place) -> None:
    (place.inside / "binary").write_bytes(b"abc\xff\xfe")
    assert "see byte 3" in place.refusal("read_file", path="binary")
    (place.inside / "cut").write_bytes("€".encode()[:2])
    assert "see byte 0" in place.refusal("read_file", path="cut")


def test_permissions_stay_when_a_file_is_replaced(place: Place) -> None:
    (place.inside / "a.txt").chmod(0o750)
    place.call("write_file", path="a.txt", content="x")
    assert (place.inside / "a.txt").stat().st_mode & 0o7777 == 0o750


def test_a_directory_is_listed(place: Place) -> None:
    result = place.talk.call("list_directory")
    assert text_of(result) == "a.txt\ndangling\ndeep/\nfile-link\nfolder-link\npipe"
    kinds = {entry["name"]: entry["type"] for entry in result["structuredContent"]["entries"]}
    assert kinds == {
        "a.txt": "file",
        "dangling": "link",
        "deep": "directory",
        "file-link": "link",
        "folder-link": "link",
        "pipe": "device or pipe",
    }
    assert place.call("list_directory", path="deep/er") == "the directory is empty"
    assert "no directory" in place.refusal("list_directory", path="a.txt")


def test_a_long_directory_is_cut(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_server, "MAX_LISTED", 2)
    result = place.talk.call("list_directory")
    assert (len(result["structuredContent"]["entries"]), result["structuredContent"]["truncated"]) == (2, True)
    assert text_of(result).endswith("... and more; 2 are shown")


def test_a_name_that_is_no_utf_8_is_shown(place: Place) -> None:
    (place.inside / os.fsdecode(b"deep/er/\xff.txt")).write_text("two")
    assert place.call("list_directory", path="deep/er") == "\ufffd.txt"
    assert {"path": "deep/er/\ufffd.txt", "line": 1, "text": "two"} in place.find(text="two")


def test_search_by_name_and_by_text(place: Place) -> None:
    assert place.find(name="*.py") == [{"path": "deep/b.py"}]
    assert place.find(text="two") == [
        {"path": "a.txt", "line": 2, "text": "two"},
        {"path": "deep/b.py", "line": 1, "text": "two = 2"},
    ]
    assert place.find(name="*.py", text="three") == []
    assert place.find(path="deep", name="b*") == [{"path": "deep/b.py"}]
    assert place.find(path=f"{place.inside}/deep/", name="b*") == [{"path": f"{place.inside}/deep/b.py"}]
    assert place.find(name="[") == []
    assert "No such file" in place.refusal("search_files", path="nowhere")


def test_search_does_not_follow_links_and_skips_what_is_no_text(place: Place) -> None:
    (place.inside / "binary").write_bytes(b"two\0two")
    assert [match["path"] for match in place.find(text="two")] == ["a.txt", "deep/b.py"]
    assert place.find(text=SECRET) == []
    assert {match["path"] for match in place.find()} == {
        *("a.txt", "binary", "dangling", "deep", "deep/b.py", "deep/er", "deep/here", "deep/up"),
        *("file-link", "folder-link", "pipe"),
    }


def test_search_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.inside / "deep" / "many.txt").write_text("two\n" * 50)
    for limit in (1, 5):
        result = place.talk.call("search_files", text="two", limit=limit)["structuredContent"]
        assert (len(result["matches"]), result["truncated"]) == (limit, True)
    (place.inside / "long.txt").write_text("x" * 100_000 + "needle" + "x" * 100_000)
    [match] = place.find(text="needle")
    assert "needle" in match["text"]
    assert len(match["text"]) <= filesystem_server.EXCERPT
    monkeypatch.setattr(filesystem_server, "MAX_SEARCHED", 3)
    assert place.talk.call("search_files", name="b.py")["structuredContent"]["truncated"] is True


def test_a_suspended_search_holds_no_file_open(place: Place) -> None:
    before = os.listdir("/proc/self/fd")
    place.talk.send(*(call_of(number, "search_files", text="two") for number in range(50)))
    for _ in range(3):
        place.talk.server.step()
        assert len(os.listdir("/proc/self/fd")) == len(before)
    place.talk.send(*(cancel_of(number) for number in range(50)))
    assert place.talk.finish() == []


def test_several_folders_each_by_its_full_name(tmp_path: Path) -> None:
    for name in ("one", "two", "one/inner", "one-more"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "alias").symlink_to("two")
    folders = [str(tmp_path / name) for name in ("one", "alias", "one/inner")]
    talk = Talk(Server("fs", "1", make_tools(Folders(folders))))
    assert talk.call("list_allowed_directories")["structuredContent"] == {"directories": folders}
    read = {path: text_of(talk.call("read_file", path=path)) for path in ("file", *(f"{f}/file" for f in folders))}
    assert read == {
        "file": "one",
        f"{folders[0]}/file": "one",
        f"{folders[1]}/file": "two",
        f"{folders[2]}/file": "one/inner",
    }
    assert text_of(talk.call("read_file", path=f"{tmp_path}/two/file")) == "two", "the folder's name without links"
    assert "outside" in text_of(talk.call("read_file", path=f"{tmp_path}/one-more/file"), is_error=True)


# --- and nothing outside


OUTSIDE = [
    ("../secret.txt", "upwards"),
    ("deep/../../secret.txt", "upwards"),
    ("deep/..", "upwards"),
    ("/etc/passwd", "outside"),
    ("//etc/passwd", "outside"),
    ("/", "outside"),
    ("file-link", "not a file"),
    ("dangling", "not a file"),
    ("deep/here", "not a file"),
    ("folder-link/secret.txt", "link"),
    ("deep/up/secret.txt", "link"),
    ("folder-link/root/a.txt", "link"),
    ("pipe", "not a file"),
    ("deep", "a directory, not a file"),
    ("a.txt/x", "no directory"),
    ("a\0.txt", "no file name"),
    ("a.txt/", "not name a file"),
    (".", "not name a file"),
    ("", "not name a file"),
    ("x" * 300, "too long"),
    ("x/" * 600, "may have 1024"),
]


@pytest.mark.parametrize(("path", "problem"), OUTSIDE)
def test_paths_that_lead_out_are_refused_by_every_tool(place: Place, path: str, problem: str) -> None:
    before = place.outside()
    assert problem in place.refusal("read_file", path=path)
    assert problem in place.refusal("write_file", path=path, content="x")
    assert problem in place.refusal("edit_file", path=path, old=SECRET, new="x")
    for tool in ("delete_file", "list_directory", "search_files"):
        if problem in ("upwards", "outside", "link", "no file name", "may have 1024"):
            assert problem in place.refusal(tool, path=path)
    assert place.outside() == before


def test_the_neighbour_whose_name_begins_alike_is_outside(place: Place) -> None:
    for neighbour in ("root-evil/secret.txt", "root.txt"):
        assert "outside" in place.refusal("read_file", path=f"{place.around}/{neighbour}")
    assert place.call("read_file", path=f"{place.inside}/a.txt").startswith("one")
    assert place.call("read_file", path=f"/{place.inside}//./deep/b.py").startswith("two")


def test_deleting_a_link_deletes_the_link(place: Place) -> None:
    before = place.outside()
    for link in ("file-link", "folder-link", "dangling"):
        place.call("delete_file", path=link)
    assert place.outside() == before
    assert "directory" in place.refusal("delete_file", path="deep")


def test_a_folder_that_is_moved_and_replaced_by_a_link_is_still_the_old_one(place: Place) -> None:
    place.inside.rename(place.around / "elsewhere")
    place.inside.symlink_to(place.around / "root-evil")
    assert place.call("read_file", path="a.txt").startswith("one")
    assert "No such file" in place.refusal("read_file", path="secret.txt")


Swap = Callable[[], None]


@pytest.fixture
def swapping(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Swap], None]]:
    """Have something done between the check of a name and its use: just before it is opened or renamed to."""

    def arrange(function: str, swap: Swap) -> None:
        real = getattr(os, function)
        done: list[Any] = []

        def swapped(path: Any, *arguments: Any, **more: Any) -> Any:
            target = arguments[0] if function == "rename" else path
            if target in ("a.txt", "deep") and not done:
                done.append(target)
                swap()
            return real(path, *arguments, **more)

        monkeypatch.setattr(os, function, swapped)
        swaps.append(done)

    swaps: list[list[Any]] = []
    yield arrange
    assert all(swaps), "nothing was swapped"


def link_instead(path: Path, target: Path) -> Swap:
    def swap() -> None:
        path.rename(path.with_name("gone"))
        path.symlink_to(target)

    return swap


def test_a_file_swapped_for_a_link_is_not_read(place: Place, swapping: Callable[[str, Swap], None]) -> None:
    swapping("open", link_instead(place.inside / "a.txt", place.around / "secret.txt"))
    assert "link" in place.refusal("read_file", path="a.txt")


def test_a_file_swapped_for_a_pipe_is_not_waited_for(place: Place, swapping: Callable[[str, Swap], None]) -> None:
    def swap() -> None:
        (place.inside / "a.txt").unlink()
        os.mkfifo(place.inside / "a.txt")

    swapping("open", swap)
    assert "no file any more" in place.refusal("read_file", path="a.txt")


def test_a_file_swapped_for_a_link_is_not_written_through(place: Place, swapping: Callable[[str, Swap], None]) -> None:
    before = place.outside()
    swapping("rename", link_instead(place.inside / "a.txt", place.around / "secret.txt"))
    place.call("write_file", path="a.txt", content="x")
    assert place.outside() == before
    assert (place.inside / "a.txt").read_text() == "x"
    assert not (place.inside / "a.txt").is_symlink()


@pytest.mark.parametrize("tool", ["read_file", "write_file", "delete_file", "list_directory", "search_files"])
def test_a_folder_swapped_for_a_link_is_not_entered(
    place: Place, swapping: Callable[[str, Swap], None], tool: str
) -> None:
    before = place.outside()
    swapping("open", link_instead(place.inside / "deep", place.around))
    path = "deep" if tool in ("list_directory", "search_files") else "deep/secret.txt"
    more = {"content": "x"} if tool == "write_file" else {}
    assert "link" in place.refusal(tool, path=path, **more)
    assert place.outside() == before


def test_a_folder_swapped_in_the_middle_of_a_search_is_not_entered(place: Place) -> None:
    place.talk.send(call_of(1, "search_files", text=SECRET))
    place.talk.server.step()
    link_instead(place.inside / "deep", place.around)()
    [answer] = place.talk.finish()
    assert answer["result"]["structuredContent"]["matches"] == []


NAMES = [
    "a.txt",
    "deep",
    "er",
    "up",
    "here",
    "file-link",
    "folder-link",
    "dangling",
    "pipe",
    "new",
    "root",
    "secret.txt",
]
ODD = ["..", ".", "", "~", "*", "root-evil", "a\0b", "..\\", "%2e%2e", "\uff0e\uff0e", "\ud800"]
PARTS = st.sampled_from(NAMES) | st.sampled_from(ODD) | st.text(max_size=5)
PATHS = st.lists(PARTS, max_size=6).map("/".join)


@settings(deadline=None, max_examples=300)
@given(
    tool=st.sampled_from(["read_file", "write_file", "edit_file", "delete_file", "list_directory", "search_files"]),
    path=PATHS,
    start=st.sampled_from(["", "", "/", "AROUND", "INSIDE"]),
)
def test_no_path_reads_or_changes_what_is_outside(tool: str, path: str, start: str) -> None:
    more = {"write_file": {"content": "x"}, "edit_file": {"old": SECRET, "new": "x"}, "search_files": {"text": SECRET}}
    with TemporaryDirectory() as around, make_place(Path(around)) as place:
        before = place.outside()
        path = {"AROUND": f"{around}/", "INSIDE": f"{place.inside}/"}.get(start, start) + path
        result = place.talk.call(tool, path=path, **more.get(tool, {}))
        assert SECRET not in json.dumps(result)
        assert "secret.txt" not in json.dumps(result.get("structuredContent", ""))
        assert place.outside() == before


# --- as a process


@pytest.mark.parametrize("arguments", [[], ["/no/such/folder"], [__file__]])
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        filesystem_server.main(arguments)


def test_a_write_that_is_killed_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """The signal comes while the new content is being written, to a disk that is slow at that moment."""
    (tmp_path / "a").write_text("old")
    program = (
        "import os, signal, sys; from mcp_servers import filesystem_server as f;"
        "real = os.fchmod;"
        "os.fchmod = lambda *arguments: (real(*arguments), os.kill(os.getpid(), signal.SIGTERM));"
        "sys.exit(f.main([sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        input=json.dumps(call_of(1, "write_file", path="a", content="new")).encode(),
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, b"", b"")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
