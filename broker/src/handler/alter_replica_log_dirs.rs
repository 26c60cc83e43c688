//! AlterReplicaLogDirs (key 34, v1-2): moves partitions between data directories (KIP-113), of which there is one.
//!
//! - v2: flexible
//!
//! The one directory is fine for every partition in it; any other is LOG_DIR_NOT_FOUND.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName};

use super::describe_log_dirs::absolute_dir;
use super::{HandlerResult, RequestContext, codec};
use crate::metadata::MetadataImage;
use crate::shard::Shard;

/// Answers at once: nothing moves.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: AlterReplicaLogDirsRequest = codec::decode(ctx, body)?;
    let dir = absolute_dir(&shard.config).display().to_string();
    codec::encode(ctx, &answer(&shard.image(), &dir, &request))
}

fn answer(image: &MetadataImage, dir: &str, request: &AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    // A partition is answered once, for the last directory that it was asked to go to.
    let mut asked: BTreeMap<(&str, i32), &str> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            asked.extend(topic.partitions.iter().map(|index| ((topic.name.as_str(), *index), dir.path.as_str())));
        }
    }
    for ((name, index), path) in asked {
        let code = match image.topic_by_name(name).and_then(|topic| topic.partition(index)) {
            _ if path != dir => ErrorCode::LogDirNotFound,
            None => ErrorCode::UnknownTopicOrPartition,
            Some(_) => ErrorCode::None,
        };
        if results.last().is_none_or(|result| result.topic_name.as_str() != name) {
            results.push(AlterReplicaLogDirTopicResult::default().with_topic_name(TopicName(name.to_owned().into())));
        }
        let Some(result) = results.last_mut() else { continue };
        result.partitions.push(AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code.code()));
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};

    use super::*;
    use crate::controller::testing::World;

    #[test]
    fn only_the_directory_that_there_is_will_do() {
        let image = World::with_topics(&["t"]).image;
        let topic = |name: &'static str, partitions: &[i32]| {
            AlterReplicaLogDirTopic::default().with_name(TopicName(name.into())).with_partitions(partitions.to_vec())
        };
        let dir = |path: &'static str, topics| AlterReplicaLogDir::default().with_path(path.into()).with_topics(topics);
        let request = AlterReplicaLogDirsRequest::default()
            .with_dirs(vec![dir("/data", vec![topic("t", &[0, 9]), topic("u", &[0])]), dir("/other", vec![topic("t", &[1])])]);
        let response = answer(&image, "/data", &request);
        let codes: Vec<(String, Vec<(i32, i16)>)> = response
            .results
            .iter()
            .map(|t| (t.topic_name.to_string(), t.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect()))
            .collect();
        assert_eq!(codes, [("t".to_string(), vec![(0, 0), (1, 57), (9, 3)]), ("u".to_string(), vec![(0, 3)])]);
    }
}
