//! DeleteTopics (key 20, v1-6): asks the controller; the topics are gone on every shard when the answer is sent.
//!
//! - v4: flexible
//! - v5: a sentence beside the error code; THROTTLING_QUOTA_EXCEEDED (KIP-599)
//! - v6: topics by id (KIP-516)
//!
//! With `delete.topic.enable=false` nothing is deleted (73).

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::TopicId;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

use super::admin::{ask_controller, text, topic_id, uuid, within_mutation_quota, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::{ApiError, ControllerRequest, ControllerResponse, DeletedTopic, TopicSelector};
use crate::shard::Shard;

/// First version that is told of a used up mutation quota by an error (KIP-599).
const STRICT_VERSION_MIN: i16 = 5;

/// Asks the controller and answers when the topics are gone.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DeleteTopicsRequest = codec::decode(ctx, body)?;
    let asked = asked(&request, ctx.api_version);
    let topics: Vec<TopicSelector> = asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
    let outcome = if !shard.config.delete_topic_enable {
        // v3 and later; older clients know the code as an invalid request.
        let code = if ctx.api_version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
        Err(ApiError { code, message: None })
    } else if topics.is_empty() {
        Ok(Vec::new())
    } else {
        delete(shard, ctx, topics, request.timeout_ms).await
    };
    codec::encode(ctx, &answer(asked, outcome))
}

/// Asks the controller for what the client's mutation quota allows.
async fn delete(
    shard: &Rc<Shard>,
    ctx: &RequestContext,
    topics: Vec<TopicSelector>,
    timeout_ms: i32,
) -> Result<Vec<DeletedTopic>, ApiError> {
    let image = shard.image();
    let known = |selector: &TopicSelector| match selector {
        TopicSelector::Name(name) => image.topic_by_name(name),
        TopicSelector::Id(id) => image.topic(*id),
    };
    let elements = topics.iter().map(|topic| (known(topic).map_or(0, |topic| topic.partitions.len()), topic.clone())).collect();
    let ask = async |topics| match ask_controller(shard, ControllerRequest::DeleteTopics { topics }, timeout_ms).await {
        Ok(ControllerResponse::DeleteTopics(results)) => {
            // As an error what is known of the topic goes with the result, so that all of it comes back.
            Ok(results.into_iter().map(|deleted| if deleted.result.is_ok() { Ok(Ok(deleted)) } else { Ok(Err(deleted)) }).collect())
        }
        Ok(_) => Err(wrong_answer()),
        Err(error) => Err(error),
    };
    let results: Vec<Result<Result<DeletedTopic, DeletedTopic>, ApiError>> =
        within_mutation_quota(shard, ctx, ctx.api_version >= STRICT_VERSION_MIN, elements, ask).await?;
    let answered = results.into_iter().zip(&topics).map(|(result, selector)| match result {
        Ok(Ok(deleted) | Err(deleted)) => deleted,
        Err(error) => DeletedTopic { name: known(selector).map(|topic| topic.name.to_string()), ..failed(selector, error) },
    });
    Ok(answered.collect())
}

/// What was asked for, element by element: a selector, or the answer to a selector that selects nothing.
fn asked(request: &DeleteTopicsRequest, version: i16) -> Vec<Result<TopicSelector, DeletedTopic>> {
    if version < 6 {
        return request.topic_names.iter().map(|name| Ok(TopicSelector::Name(name.to_string()))).collect();
    }
    let select = |name: Option<&TopicName>, id: TopicId| {
        let refuse = |message: &str| {
            let result = Err(ApiError::new(ErrorCode::InvalidRequest, message));
            Err(DeletedTopic { name: name.map(|name| name.to_string()), id, result })
        };
        match name {
            Some(name) if id.is_zero() => Ok(TopicSelector::Name(name.to_string())),
            Some(_) => refuse("You may not specify both topic name and topic id."),
            None if id.is_zero() => refuse("Neither topic name nor id were specified."),
            None => Ok(TopicSelector::Id(id)),
        }
    };
    request.topics.iter().map(|topic| select(topic.name.as_ref(), topic_id(topic.topic_id))).collect()
}

