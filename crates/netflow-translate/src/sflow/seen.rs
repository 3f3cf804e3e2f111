//! The records of one flow sample, brought together: what the headers say goes before what the agent read.

use netflow_wire::frame::Frame;
use netflow_wire::sflow::{
    Ethernet, FlowRecord, FlowSample, Gateway, Mpls, Nat, NatPorts, RawHeader, Router, SampleError,
    SampledIp, Switch, TunnelHeader, TunnelVni, Url, User,
};

/// What is known of a sampled packet; of several records of one kind the first.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen<'a> {
    pub(super) frame: Frame,
    /// Octets of the frame, else of the IP packet.
    pub(super) octets: Option<u32>,
    pub(super) raw: Option<RawHeader<'a>>,
    pub(super) switch: Option<Switch>,
    pub(super) router: Option<Router>,
    pub(super) gateway: Option<Gateway>,
    pub(super) user: Option<User<'a>>,
    pub(super) url: Option<Url<'a>>,
    pub(super) mpls: Option<Mpls>,
    pub(super) nat: Option<Nat>,
    pub(super) nat_ports: Option<NatPorts>,
    pub(super) tunnel: Option<TunnelHeader>,
    pub(super) vni: Option<TunnelVni>,
}

impl<'a> Seen<'a> {
    /// Forgets a sample. The whole is large: only what tells that there is nothing is written.
    fn clear(&mut self) {
        self.frame.clear();
        self.octets = None;
        self.raw = None;
        self.switch = None;
        self.router = None;
        self.gateway = None;
        self.user = None;
        self.url = None;
        self.mpls = None;
        self.nat = None;
        self.nat_ports = None;
        self.tunnel = None;
        self.vni = None;
    }

    /// Reads a sample's records in place of those before; each that can't be used is passed to `bad`.
    #[inline]
    pub(super) fn read(&mut self, flow: &FlowSample<'a>, mut bad: impl FnMut(SampleError)) {
        let seen = self;
        seen.clear();
        let (mut ethernet, mut ip) = (None::<Ethernet>, None::<SampledIp>);
        for record in flow.records() {
            match record {
                Ok(FlowRecord::RawHeader(record)) => _ = seen.raw.get_or_insert(record),
                Ok(FlowRecord::Ethernet(record)) => _ = ethernet.get_or_insert(record),
                Ok(FlowRecord::Ip(record)) => _ = ip.get_or_insert(record),
                Ok(FlowRecord::Switch(record)) => _ = seen.switch.get_or_insert(record),
                Ok(FlowRecord::Router(record)) => _ = seen.router.get_or_insert(record),
                Ok(FlowRecord::Gateway(record)) => _ = seen.gateway.get_or_insert(record),
                Ok(FlowRecord::User(record)) => _ = seen.user.get_or_insert(record),
                Ok(FlowRecord::Url(record)) => _ = seen.url.get_or_insert(record),
                Ok(FlowRecord::Mpls(record)) => _ = seen.mpls.get_or_insert(record),
                Ok(FlowRecord::Nat(record)) => _ = seen.nat.get_or_insert(record),
                Ok(FlowRecord::NatPorts(record)) => _ = seen.nat_ports.get_or_insert(record),
                Ok(FlowRecord::Tunnel(record)) => _ = seen.tunnel.get_or_insert(record),
                Ok(FlowRecord::Vni(record)) => _ = seen.vni.get_or_insert(record),
                Ok(_) => {}
                Err(error) => bad(error),
            }
        }
        if let Some(raw) = &seen.raw {
            raw.read_frame(&mut seen.frame);
        }
        if let Some(ethernet) = &ethernet {
            seen.frame.macs.get_or_insert(ethernet.macs);
            if seen.frame.ethertype.is_none() {
                seen.frame.ethertype = u16::try_from(ethernet.ethertype).ok();
            }
        }
        if let Some(ip) = &ip {
            let told = ip.packet();
            let packet = seen.frame.packet.get_or_insert(told);
            let transport = &mut packet.transport;
            transport.ports = transport.ports.or(told.transport.ports);
            transport.tcp_flags = transport.tcp_flags.or(told.transport.tcp_flags);
        }
        // Some agents report the octets of the sample; the packet in it says how long it was.
        let least = seen.frame.least_octets().unwrap_or(0);
        let least = u32::try_from(least).unwrap_or(u32::MAX);
        let frame = seen.raw.map(|raw| raw.frame_length.max(least));
        seen.octets = frame
            .or(ethernet.map(|ethernet| ethernet.length))
            .or(ip.map(|ip| ip.length));
    }
}
