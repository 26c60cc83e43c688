//! `Out`: what a command prints, as a table for people or JSON for scripts; colours only on a terminal; progress on standard error.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A row of a table, and an object of JSON.
pub(crate) trait Row: Serialize {
    /// Column titles.
    const HEAD: &'static [&'static str];
    /// One cell per column.
    fn cells(&self) -> Vec<String>;
}

/// Standard output.
pub(crate) struct Out {
    out: Box<dyn Write>,
    /// Print JSON.
    pub(crate) json: bool,
    colour: bool,
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
}

impl Out {
    /// Standard output.
    pub(crate) fn stdout(json: bool, colour: Colour) -> Out {
        let terminal = std::io::stdout().is_terminal();
        let quiet = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let colour = match colour {
            Colour::Auto => terminal && !quiet,
            Colour::Always => true,
            Colour::Never => false,
        };
        Out { out: Box::new(std::io::BufWriter::with_capacity(64 << 10, std::io::stdout())), json, colour, terminal }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a line that is a title.
    pub(crate) fn title(&mut self, text: &str) -> Result<(), Failure> {
        if self.colour { self.line(&format!("\x1b[1m{text}\x1b[0m")) } else { self.line(text) }
    }

    /// Sends on what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Writes a value as JSON, over several lines.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(format!("writing JSON: {e}")))?;
        self.line(&text)
    }

    /// Writes rows: a table, or an array of objects.
    pub(crate) fn rows<T: Row>(&mut self, rows: &[T]) -> Result<(), Failure> {
        if self.json { self.value(rows) } else { self.table(rows) }
    }

    /// Writes rows as a table whatever `--json` says; nothing at all when there are none.
    pub(crate) fn table<T: Row>(&mut self, rows: &[T]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let cells: Vec<Vec<String>> = rows.iter().map(T::cells).collect();
        let lines = table(T::HEAD, &cells);
        for (i, line) in lines.iter().enumerate() {
            if i == 0 { self.title(line)? } else { self.line(line)? }
        }
        Ok(())
    }
}

/// A table as lines: the head, then one line per row; numbers to the right; control characters made visible.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let shown: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
    let wide = |text: &str| text.chars().count();
    let mut columns: Vec<(usize, bool)> = head.iter().map(|title| (wide(title), true)).collect();
    for row in &shown {
        for (cell, (width, number)) in row.iter().zip(&mut columns) {
            *width = (*width).max(wide(cell));
            *number &= cell == "-" || cell.parse::<f64>().is_ok();
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (i, (cell, (width, number))) in cells.zip(&columns).enumerate() {
            let pad = " ".repeat(width.saturating_sub(wide(cell)));
            let gap = if i == 0 { "" } else { "  " };
            if *number { out.extend([gap, &pad, cell]) } else { out.extend([gap, cell, &pad]) }
        }
        out.trim_end().to_string()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(shown.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// Text that cannot steer a terminal.
pub(crate) fn harmless(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_string() }
}

/// Numbers with commas between them; `-` for none.
pub(crate) fn list<T: std::fmt::Display>(all: &[T]) -> String {
    if all.is_empty() { "-".into() } else { all.iter().map(T::to_string).collect::<Vec<_>>().join(",") }
}

/// Something or `-`.
pub(crate) fn or_dash<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_string(), |v| v.to_string())
}

/// Progress of long work: one line on standard error, rewritten; only on a terminal.
pub(crate) struct Progress {
    terminal: bool,
    shown: bool,
    next: std::time::Instant,
}

impl Progress {
    /// Shows nothing yet; never when something else goes to the same terminal.
    pub(crate) fn new(shared: bool) -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal() && !shared,
            shown: false,
            next: std::time::Instant::now() + std::time::Duration::from_secs(1),
        }
    }

    /// Shows this, at most a few times a second.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && std::time::Instant::now() >= self.next {
            self.next = std::time::Instant::now() + std::time::Duration::from_millis(200);
            self.shown = true;
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", text());
        }
    }

    /// Removes the line.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_end_without_blanks() {
        let rows = [vec!["a".to_string(), "1".into(), "x".into()], vec!["long".into(), "-".into(), "\x1b[2J".into()]];
        assert_eq!(table(&["NAME", "N", "TEXT"], &rows), ["NAME  N  TEXT", "a     1  x", "long  -  \\u{1b}[2J"]);
        assert_eq!(table(&["WIDE", "B"], &[vec!["7".to_string(), "b".into()]]), ["WIDE  B", "   7  b"]);
        assert_eq!((list::<i32>(&[]), list(&[1, 2]), or_dash::<i32>(None)), ("-".into(), "1,2".into(), "-".into()));
    }
}
