#!/usr/bin/env bash
# Stops the Kafka that start.sh started: `stop.sh` in order, `stop.sh KILL` as a crash would.
# WIPE=1 removes its data. Without a running engine it does nothing.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
stop "${1:-TERM}"
