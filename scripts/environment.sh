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

# make_venv: a .venv with pip in it. One that was left half-made, or whose Python has gone, is made anew.
make_venv() {
  local python
  if .venv/bin/python -m pip --version >/dev/null 2>&1; then
    return
  fi
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python cannot make virtual environments; on Debian and Ubuntu: apt install" \
      "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2
    return 2
  fi
  "$python" -m venv --clear .venv
}

# make_environment [EXTRA]: makes .venv if it is missing or not whole, and installs the package in it; again only when
# setup.cfg changed.
make_environment() {
  local extra="${1:-}" stamp
  stamp=".venv/installed${extra:+-$extra}"
  # -I: not the praxis of this folder but the installed one.
  if [ -f "$stamp" ] && [ ! setup.cfg -nt "$stamp" ] && .venv/bin/python -I -c 'import praxis' 2>/dev/null; then
    return
  fi
  make_venv
  echo "installing Praxis into .venv ..." >&2
  # setuptools warns about every editable installation; here it is meant.
  PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}" >&2
  touch "$stamp"
}
