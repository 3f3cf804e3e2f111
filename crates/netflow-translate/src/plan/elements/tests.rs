use super::*;

fn any(data_type: AbstractDataType, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let types = ElementTypes::default();
    let lists = Lists {
        templates: &NoTemplates,
        types: &types,
    };
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
