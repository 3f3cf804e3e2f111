#!/usr/bin/env bash
# A real Kafka broker for tests: one node in KRaft mode, on ports of this machine alone.
#
#   broker.sh install            copies the broker from Maven Central into the cache, once; prints the directory
#   broker.sh start DIR [PORT]   starts a broker whose data is in DIR, and waits until it answers; prints its address
#   broker.sh stop DIR           stops it as an operator would
#   broker.sh kill DIR           ends it at once
#   broker.sh topic DIR NAME PARTITIONS [NAME=VALUE…]   creates a topic
#
# DIR/secure has the address of a second listener with TLS, whose authority is DIR/ca.pem, and SASL for the user `flows` with the
# password `s3cret`. It needs Java 17 or later, openssl, and Maven for `install`. A broker ends by itself after BROKER_LIFETIME seconds (1800).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version="$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$here/pom.xml")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/netflow2traces/kafka/$version"

install_broker() {
    if [ ! -f "$cache/complete" ]; then
        command -v mvn >/dev/null || {
            echo "mvn is not installed: the broker can't be copied from Maven Central" >&2
            exit 1
        }
        rm -rf "$cache"
        mkdir -p "$cache"
        mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$cache/libs" </dev/null >&2
        touch "$cache/complete"
    fi
    echo "$cache"
}

java_class() {
    local heap="$1" class="$2"
    shift 2
    java "-Xmx$heap" "-Xms$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$cache/libs/*" "$class" "$@"
}

free_port() {
    python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

start_broker() {
    local dir="$1" port="${2:-}"
    install_broker >/dev/null
    mkdir -p "$dir"
    dir="$(cd "$dir" && pwd)"
    if [ ! -f "$dir/server.properties" ]; then
        [ -n "$port" ] || port="$(free_port)"
        local controller secure
        controller="$(free_port)"
        secure="$(free_port)"
        certificates "$dir"
        cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$dir/broker.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_flows="s3cret";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs=$dir/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000
log.cleaner.dedupe.buffer.size=10485760
END
        echo "127.0.0.1:$port" >"$dir/address"
        echo "127.0.0.1:$secure" >"$dir/secure"
        java_class 128m kafka.tools.StorageTool format -t "$(cluster_id)" -c "$dir/server.properties" \
            --add-scram 'SCRAM-SHA-256=[name=flows,password=s3cret]' \
            --add-scram 'SCRAM-SHA-512=[name=flows,password=s3cret]' \
            >"$dir/format.log" 2>&1 || {
            cat "$dir/format.log" >&2
            exit 1
        }
    fi
    (
        cd "$dir"
        exec setsid timeout --kill-after=10 "${BROKER_LIFETIME:-1800}" java -Xmx256m -Xms256m -XX:+UseSerialGC \
            "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$cache/libs/*" \
            kafka.Kafka "$dir/server.properties" </dev/null >>"$dir/broker.log" 2>&1
    ) &
    echo $! >"$dir/pid"
    wait_until_it_answers "$dir"
    cat "$dir/address"
}

# An authority, and the broker's certificate and key as Kafka reads them.
certificates() {
    (
        cd "$1"
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj '/CN=test authority' \
            -addext 'keyUsage=critical,keyCertSign' 2>/dev/null
        openssl req -newkey rsa:2048 -nodes -keyout broker.key -out broker.csr -subj '/CN=broker' 2>/dev/null
        printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >broker.ext
        openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile broker.ext \
            -out broker.crt 2>/dev/null
        cat broker.key broker.crt ca.pem >broker.pem
    )
}

cluster_id() {
    java_class 64m kafka.tools.StorageTool random-uuid 2>/dev/null | tail -1
}

wait_until_it_answers() {
    local dir="$1" port pid
    port="$(sed 's/.*://' "$dir/address")"
    pid="$(cat "$dir/pid")"
    for _ in $(seq 600); do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -40 "$dir/broker.log" >&2
            echo "the broker ended" >&2
            exit 1
        fi
        if grep -q 'Kafka Server started' "$dir/broker.log" && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return
        fi
        sleep 0.1
    done
    tail -40 "$dir/broker.log" >&2
    echo "the broker does not answer" >&2
    exit 1
}

end_broker() {
    local dir="$1" signal="$2" pid
    pid="$(cat "$dir/pid" 2>/dev/null)" || return 0
    # The group: timeout and the broker that it watches.
    kill "-$signal" -- "-$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        kill -0 -- "-$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
    rm -f "$dir/pid"
    # Its next start is to be seen.
    mv -f "$dir/broker.log" "$dir/broker.log.old"
}

case "${1:-}" in
install) install_broker ;;
start) start_broker "$2" "${3:-}" ;;
stop) end_broker "$2" TERM ;;
kill) end_broker "$2" KILL ;;
topic)
    dir="$2" name="$3" partitions="$4"
    shift 4
    options=()
    for option in "$@"; do options+=(--config "$option"); done
    java_class 128m org.apache.kafka.tools.TopicCommand --bootstrap-server "$(cat "$dir/address")" \
        --create --topic "$name" --partitions "$partitions" --replication-factor 1 ${options[@]+"${options[@]}"} \
        >"$dir/topic.log" 2>&1 || {
        cat "$dir/topic.log" >&2
        exit 1
    }
    ;;
*)
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
