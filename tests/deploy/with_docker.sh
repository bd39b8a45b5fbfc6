#!/usr/bin/env bash
# Builds the product's image in a Docker engine of its own and runs a command beside that engine; then all of it is gone.
#
# usage: tests/deploy/with_docker.sh COMMAND [ARGUMENT...]       Linux, root; tests/deploy/install.sh installs the parts
#
# Needs no image registry: base_image.py makes the image that the Containerfile starts from. While the image is built the
# engine uses the host's network, for the package index, and changes nothing of it; after that it runs in a network
# namespace of its own, with its bridge and its firewall rules. COMMAND runs in that namespace: published ports are on
# the 127.0.0.1 it sees, and collide with nothing. It finds DOCKER_HOST and DOCKER_CONFIG set.
# Process, mount and network namespaces end with this script, however it ends.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here="$root/tests/deploy"
scratch=$(mktemp -d /var/tmp/praxis-docker.XXXXXX)
export DOCKER_HOST="unix://$scratch/docker.sock" DOCKER_CONFIG="$scratch/config"
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY COMPOSE_FILE COMPOSE_PROJECT_NAME
engine="" dockerd=""

say() { echo "with_docker [${SECONDS}s] $*" >&2; }

start_engine() {  # start_engine "UNSHARE OPTIONS" DOCKERD-OPTION...
  local namespaces=$1
  shift
  # Its parent's death ends setpriv's child, and that one's death everything in the namespaces. A containerd that runs on
  # the host must not be found: dockerd starts one of its own.
  # shellcheck disable=SC2086,SC2016
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc $namespaces bash -c '
      if [ -d /run/containerd ]; then mount -t tmpfs tmpfs /run/containerd; fi
      ip link set lo up
      exec dockerd "$@"' engine \
    --config-file "$scratch/daemon.json" --data-root "$scratch/data" --exec-root "$scratch/exec" \
    --pidfile "$scratch/pid" --host "$DOCKER_HOST" --cgroup-parent praxis-test "$@" \
    </dev/null >>"$scratch/dockerd.log" 2>&1 &
  engine=$!
  for _ in $(seq 150); do
    if docker info >/dev/null 2>&1; then
      dockerd=$(<"/proc/$engine/task/$engine/children")
      dockerd=${dockerd% }
      return
    fi
    [ -d "/proc/$engine" ] || break
    sleep 0.2
  done
  tail -n 20 "$scratch/dockerd.log" >&2
  say "the engine does not start"
  return 1
}

stop_engine() {
  [ -z "$dockerd" ] || kill -TERM "$dockerd" 2>/dev/null || true
  for _ in $(seq 100); do
    [ -d "/proc/$engine" ] || break
    sleep 0.1
  done
  kill -KILL "$engine" 2>/dev/null || true
  wait "$engine" 2>/dev/null || true
  engine="" dockerd=""
}

clean() {
  set +e
  trap '' INT TERM
  if [ -n "$engine" ]; then
    [ -z "$dockerd" ] || docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null 2>&1
    stop_engine
  fi
  find /sys/fs/cgroup -depth -type d -path '*/praxis-test*' -exec rmdir {} + 2>/dev/null
  rm -rf "$scratch"
  say "gone"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$DOCKER_CONFIG"
echo '{}' >"$scratch/daemon.json"
base=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' "$root/Containerfile" | head -n 1)
python="$root/.venv/bin/python"
wanted=${base#*:} wanted=python${wanted%%-*}
if "$wanted" -c '' 2>/dev/null; then python=$wanted; fi   # the very version, where the host has it

start_engine "" --bridge none --iptables=false --ip-forward=false --ip-masq=false
say "engine $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)"
"$python" "$here/base_image.py" |
  docker import --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
    --change 'CMD ["python3"]' - "$base" >/dev/null
say "a stand-in for $base, with $("$python" --version)"
arguments=()
for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name"); fi
done
docker compose --project-directory "$root" --file "$root/compose.yaml" --file "$here/compose.build.yaml" \
  build --quiet "${arguments[@]}" >&2
say "built $(docker image inspect --format '{{index .RepoTags 0}}, {{.Size}} bytes' praxis:local)"
stop_engine

start_engine --net
say "the engine has a network of its own"
nsenter --net="/proc/$dockerd/ns/net" -- "$@"
