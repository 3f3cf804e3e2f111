//! Names of well-known ports: IANA's service names, but for a few that everyone knows otherwise (53 is `dns`, 5432
//! `postgresql`).

/// Sorted by port.
const SERVICES: &[(u16, &str)] = &[
    (7, "echo"),
    (13, "daytime"),
    (19, "chargen"),
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (37, "time"),
    (43, "whois"),
    (49, "tacacs"),
    (53, "dns"),
    (67, "dhcp"),
    (68, "dhcp-client"),
    (69, "tftp"),
    (70, "gopher"),
    (79, "finger"),
    (80, "http"),
    (88, "kerberos"),
    (102, "iso-tsap"),
    (110, "pop3"),
    (111, "sunrpc"),
    (113, "ident"),
    (119, "nntp"),
    (123, "ntp"),
    (135, "epmap"),
    (137, "netbios-ns"),
    (138, "netbios-dgm"),
    (139, "netbios-ssn"),
    (143, "imap"),
    (161, "snmp"),
    (162, "snmptrap"),
    (179, "bgp"),
    (194, "irc"),
    (264, "bgmp"),
    (319, "ptp-event"),
    (320, "ptp-general"),
    (389, "ldap"),
    (427, "svrloc"),
    (443, "https"),
    (445, "microsoft-ds"),
    (464, "kpasswd"),
    (465, "submissions"),
    (500, "isakmp"),
    (502, "modbus"),
    (512, "exec"),
    (513, "login"),
    (514, "syslog"),
    (515, "printer"),
    (520, "rip"),
    (521, "ripng"),
    (546, "dhcpv6-client"),
    (547, "dhcpv6"),
    (548, "afp"),
    (554, "rtsp"),
    (563, "nntps"),
    (587, "submission"),
    (623, "ipmi"),
    (631, "ipp"),
    (636, "ldaps"),
    (646, "ldp"),
    (830, "netconf-ssh"),
    (853, "dns-over-tls"),
    (860, "iscsi"),
    (873, "rsync"),
    (902, "vmware-authd"),
    (989, "ftps-data"),
    (990, "ftps"),
    (992, "telnets"),
    (993, "imaps"),
    (995, "pop3s"),
    (1080, "socks"),
    (1194, "openvpn"),
    (1433, "mssql"),
    (1434, "mssql-monitor"),
    (1521, "oracle"),
    (1645, "radius-old"),
    (1646, "radius-acct-old"),
    (1701, "l2tp"),
    (1723, "pptp"),
    (1812, "radius"),
    (1813, "radius-acct"),
    (1883, "mqtt"),
    (1900, "ssdp"),
    (1985, "hsrp"),
    (2049, "nfs"),
    (2055, "netflow"),
    (2181, "zookeeper"),
    (2375, "docker"),
    (2376, "docker-tls"),
    (2379, "etcd-client"),
    (2380, "etcd-server"),
    (3128, "squid"),
    (3205, "isns"),
    (3260, "iscsi-target"),
    (3268, "ldap-gc"),
    (3269, "ldaps-gc"),
    (3306, "mysql"),
    (3389, "rdp"),
    (3478, "stun"),
    (3784, "bfd-control"),
    (3868, "diameter"),
    (4317, "otlp-grpc"),
    (4318, "otlp-http"),
    (4500, "ipsec-nat-t"),
    (4739, "ipfix"),
    (4789, "vxlan"),
    (5004, "rtp"),
    (5005, "rtcp"),
    (5060, "sip"),
    (5061, "sips"),
    (5222, "xmpp-client"),
    (5269, "xmpp-server"),
    (5349, "stuns"),
    (5351, "nat-pmp"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (5432, "postgresql"),
    (5671, "amqps"),
    (5672, "amqp"),
    (5683, "coap"),
    (5684, "coaps"),
    (5900, "vnc"),
    (5985, "winrm-http"),
    (5986, "winrm-https"),
    (6081, "geneve"),
    (6343, "sflow"),
    (6379, "redis"),
    (6443, "kubernetes-api"),
    (6514, "syslog-tls"),
    (6633, "openflow-old"),
    (6653, "openflow"),
    (6660, "irc-6660"),
    (6667, "irc-6667"),
    (6697, "ircs"),
    (7000, "cassandra"),
    (8080, "http-alt"),
    (8086, "influxdb"),
    (8125, "statsd"),
    (8140, "puppet"),
    (8443, "https-alt"),
    (8472, "vxlan-old"),
    (8883, "mqtts"),
    (9042, "cassandra-cql"),
    (9090, "prometheus"),
    (9092, "kafka"),
    (9100, "jetdirect"),
    (9200, "elasticsearch"),
    (9300, "elasticsearch-nodes"),
    (9411, "zipkin"),
    (9418, "git"),
    (10050, "zabbix-agent"),
    (10051, "zabbix-server"),
    (10250, "kubelet"),
    (11211, "memcached"),
    (27017, "mongodb"),
    (51820, "wireguard"),
];

/// A bit for each port that a service is known by.
static KNOWN: [u64; 1024] = {
    let mut bits = [0; 1024];
    let mut n = 0;
    while n < SERVICES.len() {
        let port = SERVICES[n].0 as usize;
        bits[port / 64] |= 1 << (port % 64);
        n += 1;
    }
    bits
};

/// Whether a service is known by this port.
#[inline]
pub(crate) fn is_known(port: u16) -> bool {
    let bits = KNOWN.get(usize::from(port / 64)).copied().unwrap_or(0);
    bits & 1 << (port % 64) != 0
}

/// The service that is known by this port, such as `https` for 443.
#[must_use]
pub fn name(port: u16) -> Option<&'static str> {
    SERVICES.get(index(port)?).map(|(_, name)| *name)
}

/// Where that service stands among [`names`].
#[must_use]
pub(crate) fn index(port: u16) -> Option<usize> {
    SERVICES.binary_search_by_key(&port, |(port, _)| *port).ok()
}

/// All names, by port.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_and_names_unlike() {
        assert!(SERVICES.is_sorted_by(|(one, _), (next, _)| one < next));
        let mut names: Vec<_> = SERVICES.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn a_port_has_the_name_that_people_know() {
        assert_eq!(name(53), Some("dns"));
        assert_eq!(name(5_432), Some("postgresql"));
        assert_eq!(name(50_000), None);
        for port in 0..=u16::MAX {
            assert_eq!(is_known(port), name(port).is_some(), "{port}");
        }
    }
}
