#!/bin/bash
# Exit 0 when GET /health of the server in this container answers 200, else 1. No curl: neither base image has one.
# The port is the server's: --port of its command line, else SALS_PORT, else 8000. SALS_HEALTH_PID names another process than PID 1.
# With HTTPS or a Unix socket only this is checked: that the server listens.
set -uo pipefail

arguments=()
mapfile -t -d '' arguments <"/proc/${SALS_HEALTH_PID:-1}/cmdline" || exit 1

# value of a setting: flag as "--name value" or "--name=value", else the variable, else a default
setting() {
    local flag=$1 value=$2 i
    for ((i = 0; i < ${#arguments[@]}; i++)); do
        case ${arguments[i]} in
            "$flag") value=${arguments[i + 1]:-} ;;
            "$flag"=*) value=${arguments[i]#*=} ;;
        esac
    done
    printf '%s' "$value"
}

socket=$(setting --uds "${SALS_UDS:-}")
if [ -n "$socket" ]; then
    [ -S "$socket" ]
    exit
fi

# 0.0.0.0 and the wildcard answer on the loopback address too
host=$(setting --host "${SALS_HOST:-127.0.0.1}")
case $host in
    0.0.0.0 | '*' | localhost) host=127.0.0.1 ;;
    ::) host=::1 ;;
esac
exec 3<>"/dev/tcp/$host/$(setting --port "${SALS_PORT:-8000}")" || exit 1
if [ -n "$(setting --ssl-certfile "${SALS_SSL_CERTFILE:-}")" ]; then
    exit 0
fi

printf 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 4 _ status _ <&3
[ "${status:-}" = 200 ]
