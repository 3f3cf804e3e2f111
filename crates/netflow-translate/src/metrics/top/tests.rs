use std::collections::HashSet;

use proptest::prelude::*;

use super::table::HELD;
use super::*;
use crate::metrics::Endpoints;

const HONEST: u64 = 1;
const OTHER: u64 = 2;

fn flow(source: u32, destination: u32, bytes: u64) -> FlowFacts<'static> {
    FlowFacts {
        ends: Endpoints {
            source: Some(std::net::Ipv4Addr::from_bits(source).into()),
            destination: Some(std::net::Ipv4Addr::from_bits(destination).into()),
            source_port: 50_000,
            destination_port: 443,
            protocol: Some(6),
        },
        bytes,
        ..FlowFacts::default()
    }
}

/// Counts a record.
fn count(top: &mut Top, flow: &FlowFacts<'_>, exporter: u64, pane: u32) {
    let by = top.begin(exporter, pane);
    top.count(flow, End::Destination, by);
}

fn top() -> Top {
    Top::new(RandomState::default())
}

fn of_kind(rows: &[TopRow], kind: TopKind) -> Vec<TopRow> {
    let rows = rows.iter().copied();
    rows.filter(|row| row.kind == kind).collect()
}

#[test]
fn conversations_sources_and_destinations_have_sums_of_their_own() {
    let mut top = top();
    count(&mut top, &flow(1, 9, 100), HONEST, 0);
    count(&mut top, &flow(1, 8, 50), HONEST, 0);
    count(&mut top, &flow(2, 9, 10), OTHER, 0);
    count(&mut top, &flow(1, 9, 100), OTHER, 0);
    let rows = top.read(0).heaviest(1);
    let address = |bits| Some(IpAddr::from(std::net::Ipv4Addr::from_bits(bits)));
    let conversation = TopRow {
        kind: TopKind::Conversation,
        source: address(1),
        destination: address(9),
        transport: Some(6),
        port: Some(443),
        bytes: 200,
    };
    let source = TopRow {
        kind: TopKind::Source,
        destination: None,
        transport: None,
        port: None,
        bytes: 250,
        ..conversation
    };
    let destination = TopRow {
        kind: TopKind::Destination,
        source: None,
        destination: address(9),
        bytes: 210,
        ..source
    };
    assert_eq!(rows, [conversation, source, destination]);
}

#[test]
fn what_is_older_than_a_minute_is_forgotten() {
    let mut top = top();
    for pane in 0..20 {
        count(&mut top, &flow(1, 9, 1), HONEST, pane);
    }
    let mut bytes = |pane| top.read(pane).heaviest(1).first().map(|row| row.bytes);
    assert_eq!(bytes(19), Some(6));
    assert_eq!(bytes(21), Some(4));
    assert_eq!(bytes(25), None);
}

#[test]
fn an_exporter_with_invented_bytes_leaves_a_quarter_of_the_rows() {
    let mut top = top();
    count(&mut top, &flow(200, 9, 1), OTHER, 0);
    for pane in 0..2 {
        for n in 0..100 {
            count(&mut top, &flow(n, 9, 10), HONEST, pane);
        }
    }
    for n in 0..20_000 {
        let invented = flow(1_000_000 + n, 1_000_000 + n, u64::MAX / 4);
        count(&mut top, &invented, OTHER, 1);
    }
    let rows = top.read(1).heaviest(40);
    for kind in TopKind::ALL {
        let rows = of_kind(&rows, kind);
        let honest = rows.iter().filter(|row| row.bytes < u64::MAX / 8);
        let expected = if kind == TopKind::Destination { 1 } else { 10 };
        assert_eq!(honest.count(), expected, "{kind:?}");
    }
    let sources = of_kind(&rows, TopKind::Source);
    let honest = sources.iter().filter(|row| row.bytes < u64::MAX / 8);
    assert!(honest.clone().all(|row| row.bytes == 20), "{sources:?}");
}

#[test]
fn invented_exporters_take_no_more_than_their_share_together() {
    let mut top = top();
    for n in 0..100 {
        count(&mut top, &flow(n, 9, 10), HONEST, 0);
    }
    for n in 0..100 {
        count(&mut top, &flow(n, 9, 10), HONEST, 1);
    }
    for n in 0..20_000 {
        let invented = flow(1_000_000 + n, 1_000_000 + n, u64::MAX / 4);
        count(&mut top, &invented, 100 + u64::from(n), 1);
    }
    let rows = of_kind(&top.read(1).heaviest(40), TopKind::Source);
    let honest = rows.iter().filter(|row| row.bytes == 20);
    assert_eq!((rows.len(), honest.count()), (40, 10));
}

#[test]
fn sums_are_bounded() {
    let mut top = top();
    for n in 0..50_000 {
        count(&mut top, &flow(n, n, u64::from(n % 7)), HONEST, 0);
    }
    for pane in &top.panes {
        assert!(pane.conversations.len() <= CONVERSATIONS);
        for ends in [&pane.sources, &pane.destinations] {
            assert!(ends.len() <= ENDS);
        }
    }
}

