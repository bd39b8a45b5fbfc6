#!/usr/bin/env bash
# Asks an agent how it is and says it as monitoring plugins do: one line, and a code.
#
# usage: scripts/healthcheck.sh [-u URL] [-t SECONDS] [-d]
#   -u  http://HOST[:PORT] of the agent; default PRAXIS_URL, else http://127.0.0.1:8000
#   -t  how long to wait for the answer; default 5
#   -d  for the health check of a container: 0 healthy or degraded, 1 anything else
#
# Codes: 0 OK, 1 WARNING (degraded), 2 CRITICAL (unhealthy, or not reachable), 3 UNKNOWN (no agent answers there).
# Needs bash and coreutils alone, so it runs in the image and on any monitoring host. /health needs no token. For an
# agent's local socket there is `praxis healthcheck`.
set -uo pipefail

url=${PRAXIS_URL:-http://127.0.0.1:8000} seconds=5 container=""

end() {  # end CODE TEXT
  local code=$1
  [ -z "$container" ] || code=$((code > 1))
  # What came over the network is shown as one line of printable ASCII: plugins are read by programs of every age.
  printf 'PRAXIS %s\n' "${2:0:500}" | LC_ALL=C tr -c '[:print:]\n' '?'
  exit "$code"
}

while getopts u:t:dh option; do
  case $option in
    u) url=$OPTARG ;;
    t) seconds=$OPTARG ;;
    d) container=yes ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 3 ;;
  esac
done
shift $((OPTIND - 1))
[ $# = 0 ] || end 3 "UNKNOWN - unknown argument $1; -h shows the usage"
[[ $seconds =~ ^[1-9][0-9]{0,3}$ ]] || end 3 "UNKNOWN - -t $seconds: write whole seconds, 1 to 9999"
pattern='^http://(\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(:([0-9]{1,5}))?/?$'
[[ $url =~ $pattern ]] || end 3 "UNKNOWN - -u $url: write http://HOST or http://HOST:PORT"
host=${BASH_REMATCH[2]}${BASH_REMATCH[3]} port=${BASH_REMATCH[5]:-80} url=${url%/}

# HTTP/1.0: the answer ends with the connection. 16 KiB are far more than the line that is asked for.
# shellcheck disable=SC2016  # the inner shell's variables
answer=$(timeout -k 1 "$seconds" bash -o pipefail -c '
  exec 3<>"/dev/tcp/$1/$2" || exit 7
  printf "GET /health HTTP/1.0\r\nHost: %s\r\nAccept: text/plain; profile=monitoring-plugin\r\n\r\n" "$3" >&3
  head -c 16384 <&3 | tr -d "\0"' ask "$host" "$port" "${url#http://}" 2>/dev/null)
case $? in
  0) ;;
  7) end 2 "CRITICAL - nothing listens at $url; is the agent running?" ;;
  124 | 137) end 2 "CRITICAL - no answer from $url within $seconds s" ;;
  *) end 2 "CRITICAL - the connection to $url broke" ;;
esac

answer=${answer//$'\r'/}
first=${answer%%$'\n'*}
line=${answer#*$'\n\n'}
line=${line%%$'\n'*}
case "$answer" in
  HTTP/1.?\ 200*$'\n\n'OK\ -*) end 0 "$line" ;;
  HTTP/1.?\ 200*$'\n\n'WARNING\ -*) end 1 "$line" ;;
  HTTP/1.?\ 503*$'\n\n'CRITICAL\ -*) end 2 "$line" ;;
  HTTP/1.?\ 421*) end 3 "UNKNOWN - the agent at $url does not go by that name; access.allowed_hosts has those it does" ;;
  "") end 3 "UNKNOWN - no agent answers at $url: it closes the connection without a word" ;;
  *) end 3 "UNKNOWN - no agent answers at $url: $first" ;;
esac
