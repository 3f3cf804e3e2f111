//! Settings: flow metrics.

use std::path::PathBuf;

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values::{self, Rejection};
use crate::translate::metrics::{View, Views};

settings! { FLOW_METRICS:
    NETWORKS: PathBuf {
        section: FlowMetrics,
        variables: ["NETFLOW_NETWORKS"],
        flag: "networks",
        placeholder: "FILE",
        preset: Preset::Nothing("no names"),
        accepted: "a readable CSV file with lines such as 10.0.0.0/8,office,site=berlin",
        summary: "CSV file that names networks",
        details: "Each line is `cidr,name[,key=value…]`; a first line `cidr,name` is a heading, lines that begin with `#` are comments. Spans get \
            `netflow.source.network` and `netflow.destination.network`, and each further key as `source.KEY` and \
            `destination.KEY`; the longest prefix that contains the address applies. The file names \
            exporters too: `netflow.exporter.network` in the resource and, if a line is for that address alone, \
            `netflow.exporter.name`. If the file has an error, the \
            daemon doesn't start and names the line. The file is read again within seconds of a change, and on \
            SIGHUP; if the new version is invalid, the previous one stays in use and the log says so.",
        parse: readable,
    }
    INTERFACES: PathBuf {
        section: FlowMetrics,
        variables: ["NETFLOW_INTERFACES"],
        flag: "interfaces",
        placeholder: "FILE",
        preset: Preset::Nothing("names from options data"),
        accepted: "a readable CSV file with lines such as 192.0.2.1,3,Gi0/3,10G,to Berlin",
        summary: "CSV file of names, speeds and descriptions of interfaces",
        details: "Each line is `exporter,ifindex,name[,speed,description]`, the speed in bits a second with `k`, \
            `M`, `G` or `T`; lines that begin with `#` are comments. Spans have the names in \
            `netflow.interface.input.name` and `netflow.interface.output.name`; flow metrics have them in \
            `netflow_interface_info`, and the speeds in `netflow_interface_speed_bytes`. They take precedence over \
            names that exporters report. The file is checked and reloaded like `NETFLOW_NETWORKS`.",
        parse: readable,
    }
    GEOIP_COUNTRY: PathBuf {
        section: FlowMetrics,
        variables: ["NETFLOW_GEOIP_COUNTRY"],
        flag: "geoip-country",
        placeholder: "FILE",
        preset: Preset::Nothing("no countries"),
        accepted: "a readable database of MaxMind's format (.mmdb)",
        summary: "Database of the countries of addresses",
        details: "A database of countries or cities in MaxMind's format, such as GeoLite2 Country or \
            DB-IP's: records with `country.iso_code`, or a flat `country_code`. Spans get \
            `source.geo.country.iso_code` and `destination.geo.country.iso_code`, and the view \
            `country` of `NETFLOW_METRICS` counts by them. The file is kept in memory, checked and reloaded like \
            `NETFLOW_NETWORKS`.",
        parse: readable,
    }
    GEOIP_ASN: PathBuf {
        section: FlowMetrics,
        variables: ["NETFLOW_GEOIP_ASN"],
        flag: "geoip-asn",
        placeholder: "FILE",
        preset: Preset::Nothing("AS numbers of exporters alone"),
        accepted: "a readable database of MaxMind's format (.mmdb)",
        summary: "Database of the AS numbers of addresses",
        details: "A database of autonomous systems in MaxMind's format: records with \
            `autonomous_system_number` and `autonomous_system_organization`, or flat `asn` and \
            `as_name`. Spans get `source.as.number`, `source.as.organization.name` and the same of \
            the destination; a number that the exporter reports wins, and `netflow.as.origin` says \
            which it is (`exporter`, `database`, `both`). The view `as` of `NETFLOW_METRICS` uses it \
            where the exporter has no number. The file is kept in memory, checked and reloaded like \
            `NETFLOW_NETWORKS`.",
        parse: readable,
    }
    FLOW_VIEWS: Views {
        section: FlowMetrics,
        variables: ["NETFLOW_METRICS"],
        flag: "metrics",
        placeholder: "VIEW,…",
        preset: Preset::Text("interface"),
        accepted: "none, or views separated by commas: interface, exporter, application, \
            network, as, country, service_graph, top, sflow_counters",
        summary: "Which flow metrics are counted",
        details: "Every flow record is counted, before any sampling of spans. `interface`: by exporter, interface \
            and direction. `exporter`: by exporter, with the records lost on the network and the longest flow. \
            `application`: by exporter, transport and the service of the server's port. `network`: by exporter and \
            the names that `NETFLOW_NETWORKS` gives to source and destination. `as`: by exporter and the AS numbers \
            of both. `country`: by exporter and the countries of both, from `NETFLOW_GEOIP_COUNTRY`. \
            `service_graph`: requests between networks, in the form that Grafana's Service Graph tab needs. \
            `top`: the largest conversations, sources and destinations of the last minute. `sflow_counters`: the \
            counters that sFlow agents report for their interfaces. `none`: no flow metrics, at no cost.",
        parse: views,
    }
    METRICS_MAX_SERIES: u32 {
        section: FlowMetrics,
        variables: ["NETFLOW_METRICS_MAX_SERIES"],
        flag: "metrics-max-series",
        placeholder: "N",
        preset: Preset::Text("2000"),
        accepted: "a whole number from 1 to 1000000",
        summary: "Limit on the series of each view",
        details: "At the limit, records of a new series count into one series with the label \
            `otel_metric_overflow=\"true\"`, until the new series has been seen in two different minutes and can \
            replace another: one without records for five minutes, or one of an exporter that holds more than a \
            quarter of the view. A series without records for an hour is removed. Each series uses about 200 bytes \
            of memory and 600 bytes of a scrape.",
        parse: |text| values::whole_number(text, 1..=1_000_000)
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
    }
    TOP: usize {
        section: FlowMetrics,
        variables: ["NETFLOW_TOP"],
        flag: "top",
        placeholder: "N",
        preset: Preset::Text("50"),
        accepted: "a whole number from 1 to 1000",
        summary: "Rows of each kind in the view top",
        details: "The number of the largest conversations, sources and destinations of the last minute that the view \
            `top` of `NETFLOW_METRICS` shows. Each is a series with addresses as labels, and these change all the \
            time: with 50 rows, a Prometheus may see thousands of new series per hour.",
        parse: |text| values::whole_number(text, 1..=1000)
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
    }
}

/// A file that is there and can be opened.
fn readable(text: &str) -> Result<PathBuf, Rejection> {
    let path = PathBuf::from(text);
    match std::fs::File::open(&path) {
        Ok(_) if path.is_dir() => Err(Rejection::new("it is a directory")),
        Ok(_) => Ok(path),
        Err(error) => Err(Rejection(format!("it can't be read: {error}"))),
    }
}

/// Views of the flow metrics, or none.
fn views(text: &str) -> Result<Views, Rejection> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(Views::default());
    }
    let views = values::list(text, |item| {
        let mut views = View::ALL.into_iter();
        let found = views.find(|view| view.as_str().eq_ignore_ascii_case(item));
        found.ok_or_else(|| match item.eq_ignore_ascii_case("none") {
            true => Rejection::new("none can't be combined with views"),
            false => Rejection(format!("{item} is not a view")),
        })
    })?;
    Ok(views.into_iter().collect())
}
