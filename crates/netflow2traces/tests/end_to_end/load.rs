//! Many exporters at once: nothing is lost, and every sum holds. `scripts/bench.sh load` is its long form.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::backend::FakeBackend;
use crate::daemon::Setup;

#[tokio::test]
async fn a_thousand_exporters_that_repeat_their_templates_lose_nothing() {
    let backend = FakeBackend::http().forgetful().start().await;
    let daemon = Setup::to_http(&backend)
        .with("OTEL_BSP_SCHEDULE_DELAY", "200")
        .start()
        .await;
    let to = daemon.address().to_string();
    let sent = tokio::task::spawn_blocking(move || {
        let flags = "send --protocol v9 --flows-per-packet 10 --exporters 1000 --template-interval 500ms \
                     --rate 10k --duration 2s --quiet --json --to";
        Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
            .args(flags.split_whitespace())
            .arg(to)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let sent: Value = serde_json::from_slice(&sent.await.unwrap().stdout).unwrap();
    // Its end asserts that the accounts balance.
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    let of = |name: &str| sent[name].as_u64().unwrap();
    assert!(of("flow_records") >= 10_000, "{sent}");
    // Templates of each at the start, and again.
    assert!(of("template_datagrams") > 1_000, "{sent}");
    ended.assert_totals(&[
        ("datagrams", of("datagrams")),
        ("datagrams_decoded", of("datagrams")),
        ("flow_spans", of("flow_records")),
        ("flow_spans_accepted", of("flow_records")),
        ("kernel_drops", 0),
        ("sets_waiting", 0),
        ("sets_expired", 0),
    ]);
    let spans = of("flow_records") + ended.total("work_spans");
    assert_eq!(backend.accepted_spans(), spans);
}
