#!/usr/bin/env bash
# Runs a command beside a Podman service of its own, with an image in it; then all of it is gone.
#
# usage: tests/deploy/with_podman.sh COMMAND [ARGUMENT...]       Linux, root; tests/deploy/install.sh installs the parts
#
# Needs no image registry: base_image.py makes the image that the Containerfile names. Storage, state and network are not
# the host's. COMMAND finds the service's socket in DOCKER_HOST. Namespaces and all in them end with this script.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here="$root/tests/deploy"
scratch=$(mktemp -d /var/tmp/praxis-podman.XXXXXX)
export DOCKER_HOST="unix://$scratch/podman.sock" DOCKER_CONFIG="$scratch" CONTAINERS_CONF="$scratch/containers.conf"
unset CONTAINER_HOST CONTAINERS_STORAGE_CONF
engine=""

say() { echo "with_podman [${SECONDS}s] $*" >&2; }

clean() {
  set +e
  trap '' INT TERM
  if [ -n "$engine" ]; then
    client ps --all --quiet | xargs --no-run-if-empty podman --url "$DOCKER_HOST" rm --force --time 0 --volumes >/dev/null 2>&1
    kill -KILL "$engine" 2>/dev/null  # the namespaces die with it; nothing of the service outlives them
    wait "$engine" 2>/dev/null
  fi
  # Those that are empty: what another Podman of this host still uses stays.
  find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} + 2>/dev/null
  rm -rf "$scratch"
  say "gone"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

client() { podman --url "$DOCKER_HOST" "$@"; }

# For hosts of every kind: runc and cgroupfs work with both versions of cgroups and without systemd; limits that only a
# root with every capability may raise are left alone.
cat >"$CONTAINERS_CONF" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF

# Its parent's death ends setpriv's child, and that one's death everything in the namespaces. What watches a container
# leaves a file where the service was started when the memory is not enough.
# shellcheck disable=SC2016
env --chdir="$scratch" setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc bash -c '
    ip link set lo up
    exec podman "$@"' engine \
  --root "$scratch/root" --runroot "$scratch/run" --tmpdir "$scratch/tmp" --network-config-dir "$scratch/networks" \
  system service --time 0 "$DOCKER_HOST" </dev/null >>"$scratch/log" 2>&1 &
engine=$!
for _ in $(seq 150); do
  client info >/dev/null 2>&1 && break
  [ -d "/proc/$engine" ] || break
  sleep 0.2
done
if ! client info >/dev/null; then
  tail -n 20 "$scratch/log" >&2
  say "the service does not start"
  exit 1
fi
base=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' "$root/Containerfile" | head -n 1)
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python3
say "podman $(podman --version | cut -d ' ' -f 3)"
"$python" "$here/base_image.py" >"$scratch/base.tar"
client import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' "$scratch/base.tar" "docker.io/library/$base" >/dev/null
rm "$scratch/base.tar"
say "a stand-in for $base is ready"
"$@"
