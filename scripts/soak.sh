#!/usr/bin/env bash
# Runs the daemon for long against a backend that fails one minute in five, and looks whether memory, descriptors,
# threads and tasks stay as they are, every sum holds and every span arrives.
#
#   scripts/soak.sh [SECONDS]     1,860 by default; the tests have a short form
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export NETFLOW_SOAK_SECONDS="${1:-1860}"
exec cargo test -p netflow2traces --test end_to_end --locked -- --nocapture spool::soak
