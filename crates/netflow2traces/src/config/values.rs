//! Readers of single values: text that isn't empty in, a typed value or the reason against it out.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use super::ExporterKind;

/// Why a value can't be used: a clause without a full stop that doesn't repeat what is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection(pub String);

impl Rejection {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The items of a comma-separated list, trimmed; empty ones are left out.
pub fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A list of at least one item, none of them twice.
pub(super) fn list<T: PartialEq>(
    text: &str,
    read: impl Fn(&str) -> Result<T, Rejection>,
) -> Result<Vec<T>, Rejection> {
    let mut values = Vec::new();
    for item in items(text) {
        let value = read(item)?;
        if values.contains(&value) {
            return Err(Rejection(format!("{item} is given twice")));
        }
        values.push(value);
    }
    if values.is_empty() {
        return Err(Rejection::new("the list has no items"));
    }
    Ok(values)
}

/// One of a few words, in any case.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Rejection> {
    choices
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, value)| *value)
        .ok_or_else(|| Rejection(format!("{text} is not a valid value")))
}

/// Where spans go: one word, or `otlp,console`.
pub fn traces_exporter(text: &str) -> Result<ExporterKind, Rejection> {
    let words = [
        ("otlp", ExporterKind::Otlp),
        ("kafka", ExporterKind::Kafka),
        ("console", ExporterKind::Console),
        ("none", ExporterKind::None),
    ];
    let kinds = text.split(',').map(|word| choice(word.trim(), &words));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    let has = |kind| kinds.contains(&kind);
    match kinds[..] {
        [kind] => Ok(kind),
        [_, _] if has(ExporterKind::Otlp) && has(ExporterKind::Console) => {
            Ok(ExporterKind::OtlpAndConsole)
        }
        _ => Err(Rejection(format!("{text} is not a valid combination"))),
    }
}

pub fn switch(text: &str) -> Result<bool, Rejection> {
    let words = [
        ("true", true),
        ("false", false),
        ("1", true),
        ("0", false),
        ("yes", true),
        ("no", false),
        ("on", true),
        ("off", false),
    ];
    choice(text, &words).map_err(|_| Rejection(format!("{text} is neither true nor false")))
}

fn within<T: Copy + Display + PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    written: &str,
) -> Result<T, Rejection> {
    if value < *range.start() {
        Err(Rejection(format!("{written} is too small")))
    } else if value > *range.end() {
        Err(Rejection(format!("{written} is too large")))
    } else {
        Ok(value)
    }
}

pub fn whole_number(text: &str, range: RangeInclusive<u64>) -> Result<u64, Rejection> {
    if text.len() > 1 && text.bytes().all(|octet| octet.is_ascii_digit()) {
        // Digits alone fail to parse only when they are too many.
        return within(text.parse().unwrap_or(u64::MAX), &range, text);
    }
    let number = text
        .parse()
        .map_err(|_| Rejection(format!("{text} is not a whole number")))?;
    within(number, &range, text)
}

pub fn count(text: &str, range: RangeInclusive<u64>) -> Result<usize, Rejection> {
    let number = whole_number(text, range)?;
    usize::try_from(number).map_err(|_| Rejection(format!("{text} is too large")))
}

/// Octets, or a number with a unit: `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), `kB`, `MB`, `GB`, `TB` (of 1000).
pub fn size(text: &str, range: RangeInclusive<u64>) -> Result<usize, Rejection> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    if number.is_empty() {
        return Err(Rejection(format!("{text} is not a size")));
    }
    if unit.starts_with(['.', ',']) {
        return Err(Rejection(format!(
            "{text} is not a whole number; write it in a smaller unit"
        )));
    }
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "ki" | "mi" | "gi" | "ti" => {
            return Err(Rejection(format!(
                "{text} lacks a letter (write {number}{unit}B)"
            )));
        }
        "k" | "m" | "g" | "t" => {
            let unit = unit.to_ascii_uppercase();
            return Err(Rejection(format!(
                "{text} may mean {number}{unit}iB or {number}{unit}B"
            )));
        }
        _ => return Err(Rejection(format!("{unit} is not a unit of size"))),
    };
    let octets = number
        .parse::<u64>()
        .unwrap_or(u64::MAX)
        .saturating_mul(factor);
    if unit.is_empty() && octets < *range.start() {
        return Err(Rejection(format!(
            "{text} is too small: without a unit it is a number of bytes"
        )));
    }
    let octets = within(octets, &range, text)?;
    usize::try_from(octets).map_err(|_| Rejection(format!("{text} is too large")))
}

