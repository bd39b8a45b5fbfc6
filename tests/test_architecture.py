"""The rules of the house that a reader relies on, checked on the source text. CONTRIBUTING.md says why they are there.

Each rule is a function from a module to what it does wrong; the second half of this file shows each of them code that
breaks it, so that a rule that has gone blind is noticed.
"""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]

FLOORS = (
    {"__init__"},
    {"model"},
    {"dsl", "wire"},
    {"config", "observe"},
    {"net", "journal"},
    {"access", "tools", "peers", "llm"},
    {"workflow"},
    {"gateway"},
    {"api", "websocket"},
    {
        "status",
        "execution",
        "listeners",
        "reload",
        "servers",
        "preflight",
    },  # from here on single modules and what starts agents, one above the other
    {"app", "state"},
    {"daemon", "dev", "sim"},
    {"cli"},
    {"__main__"},
)
"""Imports only go down; what stands on one floor does not know each other."""
PURE = (
    *("praxis.model", "praxis.dsl", "praxis.wire", "praxis.workflow.planner", "praxis.workflow.router"),
    *(f"praxis.llm.{module}" for module in ("answer", "cleaning", "dialect", "failures", "prompt", "reply")),
)
"""No clock, no sockets, no files, no Trio: tested with plain calls."""
IMPURE = frozenset(
    {"trio", "socket", "ssl", "subprocess", "os", "time", "random", "secrets", "logging", "threading", "asyncio"}
    | {"yaml", "sqlite3", "pathlib", "tempfile"}
)
ONLY_IN = {
    "quart": "api",
    "quart_trio": "api",
    "hypercorn": "",  # quart-trio needs it; our server is our own
    "trio_websocket": "websocket",
    "yaml": "config",
    "sqlite3": "journal",
    "asyncio": "",
    "threading": "observe",  # a log line may come from any thread; all else is Trio
}
STANDARD_LIBRARY_ALONE = ("praxis.net.guard", "mcp_servers")
BESIDE = frozenset({"stdio", "mcp_servers"})
"""What the example servers share lies beside them, and is copied with them."""
AT_IMPORT = frozenset({"logging.getLogger"})
"""Calls of impure modules that may happen while a module is imported."""
MAX_LINES = 400
WEAK_WORDS = frozenset({"manager", "helper", "helpers", "util", "utils", "data", "info"})
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


@attrs.frozen
class Module:
    name: str
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def part(self) -> str:
        return [*self.name.split("."), "__init__"][1]

    def imported(self) -> Iterator[str]:
        """Dotted names of all that is imported, at any place of the module."""
        package = self.name.split(".")[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def module(path: Path) -> Module:
    return Module(".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text())


MODULES = [module(path) for path in sorted((ROOT / "praxis").rglob("*.py"))]
SERVERS = [module(path) for path in sorted((ROOT / "mcp_servers").rglob("*.py"))]


# -- rules ------------------------------------------------------------------------------------------


def imports_go_down(here: Module) -> Iterator[str]:
    def floor(part: str) -> int | None:
        return next((number for number, parts in enumerate(FLOORS) if part in parts), None)

    mine = floor(here.part)
    if mine is None:
        yield f"{here.part} stands on no floor: give it one in FLOORS"
        return
    for name in here.imported():
        if name.split(".")[0] != "praxis":
            continue
        there = name.split(".")[1] if "." in name else "__init__"
        there = "__init__" if there.startswith("__") and there != "__main__" else there
        theirs = floor(there)
        if there != here.part and (theirs is None or theirs >= mine):
            yield f"{here.part} must not import {there}"


def libraries_stay_in_their_room(here: Module) -> Iterator[str]:
    for name in here.imported():
        top = name.split(".")[0]
        if top in ONLY_IN and here.part != ONLY_IN[top]:
            yield f"{top} belongs to {ONLY_IN[top] or 'no room'}"


def pure_rooms_stay_pure(here: Module) -> Iterator[str]:
    if any(here.name == pure or here.name.startswith(f"{pure}.") for pure in PURE):
        yield from (f"pure, but imports {name}" for name in here.imported() if name.split(".")[0] in IMPURE)


def some_need_the_standard_library_alone(here: Module) -> Iterator[str]:
    if any(here.name == alone or here.name.startswith(f"{alone}.") for alone in STANDARD_LIBRARY_ALONE):
        for name in here.imported():
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and not (top in BESIDE and here.name.startswith("mcp_servers.")):
                yield f"{name} is not in the standard library"


def modules_are_short_and_say_what_they_are(here: Module) -> Iterator[str]:
    lines = len(here.source.splitlines())
    if lines > MAX_LINES:
        yield f"{lines} lines"
    if not ast.get_docstring(here.tree):
        yield "no docstring"


def packages_hold_a_docstring_only(here: Module) -> Iterator[str]:
    if not here.name.endswith(".__init__") or here.name == "praxis.cli.__init__":
        return
    for node in here.tree.body[1:]:
        if not (here.part == "__init__" and _is_version(node)):
            yield f"line {node.lineno}: a package's __init__ holds a docstring only"


def _is_version(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"


def nothing_happens_at_import(here: Module) -> Iterator[str]:
    """No work, no registry, no state that two agents in one process would share."""
    classes = {node.name for node in here.tree.body if isinstance(node, ast.ClassDef)}
    for node in here.tree.body:
        where = f"line {node.lineno}"
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                continue
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))) if name in classes:
                continue  # completes a class of this module
            case ast.Assign() | ast.AnnAssign():
                if _is_empty_container(node.value):
                    yield f"{where}: an empty container, to be filled at run time, would be shared"
                for call in ast.walk(node):
                    if isinstance(call, ast.Call):
                        name = ast.unparse(call.func)
                        if (name.split(".")[0] in IMPURE or name == "open") and name not in AT_IMPORT:
                            yield f"{where}: {name} is called while the module is imported"
            case _:
                yield f"{where}: {type(node).__name__} runs while the module is imported"
    for inner in ast.walk(here.tree):
        if isinstance(inner, ast.Global):
            yield f"line {inner.lineno}: global"


