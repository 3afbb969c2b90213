//! Makes the types of [`super::file`] from a tree that is known to be what the schema wants,
//! without a copy of its texts.

use serde::de::value::{Error, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Content, Node};

/// A value and the source that it is from.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub node: &'a Node,
    pub source: &'a str,
}

impl<'de> IntoDeserializer<'de, Error> for Typed<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Typed<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Signed(value) => visitor.visit_i64(*value),
            Content::Unsigned(value) => visitor.visit_u64(*value),
            Content::Float(value) => match Content::float(*value) {
                Ok(whole) => visitor.visit_i64(whole),
                Err(fraction) => visitor.visit_f64(fraction),
            },
            Content::Text(text) => visitor.visit_borrowed_str(text.of(self.source)),
            Content::List(nodes) => {
                let source = self.source;
                visitor.visit_seq(SeqDeserializer::new(nodes.iter().map(|node| Typed { node, source })))
            }
            Content::Map(_) | Content::LargeMap(_) => {
                let source = self.source;
                let entries = self.node.entries().unwrap_or_default().iter();
                visitor.visit_map(MapDeserializer::new(
                    entries.map(|entry| (Key(entry.key.of(source)), Typed { node: &entry.value, source })),
                ))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.content {
            Content::Text(text) => {
                Key(text.of(self.source)).into_deserializer().deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Key<'a>(&'a str);

impl<'de> IntoDeserializer<'de, Error> for Key<'de> {
    type Deserializer = StrDeserializer<'de, Error>;

    fn into_deserializer(self) -> Self::Deserializer {
        self.0.into_deserializer()
    }
}
