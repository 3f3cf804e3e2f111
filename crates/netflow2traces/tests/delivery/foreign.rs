//! Something else than an OTLP backend answers with success: nothing counts as accepted, and nothing is lost.

use std::sync::atomic::Ordering::Relaxed;

use netflow2traces::config::{Exporter, Protocol};
use netflow2traces::deliver::{Outcome, try_backend};
use tokio::task::JoinSet;

use crate::backend::{FakeBackend, Reply};
use crate::log::Log;
use crate::{batch, count, finish, http_to, ids_of, otlp, start, until};

fn answer(media_type: &'static str, body: &'static [u8]) -> Reply {
    Reply::Http(200, vec![("content-type", media_type)], body)
}

fn foreign() -> Vec<Reply> {
    vec![
        answer(
            "text/html; charset=utf-8",
            b"<!doctype html>\n<title>Sign in</title>",
        ),
        answer("application/json", br#"{"error":"login required"}"#),
        answer("application/json", br#"["ok"]"#),
        answer("text/plain", b"OK\n"),
        answer("application/x-protobuf", b"\x0a\x06\x08\x03\x12"),
        Reply::Http(200, Vec::new(), b"OK"),
        Reply::Http(202, vec![("content-type", "text/plain")], b"queued"),
        Reply::Http(
            200,
            vec![
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "br"),
            ],
            b"\x0b\x02\x80",
        ),
    ]
}

#[tokio::test]
async fn a_foreign_success_keeps_the_batch_until_a_true_one() {
    let mut cases = JoinSet::new();
    for reply in foreign() {
        cases.spawn(async move {
            let backend = FakeBackend::http().start().await;
            backend.answers(Some(reply.clone()));
            let batches = [batch(5, 0), batch(5, 0)];
            let delivery = start(&http_to(&backend), &batches);
            let counters = delivery.counters();
            until("failures", || counters.failures.load(Relaxed) >= 2).await;
            assert_eq!(counters.accepted.load(), count(0, 0), "{reply:?}");
            let error = counters.last_error().unwrap().text;
            assert!(error.contains("NETFLOW_OTLP_ACCEPT_ANY_2XX"), "{error}");
            backend.answers(None);
            assert_eq!(finish(&delivery).await.accepted, count(10, 2));
            assert_eq!(backend.accepted_ids(), ids_of(&batches));
        });
    }
    cases.join_all().await;
}

#[tokio::test]
async fn the_log_shows_the_media_type_and_how_the_answer_begins_once() {
    let (log, _guard) = Log::begin(tracing::Level::INFO);
    let backend = FakeBackend::http().start().await;
    backend.answers(Some(answer(
        "text/html",
        b"<!doctype html><title>Sign in</title>",
    )));
    let delivery = start(&http_to(&backend), &[batch(5, 0)]);
    let counters = delivery.counters();
    until("failures", || counters.failures.load(Relaxed) >= 3).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["level"], "WARN");
    let text = lines[0].to_string();
    assert!(text.contains("text/html"), "{text}");
    assert!(text.contains("<!doctype html><title>Sign in"), "{text}");
    backend.answers(None);
    finish(&delivery).await;
}

#[tokio::test]
async fn with_the_setting_every_success_counts() {
    for reply in foreign() {
        let backend = FakeBackend::http().script([reply.clone()]).start().await;
        let mut config = http_to(&backend);
        if let Exporter::Otlp(otlp) = &mut config.exporter {
            otlp.answers.accept_any_2xx = true;
        }
        let delivery = start(&config, &[batch(5, 0)]);
        assert_eq!(finish(&delivery).await.accepted, count(5, 1), "{reply:?}");
        assert_eq!(backend.arrivals(), 1);
    }
}

#[tokio::test]
async fn requests_ask_for_answers_without_compression() {
    let backend = FakeBackend::http().start().await;
    let delivery = start(&http_to(&backend), &[batch(5, 0)]);
    finish(&delivery).await;
    assert_eq!(backend.received()[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn a_page_where_grpc_is_set_keeps_the_batch() {
    let backend = FakeBackend::grpc()
        .script([answer("text/html", b"<html>")])
        .start()
        .await;
    let otlp = otlp(Protocol::Grpc, backend.endpoint(""));
    let delivery = start(&crate::to(otlp), &[batch(5, 0)]);
    assert_eq!(finish(&delivery).await.accepted, count(5, 1));
    let error = delivery.counters().last_error().unwrap().text;
    assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "{error}");
}

#[tokio::test]
async fn a_check_of_the_connection_does_not_take_a_foreign_success_for_acceptance() {
    for reply in foreign() {
        let backend = FakeBackend::http().script([reply.clone()]).start().await;
        let outcome = try_backend(&http_to(&backend).exporter).await.unwrap();
        assert!(
            matches!(outcome, Outcome::Retry { .. }),
            "{reply:?}: {outcome:?}"
        );
        let outcome = try_backend(&http_to(&backend).exporter).await.unwrap();
        assert_eq!(outcome, Outcome::Accepted);
    }
}

#[tokio::test]
async fn statuses_that_the_operator_lists_are_retried() {
    for grpc in [true, false] {
        for status in [404, 500] {
            let setup = if grpc {
                FakeBackend::grpc()
            } else {
                FakeBackend::http()
            };
            let backend = setup.script([Reply::http(status)]).start().await;
            let mut config = if grpc {
                crate::grpc_to(&backend)
            } else {
                http_to(&backend)
            };
            if let Exporter::Otlp(otlp) = &mut config.exporter {
                otlp.answers.retryable.http = vec![404, 500];
            }
            let delivery = start(&config, &[batch(5, 0)]);
            assert_eq!(finish(&delivery).await.accepted, count(5, 1), "{status}");
        }
    }
    let backend = FakeBackend::grpc()
        .script([Reply::Grpc(tonic::Code::Unimplemented, "deploying")])
        .start()
        .await;
    let mut config = crate::grpc_to(&backend);
    if let Exporter::Otlp(otlp) = &mut config.exporter {
        otlp.answers.retryable.grpc = vec![12];
    }
    let delivery = start(&config, &[batch(5, 0)]);
    assert_eq!(finish(&delivery).await.accepted, count(5, 1));
}
