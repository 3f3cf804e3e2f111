use super::*;

fn any(data_type: AbstractDataType, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let types = ElementTypes::default();
    let room = ListRoom::new(usize::MAX, 0);
    let lists = Lists::new(&NoTemplates, &types, &room);
    push_value(&mut out, Some(data_type), octets, lists, 0);
    out
}

fn by_hand(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    push_any_value(&mut out, value);
    out
}

#[test]
fn values_are_typed_by_their_data_type() {
    use AbstractDataType as Type;
    assert_eq!(
        any(Type::Unsigned64, &[1, 0]),
        by_hand(Value::Unsigned(256))
    );
    assert_eq!(
        any(Type::Signed32, &[0xff, 0xfe]),
        by_hand(Value::Signed(-2))
    );
    assert_eq!(
        any(Type::Float64, &1.5_f32.to_be_bytes()),
        by_hand(Value::Double(1.5))
    );
    assert_eq!(any(Type::Boolean, &[2]), by_hand(Value::Bool(false)));
    assert_eq!(any(Type::Boolean, &[7]), by_hand(Value::Unsigned(7)));
    assert_eq!(any(Type::String, b"abc\0\0"), by_hand(Value::Text("abc")));
    assert_eq!(
        any(Type::OctetArray, &[0xca, 0xfe]),
        by_hand(Value::Text("cafe"))
    );
    // A MAC address of the wrong length is octets.
    assert_eq!(any(Type::MacAddress, &[1, 2]), by_hand(Value::Text("0102")));
}

#[test]
fn an_exporter_describes_its_own_elements_and_no_others() {
    let mut types = ElementTypes::default();
    let unsigned = Some(AbstractDataType::Unsigned32);
    assert!(types.learn(99_999, 7, b"myCounter", unsigned));
    assert!(!types.learn(99_999, 7, b"myCounter", unsigned));
    assert!(!types.learn(0, 1, b"octets", unsigned));
    assert!(!types.learn(9, 8337, b"mine", unsigned));
    let field = FieldSpecifier {
        enterprise: 99_999,
        element: 7,
        length: 4,
    };
    let (name, data_type) = types.describe(Version::Ipfix, &field);
    assert_eq!((name.as_str(), data_type), ("my_counter", unsigned));
}

#[test]
fn octet_arrays_are_cut_at_256_octets() {
    let out = any(AbstractDataType::OctetArray, &[0xab; 1000]);
    assert_eq!(out, by_hand(Value::Text(&"ab".repeat(256))));
}

#[test]
fn a_basic_list_is_an_array() {
    // allOf, destinationTransportPort (11) of two octets: 80, 443
    let list = [3, 0, 11, 0, 2, 0, 80, 1, 187];
    let mut values = Vec::new();
    push_delimited(&mut values, 1, &by_hand(Value::Unsigned(80)));
    push_delimited(&mut values, 1, &by_hand(Value::Unsigned(443)));
    let mut expected = Vec::new();
    push_delimited(&mut expected, 5, &values);
    assert_eq!(any(AbstractDataType::BasicList, &list), expected);
}

#[test]
fn a_list_that_makes_no_sense_is_octets() {
    for list in [&[3][..], &[3, 0, 11, 0, 2, 0], &[3, 0, 11, 0, 0, 9, 9]] {
        let hex: String = list.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(
            any(AbstractDataType::BasicList, list),
            by_hand(Value::Text(&hex))
        );
    }
    // A list of records whose template nobody knows.
    let list = [3, 1, 0, 9, 9];
    assert_eq!(
        any(AbstractDataType::SubTemplateList, &list),
        by_hand(Value::Text("0301000909"))
    );
}

/// Templates as a session has them.
struct Known(Vec<(u16, ListPlan)>);

impl Resolve for Known {
    fn list(&self, id: u16, _: &ElementTypes, _: &ListRoom) -> Option<&ListPlan> {
        let known = self.0.iter().find(|(known, _)| *known == id);
        known.map(|(_, plan)| plan)
    }
}

