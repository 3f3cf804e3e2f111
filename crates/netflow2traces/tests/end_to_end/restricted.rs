//! System calls that a filter refuses, as in a container with a profile of its own: datagrams are taken by the calls that
//! are left, and a daemon that can't take any says that it isn't ready. The filter is set by a few lines of Python, which
//! then become the daemon; without Python the test says so and does nothing.

use std::process::Command;

use crate::admin_client::{Admin, value};
use crate::backend::FakeBackend;
use crate::daemon::{Setup, is};
use crate::exporter::{Exporter, now, v5_datagram};
use crate::left_out::left_out;
use crate::spans::flows_at;

/// Refuses system calls with EPERM: words such as `recvmmsg,recvmsg`. Of `recvfrom` only calls with the flags of the
/// receive threads are refused (MSG_DONTWAIT | MSG_TRUNC), for TCP uses it too. A program for seccomp(2) is a list of
/// (code, jump if true, jump if false, value).
const FILTER: &str = r#"
import ctypes, os, struct, sys
numbers = {
    "x86_64": {"recvmmsg": 299, "recvmsg": 47, "recvfrom": 45},
    "aarch64": {"recvmmsg": 243, "recvmsg": 212, "recvfrom": 207},
}[os.uname().machine]
LOAD, EQUAL, RETURN, ALLOW, REFUSE = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050001
program = []
for call in filter(None, sys.argv[1].split(",")):
    if call == "recvfrom":
        # The low half of the fourth argument.
        program += [(LOAD, 0, 0, 0), (EQUAL, 0, 3, numbers[call]), (LOAD, 0, 0, 40), (EQUAL, 0, 1, 0x60), (RETURN, 0, 0, REFUSE)]
    else:
        program += [(LOAD, 0, 0, 0), (EQUAL, 0, 1, numbers[call]), (RETURN, 0, 0, REFUSE)]
program.append((RETURN, 0, 0, ALLOW))
octets = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
libc = ctypes.CDLL(None, use_errno=True)
filter = struct.pack("@HP", len(program), ctypes.addressof(octets))
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no new privileges"
assert libc.prctl(22, 2, ctypes.create_string_buffer(filter), 0, 0) == 0, "no filter"
os.execv(sys.argv[2], sys.argv[2:])
"#;

fn through(refused: &str) -> [&str; 4] {
    ["python3", "-c", FILTER, refused]
}

fn can_filter() -> bool {
    let words = through("");
    let mut command = Command::new(words[0]);
    let done = command.args(&words[1..]).arg("/bin/true").output();
    done.is_ok_and(|done| done.status.success())
}

#[tokio::test]
async fn while_calls_to_receive_are_refused_others_serve() {
    if !can_filter() {
        return left_out("refused system calls: python3 can't set a filter");
    }
    for refused in ["recvmmsg", "recvmmsg,recvmsg"] {
        let (backend, admin) = (FakeBackend::grpc().start().await, Admin::new());
        let setup = Setup::to_grpc(&backend).through(&through(refused));
        let daemon = admin.of(setup).start().await;
        admin.until("/readyz", |answer| answer == "ready\n").await;
        let exporter = Exporter::new("127.0.0.2", daemon.address());
        exporter.send(&v5_datagram(now(), 0, 1000, 30));
        flows_at(&backend, 30).await;
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{refused}: {:#?}", ended.log);
        ended.assert_totals(&[("flow_spans_accepted", 30)]);
    }
}

#[tokio::test]
async fn a_daemon_that_can_not_receive_is_not_ready_and_stops_in_order() {
    if !can_filter() {
        return left_out("refused system calls: python3 can't set a filter");
    }
    let (backend, admin) = (FakeBackend::grpc().start().await, Admin::new());
    let setup = Setup::to_grpc(&backend).through(&through("recvmmsg,recvmsg,recvfrom"));
    let daemon = admin.of(setup).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    daemon.says("a receive socket fails").await;
    let log = daemon.log();
    let said = log.iter().find(|line| is(line, "a receive socket fails"));
    let error = said.unwrap()["error"].as_str().unwrap();
    assert!(error.contains("not permitted"), "{error}");
    let unready = |answer: &str| answer.starts_with("not ready: a receive socket can't be read");
    admin.until("/readyz", unready).await;
    assert_eq!(admin.get("/readyz").await.status, 503);
    assert_eq!(
        admin.get("/livez").await.status,
        200,
        "a restart changes nothing"
    );
    let failing = |text: &str| value(text, "netflow_receive_errors_total") > 0.0;
    admin.until("/metrics", failing).await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("datagrams", 0)]);
}
