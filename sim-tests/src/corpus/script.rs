//! Scripts of the corpus: CQL statements in readable text, with directives for what CQL cannot say.
//!
//! ```text
//! -- What the script covers (the first comment lines).
//! CREATE TABLE t (k int PRIMARY KEY, v text);
//! --@ bind 1, 'a'
//! --@ bind k: 2, v: null
//! INSERT INTO t (k, v) VALUES (?, ?);
//! --@ page 1
//! SELECT * FROM t;
//! ```
//!
//! A statement ends with `;` at the end of a line, outside of quotes, `$$` and comments; one that begins with `BEGIN`
//! ends with `APPLY BATCH;`. After `--@ raw` it ends with the first line that ends with `;`, whatever stands before.

use std::fmt;
use std::time::Duration;

/// One file of the corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The folder: what is counted together.
    pub category: String,
    /// The file's name without its extension.
    pub name: String,
    /// The first comment lines.
    pub summary: String,
    /// The statements in order.
    pub steps: Vec<Step>,
}

/// One statement with its directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line on which its first directive or word stands, from 1.
    pub line: usize,
    /// The text that is sent: without the final `;`.
    pub cql: String,
    /// How it is sent and shown.
    pub options: Options,
    /// Directives and text as written.
    pub source: Vec<String>,
}

/// How a statement is sent, and how its answer is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `consistency NAME`; ONE if absent.
    pub consistency: Option<u16>,
    /// `serial NAME`: the serial consistency.
    pub serial: Option<u16>,
    /// `page N`: the page size; all pages are read and shown.
    pub page: Option<i32>,
    /// `bind …`: each is one execution of the prepared statement.
    pub binds: Vec<String>,
    /// `timestamp N`: the default timestamp in microseconds.
    pub timestamp: Option<i64>,
    /// `now N`: the request's own seconds since 1970, for TTLs (protocol v5).
    pub now: Option<i32>,
    /// `keyspace NAME`: the keyspace of the request (protocol v5).
    pub keyspace: Option<String>,
    /// `prepare`: prepare only, and show what the server says about the statement.
    pub prepare: bool,
    /// `skip-metadata`: ask for rows without their columns.
    pub skip_metadata: bool,
    /// `batch logged|unlogged|counter`: a BATCH message whose statements are the text's lines.
    pub batch: Option<u8>,
    /// `options`: an OPTIONS message instead of the text.
    pub is_options: bool,
    /// `protocol N`; 5 if absent.
    pub protocol: Option<u8>,
    /// `unordered`: rows are sorted before they are compared.
    pub unordered: bool,
    /// `sleep 1s`: wait before sending.
    pub sleep: Option<Duration>,
    /// `user NAME PASSWORD`: who sends it; a script with users runs where authentication is demanded.
    pub user: Option<(String, String)>,
    /// `masked COLUMN…`: columns whose values differ by nature.
    pub masked: Vec<String>,
    raw: bool,
}

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What, and what to do.
    pub reason: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ScriptError {}

/// The longest name Cassandra gives a keyspace.
const KEYSPACE_LEN_MAX: usize = 48;

impl Script {
    /// Reads a script's text.
    ///
    /// # Errors
    ///
    /// A directive that does not exist or has a bad value, or a statement without an end.
    pub fn parse(category: &str, name: &str, text: &str) -> Result<Self, ScriptError> {
        let mut script =
            Self { category: category.into(), name: name.into(), summary: String::new(), steps: Vec::new() };
        if script.keyspace().len() > KEYSPACE_LEN_MAX {
            let reason = format!("`{}` is too long for a keyspace's name: shorten the file's name", script.keyspace());
            return Err(ScriptError { line: 1, reason });
        }
        let mut pending = Pending::default();
        for (number, line) in (1..).zip(text.lines()) {
            let error = |reason| ScriptError { line: number, reason };
            if pending.text.is_empty() {
                if let Some(directive) = line.strip_prefix("--@") {
                    pending.begin(number, line);
                    pending.options.read(directive.trim()).map_err(error)?;
                    continue;
                }
                if let Some(comment) = line.strip_prefix("--") {
                    if script.steps.is_empty() && pending.source.is_empty() {
                        let space = if script.summary.is_empty() { "" } else { " " };
                        script.summary += &format!("{space}{}", comment.trim());
                    }
                    continue;
                }
                if line.trim().is_empty() {
                    continue;
                }
            }
            pending.begin(number, line);
            pending.text.push(line.trim_end().to_string());
            if pending.is_complete() {
                script.steps.push(std::mem::take(&mut pending).finish());
            }
        }
        match pending.source.is_empty() {
            true => Ok(script),
            false => Err(ScriptError { line: pending.line, reason: "this statement has no end: write `;`".into() }),
        }
    }

