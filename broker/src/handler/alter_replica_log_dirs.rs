//! AlterReplicaLogDirs (key 34, v1-2): moves partitions between data directories (KIP-113), of which there is one.
//!
//! - v2: flexible
//!
//! The one directory is fine for every partition in it; any other is LOG_DIR_NOT_FOUND.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

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
    for asked in &request.dirs {
        for topic in &asked.topics {
            let found = image.topic_by_name(&topic.name);
            let code = |index: i32| match found.and_then(|topic| topic.partition(index)) {
                _ if asked.path.as_str() != dir => ErrorCode::LogDirNotFound,
                None => ErrorCode::UnknownTopicOrPartition,
                Some(_) => ErrorCode::None,
            };
            let partition = |index: &i32| {
                AlterReplicaLogDirPartitionResult::default().with_partition_index(*index).with_error_code(code(*index).code())
            };
            let partitions = topic.partitions.iter().map(partition);
            // A topic is answered once, wherever its partitions were asked to go.
            match results.iter_mut().find(|result| result.topic_name == topic.name) {
                Some(result) => result.partitions.extend(partitions),
                None => results.push(
                    AlterReplicaLogDirTopicResult::default().with_topic_name(topic.name.clone()).with_partitions(partitions.collect()),
                ),
            }
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
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
        assert_eq!(codes, [("t".to_string(), vec![(0, 0), (9, 3), (1, 57)]), ("u".to_string(), vec![(0, 3)])]);
    }
}
