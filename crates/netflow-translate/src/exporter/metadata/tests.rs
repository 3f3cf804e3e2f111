//! What options data say, and what of it holds for a record.

use super::*;

fn told(learn: impl Fn(&mut Metadata)) -> ExporterMetadata {
    let mut metadata = ExporterMetadata::default();
    metadata.learn(1, learn);
    metadata
}

fn interface(metadata: &ExporterMetadata, domain: u32, index: u64) -> Option<&str> {
    metadata.of(domain).find(|known| known.interface(index))
}

#[test]
fn a_domain_knows_what_it_was_told_and_else_what_any_was() {
    let mut metadata = told(|known| known.name_interface(1, b"one"));
    metadata.learn(2, |known| known.name_interface(1, b"another"));
    assert_eq!(interface(&metadata, 1, 1), Some("one"));
    assert_eq!(interface(&metadata, 2, 1), Some("another"));
    assert_eq!(interface(&metadata, 3, 1), Some("another"));
    assert_eq!(interface(&metadata, 3, 2), None);
}

#[test]
fn names_end_at_the_zeros_that_fill_them_up() {
    for (octets, name) in [
        (&b"Gi0/1\0\0\0"[..], Some("Gi0/1")),
        (b"  Gi0/1  ", Some("Gi0/1")),
        (b"Gi\xff1", Some("Gi\u{fffd}1")),
        (b"\0\0", None),
        (b"   ", None),
        (b"", None),
    ] {
        let metadata = told(|known| known.name_interface(1, octets));
        assert_eq!(interface(&metadata, 1, 1), name);
    }
    let metadata = told(|known| known.name_interface(1, &[b'x'; 5000]));
    assert_eq!(interface(&metadata, 1, 1).map(str::len), Some(MAX_NAME));
}

#[test]
fn a_name_told_again_replaces() {
    let mut metadata = told(|known| known.name_vrf(1, b"red"));
    metadata.learn(1, |known| known.name_vrf(1, b"blue"));
    assert_eq!(metadata.of(1).find(|known| known.vrf(1)), Some("blue"));
}

#[test]
fn applications_are_found_by_engine_and_number_whatever_the_length_of_their_id() {
    let metadata = told(|known| {
        known.name_application(&[3, 0, 0, 80], b"http");
        known.name_application(&[20, 0, 0, 0x30, 0x44, 0x9e, 0x78], b"own");
        known.name_application(&[20, 0, 0, 0x8b, 0x30, 0x9e, 0x78], b"another");
    });
    let name = |id: &[u8]| {
        let known = metadata.of(1);
        known.find(|known| known.application(id)).map(str::to_owned)
    };
    for id in [&[3, 80][..], &[3, 0, 80], &[3, 0, 0, 0, 0, 0, 0, 0, 80]] {
        assert_eq!(name(id).as_deref(), Some("http"), "{id:?}");
    }
    assert_eq!(name(&[13, 80]), None);
    let own = [20, 0, 0, 0x30, 0x44, 0, 0, 0, 0, 0, 0, 0x9e, 0x78];
    assert_eq!(name(&own).as_deref(), Some("own"));
    assert_eq!(
        name(&[20, 0, 0, 0x8b, 0x30, 0x9e, 0x78]).as_deref(),
        Some("another")
    );
    assert_eq!(name(&[1; 16]), None);
    assert_eq!(name(&[]), None);
}

fn of_id(id: u64) -> Scope {
    Scope {
        id: Some(id),
        ..Scope::default()
    }
}

fn at(interface: u64) -> Scope {
    Scope {
        interface: Some(interface),
        ..Scope::default()
    }
}

fn of_both(id: u64, interface: u64) -> Scope {
    Scope {
        id: Some(id),
        ..at(interface)
    }
}

#[test]
fn a_sampler_is_found_by_id_then_by_interface_then_for_all() {
    let sampler = |interval| Sampler { interval };
    let metadata = told(|known| {
        known.sample(Scope::default(), sampler(10));
        known.sample(of_id(1), sampler(20));
        known.sample(at(1), sampler(30));
    });
    let find = |id, interface| interval(&metadata, 1, id, interface);
    assert_eq!(find(Some(1), Some(1)), Some(20));
    assert_eq!(find(Some(2), Some(1)), Some(30));
    assert_eq!(find(Some(2), Some(2)), Some(10));
    assert_eq!(find(None, None), Some(10));
}