/// Host names, `*.suffix` for all names below one.
pub fn host_names(text: &str) -> Result<Vec<String>, Rejection> {
    list(text, |item| {
        let name = item.strip_prefix("*.").unwrap_or(item);
        let is_label = |label: &str| {
            let is_part = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
            !label.is_empty() && label.bytes().all(is_part)
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.split('.').all(is_label) {
            Ok(item.to_owned())
        } else {
            Err(Rejection(format!("{item} is not a host name")))
        }
    })
}

/// A directory, or a path where nothing is yet. Whether it can be written shows when it is used.
pub fn directory(text: &str) -> Result<PathBuf, Rejection> {
    if text.contains(char::is_control) {
        return Err(Rejection::new("the name has control characters"));
    }
    let path = PathBuf::from(text);
    match std::fs::metadata(&path) {
        Ok(found) if !found.is_dir() => Err(Rejection(format!("{text} is not a directory"))),
        _ => Ok(path),
    }
}

/// `30s`, `10m`, `24h`, `1h 30m`, `250ms`.
pub fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Rejection> {
    let value = match humantime::parse_duration(text) {
        Ok(value) => value,
        Err(_) if text.bytes().all(|octet| octet.is_ascii_digit()) => {
            return Err(Rejection(format!(
                "{text} lacks a unit (write {text}s for seconds)"
            )));
        }
        Err(_) => return Err(Rejection(format!("{text} is not a duration"))),
    };
    if value < *range.start() {
        Err(Rejection(format!("{text} is too short")))
    } else if value > *range.end() {
        Err(Rejection(format!("{text} is too long")))
    } else {
        Ok(value)
    }
}

/// Milliseconds without a unit, as the `OTEL_` variables have them.
pub fn milliseconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, Rejection> {
    match whole_number(text, range) {
        Ok(number) => Ok(Duration::from_millis(number)),
        Err(rejection) => Err(match humantime::parse_duration(text) {
            Ok(meant) if text.bytes().any(|octet| octet.is_ascii_alphabetic()) => {
                Rejection(format!("write {text} as {}", meant.as_millis()))
            }
            _ => rejection,
        }),
    }
}

/// A key of 128 bits.
///
/// # Errors
/// What is not 32 hexadecimal digits.
pub fn key(text: &str) -> Result<[u8; 16], Rejection> {
    let digits = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(key) if digits && text.len() == 32 => Ok(key.to_be_bytes()),
        _ => Err(Rejection("not 32 hexadecimal digits".to_owned())),
    }
}

/// A share.
///
/// # Errors
/// What is no number from 0 to 1.
pub fn ratio(text: &str) -> Result<f64, Rejection> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        Ok(_) => Err(Rejection(format!("{text} is not between 0 and 1"))),
        Err(_) => Err(Rejection(format!("{text} is not a number"))),
    }
}

/// IP addresses to bind; an IPv6 address may stand in brackets.
pub fn addresses(text: &str) -> Result<Vec<IpAddr>, Rejection> {
    let hosts = list(text, |item| {
        let bare = item
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(item);
        bare.parse::<IpAddr>()
            .map_err(|_| Rejection(format!("{item} is not an IP address")))
    })?;
    let every = hosts.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    if every && hosts.iter().any(IpAddr::is_ipv4) {
        return Err(Rejection::new(
            ":: includes IPv4, so it can't be combined with an IPv4 address",
        ));
    }
    Ok(hosts)
}

pub fn ports(text: &str) -> Result<Vec<u16>, Rejection> {
    list(text, |item| {
        item.parse::<u16>()
            .map_err(|_| Rejection(format!("{item} is not a UDP port")))
    })
}

/// One IP address.
pub fn address(text: &str) -> Result<IpAddr, Rejection> {
    text.parse()
        .map_err(|_| Rejection(format!("{text} is not an IP address")))
}

/// A TCP port, or 0.
pub fn tcp_port(text: &str) -> Result<u16, Rejection> {
    text.parse()
        .map_err(|_| Rejection(format!("{text} is not a TCP port")))
}

