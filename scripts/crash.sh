#!/usr/bin/env bash
# Kills the daemon at random moments under load, with a disk queue in both of its modes, and looks whether every batch
# that was in the spool is delivered after the next start.
#
#   scripts/crash.sh [ROUNDS]     200 kills of each mode, or as many as given; ten run in the tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export NETFLOW_CRASH_ROUNDS="${1:-200}"
exec cargo test -p netflow2traces --test end_to_end --locked -- --nocapture spool::crash
