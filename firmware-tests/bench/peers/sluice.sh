#!/bin/sh
# Runs the gateway on 127.0.0.1:PORT with a fresh data directory under TMPDIR, or
# SLUICE_DATA_DIR, and room for what a benchmark leaves waiting. Other settings come from the environment.
# WRAP is a command that starts it.
# usage: [GATEWAY=bin/sluice] sluice.sh PORT
here=$(cd "$(dirname "$0")" && pwd)
export SLUICE_MQTT_ADDR="127.0.0.1:$1" SLUICE_WS_ADDR=${SLUICE_WS_ADDR:-off} SLUICE_LOG_LEVEL=warn
export SLUICE_DATA_DIR="${SLUICE_DATA_DIR:-$(mktemp -d)/data}"
export SLUICE_STORE_MAX_BYTES=${SLUICE_STORE_MAX_BYTES:-1GiB} SLUICE_QUEUE_MAX_BYTES=${SLUICE_QUEUE_MAX_BYTES:-1GiB}
exec $WRAP "${GATEWAY:-$here/../../../bin/sluice}"