fn interval(
    metadata: &ExporterMetadata,
    domain: u32,
    id: Option<u64>,
    interface: Option<u64>,
) -> Option<u64> {
    let record = Metered {
        id,
        interfaces: [interface, None],
        ..Metered::default()
    };
    let sampler = metadata.of(domain).sampler(&record);
    sampler.map(|sampler| sampler.interval)
}

#[test]
fn a_sampler_of_id_and_interface_is_found_by_either_and_best_by_both() {
    let sampler = |interval| Sampler { interval };
    let metadata = told(|known| {
        known.sample(of_both(1, 5), sampler(100));
        known.sample(of_both(2, 5), sampler(200));
        known.sample(of_both(1, 6), sampler(300));
    });
    let find = |id, interface| interval(&metadata, 1, id, interface);
    assert_eq!(find(Some(1), Some(5)), Some(100));
    assert_eq!(find(Some(2), Some(5)), Some(200));
    assert_eq!(find(Some(1), Some(6)), Some(300));
    assert_eq!(find(Some(2), Some(9)), Some(200));
    // At one interface it takes one in 100, at another one in 300: nothing can be said without the interface.
    assert_eq!(find(Some(1), None), None);
    assert_eq!(find(None, Some(6)), Some(300));
    // The second interface counts where the first one says nothing.
    let record = Metered {
        interfaces: [Some(7), Some(6)],
        ..Metered::default()
    };
    let second = metadata.of(1).sampler(&record);
    assert_eq!(second, Some(sampler(300)));
}

#[test]
fn without_an_id_the_interval_that_all_samplers_share_holds() {
    let sampler = |interval| Sampler { interval };
    let mut metadata = told(|known| {
        known.sample(of_id(1), sampler(100));
        known.sample(of_id(2), sampler(100));
    });
    assert_eq!(interval(&metadata, 1, None, None), Some(100));
    assert_eq!(interval(&metadata, 1, Some(3), None), None);
    metadata.learn(1, |known| known.sample(of_id(2), sampler(200)));
    assert_eq!(interval(&metadata, 1, None, None), None);
    metadata.learn(1, |known| known.sample(of_id(1), sampler(200)));
    assert_eq!(interval(&metadata, 1, None, None), Some(200));
    // A restored table counts likewise.
    let mut restored = ExporterMetadata::default();
    restored.restore(&metadata.save());
    assert_eq!(interval(&restored, 1, None, None), Some(200));
}

#[test]
fn another_domains_samplers_hold_only_where_the_own_domain_has_none() {
    let sampler = |interval| Sampler { interval };
    let mut metadata = told(|known| known.sample(of_id(1), sampler(100)));
    metadata.learn(2, |known| known.sample(of_id(7), sampler(1000)));
    assert_eq!(interval(&metadata, 1, Some(7), None), None);
    assert_eq!(interval(&metadata, 3, Some(7), None), Some(1000));
    assert_eq!(interval(&metadata, 3, Some(1), None), Some(100));
}

#[test]
fn an_exporter_did_not_start_in_1970() {
    let mut metadata = told(|known| known.started(0));
    let started = |metadata: &ExporterMetadata| metadata.of(1).find(Metadata::init_time);
    assert_eq!(started(&metadata), None);
    metadata.learn(1, |known| known.started(1_700_000_000_000));
    metadata.learn(1, |known| known.started(0));
    assert_eq!(started(&metadata), Some(1_700_000_000_000));
}

#[test]
fn tables_are_bounded_and_what_is_known_still_changes() {
    let mut metadata = ExporterMetadata::default();
    for index in 0..MAX_NAMES as u64 + 10 {
        metadata.learn(1, |known| known.name_interface(index, b"name"));
    }
    assert_eq!(interface(&metadata, 1, MAX_NAMES as u64), None);
    metadata.learn(1, |known| known.name_interface(0, b"new"));
    assert_eq!(interface(&metadata, 1, 0), Some("new"));
    assert_eq!(metadata.any.room.refused, 10);
}