/// One result per selector, in the request's order; a topic asked for twice is answered once.
fn answer(asked: Vec<Result<TopicSelector, DeletedTopic>>, outcome: Result<Vec<DeletedTopic>, ApiError>) -> DeleteTopicsResponse {
    let mut results = outcome.as_ref().map(|results| results.iter()).ok();
    let mut seen = BTreeSet::new();
    let mut responses = Vec::with_capacity(asked.len());
    for selector in asked {
        let deleted = match (selector, results.as_mut()) {
            (Err(refused), _) => refused,
            (Ok(selector), Some(results)) => results.next().cloned().unwrap_or_else(|| failed(&selector, wrong_answer())),
            (Ok(selector), None) => failed(&selector, outcome.as_ref().err().cloned().unwrap_or_else(wrong_answer)),
        };
        if !seen.insert((deleted.name.clone(), deleted.id)) {
            continue;
        }
        let (code, message) = match deleted.result {
            Ok(()) => (ErrorCode::None, None),
            Err(error) => (error.code, error.message),
        };
        responses.push(
            DeletableTopicResult::default()
                .with_name(deleted.name.map(|name| TopicName(name.into())))
                .with_topic_id(uuid(deleted.id))
                .with_error_code(code.code())
                .with_error_message(text(message)),
        );
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

fn failed(selector: &TopicSelector, error: ApiError) -> DeletedTopic {
    match selector {
        TopicSelector::Name(name) => DeletedTopic { name: Some(name.clone()), id: TopicId::ZERO, result: Err(error) },
        TopicSelector::Id(id) => DeletedTopic { name: None, id: *id, result: Err(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
    use kafka_protocol::protocol::Encodable;

    fn run(world: &mut World, request: &DeleteTopicsRequest, version: i16) -> Vec<(Option<String>, bool, i16, Option<String>)> {
        let asked = asked(request, version);
        let topics: Vec<_> = asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
        let ControllerResponse::DeleteTopics(results) = world.submit(&ControllerRequest::DeleteTopics { topics }) else {
            panic!("another answer")
        };
        let response = answer(asked, Ok(results));
        assert!(version == 6 || response.compute_size(version).is_ok() || response.responses.iter().any(|r| r.name.is_none()));
        let plain = |result: &DeletableTopicResult| {
            let name = result.name.as_ref().map(|name| name.to_string());
            (name, result.topic_id.is_nil(), result.error_code, result.error_message.as_ref().map(|text| text.to_string()))
        };
        response.responses.iter().map(plain).collect()
    }

    fn name(name: &str) -> TopicName {
        TopicName(name.to_owned().into())
    }

    #[test]
    fn by_name_with_a_duplicate() {
        let mut world = World::with_topics(&["a", "b"]);
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name("a"), name("b"), name("nope"), name("a")]);
        let host = "This server does not host this topic-partition.".to_owned();
        let want = [
            (Some("a".to_owned()), true, 42, Some("Duplicate topic name.".to_owned())),
            (Some("b".to_owned()), false, 0, None),
            (Some("nope".to_owned()), true, 3, Some(host)),
        ];
        assert_eq!(run(&mut world, &request, 5), want);
        assert!(world.image.topic_by_name("a").is_some() && world.image.topic_by_name("b").is_none());
    }

    #[test]
    fn by_id_and_the_selectors_that_select_nothing() {
        let mut world = World::with_topics(&["a", "b"]);
        let id = world.image.topic_id("a").expect("exists");
        let state = |name: Option<TopicName>, id: TopicId| DeleteTopicState::default().with_name(name).with_topic_id(uuid(id));
        let request = DeleteTopicsRequest::default().with_topics(vec![
            state(None, id),
            state(None, TopicId([1; 16])),
            state(None, TopicId::ZERO),
            state(Some(name("b")), TopicId([1; 16])),
        ]);
        let want = [
            (Some("a".to_owned()), false, 0, None),
            (None, false, 100, Some("This server does not host this topic ID.".to_owned())),
            (None, true, 42, Some("Neither topic name nor id were specified.".to_owned())),
            (Some("b".to_owned()), false, 42, Some("You may not specify both topic name and topic id.".to_owned())),
        ];
        assert_eq!(run(&mut world, &request, 6), want);
        assert_eq!(world.image.topic_count(), 1);
    }
}
