"""Loading for tests: an environment of its own, and problems without the folder's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from praxis.config.load import ConfigError, Loaded, load

Write = Callable[..., Path]
ENVIRON = {"HOME": "/home/x"}


def read(path: Path | None, environ: Mapping[str, str] = {}, **flags: object) -> Loaded:
    return load(path, environ=ENVIRON | dict(environ), flags={k.replace("__", "."): v for k, v in flags.items()})


def problems(
    path: Path | None, environ: Mapping[str, str] = {}, overlay: Path | None = None, **flags: object
) -> list[str]:
    with pytest.raises(ConfigError) as error:
        named = {key.replace("__", "."): value for key, value in flags.items()}
        load(path, environ=ENVIRON | dict(environ), flags=named, overlay=overlay)
    return [problem.replace(f"{path.parent}/" if path else "//", "") for problem in error.value.problems]