    /// The keyspace in which it runs.
    #[must_use]
    pub fn keyspace(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        format!("{}_{}", self.category, self.name).chars().map(plain).collect()
    }

    /// Whether it needs a cluster that demands authentication.
    #[must_use]
    pub fn needs_users(&self) -> bool {
        self.steps.iter().any(|step| step.options.user.is_some())
    }

    /// `category/name`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.category, self.name)
    }
}

#[derive(Default)]
struct Pending {
    line: usize,
    text: Vec<String>,
    options: Options,
    source: Vec<String>,
}

impl Pending {
    fn begin(&mut self, number: usize, line: &str) {
        if self.source.is_empty() {
            self.line = number;
        }
        self.source.push(line.trim_end().to_string());
    }

    fn is_complete(&self) -> bool {
        let text = self.text.join("\n");
        if !text.ends_with(';') {
            return false;
        }
        if self.options.raw {
            return true;
        }
        let lower = text.to_ascii_lowercase();
        let is_batch = lower.starts_with("begin") || self.options.batch.is_some();
        if is_batch && !lower.trim_end_matches(';').trim_end().ends_with("apply batch") {
            return false;
        }
        ends_outside_quotes(&text)
    }

    fn finish(self) -> Step {
        let text = self.text.join("\n");
        let cql = text.strip_suffix(';').unwrap_or(&text).to_string();
        Step { line: self.line, cql, options: self.options, source: self.source }
    }
}

