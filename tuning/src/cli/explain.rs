//! `explain`: all about one knob, or the list.

use serde_json::{Value, json};

use super::{Answer, Common, Failure};
use crate::knob::{ALL, GROUPS, Knob};
use crate::profile::{BUILT_IN, Profile, known};

pub(super) fn explain(common: &Common, id: Option<&str>) -> Result<Answer, Failure> {
    let Some(id) = id else { return Ok(list()) };
    let knob = known("", id)?;
    let finding = knob.finding(&common.facts(), &knob.param.default_value());
    let lines = |items: Vec<&str>| if items.is_empty() { "nothing".to_owned() } else { items.join("\n          ") };
    let writes: Vec<&str> = knob.writes.iter().map(|w| w.pattern).collect();
    let profiles = profiles(knob);
    let text = format!(
        "{id} ({}, class {})\n\n  here:   {}{}\n  left:   {}\n  why:    {}\n  risk:   {}\n  undo:   {}\n  source: {}\n  takes:  {}\n  in:     {}\n  proof:  {}\n  reads:  {}\n  writes: {}\n",
        knob.group,
        knob.class.name(),
        finding.current,
        if finding.wanted.is_empty() { String::new() } else { format!(" (wanted: {})", finding.wanted) },
        knob.effect,
        knob.why,
        knob.risk,
        knob.undo,
        knob.source,
        knob.param.describe(),
        if profiles.is_empty() { "no built-in profile".to_owned() } else { profiles.join(", ") },
        proof(knob),
        lines(knob.reads.to_vec()),
        lines(writes),
    );
    Ok(Answer { code: 0, text, json: document(knob, json!(finding)) })
}

fn proof(knob: &Knob) -> String {
    if knob.probes.is_empty() {
        "no probe shows it".to_owned()
    } else {
        format!("coreline-tune prove --knob {} ({})", knob.id, crate::prove::names(knob.probes))
    }
}

/// The built-in profiles that turn a knob, with their wish.
pub(crate) fn profiles(knob: &Knob) -> Vec<String> {
    let loaded = BUILT_IN.iter().filter_map(|(name, _)| Profile::load(name).ok());
    loaded.filter_map(|p| Some(format!("{} ({})", p.name, p.wishes.get(knob.id)?))).collect()
}

fn document(knob: &Knob, finding: Value) -> Value {
    let writes: Vec<Value> = knob.writes.iter().map(|w| json!({ "pattern": w.pattern, "raise_only": w.raise_only })).collect();
    json!({
        "id": knob.id, "group": knob.group, "class": knob.class, "effect": knob.effect, "why": knob.why, "risk": knob.risk,
        "undo": knob.undo, "source": knob.source, "takes": knob.param.describe(), "probes": knob.probes, "reads": knob.reads,
        "writes": writes, "profiles": profiles(knob), "finding": finding,
    })
}

fn list() -> Answer {
    let mut text = String::new();
    for group in GROUPS {
        text += &format!("{group}\n");
        for knob in ALL.iter().filter(|k| k.group == *group) {
            text += &format!("  {:<20} {:<7} {}\n", knob.id, knob.class.name(), knob.effect);
        }
    }
    let knobs: Vec<Value> = ALL.iter().map(|k| document(k, Value::Null)).collect();
    Answer { code: 0, text, json: json!({ "knobs": knobs }) }
}
