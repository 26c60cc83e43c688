//! DescribeLogDirs (key 35, v1-5): the data directory, the bytes of each partition in it, the volume it is on.
//!
//! - v2: flexible
//! - v3: an error code of the whole answer
//! - v4: total and usable bytes of the volume (KIP-827)
//! - v5: whether a directory is cordoned (KIP-1066), which none is
//!
//! There is one directory. Nothing is ever on its way to another one, and the log of a leader has no lag.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::Encodable;

use super::{HandlerError, HandlerResult, RequestContext, Response, codec};
use crate::config::Config;
use crate::metadata::MetadataImage;
use crate::partition::request::{PartitionReply, PartitionRequest};
use crate::shard::blocking::{Volume, volume};
use crate::shard::pace::Pace;
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};

/// A partition by name and id.
type Asked = (String, TopicPartition);

/// Asks the owners for their sizes.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeLogDirsRequest = codec::decode(ctx, body)?;
    let mut pace = Pace::new();
    let asked = asked(&shard.image(), &request);
    pace.steps(asked.len()).await;
    let sizes = sizes(shard, &asked).await?;
    let dir = absolute_dir(&shard.config);
    let volume = volume(dir.clone()).await;
    if let Err(error) = &volume {
        tracing::warn!(%error, dir = %dir.display(), "the volume of the data directory cannot be asked for its size");
    }
    let response = answer(&dir.display().to_string(), &asked, &sizes, volume.ok());
    pace.steps(asked.len()).await;
    if ctx.api_version < CORDONED_VERSION { codec::encode(ctx, &response) } else { encode_cordoned(&response) }
}

/// First version that tells whether a directory is cordoned.
const CORDONED_VERSION: i16 = 5;

/// The answer in version 5: as in version 4, with one more field at the end of each directory.
fn encode_cordoned(response: &DescribeLogDirsResponse) -> HandlerResult {
    const NO_TAGS: u8 = 0;
    let fails = |error| HandlerError::close(format!("response does not encode: {error}"));
    let mut body = BytesMut::new();
    body.put_i32(response.throttle_time_ms);
    body.put_i16(response.error_code);
    // The count of a compact array is its length plus one; there is one directory.
    body.put_u8(u8::try_from(response.results.len() + 1).map_err(|error| fails(error.to_string()))?);
    for result in &response.results {
        result.encode(&mut body, CORDONED_VERSION - 1).map_err(|error| fails(error.to_string()))?;
        debug_assert_eq!(body.last(), Some(&NO_TAGS), "a structure without tags ends with their number");
        body.truncate(body.len() - 1);
        body.put_u8(false.into());
        body.put_u8(NO_TAGS);
    }
    body.put_u8(NO_TAGS);
    Ok(Response::Frame(body))
}

/// The data directory as Kafka's tools name it: absolute, and otherwise as it was given.
pub(super) fn absolute_dir(config: &Config) -> PathBuf {
    let dir = config.data_dir();
    std::path::absolute(&dir).unwrap_or(dir)
}

/// The partitions asked for that exist, each once, by name and number; all without a list.
fn asked(image: &MetadataImage, request: &DescribeLogDirsRequest) -> Vec<Asked> {
    let Some(topics) = &request.topics else {
        let of_topic = |topic: &&std::sync::Arc<crate::metadata::TopicImage>| {
            let (name, id, count) = (topic.name.to_string(), topic.id, topic.partitions.len() as i32);
            (0..count).map(move |partition| (name.clone(), TopicPartition { topic: id, partition }))
        };
        return image.topics_sorted().iter().flat_map(of_topic).collect();
    };
    let mut found = BTreeSet::new();
    for asked in topics {
        let Some(topic) = image.topic_by_name(&asked.topic) else { continue };
        let there = asked.partitions.iter().filter(|index| topic.partition(**index).is_some());
        found.extend(there.map(|index| (asked.topic.to_string(), *index, topic.id)));
    }
    found.into_iter().map(|(name, partition, topic)| (name, TopicPartition { topic, partition })).collect()
}

