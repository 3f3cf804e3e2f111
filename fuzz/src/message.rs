//! One datagram, a fresh decoder: work is bounded by the octets, and every Set is accounted for. sFlow too:
//! its samples and their records, with the headers that they carry.

use std::time::Instant;

use netflow_wire::{
    DataRecords, DataSet, Decoder, Event, Limits, Message, MessageError, Session, SetKind,
    Template, Visitor, sflow,
};

/// Counts what a visitor is told.
#[derive(Debug, Default)]
pub struct Counts {
    pub calls: usize,
    pub data_sets: usize,
    pub waiting: usize,
    /// Of the Data Sets, those that waited.
    pub late: usize,
    pub expired: usize,
    pub records: usize,
    /// Octets of the bodies of Data Sets.
    pub octets: usize,
}

impl Counts {
    fn read(&mut self, template: &Template, offset: usize, body: &[u8]) {
        let mut records = DataRecords::new(template, body, offset);
        let mut octets = 0;
        while let Some(record) = records.next() {
            let Ok((record, locations)) = record else {
                assert!(records.next().is_none(), "something comes after an error");
                break;
            };
            self.records += 1;
            octets += record.len();
            assert!(!record.is_empty(), "a record without octets");
            assert_eq!(locations.len(), template.fields.len());
            for at in locations {
                assert_eq!(at.of(record).len(), usize::from(at.length));
            }
        }
        assert!(octets <= body.len(), "records overlap");
    }
}

impl Visitor<()> for Counts {
    fn compile(&mut self, template: &Template) {
        self.calls += 1;
        let limits = Limits::default();
        assert!(template.fields.len() <= limits.max_fields);
        assert!(template.id >= 256);
        let scope = template.scope_fields.unwrap_or(0);
        assert!(scope <= template.fields.len());
    }

    fn data(&mut self, set: &DataSet<'_, ()>) {
        self.calls += 1;
        self.data_sets += 1;
        self.late += usize::from(set.has_waited);
        self.octets += set.body.len();
        self.read(set.template, set.offset, set.body);
    }

    fn event(&mut self, event: Event) {
        self.calls += 1;
        match event {
            Event::Waiting { .. } => self.waiting += 1,
            Event::Expired { .. } => self.expired += 1,
            _ => {}
        }
    }
}

/// Calls that a datagram of so many octets may cause: a Set takes four octets and causes one, or two when
/// another has to make room for it; a template takes eight and causes two.
pub fn most_calls(octets: usize) -> usize {
    octets / 2 + 2
}

pub fn run(input: &[u8]) {
    let message = match Message::parse(input) {
        Ok(message) => message,
        Err(MessageError::Sflow) => return sflow(input),
        Err(_) => return,
    };
    let mut counts = Counts::default();
    if let Some(template) = message.header.version.built_in_template() {
        let body = message.fixed_records(&template);
        assert!(body.len() <= input.len());
        counts.read(&template, message.body_offset(), body);
        assert_eq!(counts.records * template.min_record_octets(), body.len());
        return;
    }
    let mut decoder = Decoder::<(), ()>::default();
    let (now, limits) = (Instant::now(), Limits::default());
    decoder.read(Session::udp(2055), &message, &(), now, &limits, &mut counts);
    assert!(counts.calls <= most_calls(input.len()), "{counts:?}");
    assert!(counts.records <= input.len(), "{counts:?}");
    assert!(counts.octets <= input.len(), "{counts:?}");

    let data: Vec<_> = message
        .sets()
        .filter_map(Result::ok)
        .filter(|set| matches!(set.kind, SetKind::Data(_)))
        .collect();
    let empty = data.iter().filter(|set| set.body.is_empty()).count();
    let told = counts.data_sets - counts.late + counts.waiting;
    assert!(
        told <= data.len() && told + empty >= data.len(),
        "{counts:?}"
    );

    let (sets, octets) = decoder.waiting();
    assert_eq!(sets, counts.waiting - counts.expired - counts.late);
    assert!(sets <= limits.max_held_sets && octets <= limits.max_held_octets);
    let mut ready = 0;
    while let Some(set) = decoder.next_ready(now, &limits) {
        decoder.read_held(&set, now, &limits, &mut counts);
        ready += 1;
    }
    assert_eq!(decoder.waiting().0, sets - ready);
}

/// Samples and records take eight octets each at least, whatever their counts say.
fn sflow(input: &[u8]) {
    let Ok(datagram) = sflow::Datagram::parse(input) else {
        return;
    };
    let (mut samples, mut records) = (0, 0);
    for sample in datagram.samples() {
        samples += 1;
        let Ok(sflow::Sample::Flow(flow)) = sample else {
            continue;
        };
        for record in flow.records() {
            records += 1;
            if let Ok(sflow::FlowRecord::RawHeader(header)) = record {
                assert!(header.octets.len() <= input.len());
                _ = header.frame();
            }
        }
    }
    // And one error for what goes past the end.
    assert!(samples <= input.len() / 8 + 1, "{samples} samples");
    assert!(records <= input.len() / 8 + samples, "{records} records");
}
