//! The settings of the daemon's own metrics: each is the form for metrics, or else the general one.

use std::path::PathBuf;

use super::load::{Loader, Mistake, Purpose, preset};
use super::setting::Setting;
use super::{
    Kafka, MetricsExporter, MetricsTo, Otlp, OwnMetrics, Protocol, Signal, Tls, otlp, settings,
};

impl Loader<'_> {
    /// What needs the Kafka cluster for metrics, if something does.
    pub(super) fn metrics_need_kafka(&mut self, purpose: Purpose) -> Option<&'static str> {
        let exporter = self.optional(&settings::METRICS_EXPORTER);
        let is_kafka = exporter == Some(MetricsExporter::Kafka) && purpose != Purpose::Demo;
        is_kafka.then_some("OTEL_METRICS_EXPORTER=kafka")
    }

    pub(super) fn own_metrics(
        &mut self,
        purpose: Purpose,
        kafka: Option<&Kafka>,
    ) -> Option<OwnMetrics> {
        let exporter = self.value(&settings::METRICS_EXPORTER);
        let wanted = exporter == MetricsExporter::Otlp;
        let interval = self.value(&settings::METRIC_EXPORT_INTERVAL);
        let timeout = self.value(&settings::METRIC_EXPORT_TIMEOUT);
        if !wanted {
            let because = "OTEL_METRICS_EXPORTER is not otlp";
            self.warn_without_effect(&settings::METRICS_ENDPOINT, because);
        }
        if exporter == MetricsExporter::None {
            let because = "OTEL_METRICS_EXPORTER is none";
            self.warn_without_effect(&settings::METRIC_EXPORT_INTERVAL, because);
            self.warn_without_effect(&settings::METRIC_EXPORT_TIMEOUT, because);
        }
        if purpose == Purpose::Demo {
            if exporter != MetricsExporter::None {
                let because = "the demo has no backend for metrics; look at /metrics";
                self.warn_without_effect(&settings::METRICS_EXPORTER, because);
            }
            return None;
        }
        // What is set has to be valid, used or not.
        let otlp = self.otlp_for_metrics(wanted);
        let to = match exporter {
            MetricsExporter::Otlp => MetricsTo::Otlp(otlp?),
            MetricsExporter::Kafka => MetricsTo::Kafka(kafka?.clone()),
            MetricsExporter::None => return None,
        };
        Some(OwnMetrics {
            to,
            interval,
            timeout,
        })
    }

    /// Whether the general endpoint matters though no spans go there.
    pub(super) fn metrics_use_the_general_endpoint(&self) -> bool {
        let exporter = self.is_set(&settings::METRICS_EXPORTER);
        let sends = exporter.is_some_and(|given| given.value.eq_ignore_ascii_case("otlp"));
        sends && self.is_set(&settings::METRICS_ENDPOINT).is_none()
    }

    /// `None` is a mistake that has been noted, or an endpoint that isn't needed.
    fn otlp_for_metrics(&mut self, wanted: bool) -> Option<Otlp> {
        let protocol = self.specific(&settings::METRICS_PROTOCOL, &settings::OTLP_PROTOCOL);
        let general = self.sources.find_general(&settings::OTLP_PROTOCOL.about);
        let set = self.is_set(&settings::METRICS_PROTOCOL).or(general);
        // Warnings about another protocol than the one that was meant would mislead.
        let misnamed = protocol.is_none() && set.is_some();
        let protocol = protocol.unwrap_or_else(|| {
            if misnamed {
                Protocol::HttpProtobuf
            } else {
                preset(&settings::OTLP_PROTOCOL)
            }
        });
        let insecure = self
            .specific(&settings::METRICS_INSECURE, &settings::OTLP_INSECURE)
            .unwrap_or_else(|| preset(&settings::OTLP_INSECURE));
        let own = self.is_set(&settings::METRICS_ENDPOINT);
        let (setting, given) = if own.is_some() {
            (&settings::METRICS_ENDPOINT, own.clone())
        } else {
            let general = &settings::OTLP_ENDPOINT;
            (general, self.sources.find_general(&general.about))
        };
        let headers = self.specific(&settings::METRICS_HEADERS, &settings::OTLP_HEADERS);
        let compression =
            self.specific(&settings::METRICS_COMPRESSION, &settings::OTLP_COMPRESSION);
        let timeout = self.specific(&settings::METRICS_TIMEOUT, &settings::OTLP_TIMEOUT);
        let tls = self.tls_for_metrics();
        let given = given.filter(|_| wanted || own.is_some());
        let Some(given) = given else {
            if !wanted {
                return None;
            }
            self.mistakes.push(Mistake::new(
                "OTEL_METRICS_EXPORTER=otlp",
                "there is nowhere to send metrics; accepted: together with \
                 OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            ));
            return None;
        };
        if misnamed && !given.value.contains("://") {
            return None;
        }
        let text = match (setting.parse)(&given.value) {
            Ok(text) => text,
            Err(rejection) => {
                self.reject(setting, &given, &rejection);
                return None;
            }
        };
        match otlp::endpoint(&text, Signal::Metrics, protocol, own.is_none(), insecure) {
            Ok((endpoint, zone)) => {
                if own.is_some() && !misnamed {
                    let warnings =
                        otlp::endpoint_warnings(&text, Signal::Metrics, &endpoint, protocol);
                    self.warnings.extend(warnings);
                }
                Some(Otlp {
                    protocol,
                    connections: self.connections(&endpoint, zone),
                    answers: self.answers(),
                    headers_file: self.optional(&settings::OTLP_HEADERS_FILE),
                    endpoint,
                    headers: headers.unwrap_or_default(),
                    compression: compression.unwrap_or_else(|| preset(&settings::OTLP_COMPRESSION)),
                    timeout: timeout.unwrap_or_else(|| preset(&settings::OTLP_TIMEOUT)),
                    tls,
                })
            }
            Err(rejection) => {
                self.reject(setting, &given, &rejection);
                None
            }
        }
    }

    fn tls_for_metrics(&mut self) -> Tls {
        let mut file = |own: &Setting<PathBuf>, general| self.specific(own, general);
        let certificate = file(&settings::METRICS_CERTIFICATE, &settings::OTLP_CERTIFICATE);
        let client_certificate = file(
            &settings::METRICS_CLIENT_CERTIFICATE,
            &settings::OTLP_CLIENT_CERTIFICATE,
        );
        let client_key = file(&settings::METRICS_CLIENT_KEY, &settings::OTLP_CLIENT_KEY);
        let given = self.is_set(&settings::METRICS_CLIENT_KEY);
        let general = &settings::OTLP_CLIENT_KEY.about;
        if let Some(given) = given.or_else(|| self.sources.find_general(general)) {
            self.check_pair(client_certificate.as_deref(), client_key.as_deref(), &given);
        }
        Tls {
            certificate,
            client_certificate,
            client_key,
        }
    }

    /// The value for metrics, else the general one, else nothing. The form for traces doesn't hold
    /// for metrics; mistakes in the general one have been noted with the spans' settings.
    fn specific<T>(&mut self, own: &Setting<T>, general: &Setting<T>) -> Option<T> {
        if self.is_set(own).is_some() {
            return self.optional(own);
        }
        let given = self.sources.find_general(&general.about)?;
        (general.parse)(&given.value).ok()
    }
}
