# Sourced by the other scripts: the project's own virtual environment in .venv.
# shellcheck shell=bash

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Praxis needs Python 3.11 or newer; none was found (set PYTHON to say where it is)" >&2
  return 2
}

# make_environment [EXTRA]: creates .venv if it is missing and installs the package in it; again only when setup.cfg changed.
make_environment() {
  local extra="${1:-}" python stamp
  stamp=".venv/installed${extra:+-$extra}"
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv
  fi
  if [ ! -f "$stamp" ] || [ setup.cfg -nt "$stamp" ]; then
    echo "installing Praxis into .venv ..." >&2
    # setuptools warns about every editable installation; here it is meant.
    PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}" >&2
    touch "$stamp"
  fi
}