/// What stands for a trace's id in [`trace_url`].
pub const TRACE_ID: &str = "{trace_id}";

/// An address of http or https with a place for a trace's id.
pub fn trace_url(text: &str) -> Result<String, Rejection> {
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err(Rejection::new("it doesn't begin with http:// or https://"));
    }
    if let Some(odd) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>'))
    {
        let sentence = format!("it has a {odd:?}, which a URL has percent-encoded");
        return Err(Rejection(sentence));
    }
    let (before, _) = text
        .split_once(TRACE_ID)
        .ok_or_else(|| Rejection(format!("it has no {TRACE_ID}")))?;
    let authority = before.split_once("://").map_or("", |(_, rest)| rest);
    let host = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(Rejection::new(
            "user and password don't belong in it: everyone sees it",
        ));
    }
    if host.parse::<http::uri::Authority>().is_err() || host.len() == authority.len() {
        return Err(Rejection(format!("{TRACE_ID} must come after the host")));
    }
    Ok(text.to_owned())
}

/// A file that exists or can be made: its directory does.
pub fn file_to_write(text: &str) -> Result<PathBuf, Rejection> {
    let path = PathBuf::from(text);
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if path.is_dir() || path.file_name().is_none() {
        return Err(Rejection(format!("{text} is a directory")));
    }
    if text.ends_with('/') {
        return Err(Rejection(format!(
            "{text} names a directory: it ends with /"
        )));
    }
    if !directory.is_dir() {
        return Err(Rejection(format!(
            "there is no directory {}",
            directory.display()
        )));
    }
    Ok(path)
}

/// Networks in CIDR form, or single addresses.
pub fn networks(text: &str) -> Result<Vec<IpNet>, Rejection> {
    list(text, network_of)
}

/// A network in CIDR form, or one address.
pub(super) fn network_of(text: &str) -> Result<IpNet, Rejection> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text
        .parse()
        .map_err(|_| Rejection(format!("{text} is not a network in CIDR form")))?;
    if network != network.trunc() {
        return Err(Rejection(format!(
            "{text} has bits set beyond its prefix length (did you mean {}?)",
            network.trunc()
        )));
    }
    Ok(network)
}

/// `key=value,…`, percent-decoded, as `OTEL_RESOURCE_ATTRIBUTES` has it.
pub fn attributes(text: &str) -> Result<Vec<(String, String)>, Rejection> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for item in items(text) {
        let Some((key, value)) = item.split_once('=') else {
            return Err(Rejection(format!("{item} lacks \"=\" and a value")));
        };
        let (key, value) = (percent_decoded(key.trim())?, percent_decoded(value.trim())?);
        if key.is_empty() {
            return Err(Rejection(format!("{item} lacks a name before \"=\"")));
        }
        if key.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(Rejection(format!("{key:?} is not a name")));
        }
        if key.starts_with("netflow.exporter.") {
            return Err(Rejection(format!(
                "{key} is written for each exporter by the daemon"
            )));
        }
        if attributes.iter().any(|(known, _)| *known == key) {
            return Err(Rejection(format!("{key} is given twice")));
        }
        attributes.push((key, value));
    }
    Ok(attributes)
}

