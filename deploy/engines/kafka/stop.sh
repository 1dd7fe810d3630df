#!/usr/bin/env bash
# Stops the Kafka that start.sh started: `stop.sh` in order, `stop.sh KILL` as a crash would.
# WIPE=1 removes its data. It is no error if it does not run.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
stop "${1:-TERM}"