#[test]
fn all_domains_of_an_exporter_share_one_room() {
    let mut metadata = ExporterMetadata::default();
    for entry in 0..400_000_u64 {
        let domain = (entry % 500) as u32;
        metadata.learn(domain, |known| {
            known.name_interface(entry / 500, &[b'x'; MAX_NAME]);
        });
    }
    let metadata_of = metadata.domains.values().chain([&metadata.any]);
    let octets: usize = metadata_of
        .map(|known| {
            let names = known.interfaces.values().map(|name| name.len());
            names.sum::<usize>()
        })
        .sum();
    assert!(octets <= 16 << 20, "{octets} octets of names");
    // What is known still changes, to something no longer.
    metadata.learn(0, |known| known.name_interface(0, b"new"));
    assert_eq!(interface(&metadata, 0, 0), Some("new"));
}

#[test]
fn domains_are_bounded_and_the_others_know_what_any_was_told() {
    let mut metadata = ExporterMetadata::default();
    for domain in 0..MAX_DOMAINS as u32 + 5 {
        metadata.learn(domain, |known| known.name_vrf(u64::from(domain), b"red"));
    }
    assert_eq!(metadata.domains.len(), MAX_DOMAINS);
    let last = MAX_DOMAINS as u32 + 4;
    let name = metadata.of(last).find(|known| known.vrf(u64::from(last)));
    assert_eq!(name, Some("red"));
}

#[test]
fn a_samplers_interval_is_known_again_when_its_interfaces_agree() {
    let sampler = |interval| Sampler { interval };
    let mut metadata = told(|known| {
        known.sample(of_both(1, 5), sampler(100));
        known.sample(of_both(1, 6), sampler(300));
    });
    assert_eq!(interval(&metadata, 1, Some(1), None), None);
    metadata.learn(1, |known| known.sample(of_both(1, 5), sampler(300)));
    assert_eq!(interval(&metadata, 1, Some(1), None), Some(300));
}

#[test]
fn samplers_are_told_apart_by_direction_template_and_part() {
    let sampler = |interval| Sampler { interval };
    let egress = |egress| Scope {
        egress: Some(egress),
        ..Scope::default()
    };
    let find = |metadata: &ExporterMetadata, egress, interfaces, template| {
        let record = Metered {
            id: None,
            interfaces,
            egress,
            template,
        };
        let found = metadata.of(1).sampler(&record);
        found.map(|sampler| sampler.interval)
    };
    let of = |metadata: &ExporterMetadata, egress| find(metadata, egress, [None, None], 256);
    let mut metadata = told(|known| known.sample(egress(false), sampler(100)));
    assert_eq!(of(&metadata, None), Some(100));
    assert_eq!(of(&metadata, Some(true)), None);
    metadata.learn(1, |known| known.sample(egress(true), sampler(200)));
    assert_eq!(of(&metadata, Some(false)), Some(100));
    assert_eq!(of(&metadata, Some(true)), Some(200));
    assert_eq!(of(&metadata, None), None);

    let metadata = told(|known| {
        let both = |egress| Scope {
            egress: Some(egress),
            ..at(5)
        };
        known.sample(both(false), sampler(100));
        known.sample(both(true), sampler(200));
    });
    let [five, nine] = [Some(5), Some(9)];
    assert_eq!(find(&metadata, Some(false), [five, nine], 256), Some(100));
    assert_eq!(find(&metadata, Some(true), [five, nine], 256), Some(200));
    // It came in at 9, where nothing is known; at 5 it only left.
    assert_eq!(find(&metadata, Some(false), [nine, five], 256), None);
    assert_eq!(find(&metadata, None, [nine, five], 256), Some(200));

    let template = |id| Scope {
        template: Some(id),
        ..Scope::default()
    };
    let metadata = told(|known| {
        known.sample(template(256), sampler(100));
        known.sample(template(257), sampler(200));
    });
    assert_eq!(find(&metadata, None, [None, None], 257), Some(200));
    assert_eq!(find(&metadata, None, [None, None], 258), None);

    let part = |part| Scope {
        part: Some(part),
        ..Scope::default()
    };
    let mut metadata = told(|known| known.sample(part(1), sampler(100)));
    assert_eq!(interval(&metadata, 1, Some(7), None), Some(100));
    metadata.learn(1, |known| known.sample(part(2), sampler(200)));
    assert_eq!(interval(&metadata, 1, None, None), None);
}