fn known(id: u16, fields: &[(u16, u16)]) -> Known {
    let fields = fields.iter();
    let fields: Vec<_> = fields
        .map(|(element, length)| FieldSpecifier::iana(*element, *length))
        .collect();
    let template = Template::new(Version::Ipfix, id, None, fields);
    let plan = ListPlan::compile(&template, &ElementTypes::default());
    Known(vec![(id, plan)])
}

/// The octets of an attribute whose list, of a template's records, may take so many; and whether it was cut.
fn list_within(room: usize, templates: &Known, octets: &[u8]) -> (Vec<u8>, u64) {
    let (types, room) = (ElementTypes::default(), ListRoom::new(room, 0));
    let lists = Lists::new(templates, &types, &room).of_attribute();
    let mut out = Vec::new();
    let list = Some(AbstractDataType::SubTemplateList);
    push_value(&mut out, list, octets, lists, 0);
    lists.made(out.len());
    (out, room.cut())
}

/// A key-value list, as a value within an array.
fn record(pairs: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (key, value) in pairs {
        let mut pair = Vec::new();
        push_delimited(&mut pair, 1, key.as_bytes());
        push_delimited(&mut pair, 2, &by_hand(*value));
        push_delimited(&mut list, 1, &pair);
    }
    let (mut any, mut value) = (Vec::new(), Vec::new());
    push_delimited(&mut any, 6, &list);
    push_delimited(&mut value, 1, &any);
    value
}

#[test]
fn the_records_of_a_list_are_key_value_lists_without_padding_repetitions_and_fields_of_no_octets() {
    // Of octetDeltaCount one without octets and two with, around padding; a text of variable length between.
    let templates = known(
        300,
        &[(1, 0), (1, 2), (210, 3), (82, 65535), (1, 1), (210, 1)],
    );
    let list = [
        3, 1, 44, 0, 7, 9, 9, 9, 2, b'e', b'0', 5, 9, 0, 8, 9, 9, 9, 0, 5, 9,
    ];
    let expected = [
        record(&[
            ("octet_delta_count", Value::Unsigned(7)),
            ("interface_name", Value::Text("e0")),
        ]),
        record(&[
            ("octet_delta_count", Value::Unsigned(8)),
            ("interface_name", Value::Text("")),
        ]),
    ];
    let mut array = Vec::new();
    push_delimited(&mut array, 5, &expected.concat());
    assert_eq!(list_within(1 << 20, &templates, &list), (array, 0));
}

#[test]
fn a_record_past_the_end_of_its_list_makes_it_octets() {
    let templates = known(300, &[(1, 1), (82, 65535)]);
    let list = [3, 1, 44, 7, 200, b'x'];
    assert_eq!(
        list_within(1 << 20, &templates, &list),
        (by_hand(Value::Text("03012c07c878")), 0)
    );
}

#[test]
fn a_list_that_finds_no_room_lacks_its_last_elements_and_is_counted() {
    let templates = known(300, &[(1, 1)]);
    let list: Vec<_> = [3, 1, 44].into_iter().chain([7; 10_000]).collect();
    let (whole, cut) = list_within(usize::MAX, &templates, &list[..1000]);
    assert_eq!(cut, 0);
    let (part, cut) = list_within(500, &templates, &list[..1000]);
    assert!(part.len() < 600 && whole.len() > 20_000, "{}", part.len());
    assert_eq!(cut, 1);
    // However much room a datagram has, one attribute takes no more than this.
    let (longest, cut) = list_within(usize::MAX, &templates, &list);
    assert!((60_000..70_000).contains(&longest.len()));
    assert_eq!(cut, 1);
}

#[test]
fn templates_are_compiled_for_lists_while_there_is_room_for_the_work() {
    let template = Template::new(
        Version::Ipfix,
        300,
        None,
        vec![FieldSpecifier::iana(1, 1); 100],
    );
    let room = ListRoom::new(0, 300);
    assert!(room.may_compile(&template) && room.may_compile(&template));
    assert!(!room.may_compile(&template));
    assert_eq!(room.fields_left(), 0);
}
