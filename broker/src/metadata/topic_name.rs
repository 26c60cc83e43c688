//! What a topic may be called, in Kafka's rules and words.
//!
//! 1 to 249 characters of `[a-zA-Z0-9._-]`, not `.` or `..`. Two topics may not differ only by `.` and `_`, because metric names
//! write one for the other. Callers: `controller/topic.rs`, the image, the metadata handler.

/// Longest name, in characters.
pub const NAME_LEN_MAX: usize = 249;
/// The log of Kafka's own metadata quorum; nobody may create a topic of this name.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Checks a name; the error is the sentence for the client.
pub fn validate(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    // Kafka counts UTF-16 units; a name that is refused for its length here is refused there too.
    if name.chars().count() > NAME_LEN_MAX {
        return Err(format!("Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_LEN_MAX}"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// True when the name contains a character that can make it collide.
pub fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// The form in which colliding names are equal.
pub fn collision_form(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_kafka_s_words() {
        let long = "x".repeat(250);
        let cases = [
            ("", Some("Topic name is invalid: the empty string is not allowed".to_owned())),
            (".", Some("Topic name is invalid: '.' is not allowed".to_owned())),
            ("..", Some("Topic name is invalid: '..' is not allowed".to_owned())),
            (&long, Some(format!("Topic name is invalid: the length of '{long}' is longer than the max allowed length 249"))),
            (
                "a b/c",
                Some(
                    "Topic name is invalid: 'a b/c' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
                        .to_owned(),
                ),
            ),
            (&long[..249], None),
            ("...", None),
            ("Az09._-", None),
            ("__consumer_offsets", None),
        ];
        for (name, want) in cases {
            assert_eq!(validate(name).err(), want, "name {name:?}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_form("v.o"), collision_form("v_o"));
        assert_ne!(collision_form("v-o"), collision_form("v_o"));
        assert!(may_collide("a.b") && may_collide("a_b") && !may_collide("a-b"));
    }
}
