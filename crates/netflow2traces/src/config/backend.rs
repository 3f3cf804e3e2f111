//! The settings of the backend of spans: where it is, and how to speak to it.

use std::path::Path;

use super::load::{Loader, Mistake, preset};
use super::setting::Setting;
use super::sources::{Given, Origin};
use super::values::Rejection;
use super::{
    Answers, Exporter, ExporterKind, Kafka, Otlp, Protocol, Signal, Tls, otlp, pem, settings,
};

impl Loader<'_> {
    /// And whether the console gets a copy.
    pub(super) fn exporter(&mut self, kafka: Option<&Kafka>) -> (Exporter, bool) {
        let kind = self.value(&settings::TRACES_EXPORTER);
        let console_copy = kind == ExporterKind::OtlpAndConsole;
        let otlp = self.otlp(kind == ExporterKind::Otlp || console_copy);
        let exporter = match kind {
            ExporterKind::Otlp | ExporterKind::OtlpAndConsole => {
                otlp.map_or(Exporter::None, Exporter::Otlp)
            }
            ExporterKind::Kafka | ExporterKind::Console | ExporterKind::None => {
                let because = "OTEL_TRACES_EXPORTER is not otlp";
                if !self.metrics_use_the_general_endpoint() {
                    self.warn_without_effect(&settings::OTLP_ENDPOINT, because);
                }
                self.warn_without_effect(&settings::OTLP_TRACES_ENDPOINT, because);
                match kind {
                    ExporterKind::Kafka => kafka.cloned().map_or(Exporter::None, Exporter::Kafka),
                    ExporterKind::Console => Exporter::Console,
                    _ => Exporter::None,
                }
            }
        };
        (exporter, console_copy)
    }

    /// `None` is a mistake that has been noted, or an endpoint that isn't needed.
    fn otlp(&mut self, needed: bool) -> Option<Otlp> {
        let (setting, endpoint) = self.given_endpoint();
        let general = &settings::OTLP_ENDPOINT;
        let protocol = self.protocol(&settings::OTLP_PROTOCOL);
        let headers = self.optional(&settings::OTLP_HEADERS).unwrap_or_default();
        let compression = self.value(&settings::OTLP_COMPRESSION);
        let timeout = self.value(&settings::OTLP_TIMEOUT);
        let insecure = self.value(&settings::OTLP_INSECURE);
        let tls = self.tls();
        let headers_file = self.optional(&settings::OTLP_HEADERS_FILE);
        let answers = self.answers();
        if !needed {
            return None;
        }
        let (text, given) = match endpoint {
            Endpoint::Given(text, given) => (text, given),
            Endpoint::Unusable => return None,
            Endpoint::Unset => {
                self.mistakes
                    .push(Mistake::new(general.about.variable(), NO_ENDPOINT));
                return None;
            }
        };
        let is_general = setting.about.flag == general.about.flag;
        // Without a protocol, what is no URL for any is found even so.
        let checked = protocol.or(text.contains("://").then_some(Protocol::HttpProtobuf))?;
        let found = otlp::endpoint(&text, Signal::Traces, checked, is_general, insecure);
        let (uri, zone) = match found {
            Ok(found) => found,
            Err(rejection) => {
                self.reject(setting, &given, &rejection);
                return None;
            }
        };
        // If it is a mistake, that has been noted, and warnings about another one would mislead.
        let protocol = protocol?;
        self.warnings.extend(otlp::endpoint_warnings(
            &text,
            Signal::Traces,
            &uri,
            protocol,
        ));
        if insecure && protocol != Protocol::Grpc {
            self.warn_without_effect(&settings::OTLP_INSECURE, "it is for gRPC only");
        } else if insecure && text.starts_with("https://") {
            self.warn_without_effect(
                &settings::OTLP_INSECURE,
                "the endpoint says https://, so the connection is encrypted",
            );
        }
        if uri.scheme_str() == Some("http") {
            let because = "the endpoint isn't encrypted (http://)";
            self.warn_without_effect(&settings::OTLP_CERTIFICATE, because);
            self.warn_without_effect(&settings::OTLP_CLIENT_CERTIFICATE, because);
            self.warn_without_effect(&settings::OTLP_CLIENT_KEY, because);
        }
        Some(Otlp {
            protocol,
            connections: self.connections(&uri, zone),
            answers,
            endpoint: uri,
            headers,
            headers_file,
            compression,
            timeout,
            tls,
        })
    }

    /// The protocol that was given, or the default; `None` if what was given is a mistake.
    pub(super) fn protocol(&mut self, setting: &Setting<Protocol>) -> Option<Protocol> {
        if self.is_set(setting).is_some() {
            return self.optional(setting);
        }
        Some(preset(&settings::OTLP_PROTOCOL))
    }

    pub(super) fn answers(&mut self) -> Answers {
        Answers {
            retryable: self
                .optional(&settings::RETRYABLE_STATUS)
                .unwrap_or_default(),
            accept_any_2xx: self.value(&settings::ACCEPT_ANY_2XX),
        }
    }

    /// The form for traces wins, but a flag wins over both variables.
    fn given_endpoint(&mut self) -> (&'static Setting<String>, Endpoint) {
        let candidates = [&settings::OTLP_TRACES_ENDPOINT, &settings::OTLP_ENDPOINT];
        let by_flag = |setting: &&Setting<String>| {
            self.is_set(setting)
                .is_some_and(|given| matches!(given.origin, Origin::Flag(_)))
        };
        let chosen = candidates.into_iter().find(by_flag).or_else(|| {
            candidates
                .into_iter()
                .find(|setting| self.is_set(setting).is_some())
        });
        let Some(setting) = chosen else {
            return (&settings::OTLP_ENDPOINT, Endpoint::Unset);
        };
        match self.given(setting) {
            Some((text, given)) => (setting, Endpoint::Given(text, given)),
            None => (setting, Endpoint::Unusable),
        }
    }

    fn tls(&mut self) -> Tls {
        let certificate = self.optional(&settings::OTLP_CERTIFICATE);
        for reason in certificate
            .iter()
            .flat_map(|path| otlp::ignored_authorities(path))
        {
            let named = self.is_set(&settings::OTLP_CERTIFICATE);
            let named = named.map_or_else(String::new, |given| given.named());
            self.warnings.push(format!(
                "{named}: {reason}; it is ignored, the others are used"
            ));
        }
        let client_certificate = self.optional(&settings::OTLP_CLIENT_CERTIFICATE);
        let client_key = self.optional(&settings::OTLP_CLIENT_KEY);
        let set = self.is_set(&settings::OTLP_CLIENT_CERTIFICATE);
        match (set, self.is_set(&settings::OTLP_CLIENT_KEY)) {
            (Some(given), None) => self.mistakes.push(Mistake::new(
                given.named(),
                "a certificate needs its key; accepted: together with \
                 OTEL_EXPORTER_OTLP_CLIENT_KEY",
            )),
            (None, Some(given)) => self.mistakes.push(Mistake::new(
                given.named(),
                "a key needs its certificate; accepted: together with \
                 OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            )),
            (_, Some(given)) => {
                self.check_pair(client_certificate.as_deref(), client_key.as_deref(), &given);
            }
            (None, None) => {}
        }
        Tls {
            certificate,
            client_certificate,
            client_key,
        }
    }

    /// Notes a client certificate whose key, `given`, is of another one, or can't be used.
    pub(super) fn check_pair(
        &mut self,
        certificate: Option<&Path>,
        key: Option<&Path>,
        given: &Given,
    ) {
        if let (Some(certificate), Some(key)) = (certificate, key)
            && let Some(reason) = pem::mismatch(certificate, key)
        {
            self.reject(&settings::OTLP_CLIENT_KEY, given, &Rejection(reason));
        }
    }
}

enum Endpoint {
    Given(String, Given),
    /// Set to something that can't be used, and noted.
    Unusable,
    Unset,
}

const NO_ENDPOINT: &str = "not set, so there is nowhere to send spans; accepted: the URL of an \
     OTLP backend such as http://localhost:4317; to see traces without a backend, run: \
     netflow2traces demo";
