//! Settings: the admin server.

use std::net::IpAddr;

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;

settings! { WATCHING:
    ADMIN_HOST: IpAddr {
        section: Watching,
        variables: ["NETFLOW_ADMIN_HOST"],
        flag: "admin-host",
        placeholder: "ADDRESS",
        preset: Preset::Text("127.0.0.1"),
        accepted: "one IP address of this machine, such as 127.0.0.1, 0.0.0.0 or ::",
        summary: "Address of the admin server",
        details: "`127.0.0.1` is reached from this machine alone. There is no password: give \
            another address only where everyone who reaches it may see your exporters' addresses, \
            and in containers, where the published port decides.",
        parse: values::address,
    }
    ADMIN_PORT: u16 {
        section: Watching,
        variables: ["NETFLOW_ADMIN_PORT"],
        flag: "admin-port",
        placeholder: "PORT",
        preset: Preset::Text("9464"),
        accepted: "a TCP port, or 0 to turn the admin server off",
        summary: "TCP port of the admin server: metrics and health",
        details: "9464 is the port that OpenTelemetry gives to Prometheus exporters. Two daemons \
            on a machine need two ports.",
        parse: values::tcp_port,
    }
}
