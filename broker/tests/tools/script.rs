//! The script of tools and verbs: its lines as commands, and what the tools print made comparable.

use std::path::Path;

/// One line of `script.txt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// As it stands in the file, without flags: the name of its record.
    pub(crate) text: String,
    pub(crate) tool: String,
    pub(crate) args: Vec<String>,
    pub(crate) stdin: String,
    pub(crate) sorted: bool,
    pub(crate) shape: bool,
    pub(crate) only_exit: bool,
    pub(crate) until: Option<String>,
    pub(crate) background: Option<String>,
}

impl Line {
    /// What a matrix of tools and verbs calls it: the tool, its verb, and what the verb is about.
    pub(crate) fn verb(&self) -> (String, String) {
        let said: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let options: Vec<&str> = said.iter().filter(|arg| arg.starts_with("--")).copied().collect();
        let value = |name: &str| said.iter().position(|arg| *arg == name).and_then(|at| said.get(at + 1)).copied().unwrap_or("");
        let has = |name: &str| options.contains(&name);
        const FORMS: [&str; 9] = [
            "--to-earliest",
            "--to-latest",
            "--to-offset",
            "--shift-by",
            "--to-datetime",
            "--by-duration",
            "--to-current",
            "--from-file",
            "--export",
        ];
        let mut verb: Vec<String> = match self.tool.as_str() {
            "console-consumer"
            | "console-producer"
            | "producer-perf"
            | "consumer-perf"
            | "end-to-end-latency"
            | "get-offsets"
            | "broker-api-versions" => Vec::new(),
            _ => said
                .first()
                .filter(|first| !first.starts_with("--") || options.first() == Some(first))
                .map(|first| (*first).to_owned())
                .into_iter()
                .collect(),
        };
        for extra in [
            "--members",
            "--offsets",
            "--state",
            "--verbose",
            "--type",
            "--partition",
            "--include",
            "--from-beginning",
            "--time",
            "--group",
        ] {
            if has(extra)
                && (extra != "--group" || self.tool.starts_with("console") || self.tool.ends_with("perf"))
                && verb.first().map(String::as_str) != Some(extra)
            {
                verb.push(if extra == "--time" { format!("{extra} {}", value(extra)) } else { extra.to_owned() });
            }
        }
        verb.extend(FORMS.iter().filter(|form| has(form)).map(|form| (*form).to_owned()));
        if has("--reset-offsets") {
            verb.push(if has("--execute") { "--execute" } else { "--dry-run" }.to_owned());
        }
        if self.tool == "configs" {
            verb.push(value("--entity-type").to_owned());
        }
        (self.tool.clone(), verb.join(" "))
    }
}

/// Every command of the script, in order.
pub(crate) fn parse(script: &str) -> Result<Vec<Line>, String> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse_line(line).map_err(|reason| format!("{line}: {reason}"))).collect()
}

