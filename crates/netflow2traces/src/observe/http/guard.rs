//! What every request has to pass: only reading, no bodies, and a host that is this machine's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};

use super::is_probe;

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

pub(super) async fn guarded(
    State(hosts): State<Arc<AllowedHosts>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(&hosts, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refusal(hosts: &AllowedHosts, request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        let text = "read-only: only GET and HEAD are allowed\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response());
    }
    let headers = request.headers();
    if has_body(headers) {
        let close = [(header::CONNECTION, "close")];
        let text = "requests have no body here\n";
        return Some((StatusCode::PAYLOAD_TOO_LARGE, close, text).into_response());
    }
    // Probes show nothing, and a kubelet or a load balancer may name any host.
    if !is_probe(request) && !hosts.allow(headers, request.version()) {
        let text = "the Host header names none of this server's hosts: ask for it by its IP address or as localhost, \
                    or add the name to NETFLOW_ADMIN_ALLOWED_HOSTS\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    None
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Names by which a server may be asked for. A page of any site can send a browser to a name that it lets point at any
/// address, such as 127.0.0.1 (DNS rebinding). Such a request names that site as its host, so no server that a browser
/// can reach may answer to every name.
///
/// Always allowed are IP addresses, `localhost` and names below it, and names without a dot (no public name is one).
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    /// In small letters, without a dot at the end.
    names: Vec<String>,
    /// What a name may end in, each with its leading dot.
    suffixes: Vec<String>,
}

impl AllowedHosts {
    /// These names, `*.suffix` for all names below one, besides those that are always allowed.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        let mut hosts = Self::default();
        for name in names {
            let host = plain(name);
            match host.strip_prefix('*') {
                Some(suffix) => hosts.suffixes.push(suffix.to_owned()),
                None => hosts.names.push(host),
            }
        }
        hosts
    }

    /// Whether the `Host` of a request with these headers is allowed. HTTP/1.0 needs none; no browser speaks it.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap, version: Version) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) => version < Version::HTTP_11,
            (Some(host), None) => host
                .to_str()
                .ok()
                .and_then(|host| host.parse::<http::uri::Authority>().ok())
                .is_some_and(|authority| self.allow_name(authority.host())),
            (Some(_), Some(_)) => false,
        }
    }

    fn allow_name(&self, host: &str) -> bool {
        if let Some(address) = host.strip_prefix('[') {
            return address.strip_suffix(']').is_some_and(is_ipv6_address);
        }
        let host = plain(host);
        let is_single_label = !host.is_empty() && !host.contains(['.', ':']);
        is_single_label
            || host.ends_with(".localhost")
            || host.parse::<std::net::Ipv4Addr>().is_ok()
            || self.names.contains(&host)
            || self.suffixes.iter().any(|suffix| {
                host.strip_suffix(suffix.as_str())
                    .is_some_and(|label| !label.is_empty())
            })
    }
}

/// Maybe with a zone, as in `fe80::1%25eth0`.
fn is_ipv6_address(text: &str) -> bool {
    let address = text.split('%').next().unwrap_or_default();
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

fn plain(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_site_can_own_are_allowed() {
        let names = ["*.svc", "Flows.Example.", "router-7.lan"].map(str::to_owned);
        let hosts = AllowedHosts::new(&names);
        for (host, is_allowed) in [
            ("localhost:9464", true),
            ("127.0.0.1:9464", true),
            ("192.0.2.7", true),
            ("[::1]:9464", true),
            ("[fe80::1%25eth0]:9464", true),
            ("app.localhost", true),
            ("LOCALHOST", true),
            ("netflow2traces:9464", true),
            ("router-7.lan:9464", true),
            ("flows.example", true),
            ("flows.example.:9464", true),
            ("netflow2traces.monitoring.svc:9464", true),
            ("netflow2traces.monitoring.svc.", true),
            (".svc", false),
            ("svc.evil.example", false),
            ("evilsvc", true),
            ("sub.flows.example", false),
            ("evil.example:9464", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[evil.example]", false),
            ("", false),
            (".", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(
                hosts.allow(&headers, Version::HTTP_11),
                is_allowed,
                "{host}"
            );
        }
        assert!(!hosts.allow(&HeaderMap::new(), Version::HTTP_11));
        assert!(hosts.allow(&HeaderMap::new(), Version::HTTP_10));
        let mut two = HeaderMap::new();
        two.append(header::HOST, HeaderValue::from_static("localhost"));
        two.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!hosts.allow(&two, Version::HTTP_11));
    }
}
