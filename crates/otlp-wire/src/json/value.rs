//! Messages of `common.proto` and `resource.proto`: attributes and their values, scope, resource.

use super::message::{Object, Repeated, fields, once, push_array};
use super::text::{push_base64, push_bool, push_f64, push_i64, push_number, push_string};
use super::{JsonError, MAX_NESTING};
use crate::fields as number;
use crate::read::Reader;

pub(super) fn push_resource(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let (mut attributes, mut entity_refs) = (Repeated::none(), Repeated::none());
    let mut dropped_attributes_count = 0;
    for field in fields(message) {
        let (field, at) = field?;
        match field.number {
            number::resource::ATTRIBUTES => attributes.note(&field, at),
            number::resource::DROPPED_ATTRIBUTES_COUNT => {
                dropped_attributes_count = field.uint32()?;
            }
            number::resource::ENTITY_REFS => entity_refs.note(&field, at),
            _ => {}
        }
    }
    let mut object = Object::open(out);
    object.array("attributes", attributes, push_attribute)?;
    object.non_default(
        "droppedAttributesCount",
        dropped_attributes_count,
        push_number,
    );
    object.array("entityRefs", entity_refs, push_entity_ref)?;
    object.close();
    Ok(())
}

fn push_entity_ref(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let (mut schema_url, mut entity_type): (&[u8], &[u8]) = (&[], &[]);
    let (mut id_keys, mut description_keys) = (Repeated::none(), Repeated::none());
    for field in fields(message) {
        let (field, at) = field?;
        match field.number {
            number::entity_ref::SCHEMA_URL => schema_url = field.octets()?,
            number::entity_ref::TYPE => entity_type = field.octets()?,
            number::entity_ref::ID_KEYS => id_keys.note(&field, at),
            number::entity_ref::DESCRIPTION_KEYS => description_keys.note(&field, at),
            _ => {}
        }
    }
    let push_key = |out: &mut Vec<u8>, key| {
        push_string(out, key);
        Ok(())
    };
    // Empty members are written: there are readers that miss them otherwise.
    let mut object = Object::open(out);
    push_string(object.member("schemaUrl"), schema_url);
    push_string(object.member("type"), entity_type);
    push_array(object.member("idKeys"), id_keys, push_key)?;
    push_array(object.member("descriptionKeys"), description_keys, push_key)?;
    object.close();
    Ok(())
}

pub(super) fn push_scope(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
    let mut attributes = Repeated::none();
    let mut dropped_attributes_count = 0;
    for field in fields(message) {
        let (field, at) = field?;
        match field.number {
            number::scope::NAME => name = field.octets()?,
            number::scope::VERSION => version = field.octets()?,
            number::scope::ATTRIBUTES => attributes.note(&field, at),
            number::scope::DROPPED_ATTRIBUTES_COUNT => dropped_attributes_count = field.uint32()?,
            _ => {}
        }
    }
    let mut object = Object::open(out);
    object.non_default("name", name, push_string);
    object.non_default("version", version, push_string);
    object.array("attributes", attributes, push_attribute)?;
    object.non_default(
        "droppedAttributesCount",
        dropped_attributes_count,
        push_number,
    );
    object.close();
    Ok(())
}

/// A `KeyValue` of a span, event, link, scope or resource.
pub(super) fn push_attribute(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    push_key_value(out, message, 0)
}

/// `nesting` counts the arrays and lists around it.
fn push_key_value(out: &mut Vec<u8>, message: &[u8], nesting: u32) -> Result<(), JsonError> {
    let mut key: &[u8] = &[];
    let mut value = None;
    let mut key_strindex = 0;
    for field in Reader::new(message) {
        let field = field?;
        match field.number {
            number::key_value::KEY => key = field.octets()?,
            number::key_value::VALUE => once(&mut value, &field)?,
            number::key_value::KEY_STRINDEX => key_strindex = field.int32()?,
            _ => {}
        }
    }
    let mut object = Object::open(out);
    // An empty key is written too: there are readers that miss it otherwise.
    push_string(object.member("key"), key);
    if let Some(value) = value {
        push_any_value(object.member("value"), value, nesting)?;
    }
    object.non_default("keyStrindex", key_strindex, push_number);
    object.close();
    Ok(())
}

/// The `oneof` of an `AnyValue`; of several the last counts.
#[derive(Clone, Copy)]
enum AnyValue<'a> {
    None,
    String(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    KeyValues(&'a [u8]),
    Bytes(&'a [u8]),
    StringIndex(i32),
}

impl<'a> AnyValue<'a> {
    fn read(message: &'a [u8]) -> Result<Self, JsonError> {
        let mut value = Self::None;
        for field in Reader::new(message) {
            let field = field?;
            value = match (field.number, value) {
                (number::any_value::ARRAY, Self::Array(_))
                | (number::any_value::KVLIST, Self::KeyValues(_)) => {
                    return Err(JsonError::RepeatedMessage(field.number));
                }
                (number::any_value::STRING, _) => Self::String(field.octets()?),
                (number::any_value::BOOL, _) => Self::Bool(field.varint()? != 0),
                (number::any_value::INT, _) => Self::Int(field.int64()?),
                (number::any_value::DOUBLE, _) => Self::Double(f64::from_bits(field.fixed64()?)),
                (number::any_value::ARRAY, _) => Self::Array(field.octets()?),
                (number::any_value::KVLIST, _) => Self::KeyValues(field.octets()?),
                (number::any_value::BYTES, _) => Self::Bytes(field.octets()?),
                (number::any_value::STRING_STRINDEX, _) => Self::StringIndex(field.int32()?),
                (_, value) => value,
            };
        }
        Ok(value)
    }
}

fn push_any_value(out: &mut Vec<u8>, message: &[u8], nesting: u32) -> Result<(), JsonError> {
    let value = AnyValue::read(message)?;
    let mut object = Object::open(out);
    match value {
        AnyValue::None => {}
        AnyValue::String(text) => push_string(object.member("stringValue"), text),
        AnyValue::Bool(value) => push_bool(object.member("boolValue"), value),
        AnyValue::Int(value) => push_i64(object.member("intValue"), value),
        AnyValue::Double(value) => push_f64(object.member("doubleValue"), value),
        AnyValue::Array(list) => {
            push_values(object.member("arrayValue"), list, nesting, push_any_value)?;
        }
        AnyValue::KeyValues(list) => {
            push_values(object.member("kvlistValue"), list, nesting, push_key_value)?;
        }
        AnyValue::Bytes(octets) => push_base64(object.member("bytesValue"), octets),
        AnyValue::StringIndex(index) => push_number(object.member("stringValueStrindex"), index),
    }
    object.close();
    Ok(())
}

/// Writes a message that has this many arrays and lists around it.
type PushNested = fn(&mut Vec<u8>, &[u8], u32) -> Result<(), JsonError>;

/// An `ArrayValue` or `KeyValueList`. An empty list is written too: there are readers that miss it
/// otherwise.
fn push_values(
    out: &mut Vec<u8>,
    message: &[u8],
    nesting: u32,
    push: PushNested,
) -> Result<(), JsonError> {
    if nesting >= MAX_NESTING {
        return Err(JsonError::TooDeep);
    }
    let mut values = Repeated::none();
    for field in fields(message) {
        let (field, at) = field?;
        if field.number == number::values::VALUES {
            values.note(&field, at);
        }
    }
    let mut object = Object::open(out);
    push_array(object.member("values"), values, |out, value| {
        push(out, value, nesting + 1)
    })?;
    object.close();
    Ok(())
}