#[test]
fn a_key_has_one_sum_however_often_its_places_change() {
    let mut top = top();
    for n in 0..200_000_u32 {
        let (source, exporter) = (n.wrapping_mul(0x9e37_79b9) % 5_000, u64::from(n % 3));
        count(
            &mut top,
            &flow(source, n % 2, 1 + u64::from(n % 5)),
            exporter,
            0,
        );
    }
    let [pane, ..] = &top.panes;
    let conversations = pane.conversations.iter();
    let conversations: HashSet<_> = conversations.map(|sum| (sum.key, sum.exporter)).collect();
    assert_eq!(conversations.len(), CONVERSATIONS);
    let sources = pane.sources.iter();
    let sources: HashSet<_> = sources.map(|sum| (sum.key, sum.exporter)).collect();
    assert_eq!(sources.len(), ENDS);
    assert_eq!(pane.destinations.len(), 2 * 3);
}

#[test]
fn sums_of_more_bytes_than_can_be_counted_make_room_too() {
    let mut top = top();
    for n in 0..20_000 {
        count(&mut top, &flow(n, n, u64::MAX - u64::from(n % 3)), OTHER, 0);
        count(&mut top, &flow(7, 7, u64::MAX), OTHER, 0);
    }
    let rows = of_kind(&top.read(0).heaviest(1), TopKind::Conversation);
    assert_eq!(rows.first().map(|row| row.bytes), Some(u64::MAX));
}

/// Of very many small records, of which each has a conversation of its own, and of one conversation that had a place before
/// them.
#[test]
fn small_records_are_summed_up_right_on_average_and_kept_conversations_exactly() {
    let mut top = top();
    let (mut truth, mut whole, mut held) = ([0_u64; 5], 0, 0);
    for n in 0..400_000_u32 {
        if n % 10 == 0 {
            count(&mut top, &flow(99, 1, 5_000), HONEST, 0);
            held += 5_000;
        }
        // The sources' shares are 1, 3, 5, 7 and 9 of 25.
        let source = f64::from(n.wrapping_mul(0x9e37_79b9) % 25).sqrt() as u32;
        let bytes = 40 + u64::from(n.wrapping_mul(0x85eb_ca6b) >> 22);
        count(&mut top, &flow(source, 1_000 + n, bytes), HONEST, 0);
        truth[source as usize] += bytes;
        whole += bytes;
    }
    let rows = top.read(0).heaviest(usize::MAX);
    let of = |kind, source: u32| {
        let address = IpAddr::from(std::net::Ipv4Addr::from_bits(source));
        let mut rows = rows.iter();
        let row = rows.find(|row| row.kind == kind && row.source == Some(address));
        row.map_or(0, |row| row.bytes)
    };
    assert_eq!(of(TopKind::Conversation, 99), held);
    let part = whole as f64 / small::ALONE as f64;
    for (source, bytes) in truth.into_iter().enumerate() {
        let found = of(TopKind::Source, source as u32);
        // Four standard deviations, and what sums may lose that lose their place.
        let bound = 4.0 * (part * bytes as f64).sqrt() + ((whole + held) / HELD as u64) as f64;
        assert!(
            (found as f64 - bytes as f64).abs() <= bound,
            "{source}: {found} for {bytes}, bound {bound}"
        );
    }
}

/// A flood of conversations of one record each, to one destination, beside records with invented bytes.
#[test]
fn an_invented_size_hides_no_flood() {
    let mut top = top();
    let mut whole = 0_u64;
    for n in 0..300_000_u32 {
        if n % 5_000 == 4_999 {
            count(&mut top, &flow(7, 7, u64::MAX / 2), HONEST, 0);
        }
        count(&mut top, &flow(1_000 + n, 9, 100), HONEST, 0);
        whole += 100;
    }
    let rows = of_kind(&top.read(0).heaviest(2), TopKind::Destination);
    let found = rows.last().map_or(0, |row| row.bytes);
    assert!(whole.abs_diff(found) < whole / 20, "{found} of {whole}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// As long as each record gets a place, no sum is too large, and none is too small by more than its bound.
    #[test]
    fn a_sum_is_right_within_its_bound(
        flows in prop::collection::vec((0_u32..20_000, 1_u64..1_000), 10_000..20_000),
        heavy in 1_u64..100,
    ) {
        let mut top = top();
        let mut truth: HashMap<u32, u64> = HashMap::new();
        let mut whole = 0;
        for (n, (source, bytes)) in flows.into_iter().enumerate() {
            let (source, bytes) = if n % 4 == 0 { (source % 20, bytes * heavy) } else { (source, bytes) };
            count(&mut top, &flow(source, 1, bytes), HONEST, 0);
            *truth.entry(source).or_default() += bytes;
            whole += bytes;
        }
        let rows = of_kind(&top.read(0).heaviest(usize::MAX), TopKind::Source);
        let found: HashMap<_, _> = rows.iter().map(|row| (row.source, row.bytes)).collect();
        let bound = whole / HELD as u64;
        for (source, bytes) in truth {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(source));
            let shown = found.get(&Some(address)).copied().unwrap_or(0);
            prop_assert!(shown <= bytes, "{source}: {shown} for {bytes}");
            prop_assert!(bytes - shown <= bound, "{source}: {shown} for {bytes}, bound {bound}");
        }
    }
}
