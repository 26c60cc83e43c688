//! What the clients of a random history ask, each by its protocol and by what it believes.

use std::collections::BTreeMap;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::blobs::{assignment, subscription};
use super::world::{NAMES, World};
use crate::coordinator::request::{
    ConsumerHeartbeat, GroupRequest, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OffsetCommit, OffsetFetch, PartitionCommit,
    SyncGroup, TopicCommit,
};

impl World {
    pub(super) fn ask(&mut self, who: usize) {
        if self.clients[who].waits.is_some() {
            return;
        }
        if !self.calm && self.chance(2) && !self.clients[who].joined {
            self.clients[who].classic = !self.clients[who].classic;
            self.clients[who].member.clear();
        }
        if !self.calm && self.chance(4) {
            self.subscribe(who);
        }
        if !self.calm && self.chance(4) && self.clients[who].joined {
            return self.leave(who);
        }
        if self.clients[who].joined && self.chance(10) {
            return self.commit(who);
        }
        if self.chance(5) {
            let topics = Some(NAMES.iter().map(|name| ((*name).to_owned(), vec![0, 1])).collect());
            let group_id = self.clients[who].group.clone();
            return self.request(who, GroupRequest::Fetch(OffsetFetch { group_id, topics, member_epoch: -1, ..OffsetFetch::default() }));
        }
        if self.clients[who].classic { self.ask_classic(who) } else { self.beat(who) }
    }

    fn beat(&mut self, who: usize) {
        if !self.clients[who].joined {
            // A process that starts, or one that was fenced: it owns nothing. A static one that starts again has a new id.
            if self.clients[who].member.is_empty() || self.clients[who].instance.is_some() {
                self.next_member += 1;
                self.clients[who].member = format!("m{}", self.next_member);
            }
            self.drop_all(who);
            self.clients[who].epoch = 0;
            self.clients[who].full = true;
        }
        let client = self.clients[who].clone();
        let full = client.full;
        let request = ConsumerHeartbeat {
            group_id: client.group,
            member_id: client.member,
            member_epoch: client.epoch,
            instance_id: client.instance,
            rebalance_timeout_ms: if full { 5_000 } else { -1 },
            topics: full.then_some(client.topics),
            regex: full.then(|| if client.regex { "a.*".to_owned() } else { String::new() }),
            owned: (full || self.chance(70)).then_some(client.owned),
            client_id: "c".into(),
            client_host: "/h".into(),
            ..ConsumerHeartbeat::default()
        };
        self.request(who, GroupRequest::ConsumerHeartbeat(Box::new(request)));
    }

    fn ask_classic(&mut self, who: usize) {
        let client = self.clients[who].clone();
        let (group_id, member_id, instance_id) = (client.group.clone(), client.member.clone(), client.instance.clone());
        if client.joined && client.syncs {
            let assignments = self.share_out(&client.followers);
            let request = SyncGroup { group_id, generation_id: client.epoch, member_id, instance_id, assignments, ..SyncGroup::default() };
            return self.request(who, GroupRequest::Sync(request));
        }
        if client.joined {
            return self.request(who, GroupRequest::Heartbeat(Heartbeat { group_id, generation_id: client.epoch, member_id, instance_id }));
        }
        // Eager: who joins owns nothing.
        self.drop_all(who);
        let request = JoinGroup {
            group_id,
            member_id,
            instance_id,
            client_id: "c".into(),
            client_host: "/h".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 5_000,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), subscription(&client.topics))],
            requires_known_member_id: false,
            supports_skip_assignment: true,
        };
        self.request(who, GroupRequest::Join(request));
    }

    /// What the leader of a classic generation decides: partitions one by one to those who want them.
    fn share_out(&self, followers: &[(String, Bytes)]) -> Vec<(String, Bytes)> {
        let mut shares: BTreeMap<&str, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        for (topic, (_, count)) in &self.topics {
            let wanted = |metadata: &Bytes| metadata.windows(topic.len()).any(|part| part == topic.as_bytes());
            let takers: Vec<&str> = followers.iter().filter(|(_, metadata)| wanted(metadata)).map(|(id, _)| id.as_str()).collect();
            for partition in 0..*count {
                if let Some(taker) = takers.get(partition % takers.len().max(1)) {
                    shares.entry(taker).or_default().entry(topic).or_default().push(partition as i32);
                }
            }
        }
        shares.into_iter().map(|(id, share)| (id.to_owned(), assignment(&share))).collect()
    }

    fn leave(&mut self, who: usize) {
        self.drop_all(who);
        let client = self.clients[who].clone();
        let (group_id, member_id, instance_id) = (client.group.clone(), client.member.clone(), client.instance.clone());
        let request = if client.classic {
            GroupRequest::Leave(LeaveGroup { group_id, members: vec![LeavingMember { member_id, instance_id }] })
        } else {
            let member_epoch = if instance_id.is_some() && self.chance(70) { -2 } else { -1 };
            let request = ConsumerHeartbeat { group_id, member_id, member_epoch, instance_id, ..ConsumerHeartbeat::default() };
            GroupRequest::ConsumerHeartbeat(Box::new(ConsumerHeartbeat { rebalance_timeout_ms: -1, ..request }))
        };
        self.clients[who].joined = false;
        self.request(who, request);
        // Nobody waits for the answer of a member that leaves.
        if let Some(token) = self.clients[who].waits.take() {
            self.asked.remove(&token);
        }
    }

    fn commit(&mut self, who: usize) {
        let client = self.clients[who].clone();
        let Some((topic, partition)) = client.owned.iter().flat_map(|(t, ps)| ps.iter().map(move |p| (*t, *p))).next() else { return };
        let Some(name) = self.topics.iter().find(|(_, (number, _))| TopicId([*number; 16]) == topic).map(|(name, _)| *name) else { return };
        let offset = self.draw(1_000_000) as i64;
        let partitions = vec![PartitionCommit { partition, offset, leader_epoch: -1, metadata: None, refused: ErrorCode::None }];
        let request = OffsetCommit {
            group_id: client.group,
            generation_id: client.epoch,
            member_id: client.member,
            instance_id: client.instance,
            retention_ms: -1,
            tells_missing_group: true,
            topics: vec![TopicCommit { name: name.to_owned(), id: topic, partitions }],
        };
        self.request(who, GroupRequest::Commit(request));
    }
}
