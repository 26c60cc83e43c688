//! Client quotas as the metadata hold them: whom a quota is about, and which keys it may set.
//!
//! An entity names a user, a client id, both, or an address; each by name or as the default of all that are not named. Written by
//! `controller/replay.rs`, read by the quota handlers and by `quota/`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a part of an entity names, with Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum QuotaEntityType {
    /// A principal's name.
    User,
    /// The client id of a request's header.
    ClientId,
    /// The address of a connection.
    Ip,
}

impl QuotaEntityType {
    /// All, in the order that entities are shown in.
    pub const ALL: [QuotaEntityType; 3] = [QuotaEntityType::User, QuotaEntityType::ClientId, QuotaEntityType::Ip];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            QuotaEntityType::User => "user",
            QuotaEntityType::ClientId => "client-id",
            QuotaEntityType::Ip => "ip",
        }
    }

    /// The type of a word on the wire.
    pub fn from_name(name: &str) -> Option<QuotaEntityType> {
        QuotaEntityType::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One part of an entity: a name, or `None` for the default.
pub type QuotaName = Option<Arc<str>>;

/// Whom a quota is about: a name or the default per type, each type at most once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QuotaEntity(BTreeMap<QuotaEntityType, QuotaName>);

impl QuotaEntity {
    /// An entity of these parts; of a type that is given twice the last one counts, as in Kafka.
    pub fn of<'a>(parts: impl IntoIterator<Item = (QuotaEntityType, Option<&'a str>)>) -> QuotaEntity {
        QuotaEntity(parts.into_iter().map(|(kind, name)| (kind, name.map(Arc::from))).collect())
    }

    /// The parts by type.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (QuotaEntityType, Option<&str>)> {
        self.0.iter().map(|(kind, name)| (*kind, name.as_deref()))
    }

    /// The part of a type: `None` when the entity says nothing about it, `Some(None)` for its default.
    pub fn part(&self, kind: QuotaEntityType) -> Option<Option<&str>> {
        self.0.get(&kind).map(|name| name.as_deref())
    }

    /// True when it says nothing about this type.
    pub fn lacks(&self, kind: QuotaEntityType) -> bool {
        !self.0.contains_key(&kind)
    }
}

impl fmt::Display for QuotaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (kind, name)) in self.parts().enumerate() {
            write!(f, "{}{}={}", if i == 0 { "" } else { ", " }, kind.name(), name.unwrap_or("null"))?;
        }
        Ok(())
    }
}

/// What a quota bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QuotaKey {
    /// Bytes per second of produce requests.
    ProducerByteRate,
    /// Bytes per second of fetch answers.
    ConsumerByteRate,
    /// Percent of one shard's time.
    RequestPercentage,
    /// Partitions created and deleted per second.
    ControllerMutationRate,
    /// New connections per second.
    ConnectionCreationRate,
}

impl QuotaKey {
    /// All of them.
    pub const ALL: [QuotaKey; 5] = [
        QuotaKey::ProducerByteRate,
        QuotaKey::ConsumerByteRate,
        QuotaKey::RequestPercentage,
        QuotaKey::ControllerMutationRate,
        QuotaKey::ConnectionCreationRate,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKey::ProducerByteRate => "producer_byte_rate",
            QuotaKey::ConsumerByteRate => "consumer_byte_rate",
            QuotaKey::RequestPercentage => "request_percentage",
            QuotaKey::ControllerMutationRate => "controller_mutation_rate",
            QuotaKey::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// The key of a name.
    pub fn from_name(name: &str) -> Option<QuotaKey> {
        QuotaKey::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// The quotas of one entity by key.
pub type QuotaValues = BTreeMap<Arc<str>, f64>;

/// All quotas by entity; an entity without quotas is not kept.
pub type ClientQuotas = BTreeMap<QuotaEntity, QuotaValues>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_the_same_in_any_order_and_the_last_part_of_a_type_counts() {
        use QuotaEntityType::{ClientId, User};
        let one = QuotaEntity::of([(User, Some("a")), (ClientId, None)]);
        assert_eq!(one, QuotaEntity::of([(ClientId, None), (User, Some("b")), (User, Some("a"))]));
        assert_eq!((one.part(User), one.part(ClientId), one.lacks(QuotaEntityType::Ip)), (Some(Some("a")), Some(None), true));
        assert_eq!(one.to_string(), "user=a, client-id=null");
        for kind in QuotaEntityType::ALL {
            assert_eq!(QuotaEntityType::from_name(kind.name()), Some(kind));
        }
        for key in QuotaKey::ALL {
            assert_eq!(QuotaKey::from_name(key.name()), Some(key));
        }
    }
}