def _is_empty_container(value: ast.expr | None) -> bool:
    match value:
        case ast.List(elts=[]) | ast.Dict(keys=[]):
            return True
        case ast.Call(func=func):
            return ast.unparse(func).split(".")[-1] in {"list", "dict", "set", "deque", "defaultdict", "Counter"}
    return False


def a_wide_net_hides_nothing(here: Module) -> Iterator[str]:
    """`except Exception` raises, logs the traceback (or calls what does, in this module), or keeps the error."""
    functions = [n for n in ast.walk(here.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    logging_ones = {function.name for function in functions if _names(function.body) & TRACEBACK}
    for node in ast.walk(here.tree):
        if isinstance(node, ast.ExceptHandler):
            wide = node.type is None or _names([node.type]) & {"Exception", "BaseException"}
            raises = any(isinstance(n, ast.Raise) for statement in node.body for n in ast.walk(statement))
            if wide and not raises and not _names(node.body) & {*TRACEBACK, *logging_ones, node.name}:
                yield f"line {node.lineno}: whatever it was is swallowed"


TRACEBACK = frozenset({"exception", "exc_info", "print_exc", "format_exc"})


def _names(nodes: Sequence[ast.AST]) -> set[str | None]:
    """Every name, attribute and keyword in the nodes."""
    inner = [n for node in nodes for n in ast.walk(node)]
    found: set[str | None] = {n.id for n in inner if isinstance(n, ast.Name)}
    found |= {n.attr for n in inner if isinstance(n, ast.Attribute)}
    return found | {n.arg for n in inner if isinstance(n, ast.keyword) and n.arg}


def no_shield_without_a_deadline(here: Module) -> Iterator[str]:
    bounded = {"trio.move_on_after", "trio.move_on_at", "trio.fail_after", "trio.fail_at"}
    dated = set()
    for node in ast.walk(here.tree):
        if isinstance(node, ast.With | ast.AsyncWith) and isinstance(node.items[0].optional_vars, ast.Name):
            first, scope = node.body[0], node.items[0].optional_vars.id
            if isinstance(first, ast.Assign) and ast.unparse(first.targets[0]) == f"{scope}.deadline":
                dated.add(ast.unparse(node.items[0].context_expr))
    for node in ast.walk(here.tree):
        if isinstance(node, ast.Call) and any(k.arg == "shield" for k in node.keywords):
            deadline = any(k.arg in ("deadline", "relative_deadline") for k in node.keywords)
            if not deadline and ast.unparse(node.func) not in bounded and ast.unparse(node) not in dated:
                yield f"line {node.lineno}: a shield without a deadline"
        elif isinstance(node, ast.Assign) and any(ast.unparse(t).endswith(".shield") for t in node.targets):
            yield f"line {node.lineno}: a shield without a deadline"


def no_shell(here: Module) -> Iterator[str]:
    for node in ast.walk(here.tree):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            yield f"line {node.value.lineno}: shell="
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.system", "os.popen"):
            yield f"line {node.lineno}: {ast.unparse(node.func)}"


def names_say_something(here: Module) -> Iterator[str]:
    defined = (n for n in ast.walk(here.tree) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
    for name in (here.name.split(".")[-1], *(n.name for n in defined)):
        words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
        if name[:1].isupper() or name == here.name.split(".")[-1]:
            yield from (f"{name}: {word} says nothing" for word in words if word.lower() in WEAK_WORDS)
        elif name.startswith("process_"):
            yield f"{name}: say what is done"


def nothing_is_left_undone(here: Module) -> Iterator[str]:
    yield from (f"{match.group()} in the source" for match in UNFINISHED.finditer(here.source))


RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    imports_go_down,
    libraries_stay_in_their_room,
    pure_rooms_stay_pure,
    some_need_the_standard_library_alone,
    modules_are_short_and_say_what_they_are,
    packages_hold_a_docstring_only,
    nothing_happens_at_import,
    a_wide_net_hides_nothing,
    no_shield_without_a_deadline,
    no_shell,
    names_say_something,
    nothing_is_left_undone,
)
FOR_SERVERS = (some_need_the_standard_library_alone, modules_are_short_and_say_what_they_are, no_shell)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house(rule: Callable[[Module], Iterator[str]]) -> None:
    assert len(MODULES) > 50
    assert [f"{here.name}: {wrong}" for here in MODULES for wrong in rule(here)] == []


@pytest.mark.parametrize("rule", FOR_SERVERS, ids=lambda rule: rule.__name__)
def test_the_example_servers(rule: Callable[[Module], Iterator[str]]) -> None:
    assert SERVERS
    assert [f"{here.name}: {wrong}" for here in SERVERS for wrong in rule(here)] == []


# -- the rules see ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (imports_go_down, "praxis.tools.x", "from praxis.peers.link import Link"),
        (imports_go_down, "praxis.tools.x", "def f():\n    import praxis.workflow.executor"),
        (imports_go_down, "praxis.tools.x", "from ..peers import link"),
        (imports_go_down, "praxis.tools.__init__", "from ..app import run_agent"),
        (imports_go_down, "praxis.tools.x", "from praxis import app"),
        (imports_go_down, "praxis.attic.x", ""),
        (libraries_stay_in_their_room, "praxis.tools.x", "import yaml"),
        (libraries_stay_in_their_room, "praxis.app", "from quart_trio import QuartTrio"),
        (libraries_stay_in_their_room, "praxis.api.x", "import asyncio"),
        (pure_rooms_stay_pure, "praxis.wire.x", "import time"),
        (pure_rooms_stay_pure, "praxis.workflow.planner", "from trio import Event"),
        (some_need_the_standard_library_alone, "praxis.net.guard", "import trio"),
        (some_need_the_standard_library_alone, "mcp_servers.x", "import attrs"),
        (some_need_the_standard_library_alone, "praxis.net.guard", "import stdio"),
        (modules_are_short_and_say_what_they_are, "praxis.x", "x = 1"),
        (modules_are_short_and_say_what_they_are, "praxis.x", '"""x"""' + "\n" * (MAX_LINES + 1)),
        (packages_hold_a_docstring_only, "praxis.tools.__init__", '"""x"""\nimport os'),
        (packages_hold_a_docstring_only, "praxis.tools.__init__", '"""x"""\n__version__ = "1"'),
        (packages_hold_a_docstring_only, "praxis.__init__", '"""x"""\nversion = "1"'),
        (nothing_happens_at_import, "praxis.x", "print(1)"),
        (nothing_happens_at_import, "praxis.x", "registry.add(1)"),
        (nothing_happens_at_import, "praxis.x", "for x in y: pass"),
        (nothing_happens_at_import, "praxis.x", "CACHE: dict[str, int] = {}"),
        (nothing_happens_at_import, "praxis.x", "WAITING = collections.deque()"),
        (nothing_happens_at_import, "praxis.x", "START = time.time()"),
        (nothing_happens_at_import, "praxis.x", "TEXT = open('x').read()"),
        (nothing_happens_at_import, "praxis.x", "def f():\n    global x"),
        (a_wide_net_hides_nothing, "praxis.x", "try: f()\nexcept Exception: pass"),
        (a_wide_net_hides_nothing, "praxis.x", "try: f()\nexcept (OSError, BaseException): x = 1"),
        (a_wide_net_hides_nothing, "praxis.x", "try: f()\nexcept: logger.error('x')"),
        (a_wide_net_hides_nothing, "praxis.x", "try: f()\nexcept Exception as error: g()"),
        (no_shield_without_a_deadline, "praxis.x", "with trio.CancelScope(shield=True): pass"),
        (no_shield_without_a_deadline, "praxis.x", "with trio.CancelScope(shield=True) as s:\n    s.x = 1"),
        (no_shield_without_a_deadline, "praxis.x", "scope.shield = True"),
        (no_shell, "praxis.x", "subprocess.run('ls', shell=True)"),
        (no_shell, "praxis.x", "os.system('ls')"),
        (names_say_something, "praxis.tools.utils", ""),
        (names_say_something, "praxis.tools.x", "class ToolManager: pass"),
        (names_say_something, "praxis.tools.x", "def process_tool(): pass"),
        (nothing_is_left_undone, "praxis.x", "# TO" + "DO: later"),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Callable[[Module], Iterator[str]], name: str, source: str) -> None:
    assert list(rule(Module(name, source)))


RIGHT = """'A room.'
import re
from praxis import __version__
from praxis.model.tool import Tool
NAME = re.compile("x")
logger = logging.getLogger(__name__)
class Loader: pass
Loader.add(1)
def careful():
    try: f()
    except Exception: logger.exception("x")
    with trio.CancelScope(shield=True) as scope:
        scope.deadline = 1
    with trio.move_on_after(2, shield=True): pass
"""


def test_the_rules_let_pass_what_is_right() -> None:
    assert [wrong for rule in RULES for wrong in rule(Module("praxis.tools.room", RIGHT))] == []


# -- the command line starts fast -------------------------------------------------------------------

HEAVY = ("trio", "quart", "quart_trio", "hypercorn", "trio_websocket", "attr", "attrs", "cattrs", "yaml", "praxis.app")
PROBE = """
import contextlib, io, json, sys
from praxis.cli import main
def heavy(): return [name for name in HEAVY if name in sys.modules]
found = {"import praxis.cli": [None, heavy()]}
for arguments in VERBS:
    sys.argv = ["praxis", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try: main(); code = 0
        except SystemExit as end: code = end.code
    found[" ".join(arguments)] = [code, heavy()]
print(json.dumps(found))
"""


def test_client_verbs_load_the_standard_library_alone() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and never listening: every connection is refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        verbs = [["version"], ["status"], ["peers"], ["tools"], ["call", "t"], ["exec", "CALL t"], ["plan", "CALL t"]]
        verbs += [["mcp", "ls"], ["mcp", "rm", "a"], ["mcp", "export"], ["mcp", "add", "a", "--url", "http://a/"]]
        verbs += [["runs", "ls"], *(["runs", verb, "r"] for verb in ("show", "logs", "cancel", "retry", "resume"))]
        verbs += [["runs", "export", "r"]]
        program = PROBE.replace("HEAVY", repr(HEAVY)).replace("VERBS", repr(verbs))
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=ROOT,
            env={"PRAXIS_URL": url, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        )
    found = json.loads(done.stdout)
    assert {verb: heavy for verb, (_, heavy) in found.items() if heavy} == {}
    codes = {verb: code for verb, (code, _) in found.items()}
    assert codes.pop("import praxis.cli") is None
    assert codes.pop("version") == 0
    assert set(codes.values()) == {3}, "not reachable"


def test_verbs_that_read_programs_themselves_load_the_values_alone() -> None:
    """They plan and format without an agent, and do not need what runs one."""
    verbs = [["plan", "--check", "CALL t"], ["plan", "--check", '{"nodes": [{"id": "a", "tool": "t"}]}'], ["fmt", "-"]]
    program = PROBE.replace("HEAVY", repr(HEAVY)).replace("VERBS", repr(verbs))
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input="CALL t\n", capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    found = json.loads(done.stdout)
    del found["import praxis.cli"]
    assert {verb: code for verb, (code, _) in found.items() if code} == {}
    assert {name for _, heavy in found.values() for name in heavy} == {"attr", "attrs"}