/// Whether the last character stands outside of quotes, `$$` and comments.
fn ends_outside_quotes(text: &str) -> bool {
    let mut rest = &text[..text.len() - 1];
    while let Some(first) = rest.chars().next() {
        let (open, close) = match first {
            '\'' => ("'", "'"),
            '"' => ("\"", "\""),
            '$' if rest.starts_with("$$") => ("$$", "$$"),
            '/' if rest.starts_with("/*") => ("/*", "*/"),
            '-' if rest.starts_with("--") => ("--", "\n"),
            '/' if rest.starts_with("//") => ("//", "\n"),
            _ => {
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        let Some(end) = rest[open.len()..].find(close) else { return false };
        rest = &rest[open.len() + end + close.len()..];
    }
    true
}

impl Options {
    fn read(&mut self, directive: &str) -> Result<(), String> {
        let (word, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        let rest = rest.trim();
        match word {
            "consistency" => self.consistency = Some(consistency(rest)?),
            "serial" => self.serial = Some(consistency(rest)?),
            "page" => self.page = Some(number(rest)?),
            "bind" => self.binds.push(rest.into()),
            "timestamp" => self.timestamp = Some(number(rest)?),
            "now" => self.now = Some(number(rest)?),
            "keyspace" => self.keyspace = Some(rest.into()),
            "prepare" => self.prepare = true,
            "skip-metadata" => self.skip_metadata = true,
            "batch" => self.batch = Some(batch_kind(rest)?),
            "protocol" => self.protocol = Some(protocol(rest)?),
            "options" => self.is_options = true,
            "unordered" => self.unordered = true,
            "raw" => self.raw = true,
            "sleep" => self.sleep = Some(duration(rest)?),
            "user" => {
                let (name, password) = rest.split_once(' ').ok_or("write `user NAME PASSWORD`")?;
                self.user = Some((name.into(), password.into()));
            }
            "masked" => self.masked.extend(rest.split([' ', ',']).filter(|name| !name.is_empty()).map(Into::into)),
            _ => return Err(format!("there is no directive `{word}`: see sim-tests/corpus/README.md")),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of the size that is needed here"))
}

fn protocol(text: &str) -> Result<u8, String> {
    match number(text)? {
        version @ 3..=5 => Ok(version),
        other => Err(format!("protocol {other} is not spoken here: 3, 4 or 5")),
    }
}

fn batch_kind(text: &str) -> Result<u8, String> {
    match text {
        "" | "logged" => Ok(0),
        "unlogged" => Ok(1),
        "counter" => Ok(2),
        _ => Err(format!("a batch is logged, unlogged or counter, not `{text}`")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => number(millis)?,
        (None, Some(seconds)) => number::<u64>(seconds)? * 1000,
        (None, None) => return Err(format!("`{text}` is no duration: write 500ms or 2s")),
    };
    Ok(Duration::from_millis(millis))
}

/// Consistency levels by their codes on the wire.
const CONSISTENCIES: [&str; 11] = [
    "ANY",
    "ONE",
    "TWO",
    "THREE",
    "QUORUM",
    "ALL",
    "LOCAL_QUORUM",
    "EACH_QUORUM",
    "SERIAL",
    "LOCAL_SERIAL",
    "LOCAL_ONE",
];

fn consistency(name: &str) -> Result<u16, String> {
    let upper = name.to_ascii_uppercase();
    let code = CONSISTENCIES.iter().position(|known| *known == upper);
    code.and_then(|code| u16::try_from(code).ok()).ok_or_else(|| format!("there is no consistency level `{name}`"))
}

/// The name of a consistency level's code.
#[must_use]
pub fn consistency_name(code: u16) -> String {
    CONSISTENCIES.get(usize::from(code)).map_or_else(|| format!("consistency {code:#06x}"), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        Script::parse("types", "some-name", text).unwrap()
    }

    #[test]
    fn a_statement_ends_with_a_semicolon_outside_of_quotes() {
        let text =
            "-- What it\n-- covers.\nSELECT ';\n;' FROM t;\nCREATE FUNCTION f() AS $$ a;\nb; $$;\n-- c;\nUSE x;\n";
        let script = script(text);
        let statements: Vec<_> = script.steps.iter().map(|step| step.cql.as_str()).collect();
        assert_eq!(statements, ["SELECT ';\n;' FROM t", "CREATE FUNCTION f() AS $$ a;\nb; $$", "USE x"]);
        assert_eq!(script.summary, "What it covers.");
        assert_eq!(script.keyspace(), "types_some_name");
        assert_eq!(script.steps[2].line, 8);
    }

    #[test]
    fn a_batch_ends_with_apply_batch() {
        let script =
            script("BEGIN BATCH\n INSERT INTO t (k) VALUES (1);\n INSERT INTO t (k) VALUES (2);\nAPPLY BATCH;\n");
        assert_eq!(script.steps.len(), 1);
        assert!(script.steps[0].cql.ends_with("APPLY BATCH"));
    }

    #[test]
    fn directives_belong_to_the_statement_after_them() {
        let script =
            script("--@ consistency quorum\n--@ bind 1\n--@ bind 2\n--@ sleep 2s\nSELECT 1;\n--@ raw\nSELECT ';\n");
        let options = &script.steps[0].options;
        assert_eq!(options.consistency, Some(4));
        assert_eq!(options.binds, ["1", "2"]);
        assert_eq!(options.sleep, Some(Duration::from_secs(2)));
        assert_eq!(script.steps[1].cql, "SELECT '");
        assert_eq!(script.steps[1].options.binds, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_line() {
        for (text, line) in [
            ("\n--@ pages 3\nSELECT 1;", 2),
            ("SELECT 1;\nSELECT 2", 2),
            ("--@ consistency MOST\nSELECT 1;", 1),
            ("--@ protocol 6\nSELECT 1;", 1),
            ("--@ sleep 3\nSELECT 1;", 1),
        ] {
            assert_eq!(Script::parse("a", "b", text).unwrap_err().line, line, "{text}");
        }
    }
}
