#!/usr/bin/env bash
# Installs what `scripts/test.sh --full` needs beside Python, on Debian, as root. Quick when it is there already.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

packages=()
command -v openssl >/dev/null || packages+=(openssl)
command -v shellcheck >/dev/null || packages+=(shellcheck)
command -v npm >/dev/null || packages+=(nodejs npm)
command -v curl >/dev/null || packages+=(curl)
command -v ip >/dev/null || packages+=(iproute2)
command -v nsenter >/dev/null || packages+=(util-linux)
command -v dockerd >/dev/null || packages+=(docker.io)
command -v docker >/dev/null || packages+=(docker.io docker-cli)
command -v iptables >/dev/null || packages+=(iptables)
command -v podman >/dev/null || packages+=(podman)
command -v runc >/dev/null || packages+=(runc)
[ -x /usr/lib/podman/netavark ] || packages+=(netavark)
command -v conmon >/dev/null || packages+=(conmon)
if [ ${#packages[@]} -gt 0 ]; then
  apt-get -qq update
  # Up to Debian 12 the client is in docker.io.
  apt-cache show docker-cli >/dev/null 2>&1 || packages=("${packages[@]/docker-cli/docker.io}")
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
fi

# The compose plugin is a package since Debian 13. It is one static program, so an older Debian takes the one from there.
plugins=/usr/local/lib/docker/cli-plugins
if ! DOCKER_CONFIG="$scratch" docker compose version >/dev/null 2>&1; then
  suite=trixie
  # shellcheck disable=SC2016  # apt's own variable
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
  mkdir -p "$scratch"/{lists/partial,cache/archives/partial,state,unpacked} "$plugins"
  touch "$scratch/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$scratch/sources.list"
  apt() {
    apt-get -qq -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null \
      -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
      -o Dir::State="$scratch/state" -o Dir::State::Lists="$scratch/lists" -o Dir::State::status="$scratch/status" \
      -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User=root "$@"
  }
  apt update
  (cd "$scratch" && apt download docker-compose)
  dpkg -x "$scratch"/docker-compose_*.deb "$scratch/unpacked"
  install -m 755 "$scratch/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$plugins/docker-compose"
fi
