//! Settings: what all spans have in common.

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;

settings! { RESOURCE:
    SERVICE_NAME: String {
        section: Resource,
        variables: ["OTEL_SERVICE_NAME"],
        flag: "service-name",
        placeholder: "NAME",
        preset: Preset::Text("netflow-to-traces"),
        accepted: "any text",
        summary: "service.name of the resource",
        details: "The name under which backends list the spans. Takes precedence over `service.name` in \
            `OTEL_RESOURCE_ATTRIBUTES`, which takes precedence over the default.",
        parse: |text| Ok(text.to_owned()),
    }
    SERVICE_VERSION: String {
        section: Resource,
        variables: ["OTEL_SERVICE_VERSION"],
        flag: "service-version",
        placeholder: "VERSION",
        preset: Preset::Computed("the version of netflow2traces"),
        accepted: "any text",
        summary: "service.version of the resource",
        details: "Takes precedence over `service.version` in `OTEL_RESOURCE_ATTRIBUTES`, which takes precedence over the default.",
        parse: |text| Ok(text.to_owned()),
    }
    RESOURCE_ATTRIBUTES: Vec<(String, String)> {
        section: Resource,
        variables: ["OTEL_RESOURCE_ATTRIBUTES"],
        flag: "resource-attributes",
        placeholder: "KEY=VALUE,…",
        preset: Preset::Nothing("none"),
        accepted: "key=value pairs separated by commas, percent-encoded (%20 is a space, %2C a \
            comma)",
        summary: "More attributes of the resource",
        details: "`deployment.environment.name=production,site=K%C3%B6ln`. These attributes replace those that the \
            daemon sets itself, except keys that begin with `netflow.exporter.`.",
        parse: values::attributes,
    }
}
