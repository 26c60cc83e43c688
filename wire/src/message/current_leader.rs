//! Where a partition's leader is now (KIP-951): structures that Produce and Fetch answers carry as tagged fields, so that a client finds the
//! new leader without a metadata round trip.

use bytes::Bytes;

use super::read_array;
use crate::decode::{DecodeError, Decoder};
use crate::encode::Sink;
use crate::ids::{BrokerId, LeaderEpoch};
use crate::primitive::{WireString, put_array, put_nullable_string, put_string};
use crate::tagged_field;

/// The current leader of a partition. `(-1, -1)` means "unknown" and is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderIdAndEpoch {
    /// Broker id of the leader, -1 when unknown.
    pub leader_id: BrokerId,
    /// Its leader epoch, -1 when unknown.
    pub leader_epoch: LeaderEpoch,
}

impl LeaderIdAndEpoch {
    pub(super) const UNKNOWN: LeaderIdAndEpoch = LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 };

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let leader = LeaderIdAndEpoch { leader_id: d.i32()?, leader_epoch: d.i32()? };
        tagged_field::skip(d)?;
        Ok(leader)
    }

    pub(super) fn write<W: Sink + ?Sized>(&self, w: &mut W) {
        w.i32(self.leader_id);
        w.i32(self.leader_epoch);
        w.u8(0);
    }
}

/// Where to reach a broker that is named as a leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEndpoint {
    /// Broker id.
    pub node_id: BrokerId,
    /// Host name or address.
    pub host: WireString,
    /// TCP port.
    pub port: i32,
    /// Rack, if it has one.
    pub rack: Option<WireString>,
}

impl NodeEndpoint {
    pub(super) fn decode_array(d: &mut Decoder<'_>, body: &Bytes) -> Result<Vec<Self>, DecodeError> {
        read_array(d, true, false, 4 + 1 + 4 + 1 + 1, |d| {
            let endpoint = NodeEndpoint {
                node_id: d.i32()?,
                host: WireString::share(body, d.string(true)?),
                port: d.i32()?,
                rack: d.nullable_string(true)?.map(|s| WireString::share(body, s)),
            };
            tagged_field::skip(d)?;
            Ok(endpoint)
        })
    }

    pub(super) fn write_array<W: Sink + ?Sized>(endpoints: &[Self], w: &mut W) {
        put_array(w, endpoints.len(), true);
        for endpoint in endpoints {
            w.i32(endpoint.node_id);
            put_string(w, &endpoint.host, true);
            w.i32(endpoint.port);
            put_nullable_string(w, endpoint.rack.as_deref(), true);
            w.u8(0);
        }
    }
}
