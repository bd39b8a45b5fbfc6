#!/usr/bin/env bash
# Makes what compose.yaml mounts as secrets: secrets/network.key, which makes agents one network, and
# secrets/tokens.json, which says who may call them. Prints a token for the HTTP API, this once.
#
# usage: scripts/compose-secrets.sh                              once, before the first `docker compose up`
#        scripts/compose-secrets.sh token [ROLE [NAME]]          one more token: viewer, operator (default), admin
#
# The folder is PRAXIS_SECRETS, default ./secrets. It is closed to other users; the files in it are readable, because
# the containers get each of them with its mode as it is and run as a user of their own.
# Uses .venv when Praxis is installed there, else the image (built when it is missing; CONTAINER_ENGINE=podman for podman).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder="${PRAXIS_SECRETS:-./secrets}"
engine="${CONTAINER_ENGINE:-docker}"
image=praxis:local

die() { echo "compose-secrets.sh: $*" >&2; exit 2; }
[ "$#" = 0 ] || [ "$1" = token ] || die "unknown argument $1; see the head of this file"
role="${2:-operator}" name="${3:-compose}"
case "$role" in viewer | operator | admin) ;; *) die "a role is viewer, operator or admin, not $role" ;; esac

if [ "$#" = 0 ] && [ -s "$folder/network.key" ] && [ -s "$folder/tokens.json" ]; then
  echo "$folder has a key and tokens already; 'scripts/compose-secrets.sh token' makes one more token" >&2
  exit 0
fi

# Reads the tokens so far, prints a key, a new token, and the tokens to be kept.
program='
import sys, tempfile
from pathlib import Path
from praxis.access.tokens import TokenStore
from praxis.model.errors import PraxisError
from praxis.peers.identity import NetworkKey
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "tokens.json")
    if tokens := sys.stdin.read().strip():
        path.write_text(tokens)
    try:
        token = TokenStore(path).new(sys.argv[1], sys.argv[2])
    except PraxisError as error:
        sys.exit(f"compose-secrets.sh: {error.detail}")
    print(NetworkKey.generate().text, token, path.read_text(), sep="\n", end="")
'
run() {
  if .venv/bin/python -c 'import praxis.peers.identity' 2>/dev/null; then
    .venv/bin/python -c "$program" "$@"
    return
  fi
  "$engine" image inspect "$image" >/dev/null 2>&1 || "$engine" build --quiet --file Containerfile --tag "$image" . >&2
  "$engine" run --rm --interactive --network none --read-only --tmpfs /tmp --entrypoint python "$image" -c "$program" "$@"
}

umask 077
mkdir -p "$folder"
chmod 700 "$folder"
echo '*' >"$folder/.gitignore"
tokens=""
if [ -e "$folder/tokens.json" ]; then tokens=$(<"$folder/tokens.json"); fi
made=$(run "$role" "$name" <<<"$tokens")
{ read -r key; read -r token; tokens=$(cat); } <<<"$made"
if [ ! -s "$folder/network.key" ]; then
  echo "$key" >"$folder/network.key"
fi
echo "$tokens" >"$folder/tokens.json"   # into the same file: running containers have this one mounted
chmod 444 "$folder/network.key"
chmod 644 "$folder/tokens.json"
echo "$token"
echo "a token with the role $role; it is not shown again (PRAXIS_TOKEN for the command line)" >&2
