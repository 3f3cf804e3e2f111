//! The proxy variables that most programs know: which proxy, if any, leads to an endpoint.

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::load::Loader;
use super::settings;
use super::values::Rejection;
use super::{Connections, Proxy};

impl Loader<'_> {
    /// How connections to this endpoint are made; mistakes are noted.
    pub(super) fn connections(&mut self, endpoint: &Uri, zone: Option<String>) -> Connections {
        let max_age = self.value(&settings::MAX_CONNECTION_AGE);
        let https = endpoint.scheme() == Some(&Scheme::HTTPS);
        let setting = if https {
            &settings::HTTPS_PROXY
        } else {
            &settings::HTTP_PROXY
        };
        let except = self.optional(&settings::NO_PROXY).unwrap_or_default();
        let both =
            [&settings::HTTPS_PROXY, &settings::HTTP_PROXY].map(|setting| self.given(setting));
        let [of_https, of_http] = both;
        let given = if https { of_https } else { of_http };
        let given = given.filter(|_| !is_exempt(endpoint, &except));
        let proxy = given.and_then(|(value, given)| match proxy(endpoint, &value) {
            Ok(proxy) => {
                if is_this_machine(endpoint) {
                    self.warnings.push(format!(
                        "requests to {} go through the proxy of {}; if the backend runs on this machine, add it to \
                         NO_PROXY",
                        endpoint.host().unwrap_or_default(),
                        given.variable
                    ));
                }
                Some(proxy)
            }
            Err(rejection) => {
                self.reject(setting, &given, &rejection);
                None
            }
        });
        Connections {
            max_age,
            proxy,
            zone,
        }
    }
}

/// What the URL of a proxy must be, used or not: the variable may be set for other programs. The rest is judged when it
/// is used.
pub(super) fn url_text(text: &str) -> Result<String, Rejection> {
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Rejection::new("it is not the URL of a proxy"));
    }
    Ok(text.to_owned())
}

/// A list in which nothing is wrong but what can't be shown.
pub(super) fn exempt_text(text: &str) -> Result<String, Rejection> {
    if text.contains(char::is_control) {
        return Err(Rejection::new("it has control characters"));
    }
    Ok(text.to_owned())
}

/// By curl's rules: names with all names below them, addresses, networks, and `*`.
fn is_exempt(endpoint: &Uri, except: &str) -> bool {
    let any = "http://proxy.invalid";
    let matcher = Matcher::builder().http(any).https(any).no(except).build();
    matcher.intercept(endpoint).is_none()
}

fn is_this_machine(endpoint: &Uri) -> bool {
    let host = endpoint.host().unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

fn proxy(endpoint: &Uri, value: &str) -> Result<Proxy, Rejection> {
    let scheme = value.split_once("://").map_or("http", |(scheme, _)| scheme);
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Rejection(format!(
            "a proxy of the kind {scheme}:// is not supported"
        )));
    }
    let matcher = Matcher::builder().http(value).https(value).build();
    let found = matcher
        .intercept(endpoint)
        .ok_or_else(|| Rejection::new("it is not the URL of a proxy"))?;
    let mut parts = found.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let uri = Uri::from_parts(parts).map_err(|_| Rejection::new("it is not the URL of a proxy"))?;
    let authorization = found.basic_auth().map(|value| {
        let mut value: HeaderValue = value.clone();
        value.set_sensitive(true);
        value
    });
    Ok(Proxy { uri, authorization })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn names_networks_and_the_star_are_exempt() {
        for (endpoint, except) in [
            ("http://tempo.example:4318", "example"),
            ("http://tempo.example:4318", "other, .example"),
            ("https://10.1.2.3:4317", "10.0.0.0/8"),
            ("https://10.1.2.3:4317", "10.1.2.3"),
            ("http://[2001:db8::1]:4317", "2001:db8::/32"),
            ("http://localhost:4317", "localhost,127.0.0.1"),
            ("http://tempo:4318", "*"),
        ] {
            assert!(is_exempt(&uri(endpoint), except), "{endpoint} {except}");
        }
        for (endpoint, except) in [
            ("http://tempo.example:4318", ""),
            ("http://tempo.example:4318", "ample"),
            ("https://10.1.2.3:4317", "192.168.0.0/16"),
        ] {
            assert!(!is_exempt(&uri(endpoint), except), "{endpoint} {except}");
        }
    }

    #[test]
    fn a_proxy_has_an_address_and_perhaps_credentials() {
        let endpoint = uri("https://tempo:4317");
        for (value, shown) in [
            ("http://proxy:3128", "http://proxy:3128/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("http://proxy:3128/", "http://proxy:3128/"),
            ("http://user:pass@proxy:3128", "http://proxy:3128/"),
            ("http://[::1]:3128", "http://[::1]:3128/"),
        ] {
            let proxy = proxy(&endpoint, value).unwrap();
            assert_eq!(proxy.uri.to_string(), shown);
            assert_eq!(
                proxy.authorization.is_some(),
                value.contains('@'),
                "{value}"
            );
        }
        for value in [
            "socks5://proxy:1080",
            "https://proxy:3128",
            "http://",
            "a b",
        ] {
            assert!(proxy(&endpoint, value).is_err(), "{value}");
        }
    }
}
