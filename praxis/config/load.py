"""A configuration out of its layers: the file, the changes made at run time, the environment, the flags.

Each layer stands above the one before it, key by key; lists are replaced as a whole. Only what is on top in the end is
expanded and checked, so a file may hold what the environment corrects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from praxis.config.checks import check
from praxis.config.environment import read_environment
from praxis.config.expand import Expander
from praxis.config.hooks import Text
from praxis.config.lenient import structure_leniently
from praxis.config.schema import Config
from praxis.config.strict import PathTo, Problem, dotted
from praxis.config.tool_forms import settle_tools
from praxis.config.tree import Node, Place, leaves, merge, node_from, plant, without
from praxis.config.yaml_reader import read_file
from praxis.model.errors import PraxisError

OVERLAY = "overlay.yaml"
"""The file in the state directory with the changes made at run time."""

_ALTERNATIVES: tuple[tuple[PathTo, PathTo], ...] = (
    (("p2p", "security", "network_keys"), ("p2p", "security", "network_key_file")),
)
"""Two ways to say one thing: a layer that uses one of them overrules the other one in the layers below."""

_FIXED: tuple[PathTo, ...] = (("agent", "name"), ("state_dir",))
"""What an overlay cannot change, because it says where the overlay is."""

Look = Callable[[Config, Path], Iterable[Problem]]
"""What is wrong with a configuration and its state directory on this machine."""


class ConfigError(PraxisError):
    """A configuration that cannot be used.

    Attributes:
        problems: all that is wrong, each ``place: path: what``.
        state_dir: where the agent's state is all the same, if what says so is right.
    """

    def __init__(self, problems: Iterable[str], *, state_dir: Path | None = None) -> None:
        self.problems = tuple(problems)
        self.state_dir = state_dir
        super().__init__("invalid", "\n".join(self.problems))


@attrs.frozen
class Reference:
    """A value that was written as a reference to the environment."""

    text: str
    """As written, such as ``${HTTP_PORT:-8000}``."""
    value: object
    """What it came to."""


@attrs.frozen
class Loaded:
    config: Config
    sources: Mapping[str, str]
    """Where each key's value is from: ``agent1.yaml:12``, ``overlay overlay.yaml:3``, ``environment HTTP_PORT``,
    ``--set http.port`` or ``default``."""
    base_dir: Path
    """The folder of the file, or the current one without a file."""
    references: Mapping[str, Reference]
    """By key, what was written for numbers, switches and paths; text carries its reference itself."""


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, object] = {},
    overlay: Path | None = None,
    look: Look | None = None,
) -> Loaded:
    """Reads, merges, expands and checks all layers.

    `flags` are dotted keys such as ``http.port``; one that is None was not given. A relative path in a file is relative
    to the file's folder, elsewhere to the current one. An `overlay` that does not exist changes nothing. `look`
    finds what else is wrong, beyond what the text alone can say.

    Raises ConfigError with everything that is wrong, also for a file that cannot be read.
    """
    here = Path.cwd()
    root = Node({}, Place("configuration" if path is None else str(path), "default", here, (0, 0)))
    problems: list[tuple[tuple[int, int], str]] = []
    files = [] if path is None else [(path, str(path), path.name)]
    if overlay is not None and _exists(overlay):
        files.append((overlay, str(overlay), f"overlay {overlay.name}"))
    layers = []
    unreadable = False
    for rank, (file, name, source) in enumerate(files):
        document = read_file(file, name=name, source=source, layer=rank)
        problems += (((rank, line), text) for line, text in document.problems)
        if document.root is None:
            unreadable = True
        else:
            layers.append(document.root)
            if file is overlay:
                problems += _overreach(document.root)
    if unreadable:  # what the keys of a file are is not known, so nothing more can be said
        raise ConfigError(text for _, text in problems)
    environment = read_environment(environ)
    problems += (((2, 0), text) for text in environment.problems)
    layers += environment.layers
    layers += (_flag(key, value, here) for key, value in flags.items() if value is not None)
    for layer in layers:
        root = merge(_overrule(root, layer), layer)

    root, ill_formed = settle_tools(root)
    expander = Expander(environ)
    root = expander.expand(root)
    problems += expander.problems
    problems += (_told(root, problem) for problem in ill_formed)
    lenient = structure_leniently(root, expander.failed)
    found = lenient.problems
    config, directory = lenient.config, None
    if config is not None:
        config = rebase(config, (), lenient.root, environ)
        place = state_dir(config, environ)
        found += lenient.judge(check(config, place))
        if look:
            told = {problem.path for problem in found}
            seen = (problem for problem in look(config, place) if told.isdisjoint((problem.path, *problem.beside)))
            found += lenient.judge(seen)
        directory = None if any(map(lenient.doubts, _FIXED)) else place
    problems += (_told(root, problem) for problem in found)
    if problems or config is None:
        texts = [text for _, text in sorted(problems, key=lambda problem: problem[0])]
        raise ConfigError(texts, state_dir=directory)
    return Loaded(config, _sources(config, root), path.absolute().parent if path else here, _references(config, root))


def state_dir(config: Config, environ: Mapping[str, str]) -> Path:
    """Where this agent keeps its state: as configured, else as systemd says, else in the home of the user."""
    if config.state_dir is not None:
        return config.state_dir
    if given := environ.get("STATE_DIRECTORY"):  # several folders stand between colons
        return Path(given.split(":")[0])
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".local" / "state" / "praxis" / config.agent.name


def _exists(path: Path) -> bool:
    """False only if there is certainly nothing; what cannot be looked at is left to the reader to complain about."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _flag(key: str, value: object, here: Path) -> Node:
    label = f"--set {key}"
    return plant(tuple(key.split(".")), node_from(value, Place(label, label, here, (3, 0))))


