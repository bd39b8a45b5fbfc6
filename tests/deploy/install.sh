#!/usr/bin/env bash
# Installs what `scripts/test.sh --full` needs beside Python, on Debian, as root. Quick when it is there already.
set -euo pipefail
packages=()
command -v openssl >/dev/null || packages+=(openssl)
command -v curl >/dev/null || packages+=(curl)
command -v ip >/dev/null || packages+=(iproute2)
if [ ${#packages[@]} -gt 0 ]; then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
fi
