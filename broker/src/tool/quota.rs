//! `coreline quota list|set|unset`: client quotas by user, client id and address.

use clap::{Args, Subcommand};
use coreline_wire::ErrorCode;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use serde::Serialize;

use super::failure::Failure;
use super::key_value;
use super::out::Row;
use super::remote::Remote;
use super::topic_change::{Outcome, report};
use crate::client::{ClientError, To, text};

/// Client quotas.
#[derive(Args, Debug)]
pub struct QuotaArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Subcommand, Debug)]
enum QuotaCommand {
    /// List quotas, all or those of these entities.
    List {
        #[command(flatten)]
        entity: Entity,
    },
    /// Set quotas of an entity.
    Set {
        #[command(flatten)]
        entity: Entity,
        /// producer_byte_rate, consumer_byte_rate, request_percentage, controller_mutation_rate, connection_creation_rate.
        #[arg(required = true, value_name = "QUOTA=VALUE")]
        quotas: Vec<String>,
        /// Only say whether it would work.
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove quotas of an entity.
    Unset {
        #[command(flatten)]
        entity: Entity,
        /// Their names.
        #[arg(required = true, value_name = "QUOTA")]
        names: Vec<String>,
        /// Only say whether it would work.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Whom a quota is for.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Entity {
    /// A user.
    #[arg(long, value_name = "NAME", conflicts_with = "user_default")]
    user: Option<String>,
    /// Every user without a quota of its own.
    #[arg(long)]
    user_default: bool,
    /// A client id.
    #[arg(long, value_name = "ID", conflicts_with = "client_id_default")]
    client_id: Option<String>,
    /// Every client id without a quota of its own.
    #[arg(long)]
    client_id_default: bool,
    /// An address that clients connect from.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ip_default")]
    ip: Option<String>,
    /// Every address without a quota of its own.
    #[arg(long)]
    ip_default: bool,
}

impl Entity {
    /// Type and name, none for the default.
    fn parts(&self) -> Vec<(&'static str, Option<String>)> {
        let mut parts = Vec::new();
        for (kind, name, default) in [
            ("user", &self.user, self.user_default),
            ("client-id", &self.client_id, self.client_id_default),
            ("ip", &self.ip, self.ip_default),
        ] {
            if name.is_some() || default {
                parts.push((kind, name.clone()));
            }
        }
        parts
    }

    /// The same, of which there must be one.
    fn required(&self) -> Result<Vec<(&'static str, Option<String>)>, Failure> {
        let parts = self.parts();
        if parts.is_empty() {
            Err(Failure::Usage("whose quota? Give --user, --client-id, --ip or one of their defaults".into()))
        } else {
            Ok(parts)
        }
    }
}

#[derive(Serialize)]
struct QuotaRow {
    /// Null for the default; absent when it is not part of the entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<Option<String>>,
    quota: String,
    value: f64,
}

impl Row for QuotaRow {
    const HEAD: &'static [&'static str] = &["USER", "CLIENT-ID", "IP", "QUOTA", "VALUE"];
    fn cells(&self) -> Vec<String> {
        let show = |part: &Option<Option<String>>| match part {
            None => "-".to_string(),
            Some(None) => "(default)".to_string(),
            Some(Some(name)) => name.clone(),
        };
        vec![show(&self.user), show(&self.client_id), show(&self.ip), self.quota.clone(), self.value.to_string()]
    }
}

/// Runs a command.
pub(crate) fn run(args: &QuotaArgs) -> Result<(), Failure> {
    match &args.command {
        QuotaCommand::List { entity } => list(&args.remote, entity),
        QuotaCommand::Set { entity, quotas, dry_run } => {
            let mut ops = Vec::new();
            for quota in quotas {
                let (name, value) = key_value(quota)?;
                let number = value.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
                ops.push((name, Some(number.ok_or_else(|| Failure::Usage(format!("'{value}' is no number for a quota")))?)));
            }
            alter(&args.remote, &entity.required()?, &ops, *dry_run)
        }
        QuotaCommand::Unset { entity, names, dry_run } => {
            let ops: Vec<_> = names.iter().map(|name| (name.clone(), None)).collect();
            alter(&args.remote, &entity.required()?, &ops, *dry_run)
        }
    }
}

fn list(remote: &Remote, entity: &Entity) -> Result<(), Failure> {
    let mut session = remote.open()?;
    let make = |_| {
        let component = |(kind, name): (&str, Option<String>)| {
            ComponentData::default()
                .with_entity_type(text(kind))
                .with_match_type(i8::from(name.is_none()))
                .with_match(name.as_deref().map(text))
        };
        DescribeClientQuotasRequest::default().with_components(entity.parts().into_iter().map(component).collect())
    };
    let mut rows = session.cluster.ask(&To::Any, make, |answer| {
        ClientError::check(answer.error_code, answer.error_message.as_deref(), || "client quotas".into())?;
        let mut rows = Vec::new();
        for entry in answer.entries.unwrap_or_default() {
            let part = |kind: &str| {
                let found = entry.entity.iter().find(|e| *e.entity_type == *kind)?;
                Some(found.entity_name.as_ref().map(|n| n.to_string()))
            };
            rows.extend(entry.values.iter().map(|value| QuotaRow {
                user: part("user"),
                client_id: part("client-id"),
                ip: part("ip"),
                quota: value.key.to_string(),
                value: value.value,
            }));
        }
        Ok(rows)
    })?;
    rows.sort_by(|a, b| (&a.user, &a.client_id, &a.ip, &a.quota).cmp(&(&b.user, &b.client_id, &b.ip, &b.quota)));
    session.out.rows(&rows)?;
    session.out.flush()
}

fn alter(remote: &Remote, entity: &[(&str, Option<String>)], ops: &[(String, Option<f64>)], dry_run: bool) -> Result<(), Failure> {
    let mut session = remote.open()?;
    let name = entity.iter().map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("(default)"))).collect::<Vec<_>>().join(",");
    let make = |_| {
        let entity = entity
            .iter()
            .map(|(kind, name)| EntityData::default().with_entity_type(text(kind)).with_entity_name(name.as_deref().map(text)))
            .collect();
        let op = |(key, value): &(String, Option<f64>)| {
            OpData::default().with_key(text(key)).with_value(value.unwrap_or(0.0)).with_remove(value.is_none())
        };
        let entry = EntryData::default().with_entity(entity).with_ops(ops.iter().map(op).collect());
        AlterClientQuotasRequest::default().with_entries(vec![entry]).with_validate_only(dry_run)
    };
    let outcome = session.cluster.ask(&To::Controller, make, |answer| {
        let Some(entry) = answer.entries.into_iter().next() else { return Ok(Outcome::done(&name, "changed")) };
        Ok(match ErrorCode::from_code(entry.error_code) {
            ErrorCode::None => Outcome::done(&name, if dry_run { "would be changed" } else { "changed" }),
            code if code.is_retriable() => {
                return Err(ClientError::kafka(entry.error_code, entry.error_message.as_deref(), format!("quotas of {name}")));
            }
            _ => Outcome::failed(&name, entry.error_code, entry.error_message.as_deref()),
        })
    })?;
    report(&mut session.out, "quotas of", &[outcome])
}
