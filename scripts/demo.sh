#!/usr/bin/env bash
# Two agents on this machine find each other, and one runs the other's tools. Ctrl-C ends both.
#
# usage: scripts/demo.sh [--once] [--ports default|auto] [--configs FOLDER]
#   --once        ends after the last step instead of staying up
#   --ports auto  any free ports instead of the default ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
make_environment ""
exec .venv/bin/python -m praxis demo "$@"
