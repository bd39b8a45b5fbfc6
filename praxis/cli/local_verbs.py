"""Verbs that work on this machine: they read configurations and start agents; imports wait until they are called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxis.cli.client import OK, USAGE, CommandError
from praxis.cli.output import say

if TYPE_CHECKING:
    from praxis.access.tokens import TokenStore
    from praxis.config.load import Loaded, Look

OTHERS = "another agent is meant with --config FILE, AGENT_CONFIG or --set agent.name=NAME"
"""For verbs about what is in a state directory, where it is not there."""


def run(options: argparse.Namespace) -> int:
    """Start an agent and serve until a signal."""
    with _fast_imports():
        from praxis.daemon import serve
        from praxis.preflight import look

    return serve(load_options(options, look=look), reread=partial(reread, options))


def dev(options: argparse.Namespace) -> int:
    """Start a small network; its addresses are printed."""
    with _fast_imports():
        from praxis.cli.dev_network import serve_network
    if not 1 <= options.agents <= 50:
        raise CommandError(USAGE, f"--agents takes 1 to 50, not {options.agents}")
    return serve_network(options.agents)


def demo(options: argparse.Namespace) -> int:
    """Start two agents and show what they do together."""
    from praxis.cli.demo import show

    return show(configs=options.configs, once=options.once, any_ports=options.ports == "auto")


def config_check(options: argparse.Namespace) -> int:
    """0 when an agent can start with the configuration, as far as that is known without opening ports."""
    from praxis.preflight import look

    loaded = load_options(options, look=look)
    named = options.config or os.environ.get("AGENT_CONFIG") or "the built-in configuration"
    say(f"{named} is good: agent {loaded.config.agent.name}")
    return OK


def config_show(options: argparse.Namespace) -> int:
    """Print every value, with `--sources` where it comes from."""
    from praxis.cli.output import emit
    from praxis.config.save import dump, plain_values

    loaded = load_options(options)
    if options.sources and options.output:
        emit(dict(loaded.sources), options.output)
    elif options.output == "json":
        emit(plain_values(loaded.config, mask_secrets=True), "json")
    elif options.sources:
        width = max(map(len, loaded.sources))
        for key, source in loaded.sources.items():
            print(f"{key.ljust(width)}  {source}")
    else:
        sys.stdout.write(dump(loaded.config, mask_secrets=True))
    return OK


def config_save(options: argparse.Namespace) -> int:
    """Write the configuration as it is now, with secrets as references."""
    from praxis.config.save import save

    loaded = load_options(options)
    try:
        save(loaded, Path(options.target))
    except OSError as error:
        raise CommandError(USAGE, f"{options.target}: {error.strerror}") from None
    say(f"saved to {options.target}")
    return OK


def token_new(options: argparse.Namespace) -> int:
    """Make a token; the agent takes it at once, also while it runs."""
    tokens = _tokens(options)
    with told():
        text = tokens.new(options.role, options.name)
    print(text)
    say(f"a token with the role {options.role}; it is not shown again")
    return OK


def token_list(options: argparse.Namespace) -> int:
    """One line per token, without the tokens themselves."""
    from praxis.cli.output import emit

    with told():
        rows = [[token.id, token.role, token.name] for token in _tokens(options).list()]
    value = [{"id": id, "role": role, "name": name} for id, role, name in rows]
    emit(value, options.output, columns=("ID", "ROLE", "NAME"), rows=rows)
    return OK


def token_revoke(options: argparse.Namespace) -> int:
    """From now on the token opens nothing."""
    with told():
        _tokens(options).revoke(options.id)
    say(f"revoked {options.id}")
    return OK


def _tokens(options: argparse.Namespace) -> TokenStore:
    from praxis.access.tokens import TokenStore
    from praxis.config.load import state_dir

    config = load_options(options).config
    return TokenStore(config.access.tokens_file or state_dir(config, os.environ) / "tokens.json")


def load_options(options: argparse.Namespace, look: Look | None = None) -> Loaded:
    """The configuration that the options mean. Raises CommandError with every problem, those that `look` finds too."""
    from praxis.config.load import OVERLAY, ConfigError, load, state_dir

    path = options.config or os.environ.get("AGENT_CONFIG")
    flags: dict[str, Any] = {}
    for text in options.set:
        key, sign, value = text.partition("=")
        if not sign:
            raise CommandError(USAGE, f"--set {text}: write KEY=VALUE")
        flags[key] = value
    file = Path(path) if path else None
    try:
        try:
            directory = state_dir(load(file, environ=os.environ, flags=flags).config, os.environ)
        except ConfigError as error:
            if error.state_dir is None:
                raise
            directory = error.state_dir
        # What was changed at run time stands over the file.
        return load(file, environ=os.environ, flags=flags, overlay=directory / OVERLAY, look=look)
    except ConfigError as error:
        raise CommandError(USAGE, "the configuration cannot be used:\n  " + "\n  ".join(error.problems)) from None


def reread(options: argparse.Namespace) -> Loaded:
    """The same for whoever has an answer to a configuration that cannot be used. Raises PraxisError."""
    from praxis.config.load import ConfigError

    try:
        return load_options(options)
    except CommandError as error:
        raise ConfigError(str(error).splitlines()) from None


@contextmanager
def told() -> Iterator[None]:
    """What the rooms say to whoever caused it, as this command's last words."""
    from praxis.model.errors import PraxisError

    try:
        yield
    except PraxisError as error:
        raise CommandError(USAGE, str(error)) from None


@contextmanager
def _fast_imports() -> Iterator[None]:
    """Garbage collection during the imports finds nothing, and costs a third of them."""
    import gc

    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
