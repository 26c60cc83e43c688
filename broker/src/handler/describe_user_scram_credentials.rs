//! DescribeUserScramCredentials (key 50, v0): the SCRAM credentials of users (KIP-554). There are none while connections are not authenticated;
//! Kafka's `kafka-configs --describe --entity-type users` asks for them beside the quotas.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use hashbrown::HashMap;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

use super::admin::text;
use super::{HandlerResult, RequestContext, codec};
use crate::shard::Shard;

/// Answers at once.
pub async fn handle(_: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeUserScramCredentialsRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &answer(&request))
}

fn answer(request: &DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
    let mut asked: HashMap<&str, usize> = HashMap::new();
    let users = request.users.as_deref().unwrap_or_default();
    users.iter().for_each(|user| *asked.entry(user.name.as_str()).or_default() += 1);
    let mut results = Vec::with_capacity(asked.len());
    for user in users {
        // Each user is answered once.
        let Some(times) = asked.remove(user.name.as_str()) else { continue };
        let name = &user.name;
        let (code, message) = if times > 1 {
            (ErrorCode::DuplicateResource, format!("Cannot describe SCRAM credentials for the same user twice in a single request: {name}"))
        } else {
            (ErrorCode::ResourceNotFound, format!("Attempt to describe a user credential that does not exist: {name}"))
        };
        let result = DescribeUserScramCredentialsResult::default().with_user(name.clone()).with_error_code(code.code());
        results.push(result.with_error_message(text(Some(message))));
    }
    DescribeUserScramCredentialsResponse::default().with_error_message(None).with_results(results)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;

    use super::*;

    #[test]
    fn nobody_has_credentials() {
        let codes = |names: Option<&[&'static str]>| {
            let users = names.map(|names| names.iter().map(|name| UserName::default().with_name((*name).into())).collect());
            let response = answer(&DescribeUserScramCredentialsRequest::default().with_users(users));
            assert!(codec::encode(&RequestContext::for_test(50, 0), &response).is_ok());
            response.results.iter().map(|r| (r.user.to_string(), r.error_code)).collect::<Vec<_>>()
        };
        assert_eq!(codes(None), []);
        assert_eq!(codes(Some(&[])), []);
        assert_eq!(codes(Some(&["a", "b", "a"])), [("a".into(), 92), ("b".into(), 91)]);
    }
}
