#!/bin/sh
# Runs the gateway as sluice.sh does, without waiting for the disk.
# usage: [GATEWAY=bin/sluice] sluice-nosync.sh PORT
SLUICE_STORE_SYNC=never exec "$(dirname "$0")/sluice.sh" "$1"
