# Sourced by the gate's scripts. left_out TEXT says that a check is left out and why; .ci/run lists them all at its end,
# from the file that NETFLOW_LEFT_OUT names.
left_out() {
    printf 'left out: %s\n' "$1"
    if [ -n "${NETFLOW_LEFT_OUT-}" ]; then printf '%s\n' "$1" >>"$NETFLOW_LEFT_OUT"; fi
}
