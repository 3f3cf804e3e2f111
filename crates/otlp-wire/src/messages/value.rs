//! Attributes and their values, and what carries them: scope and resource. Packages `common` and `resource`.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::json_form::AnyValueForm;

/// A value of an attribute; none at all is allowed.
#[derive(Clone, Deserialize, Message, PartialEq)]
#[serde(from = "AnyValueForm")]
pub struct AnyValue {
    /// The value.
    #[prost(oneof = "any_value::Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<any_value::Value>,
}

/// Of [`AnyValue`].
pub mod any_value {
    use prost::Oneof;

    use super::{ArrayValue, KeyValueList};

    /// The kinds of values.
    #[derive(Clone, Oneof, PartialEq)]
    pub enum Value {
        /// Text.
        #[prost(string, tag = "1")]
        StringValue(String),
        /// A truth value.
        #[prost(bool, tag = "2")]
        BoolValue(bool),
        /// A whole number.
        #[prost(int64, tag = "3")]
        IntValue(i64),
        /// Any number.
        #[prost(double, tag = "4")]
        DoubleValue(f64),
        /// Values, perhaps of different kinds.
        #[prost(message, tag = "5")]
        ArrayValue(ArrayValue),
        /// Values with names.
        #[prost(message, tag = "6")]
        KvlistValue(KeyValueList),
        /// Octets.
        #[prost(bytes = "vec", tag = "7")]
        BytesValue(Vec<u8>),
    }
}

/// A list of values.
#[derive(Clone, Deserialize, Message, PartialEq, Serialize)]
#[serde(default)]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// A list of values with names.
#[derive(Clone, Deserialize, Message, PartialEq, Serialize)]
#[serde(default)]
pub struct KeyValueList {
    /// The values; no name stands twice.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

/// An attribute.
#[derive(Clone, Deserialize, Message, PartialEq, Serialize)]
#[serde(default)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// What made the spans or metrics: a library and its version.
#[derive(Clone, Deserialize, Message, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InstrumentationScope {
    /// Name of the library.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// More about it.
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender left out.
    #[prost(uint32, tag = "4")]
    pub dropped_attributes_count: u32,
}

/// What spans or metrics are about: a process, an exporter.
#[derive(Clone, Deserialize, Message, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resource {
    /// Its attributes.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender left out.
    #[prost(uint32, tag = "2")]
    pub dropped_attributes_count: u32,
    /// The entities that it is made of.
    #[prost(message, repeated, tag = "3")]
    pub entity_refs: Vec<EntityRef>,
}

/// Which attributes of a resource identify an entity.
#[derive(Clone, Deserialize, Message, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntityRef {
    /// Schema of the entity.
    #[prost(string, tag = "1")]
    pub schema_url: String,
    /// Kind of the entity, such as `service`.
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// Keys of the attributes that identify it.
    #[prost(string, repeated, tag = "3")]
    pub id_keys: Vec<String>,
    /// Keys of the attributes that describe it.
    #[prost(string, repeated, tag = "4")]
    pub description_keys: Vec<String>,
}
