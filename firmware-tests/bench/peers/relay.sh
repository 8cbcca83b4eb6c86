#!/bin/sh
# Runs the table's own relay on 127.0.0.1:PORT: no broker, but what there is without one.
# usage: RELAY=path relay.sh PORT
exec "$RELAY" relay "$1"
