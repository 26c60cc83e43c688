//! The frame of an HTML report: one file without outside resources, readable in light and dark, with its raw data in it.

use serde::Serialize;

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole page. `body` is HTML; `data` can be saved from the page.
pub(super) fn page(title: &str, body: &str, data: &impl Serialize, file: &str) -> String {
    // `</script>` inside the data would end it; JSON may write the slash escaped.
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".into()).replace("</", "<\\/");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n{body}\n\
         <p><button id=\"save\" data-file=\"{file}\">Save the raw data (JSON)</button></p>\n</main>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>{SCRIPT}</script>\n</body></html>\n",
        title = escape(title),
        file = escape(file),
    )
}

/// A table of pairs.
pub(super) fn pairs(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let rows = rows.into_iter().map(|(key, value)| format!("<tr><th>{}</th><td>{}</td></tr>", escape(&key), escape(&value)));
    format!("<table>{}</table>", rows.collect::<String>())
}

/// A JSON value as pairs, nested names joined by dots; at most 200 rows.
pub(super) fn flat(value: &serde_json::Value) -> Vec<(String, String)> {
    fn walk(name: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
        use serde_json::Value;
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                walk(&if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, out);
            }),
            Value::Array(items) if items.iter().any(|item| item.is_object()) => {
                items.iter().enumerate().for_each(|(i, item)| walk(&format!("{name}.{i}"), item, out));
            }
            Value::Null => {}
            Value::String(text) => out.push((name.into(), text.clone())),
            Value::Number(n) if n.is_f64() => out.push((name.into(), super::number(n.as_f64().unwrap_or(0.0)))),
            other => out.push((name.into(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    walk("", value, &mut out);
    out.truncate(200);
    out
}

/// Twelve colours that can be told apart on light and dark.
const STYLE: &str = "\
:root{color-scheme:light dark;--fg:#1a1c20;--bg:#fff;--soft:#5b6270;--rule:#d9dde3;--shade:#eef0f3;--bad:#b3261e;--good:#1e7d3c}\
@media(prefers-color-scheme:dark){:root{--fg:#e7e9ee;--bg:#15171b;--soft:#9aa3b2;--rule:#343943;--shade:#22262d;--bad:#ff8a80;--good:#7bd88f}}\
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}\
main{max-width:900px;margin:0 auto;padding:24px 16px 48px}h1{font-size:22px;line-height:1.3;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}\
.soft{color:var(--soft)}.verdict{border-left:4px solid var(--good);padding:6px 12px;margin:16px 0;background:var(--shade)}\
.verdict.bad{border-color:var(--bad)}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
.wide{overflow-x:auto}th,td{text-align:right;padding:3px 8px;border-bottom:1px solid var(--rule);overflow-wrap:anywhere}\
th:first-child,td:first-child{text-align:left;font-weight:500}details{margin:12px 0}summary{cursor:pointer}\
svg{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}svg text{fill:var(--fg)}svg text.on{fill:#fff}\
.grid{stroke:var(--rule);stroke-width:1}.one{stroke:var(--fg);stroke-width:1.5}.shade{fill:var(--shade)}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}\
.line.c0{stroke:#2667c9}.line.c1{stroke:#d1600a}.line.c2{stroke:#1e8a57}.line.c3{stroke:#a03fb0}.line.c4{stroke:#b3261e}.line.c5{stroke:#7d8796}\
.fill.c0,.fill.s0{fill:#2667c9}.fill.c1,.fill.s1{fill:#d1600a}.fill.c2,.fill.s2{fill:#1e8a57}.fill.c3,.fill.s3{fill:#a03fb0}\
.fill.c4,.fill.s4{fill:#b3261e}.fill.c5,.fill.s5{fill:#7d8796}.fill.s6{fill:#0f7f8c}.fill.s7{fill:#8a6d1b}.fill.s8{fill:#5a4fcf}\
.fill.s9{fill:#c2337b}.fill.s10{fill:#4b6b3c}.fill.s11{fill:#6b4a3a}\
button{font:inherit;padding:4px 12px}";

const SCRIPT: &str = "\
document.getElementById('save').addEventListener('click',e=>{\
const text=JSON.stringify(JSON.parse(document.getElementById('data').textContent),null,1);\
const link=document.createElement('a');link.href=URL.createObjectURL(new Blob([text],{type:'application/json'}));\
link.download=e.target.dataset.file;link.click();});\
document.documentElement.dataset.ready='yes';";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_result_becomes_markup() {
        let html = page("<b>&\"", &pairs([("a<".into(), "</td>".into())]), &"</script><script>alert(1)</script>", "x\".json");
        assert!(!html.contains("<b>") && !html.contains("alert(1)</script>") && html.contains("&lt;/td&gt;"), "{html}");
        assert_eq!(html.matches("</script>").count(), 2);
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let html = page("t", "", &1, "x.json");
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn nested_values_are_rows() {
        let value = serde_json::json!({"a": {"b": 1, "c": null}, "d": ["x", "y"], "e": [{"f": true}]});
        let rows = flat(&value);
        assert_eq!(rows, [("a.b".into(), "1".into()), ("d".into(), "[\"x\",\"y\"]".into()), ("e.0.f".into(), "true".into())]);
    }
}
