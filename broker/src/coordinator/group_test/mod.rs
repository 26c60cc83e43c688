//! Tests of the group machine: transcripts (`testdata/group/*.txt`), the table of states and events, random histories.

mod history;
mod history_rules;
mod parts;
mod table;
mod transcript;