def _overreach(overlay: Node) -> Iterable[tuple[tuple[int, int], str]]:
    for path in _FIXED:
        if node := overlay.find(path):
            what = "cannot be changed at run time: it says where this file is"
            yield node.place.order, f"{node.place.label}: {dotted(path)}: {what}"


def _overrule(root: Node, layer: Node) -> Node:
    for pair in _ALTERNATIVES:
        used = [path for path in pair if (node := layer.find(path)) and node.value]
        if len(used) == 1:
            root = without(root, pair[1] if used[0] == pair[0] else pair[0])
    return root


def _told(root: Node, problem: Problem) -> tuple[tuple[int, int], str]:
    place = root.nearest(problem.path).place
    path = f"{dotted(problem.path)}: " if problem.path else ""
    return place.order, f"{place.label}: {path}{problem.what}"


def rebase(value: Any, path: PathTo, root: Node, environ: Mapping[str, str]) -> Any:
    """The same value with every path made absolute. Without following links: a link that is moved later stays one."""
    if isinstance(value, Path):
        node = root.find(path)
        home = environ.get("HOME")
        if home and value.parts[:1] == ("~",):
            value = Path(home, *value.parts[1:])
        return Path(os.path.normpath(node.place.base / value)) if node else value
    if attrs.has(type(value)):
        fields = [field.name for field in attrs.fields(type(value))]
        changed = {name: rebase(getattr(value, name), (*path, name), root, environ) for name in fields}
        return attrs.evolve(value, **changed)
    if isinstance(value, tuple):
        return tuple(rebase(item, (*path, index), root, environ) for index, item in enumerate(value))
    if isinstance(value, dict):
        return {key: rebase(item, (*path, key), root, environ) for key, item in value.items()}
    return value


def _sources(config: Config, root: Node) -> dict[str, str]:
    found = ((path, root.find(path)) for path, _ in leaves(config))
    return {dotted(path): node.place.source if node else "default" for path, node in found}


def _references(config: Config, root: Node) -> dict[str, Reference]:
    references = {}
    for path, value in leaves(config):
        node = root.find(path)
        written = node.value if node else None
        if not isinstance(written, Text) or written.reference is None or isinstance(value, Text):
            continue
        if isinstance(value, Path) and not os.path.isabs(written):
            continue  # relative to a folder that the file may be moved out of
        references[dotted(path)] = Reference(written.reference, value)
    return references
