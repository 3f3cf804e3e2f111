//! Flow metrics as they are shown: at `/metrics` and over OTLP, under the names of one table.

mod devices;
mod families;
mod labels;
mod names;
pub mod otlp;
mod source;
pub mod text;
mod top;

pub use families::Exposition;
pub use names::{Kind, Name, names};
pub use source::FlowSource;

/// Metrics of so many series of exporters: the n-th has counted n of everything.
#[cfg(test)]
fn exporters(series: u64) -> Exposition {
    use std::sync::Arc;

    use crate::translate::metrics::{FlowReading, SeriesReading, Totals, View, ViewReading};

    let series = (0..series).map(|n| SeriesReading {
        key: None,
        name: None,
        totals: Totals {
            bytes: n,
            packets: n,
            flows: n,
        },
        exemplar: None,
    });
    let view = ViewReading {
        series: series.collect(),
        expired: Totals::default(),
    };
    let mut reading = FlowReading::default();
    reading.views.push((View::Exporter, view));
    Exposition::new(Arc::new(reading))
}
