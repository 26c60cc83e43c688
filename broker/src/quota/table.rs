//! Finds the quota that binds a user and a client id, or an address: Kafka's order of precedence.
//!
//! Made from the metadata's quotas at each change of one, then only read.

use std::sync::Arc;

use crate::metadata::client_quota::{ClientQuotas, QuotaEntity, QuotaEntityType, QuotaKey};

/// Whose usage counts together: the user, the client id, or both; for addresses the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketKey {
    /// What is measured.
    pub key: QuotaKey,
    /// The user (or the address), if the quota is about users.
    pub user: Option<Arc<str>>,
    /// The client id, if the quota is about client ids.
    pub client_id: Option<Arc<str>>,
}

/// The quotas in force.
#[derive(Clone, Debug, Default)]
pub struct QuotaTable {
    quotas: Arc<ClientQuotas>,
    set: [bool; QuotaKey::ALL.len()],
}

impl QuotaTable {
    /// From the metadata.
    pub fn new(quotas: &Arc<ClientQuotas>) -> QuotaTable {
        let set = QuotaKey::ALL.map(|key| quotas.values().any(|values| values.contains_key(key.name())));
        QuotaTable { quotas: Arc::clone(quotas), set }
    }

    /// True when anybody has a quota of this key.
    pub fn has(&self, key: QuotaKey) -> bool {
        self.set[key as usize]
    }

    /// True when there is any quota.
    pub fn has_any(&self) -> bool {
        self.set.iter().any(|set| *set)
    }

    /// The quota that binds this user and client id: the first that is set of user and client, user and any client, user, any user and client,
    /// any user and any client, any user, client, any client. Diverges: who names no client id is bound by the default of client ids.
    pub fn find(&self, key: QuotaKey, user: &str, client_id: &str) -> Option<(BucketKey, f64)> {
        use QuotaEntityType::{ClientId, User};
        if !self.has(key) {
            return None;
        }
        let (user_part, any_user) = ((User, Some(user)), (User, None));
        let (client_part, any_client) = ((ClientId, Some(client_id)), (ClientId, None));
        let order: [&[(QuotaEntityType, Option<&str>)]; 8] = [
            &[user_part, client_part],
            &[user_part, any_client],
            &[user_part],
            &[any_user, client_part],
            &[any_user, any_client],
            &[any_user],
            &[client_part],
            &[any_client],
        ];
        order.into_iter().find_map(|parts| {
            let entity = QuotaEntity::of(parts.iter().copied());
            let bound = *self.quotas.get(&entity)?.get(key.name())?;
            let named = |kind, name: &str| (!entity.lacks(kind)).then(|| Arc::from(name));
            Some((BucketKey { key, user: named(User, user), client_id: named(ClientId, client_id) }, bound))
        })
    }

    /// The quota of new connections of an address.
    pub fn find_address(&self, address: &str) -> Option<(BucketKey, f64)> {
        let key = QuotaKey::ConnectionCreationRate;
        if !self.has(key) {
            return None;
        }
        [Some(address), None].into_iter().find_map(|part| {
            let bound = *self.quotas.get(&QuotaEntity::of([(QuotaEntityType::Ip, part)]))?.get(key.name())?;
            Some((BucketKey { key, user: Some(Arc::from(address)), client_id: None }, bound))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use QuotaEntityType::{ClientId, Ip, User};

    type Parts = &'static [(QuotaEntityType, Option<&'static str>)];

    fn table(entities: &[(Parts, &str, f64)]) -> QuotaTable {
        let mut quotas = ClientQuotas::new();
        for (parts, key, bound) in entities {
            quotas.entry(QuotaEntity::of(parts.iter().copied())).or_default().insert(Arc::from(*key), *bound);
        }
        QuotaTable::new(&Arc::new(quotas))
    }

    const ORDER: [(Parts, Option<&str>, Option<&str>); 8] = [
        (&[(User, Some("u")), (ClientId, Some("c"))], Some("u"), Some("c")),
        (&[(User, Some("u")), (ClientId, None)], Some("u"), Some("c")),
        (&[(User, Some("u"))], Some("u"), None),
        (&[(User, None), (ClientId, Some("c"))], Some("u"), Some("c")),
        (&[(User, None), (ClientId, None)], Some("u"), Some("c")),
        (&[(User, None)], Some("u"), None),
        (&[(ClientId, Some("c"))], None, Some("c")),
        (&[(ClientId, None)], None, Some("c")),
    ];

    #[test]
    fn the_most_specific_quota_binds_and_says_who_shares_it() {
        for first in 0..ORDER.len() {
            // All from this one on are set, each with a bound of its own.
            let set: Vec<_> = ORDER[first..].iter().zip(1..).map(|((parts, ..), n)| (*parts, "producer_byte_rate", f64::from(n))).collect();
            let (key, bound) = table(&set).find(QuotaKey::ProducerByteRate, "u", "c").expect("one is set");
            let (_, user, client_id) = ORDER[first];
            assert_eq!((key.user.as_deref(), key.client_id.as_deref(), bound), (user, client_id, 1.0), "{first}");
        }
    }

    #[test]
    fn each_key_is_looked_for_by_itself_and_others_are_not_bound() {
        let table = table(&[
            (&[(User, Some("u"))], "consumer_byte_rate", 1.0),
            (&[(ClientId, None)], "producer_byte_rate", 2.0),
            (&[(Ip, None)], "connection_creation_rate", 3.0),
            (&[(Ip, Some("10.0.0.1"))], "connection_creation_rate", 4.0),
        ]);
        assert_eq!(table.find(QuotaKey::ProducerByteRate, "u", "c").map(|(_, bound)| bound), Some(2.0));
        assert_eq!(table.find(QuotaKey::ConsumerByteRate, "u", "c").map(|(_, bound)| bound), Some(1.0));
        assert_eq!(table.find(QuotaKey::ConsumerByteRate, "v", "c"), None);
        assert_eq!(table.find(QuotaKey::RequestPercentage, "u", "c"), None);
        assert_eq!(table.find_address("10.0.0.1").map(|(_, bound)| bound), Some(4.0));
        assert_eq!(
            table.find_address("10.0.0.2").map(|(key, bound)| (key.user.as_deref().map(str::to_owned), bound)),
            Some((Some("10.0.0.2".into()), 3.0))
        );
        assert!(table.has_any() && !table.has(QuotaKey::ControllerMutationRate) && !QuotaTable::default().has_any());
    }
}
