//! Templates of connections: they hold for their connection alone, until it ends or they are withdrawn.

mod support;

use std::mem::size_of;
use std::time::Duration;

use netflow_wire::write::Field;
use netflow_wire::{Event, Learning, SetError, TemplateKey, Transport, Version};
use support::{Seen, Session, writer};

const FIELDS: [Field; 2] = [Field::new(8, 4), Field::new(12, 4)];

fn template(id: u16) -> Vec<u8> {
    let mut message = writer(Version::Ipfix, 1);
    message.template(id, &FIELDS);
    message.finish().expect("fits")
}

fn data(id: u16) -> Vec<u8> {
    let mut message = writer(Version::Ipfix, 1);
    message.declare(id, &FIELDS).data_set(id, |set| {
        set.record(|record| {
            record.u32(1).u32(2);
        });
    });
    message.finish().expect("fits")
}

fn over(session: &mut Session, transport: Transport, port: u16, octets: &[u8]) -> Seen {
    let seen = session.message_in(transport, port, octets);
    seen.expect("a good header")
}

fn end(session: &mut Session, transport: Transport, port: u16) -> (usize, usize) {
    let ended = netflow_wire::Session { transport, port };
    let mut expired = 0;
    let templates = session.decoder.end_session(ended, |event| {
        assert!(
            matches!(event, Event::Expired { id: 256.., .. }),
            "{event:?}"
        );
        expired += 1;
    });
    (templates, expired)
}

#[test]
fn a_key_takes_no_more_room_than_without_its_transport() {
    assert_eq!(size_of::<TemplateKey>(), 12);
}

#[test]
fn templates_of_a_connection_hold_for_it_alone() {
    let mut session = Session::default();
    over(&mut session, Transport::Tcp, 1, &template(256));
    let records =
        |session: &mut Session, transport, port| over(session, transport, port, &data(256)).records;
    assert_eq!(records(&mut session, Transport::Tcp, 1), 1);
    for (transport, port) in [
        (Transport::Tcp, 2),
        (Transport::Tls, 1),
        (Transport::Udp, 1),
    ] {
        assert_eq!(records(&mut session, transport, port), 0, "{transport:?}");
    }
    // Nor are those of UDP, which other ports may use, believed in a connection.
    over(&mut session, Transport::Udp, 1, &template(256));
    assert_eq!(records(&mut session, Transport::Udp, 9), 1);
    assert_eq!(records(&mut session, Transport::Tls, 1), 0);
}

#[test]
fn the_end_of_a_connection_takes_its_templates_and_waiting_sets_along_and_no_others() {
    let mut session = Session::default();
    for (transport, port) in [
        (Transport::Tcp, 1),
        (Transport::Tcp, 2),
        (Transport::Tls, 1),
        (Transport::Udp, 1),
    ] {
        over(&mut session, transport, port, &template(256));
        over(&mut session, transport, port, &template(257));
        over(&mut session, transport, port, &data(300));
    }
    assert_eq!(session.decoder.waiting().0, 4);
    assert_eq!(end(&mut session, Transport::Tcp, 1), (2, 1));
    assert_eq!(end(&mut session, Transport::Tcp, 1), (0, 0));
    assert_eq!(session.decoder.templates().len(), 6);
    assert_eq!(session.decoder.waiting().0, 3);
    // The same port again is another connection.
    let seen = over(&mut session, Transport::Tcp, 1, &data(256));
    assert_eq!(seen.records, 0);
    let seen = over(&mut session, Transport::Tcp, 1, &template(256));
    let known = Event::Template {
        id: 256,
        learning: Learning::New,
    };
    assert!(seen.events.contains(&known), "{:?}", seen.events);
    assert_eq!(seen.records, 1, "what waited in this connection");
    assert_eq!(over(&mut session, Transport::Tcp, 2, &data(256)).records, 1);
}

#[test]
fn templates_of_a_connection_do_not_age() {
    let mut session = Session::default();
    over(&mut session, Transport::Tcp, 1, &template(256));
    over(&mut session, Transport::Udp, 1, &template(256));
    session.pass(Duration::from_secs(30 * 24 * 3600));
    let (now, limits) = (session.now, session.limits.clone());
    assert_eq!(session.decoder.expire(now, &limits, |_| ()), 1);
    assert_eq!(over(&mut session, Transport::Tcp, 1, &data(256)).records, 1);
    assert_eq!(over(&mut session, Transport::Udp, 1, &data(256)).records, 0);
}

#[test]
fn withdrawals_count_in_a_connection() {
    let withdrawn = |withdraw: &dyn Fn(&mut netflow_wire::write::MessageWriter)| {
        let mut session = Session::default();
        for port in [1, 2] {
            let mut message = writer(Version::Ipfix, 1);
            message
                .template(256, &FIELDS)
                .template(257, &FIELDS)
                .options_template(258, &FIELDS[..1], &FIELDS[1..]);
            let octets = message.finish().expect("fits");
            over(&mut session, Transport::Tcp, port, &octets);
        }
        let mut elsewhere = writer(Version::Ipfix, 2);
        elsewhere.template(256, &FIELDS);
        let octets = elsewhere.finish().expect("fits");
        over(&mut session, Transport::Tcp, 1, &octets);
        let mut message = writer(Version::Ipfix, 1);
        withdraw(&mut message);
        let octets = message.finish().expect("fits");
        let seen = over(&mut session, Transport::Tcp, 1, &octets);
        let known = session.decoder.templates().iter();
        let mut left: Vec<_> = known
            .filter(|(key, _)| (key.session.port, key.domain) == (1, 1))
            .map(|(key, _)| key.id)
            .collect();
        left.sort_unstable();
        // Neither another connection nor another domain.
        assert_eq!(session.decoder.templates().len(), left.len() + 4);
        (seen.events, left)
    };
    let event = |id, templates| vec![Event::Withdrawn { id, templates }];
    let one = withdrawn(&|message| _ = message.withdraw(257));
    assert_eq!(one, (event(257, 1), vec![256, 258]));
    let unknown = withdrawn(&|message| _ = message.withdraw(999));
    assert_eq!(unknown, (event(999, 0), vec![256, 257, 258]));
    let all = withdrawn(&|message| _ = message.withdraw(2));
    assert_eq!(all, (event(2, 2), vec![258]));
    let options = withdrawn(&|message| _ = message.withdraw_options(3));
    assert_eq!(options, (event(3, 1), vec![256, 257]));
}

#[test]
fn a_message_whose_set_is_bad_costs_that_set_and_not_the_connection() {
    let mut session = Session::default();
    let mut octets = template(256);
    // A Set header that goes past the end of its message.
    let length = octets.len() + 4;
    octets.extend([1, 0, 0, 200]);
    octets[2..4].copy_from_slice(&u16::try_from(length).expect("small").to_be_bytes());
    let seen = over(&mut session, Transport::Tcp, 1, &octets);
    assert!(matches!(
        seen.bad[..],
        [SetError::Truncated { .. } | SetError::BadLength { .. }]
    ));
    assert_eq!(over(&mut session, Transport::Tcp, 1, &data(256)).records, 1);
}
