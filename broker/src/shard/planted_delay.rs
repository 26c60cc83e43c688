//! A delay planted into one stage of every produce, so that a report that claims to find slow stages can be tested. Not in release builds.
//!
//! `CORELINE_PLANTED_DELAY=flush:5000` makes the flush stage of every produce 5,000 us longer. Only builds with debug assertions or with the
//! cargo feature `planted-delay` read the variable; in any other build [`planted`] is empty. Stages: decode, shard_hop, validate, journal_wait,
//! device_write, flush.

use crate::stage::{Stage, StageStamps};

/// Sleeps if a delay is planted in this stage, and charges it to the stage. Call it right after the stage was marked.
#[cfg(any(debug_assertions, feature = "planted-delay"))]
pub async fn planted(stage: Stage, stamps: &mut StageStamps) {
    static PLAN: std::sync::OnceLock<Option<(Stage, std::time::Duration)>> = std::sync::OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("CORELINE_PLANTED_DELAY").ok()?;
        let plan = parse(&text);
        match &plan {
            Some((stage, delay)) => tracing::warn!(stage = stage.name(), ?delay, "a delay is planted in every produce"),
            None => tracing::error!("CORELINE_PLANTED_DELAY is {text:?}, not STAGE:MICROSECONDS; no delay is planted"),
        }
        plan
    });
    if let Some((_, delay)) = plan.filter(|(at, _)| *at == stage) {
        super::clock::sleep(delay).await;
        stamps.mark(stage, crate::stage::monotonic_us());
    }
}

/// Nothing is planted in this build.
#[cfg(not(any(debug_assertions, feature = "planted-delay")))]
pub async fn planted(_: Stage, _: &mut StageStamps) {}

#[cfg(any(debug_assertions, feature = "planted-delay"))]
fn parse(text: &str) -> Option<(Stage, std::time::Duration)> {
    let (name, us) = text.split_once(':')?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name)?;
    Some((stage, std::time::Duration::from_micros(us.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_stage_and_microseconds() {
        assert_eq!(parse("flush:5000"), Some((Stage::Flush, std::time::Duration::from_millis(5))));
        for bad in ["", "flush", "flush:", "flush:5ms", "flash:5000", "flush:-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