/// Percent-decoded text; the error doesn't show it, since it may be a secret.
pub fn percent_decoded(text: &str) -> Result<String, Rejection> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Rejection::new("a percent-encoded part is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<u64> = 0..=u64::MAX;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, octets) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64 MiB", 67_108_864),
            ("1GiB", 1_073_741_824),
            ("1kB", 1_000),
            ("2MB", 2_000_000),
            ("3gb", 3_000_000_000),
            ("1TiB", 1 << 40),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(size(text, ANY), Ok(octets), "{text}");
        }
    }

    #[test]
    fn a_size_with_half_a_unit_is_ambiguous() {
        assert_eq!(
            size("64m", ANY),
            Err(Rejection::new("64m may mean 64MiB or 64MB"))
        );
        assert!(size("MiB", ANY).is_err());
        assert_eq!(
            size("64", 1024..=4096),
            Err(Rejection::new(
                "64 is too small: without a unit it is a number of bytes"
            ))
        );
        for (text, reason) in [
            (
                "1.5GiB",
                "1.5GiB is not a whole number; write it in a smaller unit",
            ),
            ("64Mi", "64Mi lacks a letter (write 64MiB)"),
            ("64 megabytes", "megabytes is not a unit of size"),
        ] {
            assert_eq!(size(text, ANY), Err(Rejection::new(reason)));
        }
        assert!(size("-1", ANY).is_err());
        assert_eq!(
            size("99999999999999999999GiB", 0..=10),
            Err(Rejection::new("99999999999999999999GiB is too large"))
        );
    }

    #[test]
    fn a_file_to_write_is_no_directory() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        assert!(file_to_write(&inside("templates")).is_ok());
        for text in [inside(""), inside("templates/"), inside("absent/templates")] {
            assert!(file_to_write(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_beyond_every_type_is_too_large_and_not_strange() {
        assert_eq!(
            whole_number("99999999999999999999999", 1..=256),
            Err(Rejection::new("99999999999999999999999 is too large"))
        );
        assert!(whole_number("-1", 1..=256).is_err());
        assert!(whole_number("", 1..=256).is_err());
    }

    #[test]
    fn a_duration_without_unit_says_how_to_write_it() {
        let range = Duration::ZERO..=Duration::from_secs(60);
        assert_eq!(duration("30s", range.clone()), Ok(Duration::from_secs(30)));
        assert_eq!(
            duration("30", range.clone()),
            Err(Rejection::new("30 lacks a unit (write 30s for seconds)"))
        );
        assert_eq!(duration("2m", range), Err(Rejection::new("2m is too long")));
    }

    #[test]
    fn milliseconds_with_a_unit_say_the_number() {
        assert_eq!(milliseconds("1000", ANY), Ok(Duration::from_secs(1)));
        assert_eq!(
            milliseconds("10s", ANY),
            Err(Rejection::new("write 10s as 10000"))
        );
    }

    #[test]
    fn a_trace_url_has_a_place_for_the_id_behind_its_host() {
        for text in [
            "http://localhost:16686/trace/{trace_id}",
            "https://grafana.example/explore?panes=%7B%22query%22:%22{trace_id}%22%7D",
            "http://[::1]:3000/#/{trace_id}",
        ] {
            assert_eq!(trace_url(text).as_deref(), Ok(text));
        }
        for (text, problem) in [
            ("http://localhost:16686/trace/", "no {trace_id}"),
            ("javascript:alert(1)//{trace_id}", "http://"),
            ("localhost/{trace_id}", "http://"),
            ("http://{trace_id}/", "after the host"),
            ("http:///{trace_id}", "after the host"),
            ("http://me:secret@host/{trace_id}", "password"),
            ("http://host/a b/{trace_id}", "percent-encoded"),
        ] {
            let Rejection(sentence) = trace_url(text).unwrap_err();
            assert!(sentence.contains(problem), "{text}: {sentence}");
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }

    #[test]
    fn host_names_have_no_port_and_a_star_only_in_front() {
        let names = [
            "*.svc",
            "*.svc.cluster.local",
            "flows.example.com",
            "a_b-1.",
        ];
        assert_eq!(host_names(&names.join(", ")).unwrap(), names);
        for text in [
            "*",
            "*.",
            "a.*.example",
            "flows.example:9464",
            "http://flows",
            "a..b",
            "svc,svc",
            ",",
        ] {
            assert!(host_names(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listen_addresses_know_dual_stack() {
        assert_eq!(addresses("[::1], 127.0.0.1").unwrap().len(), 2);
        assert!(addresses("::,0.0.0.0").is_err());
        assert!(addresses("router.example").is_err());
        assert!(ports("2055,2055").is_err());
        assert_eq!(ports("2055,4739, 6343"), Ok(vec![2055, 4739, 6343]));
    }

    #[test]
    fn attributes_are_percent_decoded() {
        assert_eq!(
            attributes("site=K%C3%B6ln%2C%20Nord,env=prod,"),
            Ok(vec![
                ("site".to_owned(), "Köln, Nord".to_owned()),
                ("env".to_owned(), "prod".to_owned())
            ])
        );
        for text in [
            "site",
            "=x",
            "a=1,a=2",
            "a=%FF",
            "a b=1",
            "netflow.exporter.address=1",
        ] {
            assert!(attributes(text).is_err(), "{text}");
        }
    }
}
