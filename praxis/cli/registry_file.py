"""``server.json`` of the MCP registry, as an entry of `mcp.servers`: what its packages need to be run, or where it is.

Values that are asked of people become references to the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from praxis.cli.foreign_text import UntakenError, source_name, variable_of

_RUNNERS = {
    "npm": ("npx", ("-y",), "{id}@{version}"),
    "pypi": ("uvx", (), "{id}@{version}"),
    "oci": ("docker", ("run", "-i", "--rm"), "{id}:{version}"),
    "docker": ("docker", ("run", "-i", "--rm"), "{id}:{version}"),
    "nuget": ("dnx", (), "{id}@{version}"),
}
"""By kind of registry: what runs a package, with which arguments, and how a version of it is written."""
_VARIABLE = re.compile(r"\{([A-Za-z0-9_.-]+)\}")


def is_registry_file(document: Mapping[str, Any]) -> bool:
    inner = document.get("server", document)
    return isinstance(inner, dict) and (
        isinstance(inner.get("packages"), list) or isinstance(inner.get("remotes"), list)
    )


def read_registry_file(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The entry, of the first package that can be run here, else of the first remote; and what is to be known of it.

    Raises UntakenError when there is none, with what is wrong with each.
    """
    server = _camel(document.get("server", document))
    title = server.get("name")
    if not isinstance(title, str) or not title:
        raise UntakenError("it has no name")
    offers = [*_objects(server.get("packages")), *_objects(server.get("remotes"))]
    refused: list[str] = []
    chosen: dict[str, Any] | None = None
    notes: list[str] = []
    others: list[str] = []
    for offer in offers:
        if chosen is not None:
            others.append(_title(offer))
            continue
        reader = _Reader(str(server.get("version") or ""))
        try:
            chosen = reader.remote(offer) if "url" in offer else reader.package(offer)
            notes = reader.notes
        except UntakenError as error:
            refused.append(f"{_title(offer)}: {error}")
    if chosen is None:
        raise UntakenError("; ".join(refused) or "it has neither packages nor remotes")
    notes += [f"not taken: {text}" for text in refused]
    notes += [f"is offered as {', '.join(others)} too"] if others else []
    return {"name": source_name(title.rpartition("/")[2]), **chosen}, notes


class _Reader:
    def __init__(self, version: str) -> None:
        self.notes: list[str] = []
        self._version = version

    def package(self, package: dict[str, Any]) -> dict[str, Any]:
        kind = str(package.get("registryType") or package.get("registryName") or "")
        if kind not in _RUNNERS:
            raise UntakenError(f"nothing here runs packages of the kind {kind[:40]!r}")
        transport = package.get("transport") or {"type": "stdio"}
        if not isinstance(transport, dict) or transport.get("type") != "stdio":
            raise UntakenError("it serves HTTP by itself; start it, and add its url")
        identifier = package.get("identifier") or package.get("name")
        if not isinstance(identifier, str) or not identifier or identifier.startswith("-"):
            raise UntakenError("it has no identifier")
        command, first, form = _RUNNERS[kind]
        hint = package.get("runtimeHint")
        command, first = (str(hint), ()) if hint and hint != command else (command, first)
        args = [*self._arguments(package.get("runtimeArguments"))]
        env = dict(self._values(package.get("environmentVariables")))
        if command in ("docker", "podman"):
            first = ("run", "-i", "--rm")
            args = args[1:] if args[:1] == ["run"] else args
            passed = [arg for arg in args if "=" not in arg]
            args += [part for name in env if name not in passed for part in ("-e", name)]
        args = [*(arg for arg in first if arg not in args), *args]
        version = str(package.get("version") or self._version)
        tagged = not version or version == "latest" or (form.endswith(":{version}") and _is_tagged(identifier))
        args.append(_literal(identifier if tagged else form.format(id=identifier, version=version)))
        args += self._arguments(package.get("packageArguments"))
        return {"command": command, "args": args, **({"env": env} if env else {})}

    def remote(self, remote: dict[str, Any]) -> dict[str, Any]:
        kind = remote.get("type") or remote.get("transportType")
        if kind not in ("streamable-http", "sse"):
            raise UntakenError(f"the transport {str(kind)[:40]!r} is neither streamable-http nor sse")
        url = self._filled(str(remote["url"]), remote.get("variables"))
        headers = dict(self._values(remote.get("headers")))
        entry = {"transport": "sse" if kind == "sse" else "http", "url": url}
        return {**entry, **({"headers": headers} if headers else {})}

    def _arguments(self, arguments: Any) -> Iterator[str]:
        for argument in _objects(arguments):
            name = argument.get("name") if argument.get("type") == "named" else ""
            named = bool(name)
            value = self._value(argument, str(name or argument.get("valueHint") or "argument"), flag=named)
            if named and (value is not None or argument.get("isRequired")):
                yield _literal(str(name))
            if value:
                yield value

    def _values(self, inputs: Any) -> Iterator[tuple[str, str]]:
        """Variables of the environment, or headers."""
        for one in _objects(inputs):
            name = str(one.get("name") or "")
            value = self._value(one, name)
            if name and value is not None:
                yield name, value

    def _value(self, one: dict[str, Any], name: str, *, flag: bool = False) -> str | None:
        """What it is; None for what is left out. `flag`: what has no value may be one of those that need none."""
        for key in ("value", "default"):
            given = one.get(key)
            if given is not None and given != "":
                return self._filled(str(given), one.get("variables"))
        if flag and not any(key in one for key in ("format", "choices", "valueHint", "placeholder", "isSecret")):
            if one.get("isRequired"):
                return ""
        elif one.get("isRequired"):
            return self._ask(one, name)
        self.notes.append(f"left out, it can do without: {name}")
        return None

    def _filled(self, text: str, variables: Any) -> str:
        """The text with its ``{variables}`` in their places."""
        known = variables if isinstance(variables, dict) else {}
        parts: list[str] = []
        end = 0
        for match in _VARIABLE.finditer(text):
            variable = known.get(match[1])
            if not isinstance(variable, dict):
                continue
            given = variable.get("value") or variable.get("default")
            filled = _literal(str(given)) if given else self._ask(variable, match[1])
            parts += [_literal(text[end : match.start()]), filled]
            end = match.end()
        return "".join([*parts, _literal(text[end:])])

    def _ask(self, one: dict[str, Any], name: str) -> str:
        variable = variable_of(name)
        what = str(one.get("description") or "").partition("\n")[0][:120]
        self.notes.append(f"needs {variable} in the agent's environment{f': {what}' if what else ''}")
        return f"${{{variable}}}"


def _literal(text: str) -> str:
    return text.replace("$", "$$")


def _is_tagged(image: str) -> bool:
    return ":" in image.rpartition("/")[2] or "@" in image


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _title(offer: dict[str, Any]) -> str:
    kind = offer.get("registryType") or offer.get("registryName") or offer.get("type") or "package"
    return f"{kind} {offer.get('identifier') or offer.get('name') or offer.get('url') or ''}".strip()[:120]


def _camel(value: Any) -> Any:
    """Keys of the schema, which older files write with underscores. Names that somebody chose are values there,
    except for those of variables."""
    if isinstance(value, dict):
        return {
            re.sub(r"_([a-z])", lambda match: match[1].upper(), key): item if key == "variables" else _camel(item)
            for key, item in value.items()
        }
    return [_camel(item) for item in value] if isinstance(value, list) else value
