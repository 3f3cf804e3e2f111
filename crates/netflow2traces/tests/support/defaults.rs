//! The daemon's defaults, but for what names the machine.

use netflow2traces::config::{self, Machine, Purpose, Sources, Translate};

pub(crate) fn translate() -> Translate {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    Translate {
        resource: vec![("service.name".to_owned(), "netflow-to-traces".to_owned())],
        ..loaded.expect("defaults are valid").config.translate
    }
}
