//! `NETFLOW_TEMPLATE_STORE`: what the workers get at the start, and what is written at the end.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tracing::{error, info};

use crate::config::Config;
use crate::receive::Receivers;
use crate::template_store::{self, Keeper, Keeping};
use crate::worker::Worker;

/// Gives the workers what the template store has, each exporter to the worker that the kernel gives it to.
pub(super) fn load(
    config: &Config,
    counters: &Arc<template_store::Counters>,
    receivers: &Receivers,
    workers: &mut [Worker],
) -> anyhow::Result<Option<Keeper>> {
    let Some(path) = &config.translate.template_store else {
        return Ok(None);
    };
    let lifetime = config.translate.template_lifetime;
    let failed = || {
        format!(
            "the template store {} can't be used (NETFLOW_TEMPLATE_STORE)",
            path.display()
        )
    };
    let (mut keeper, saved) =
        Keeper::open(path.clone(), lifetime, Arc::clone(counters)).with_context(failed)?;
    // Better now than when there is something to lose.
    keeper.write().with_context(failed)?;
    let (now, exporters) = (Instant::now(), saved.len());
    let mut templates = 0;
    for saved in saved {
        let worker = receivers.worker_of(saved.address);
        templates += workers[worker].translator.restore(saved, now);
    }
    for worker in workers {
        worker.translator.keep_changes();
    }
    info!(file = %path.display(), exporters, templates, "template store loaded");
    Ok(Some(keeper))
}

/// Writes what changed since it was last written.
pub(super) async fn store_the_last(keeping: Keeping, workers: &mut [Worker]) {
    let Some(mut keeper) = keeping.stop().await else {
        error!("the task that keeps the template store has panicked");
        return;
    };
    let now = Instant::now();
    for worker in workers {
        loop {
            let changed = worker.translator.take_changes(now);
            keeper.take(&changed.exporters);
            if !changed.more {
                break;
            }
        }
    }
    let written = tokio::task::spawn_blocking(move || keeper.write_or_say());
    // It doesn't panic, and it is never cancelled.
    let _ = written.await;
}
