#!/usr/bin/env bash
# Runs every check of the project: ruff, mypy --strict, pytest.
#
# usage: scripts/test.sh [--full] [PYTEST ARGUMENT...]
#   (nothing)  creates .venv if it is missing; tests that need root, a container engine or a package registry skip
#              and say so
#   --full     installs what those tests need and runs them too; there a skip is a failure (Debian, root)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

full=""
if [ "${1:-}" = --full ]; then full=1; shift; fi

. scripts/environment.sh
make_environment test

if [ -n "$full" ]; then
  export PRAXIS_FULL=1
  ./tests/deploy/install.sh
fi

say() { printf '\n== %s\n' "$*"; }
say ruff
.venv/bin/ruff check .
.venv/bin/ruff format --check .
say mypy --strict
.venv/bin/mypy
say pytest
exec .venv/bin/python -m pytest "$@"