fn parse_line(line: &str) -> Result<Line, String> {
    let mut parsed = Line::default();
    let mut rest = line;
    if let Some(flags) = line.strip_prefix('[') {
        let (flags, after) = flags.split_once(']').ok_or("no ] after the flags")?;
        rest = after.trim();
        for flag in flags.split_whitespace() {
            match flag.split_once('=') {
                None if flag == "sorted" => parsed.sorted = true,
                None if flag == "shape" => parsed.shape = true,
                None if flag == "exit" => parsed.only_exit = true,
                Some(("until", word)) => parsed.until = Some(word.to_owned()),
                Some(("background", name)) => parsed.background = Some(name.to_owned()),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
    }
    parsed.text = rest.to_owned();
    let (command, stdin) = rest.split_once(" <<< ").unwrap_or((rest, ""));
    parsed.stdin = words(stdin)?.concat().replace("\\n", "\n").replace("\\t", "\t");
    let mut words = words(command)?.into_iter();
    parsed.tool = words.next().ok_or("no tool")?;
    parsed.args = words.collect();
    Ok(parsed)
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').ok_or("a quote is open")?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// What a tool printed, without what differs from run to run: addresses, ids, times, folders, widths of columns.
pub(crate) fn normal(line: &Line, exit: i64, out: &str, err: &str, folders: &[(&Path, &str)], port: u16) -> String {
    let mut text = format!("exit {exit}\n");
    if !line.only_exit {
        let mut lines = Vec::new();
        for one in out.lines().chain(err.lines()) {
            let one = folders.iter().fold(one.to_owned(), |one, (folder, name)| one.replace(&folder.display().to_string(), name));
            let one = one.replace(&format!("127.0.0.1:{port}"), "HOST:PORT");
            let one = one.replace(&format!("localhost:{port}"), "HOST:PORT").replace(&port.to_string(), "PORT");
            // Where in the tool's code it failed is the tool's business, and log lines are about its own threads.
            if one.trim_start().starts_with("at ")
                || one.starts_with('[') && one.contains("] ") && one.contains(" - ")
                || one.trim_start().starts_with("... ")
            {
                continue;
            }
            // What the runner throws to end a tool.
            if one.contains("RUNNER-ENDED") {
                continue;
            }
            let words: Vec<String> = one.split_whitespace().map(|word| plain_word(word, line.shape)).collect();
            if !words.is_empty() {
                lines.push(words.join(" "));
            }
        }
        if line.sorted {
            lines.sort();
            if line.shape {
                lines.dedup();
            }
        }
        text += &lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    }
    text
}

fn plain_word(word: &str, shape: bool) -> String {
    let mut word = replace_runs(word);
    if shape {
        word = without_numbers(&word);
    }
    word
}

/// UUIDs, topic ids and points in time become names.
fn replace_runs(word: &str) -> String {
    let token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut out = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|c| !token(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        out += &name_of(run);
        let other = after.find(token).unwrap_or(after.len());
        out += &after[..other];
        rest = &after[other..];
    }
    out
}

fn name_of(run: &str) -> String {
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if run.len() >= 36 {
        let (before, tail) = run.split_at(run.len() - 36);
        let parts: Vec<&str> = tail.split('-').collect();
        if parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| hex(part)) {
            return format!("{before}UUID");
        }
    }
    let mixed = run.bytes().any(|b| b.is_ascii_digit())
        && run.bytes().any(|b| b.is_ascii_uppercase())
        && run.bytes().any(|b| b.is_ascii_lowercase());
    let looks_like_id = run.len() == 22 && (mixed || run.bytes().filter(u8::is_ascii_uppercase).count() > 4);
    if looks_like_id {
        return "ID".to_owned();
    }
    if let Some(number) = run.strip_prefix("console-consumer-").filter(|number| number.bytes().all(|b| b.is_ascii_digit())) {
        return if number.is_empty() { run.to_owned() } else { "console-consumer-N".to_owned() };
    }
    if run.len() == 13 && run.starts_with('1') && run.bytes().all(|b| b.is_ascii_digit()) {
        return "MILLISECONDS".to_owned();
    }
    run.to_owned()
}

fn without_numbers(word: &str) -> String {
    let mut out = String::new();
    let mut number = false;
    for c in word.chars() {
        let part = c.is_ascii_digit() || number && matches!(c, '.' | ',');
        if part && !number {
            out.push('N');
        }
        if !part {
            out.push(c);
        }
        number = part;
    }
    out.replace("-N", "N")
}

#[cfg(test)]
mod tests {
    use super::{Line, normal, parse};
    use std::path::Path;

    #[test]
    fn lines_are_read_and_outputs_made_comparable() {
        let lines = parse("# no\n[sorted until=Stable] topics --create 'a b' <<< 'x\\ny'\n").expect("well formed");
        assert_eq!((lines[0].tool.as_str(), lines[0].args[1].as_str(), lines[0].stdin.as_str()), ("topics", "a b", "x\ny"));
        assert!(lines[0].sorted && lines[0].until.as_deref() == Some("Stable"));
        assert!(parse("[odd] topics").is_err() && parse("topics 'open").is_err());

        let text = |line: &Line, out: &str| normal(line, 0, out, "", &[(Path::new("/d"), "DIR")], 9092);
        let same = [
            ("TopicId: p3vGy6AuQPe3H3dWIv5JkA  x\n", "TopicId: ID x\n"),
            ("console-consumer-01234567-89ab-cdef-0123-456789abcdef\n", "console-consumer-UUID\n"),
            ("CreateTime:1763849000123\t/d/f 127.0.0.1:9092\n", "CreateTime:MILLISECONDS DIR/f HOST:PORT\n"),
        ];
        for (out, wanted) in same {
            assert_eq!(text(&Line::default(), out), format!("exit 0\n{wanted}"));
        }
        let shape = Line { shape: true, sorted: true, ..Line::default() };
        assert_eq!(text(&shape, "b 12.5 ms\nb 7 ms\na -3\n"), "exit 0\na N\nb N ms\n");
        // A difference stays one.
        assert_ne!(text(&Line::default(), "offset 1\n"), text(&Line::default(), "offset 2\n"));
    }
}
