//! What is written down is what the program does: settings, attributes, metrics, and the documents that speak of them.

mod attributes;
#[path = "../support/documents.rs"]
mod commands;
mod configuration;
mod documents;
mod metrics;
