//! A controller without a log, for tests: decides and replays at once, with seeded randomness.

use super::decide::{ConfigValidator, ControllerLimits, Decision, Env, Randomness, decide};
use super::record::MetadataRecord;
use super::replay::replay_batch;
use super::request::{ApiError, BrokerRegistration, ConfigAlteration, ControllerRequest, ControllerResponse, CreatedTopic, NewTopic};
use crate::metadata::{Endpoint, MetadataDelta, MetadataImage};

/// SplitMix64: a small generator with a printed seed.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Randomness for Seeded {
    fn bytes16(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }
}

/// Knows three topic configurations, in Kafka's words.
pub(crate) struct FewConfigs;

impl ConfigValidator for FewConfigs {
    fn validate_topic_config(&self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "retention.ms" if value.parse::<i64>().is_ok() => Ok(()),
            "retention.ms" => Err(format!("Invalid value {value} for configuration retention.ms: Not a number of type LONG")),
            "cleanup.policy" | "segment.ms" => Ok(()),
            _ => Err(format!("Unknown topic config name: {key}")),
        }
    }
}

/// An image that grows by decisions; broker 1 is registered.
pub(crate) struct World {
    pub(crate) image: MetadataImage,
    pub(crate) limits: ControllerLimits,
    pub(crate) random: Seeded,
    pub(crate) history: Vec<Vec<MetadataRecord>>,
}

impl World {
    pub(crate) fn new() -> World {
        let mut world =
            World { image: MetadataImage::empty(), limits: ControllerLimits::default(), random: Seeded(7), history: Vec::new() };
        world.register(1);
        world
    }

    pub(crate) fn with_topics(names: &[&str]) -> World {
        let mut world = World::new();
        for name in names {
            world
                .create(NewTopic { name: (*name).to_owned(), partitions: 2, replication_factor: 1, ..NewTopic::default() })
                .expect("the topic is created");
        }
        world
    }

    pub(crate) fn decide(&mut self, request: &ControllerRequest) -> Decision<ControllerResponse> {
        let mut env = Env { limits: &self.limits, configs: &FewConfigs, random: &mut self.random };
        decide(&self.image, request, &mut env)
    }

    pub(crate) fn submit(&mut self, request: &ControllerRequest) -> ControllerResponse {
        let Decision { records, answer } = self.decide(request);
        self.apply(&records);
        answer
    }

    pub(crate) fn apply(&mut self, records: &[MetadataRecord]) -> MetadataDelta {
        let mut delta = MetadataDelta::default();
        replay_batch(&mut self.image, &mut delta, records);
        self.history.push(records.to_vec());
        delta
    }

    pub(crate) fn register(&mut self, id: i32) {
        let registration = BrokerRegistration {
            id,
            incarnation: self.random.bytes16(),
            endpoints: vec![Endpoint { name: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9091 + id as u16 }],
            rack: None,
        };
        let _ = self.submit(&ControllerRequest::RegisterBroker(registration));
    }

    pub(crate) fn create(&mut self, topic: NewTopic) -> Result<CreatedTopic, ApiError> {
        match self.submit(&ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false }) {
            ControllerResponse::CreateTopics(mut results) => results.remove(0),
            other => panic!("create topics answered {other:?}"),
        }
    }

    pub(crate) fn create_with_assignment(&mut self, name: &str, assignment: Vec<Vec<i32>>) {
        let assignments = assignment.into_iter().enumerate().map(|(index, replicas)| (index as i32, replicas)).collect();
        let topic = NewTopic { assignments, ..NewTopic::with_defaults(name) };
        self.create(topic).expect("the topic is created");
    }

    pub(crate) fn alter(&mut self, alteration: ConfigAlteration) -> Result<(), ApiError> {
        match self.submit(&ControllerRequest::AlterConfigs { resources: vec![alteration], validate_only: false }) {
            ControllerResponse::AlterConfigs(mut results) => results.remove(0),
            other => panic!("alter configs answered {other:?}"),
        }
    }

    pub(crate) fn topic_config(&self, name: &str) -> Vec<(String, String)> {
        let overrides = self.image.topic_config(name);
        overrides.map(|map| map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()).unwrap_or_default()
    }
}
