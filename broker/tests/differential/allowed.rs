//! What differs from Apache Kafka on purpose, each with the reason.

/// APIs, or versions of them, that the broker does not advertise, with the reason.
pub const NOT_SERVED: &[(&str, &str)] = &[
    ("AddOffsetsToTxn", "there are no transactions yet"),
    ("AddPartitionsToTxn", "the same"),
    ("EndTxn", "the same"),
    ("TxnOffsetCommit", "the same"),
    ("WriteTxnMarkers", "the same"),
    ("DescribeTransactions", "the same"),
    ("ListTransactions", "the same"),
    ("CreateAcls", "there are no access rules yet"),
    ("DeleteAcls", "the same"),
    ("DescribeAcls", "the same"),
    ("SaslHandshake", "there is no authentication yet"),
    ("SaslAuthenticate", "the same"),
    ("AlterUserScramCredentials", "the same"),
    ("CreateDelegationToken", "there are no delegation tokens"),
    ("RenewDelegationToken", "the same"),
    ("ExpireDelegationToken", "the same"),
    ("DescribeDelegationToken", "the same"),
    ("ShareGroupHeartbeat", "there are no share groups"),
    ("ShareGroupDescribe", "the same"),
    ("ShareFetch", "the same"),
    ("ShareAcknowledge", "the same"),
    ("DescribeShareGroupOffsets", "the same"),
    ("AlterShareGroupOffsets", "the same"),
    ("DeleteShareGroupOffsets", "the same"),
    ("InitializeShareGroupState", "the same"),
    ("ReadShareGroupState", "the same"),
    ("WriteShareGroupState", "the same"),
    ("DeleteShareGroupState", "the same"),
    ("ReadShareGroupStateSummary", "the same"),
    ("AddRaftVoter", "there is one node"),
    ("RemoveRaftVoter", "the same"),
    ("GetTelemetrySubscriptions", "told to clients while there is a subscription; Kafka, while there is a receiver"),
    ("PushTelemetry", "the same"),
];

/// Cases that differ on purpose, by a part of their name, with the reason. An entry that matches no difference fails the test.
pub const LOG_AND_METADATA: &[(&str, &str)] = &[
    ("Metadata v1 with a byte too many", "a body is read to its last byte; Kafka ignores what follows"),
    ("Metadata v1 count -2", "only -1 is null; Kafka takes any negative count for it"),
    ("Metadata v1 name that is no UTF-8", "text is UTF-8; Kafka puts marks in its place"),
    ("Produce v9 bytes behind the batch", "the one batch is all there may be; Kafka ignores less than a batch behind it"),
    ("Produce v9 codec 5", "unsupported compression; Kafka fails with an unknown error"),
    ("Produce v9 codec 7", "the same"),
    ("Produce v9 codec gzip on plain bytes", "only a rule of the topic makes us decompress, which saves most of the CPU"),
    ("Produce v9 delete horizon bit", "only a broker's cleaner may set it; Kafka stores it"),
    ("Produce v9 producer with epoch -1", "a producer id comes with an epoch; Kafka stores it"),
    ("append time bit", "only a broker may set it, whatever the topic says; Kafka lets it pass where the topic has CreateTime"),
    ("transactional", "there are no transactions yet"),
    ("Fetch v12 partition twice", "each naming is answered; Kafka answers the last"),
    ("Fetch v12 topic twice", "the same"),
    ("Fetch v12 session, empty", "a session without partitions gets no slot"),
    ("Fetch v13 session by id, deleted topic", "an unknown id is an unknown id in a session too"),
    ("ListOffsets v7 all deleted -3", "no record is left; Kafka finds a deleted one"),
    ("CreateTopics v7 with list config", "a list has one spelling, without spaces"),
    ("topic durability.class", "a setting of ours"),
    ("IncrementalAlterConfigs v1 unknown on broker", "a setting that nobody reads is refused"),
    ("IncrementalAlterConfigs v1 per-broker key on all brokers", "read-only here, for one broker only there: other words, same code"),
    ("DescribeConfigs v4 after dynamic changes", "synonyms are those that are set, and the default's own name"),
];

/// Classic groups and what operators ask about them.
pub const GROUPS: &[(&str, &str)] = &[
    ("odd: protocol twice", "the first naming counts, here and for the vote; Kafka counts each in one place and the last in another"),
    ("JoinGroup v9 odd: empty protocol name", "told as it was given; Kafka tells none from v7 on"),
];

/// Groups of the consumer protocol.
pub const CONSUMER_GROUPS: &[(&str, &str)] = &[
    (
        "Heartbeat v1 expression whole name$",
        "an expression is searched before the answer; Kafka answers first and tells what it found later",
    ),
    ("Heartbeat v1 expression with a choice$", "the same"),
    ("Heartbeat v1 expression not anchored$", "the same"),
    ("Heartbeat v1 expression of nothing$", "the same"),
    ("join: regex with a named group$", "the same"),
    ("pair: a's answer was lost$", "who missed an answer is told what it has; Kafka's member has it from its own heartbeat"),
    (": worker$", "the refusal names the member; Kafka's names none"),
];

/// What operators ask beside topics and groups, and bad input of every kind.
pub const SURFACE: &[(&str, &str)] = &[
    ("operation 9", "an operation that is none is an invalid request; Kafka fails with an unknown error"),
    ("CreatePartitions v3 to", "the same bound as for new topics; Kafka fails with an unknown error"),
    ("DeleteRecords v2 partition twice", "each naming is answered; Kafka answers the last"),
    ("ListGroups v0 body of one byte", "a body is read to its last byte; Kafka ignores what follows"),
    ("ListGroups v1 body of one byte", "the same"),
    ("ListGroups v2 body of one byte", "the same"),
    ("DescribeQuorum v2 metadata$", "the node's listener is the one for clients; Kafka's controllers have one of their own"),
];

/// Client quotas.
pub const QUOTAS: &[(&str, &str)] = &[("not a number", "a rate is a number; Kafka stores none as 0, and lets nothing pass")];

/// Telemetry of clients.
pub const TELEMETRY: &[(&str, &str)] =
    &[("no metrics but bytes", "bytes that are no metrics are refused; Kafka hands them to its receiver unread")];

/// Requests that are half right.
pub const MIXED: &[(&str, &str)] =
    &[("of badly named topic", "a name that no topic can have is told before what is wrong with its settings")];
