"""What the files of other MCP clients have in common: JSON with comments, and names for values from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from praxis.cli.client import USAGE, CommandError

MAX_FILE = 4 * 1024 * 1024
"""Bytes of a file: the largest client keeps much else beside its servers, and still less than this."""

_JSONC = re.compile(
    r'(?P<text>"(?:\\.|[^"\\])*")|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<comma>,)(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])',
    re.DOTALL,
)
_FOREIGN = re.compile(r"\$\{(?P<braces>[^{}]*)\}|\{(?P<opencode>(?:env|file):[^{}]*)\}|\$(?P<bare>[A-Za-z_]\w*)|\$")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?")


class UntakenError(Exception):
    """Something that has no counterpart here, in words."""


def parse_json(text: str, where: str) -> Any:
    """JSON; comments and commas before a closing bracket are allowed. Raises CommandError with the place."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    except RecursionError:
        raise CommandError(USAGE, f"{where}: nested too deeply") from None
    try:
        # What is taken out leaves its line breaks, so that a place in the rest is the place in the file.
        return json.loads(_JSONC.sub(lambda match: match["text"] or re.sub(r"[^\n]", " ", match[0]), text))
    except json.JSONDecodeError as error:
        raise CommandError(
            USAGE, f"{where}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CommandError(USAGE, f"{where}: not JSON: {error}") from None


class Translation:
    """Text of another client as text of our configuration: its references become ours.

    Attributes:
        notes: what whoever takes the text has to know.
    """

    def __init__(self, folder: Path, *, dialect: str = "", inputs: dict[str, Any] | None = None) -> None:
        """`folder` is what the client calls its workspace, `inputs` what it would ask for, by id."""
        self.notes: list[str] = []
        self._folder = folder
        self._dialect = dialect
        self._inputs = inputs or {}

    def text(self, value: Any) -> str:
        """Raises UntakenError. Numbers and switches, which some files hold where text belongs, are text then."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        if not isinstance(value, str):
            raise UntakenError(f"expected text, got {json.dumps(value)[:60]}")
        return _FOREIGN.sub(self._replace, value)

    def _replace(self, match: re.Match[str]) -> str:
        if match["opencode"] is not None:
            if self._dialect != "opencode":
                return match[0]
            kind, _, name = match["opencode"].partition(":")
            if kind == "env" and _VARIABLE.fullmatch(name):
                return f"${{{name}}}"
            self._refuse(match[0])
        if match["bare"] is not None:
            return f"${{{match['bare']}}}" if self._dialect == "gemini" else f"$${match['bare']}"
        return "$$" if match["braces"] is None else self._reference(match["braces"], match[0])

    def _reference(self, name: str, whole: str) -> str:
        known = {
            "workspaceFolder": str(self._folder),
            "workspaceRoot": str(self._folder),
            "workspaceFolderBasename": self._folder.name,
            "pathSeparator": "/",
            "/": "/",
        }
        if name in known:
            return known[name].replace("$", "$$")
        if name == "userHome":
            return "${HOME}"
        if name.startswith("input:"):
            return self._input(name.removeprefix("input:"))
        variable = name.removeprefix("env:")
        if not _VARIABLE.fullmatch(variable):
            self._refuse(whole)
        return f"${{{variable}}}"

    def _input(self, id: str) -> str:
        variable = variable_of(id)
        asked = self._inputs.get(id, {})
        default = asked.get("default") if isinstance(asked, dict) else None
        plain = isinstance(default, str) and not re.search(r"[{}$]", default)
        self.notes.append(f"the client would ask for {id!r}: set {variable} in the agent's environment")
        return f"${{{variable}:-{default}}}" if plain else f"${{{variable}}}"

    def _refuse(self, what: str) -> NoReturn:
        raise UntakenError(f"{what} has no counterpart here")


def variable_of(text: str) -> str:
    """A name that a variable of the environment can have, for what is called so elsewhere."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").upper() or "VALUE"
    return f"_{name}" if name[0].isdigit() else name


def source_name(text: str) -> str:
    """A name that a source can have, for a server that is called so elsewhere."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")[:64] or "server"
    return "fs-server" if name == "fs" else name