/// Bytes of each partition; `None` for one whose files cannot be used.
async fn sizes(shard: &Rc<Shard>, asked: &[Asked]) -> Result<Vec<Option<u64>>, HandlerError> {
    let parts = asked.iter().enumerate().map(|(place, (_, partition))| (place, *partition, *partition));
    let mut sizes = vec![None; asked.len()];
    let mut calls = Vec::new();
    for Share { shard: owner, places, parts } in route::split(parts, shard.count) {
        calls.push((places, shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::LogSizes(parts))).await?));
    }
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::LogSizes(found)) = call.await? {
            for (place, size) in places.into_iter().zip(found) {
                sizes[place] = size;
            }
        }
    }
    Ok(sizes)
}

fn answer(dir: &str, asked: &[Asked], sizes: &[Option<u64>], volume: Option<Volume>) -> DescribeLogDirsResponse {
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for ((name, partition), size) in asked.iter().zip(sizes) {
        let Some(size) = size else { continue };
        if topics.last().is_none_or(|topic| topic.name.as_str() != name) {
            topics.push(DescribeLogDirsTopic::default().with_name(TopicName(name.clone().into())));
        }
        let Some(topic) = topics.last_mut() else { continue };
        topic.partitions.push(
            DescribeLogDirsPartition::default()
                .with_partition_index(partition.partition)
                .with_partition_size(i64::try_from(*size).unwrap_or(i64::MAX)),
        );
    }
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut result = DescribeLogDirsResult::default().with_log_dir(dir.to_owned().into()).with_topics(topics);
    result = match volume {
        Some(volume) => result.with_total_bytes(bytes(volume.total)).with_usable_bytes(bytes(volume.usable)),
        // Kafka leaves both at -1 and the rest out.
        None => result.with_error_code(ErrorCode::KafkaStorageError.code()).with_topics(Vec::new()),
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

    use super::*;
    use crate::controller::testing::World;

    fn request(topics: Option<&[(&'static str, &[i32])]>) -> DescribeLogDirsRequest {
        let topic = |(name, partitions): &(&'static str, &[i32])| {
            DescribableLogDirTopic::default().with_topic(TopicName((*name).into())).with_partitions(partitions.to_vec())
        };
        DescribeLogDirsRequest::default().with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
    }

    fn names(asked: &[Asked]) -> Vec<String> {
        asked.iter().map(|(name, partition)| format!("{name}-{}", partition.partition)).collect()
    }

    #[test]
    fn what_exists_is_listed_once_and_in_order() {
        let image = World::with_topics(&["b", "a"]).image;
        assert_eq!(names(&asked(&image, &request(None))), ["a-0", "a-1", "b-0", "b-1"]);
        assert!(asked(&image, &request(Some(&[]))).is_empty(), "an empty list is none");
        let some = request(Some(&[("b", &[1, 0, 1, 7]), ("nope", &[0]), ("b", &[1])]));
        assert_eq!(names(&asked(&image, &some)), ["b-0", "b-1"]);
    }

    #[test]
    fn an_answer_fits_every_version() {
        let image = World::with_topics(&["a", "b"]).image;
        let asked = asked(&image, &request(None));
        let response = answer("/data", &asked, &[Some(5), None, None, Some(7)], Some(Volume { total: 100, usable: 60 }));
        let result = &response.results[0];
        let sizes: Vec<_> = result.topics.iter().map(|t| (t.name.to_string(), t.partitions[0].partition_size)).collect();
        assert_eq!(sizes, [("a".to_string(), 5), ("b".to_string(), 7)]);
        assert_eq!((result.total_bytes, result.usable_bytes), (100, 60));
        let unknown = answer("/data", &asked, &[None; 4], None);
        assert_eq!((unknown.results[0].error_code, unknown.results[0].total_bytes), (56, -1));
        for version in 1..=4 {
            assert!(codec::encode(&RequestContext::for_test(35, version), &response).is_ok(), "v{version}");
        }
    }
}
