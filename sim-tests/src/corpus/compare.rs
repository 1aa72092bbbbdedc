//! The verdict on each statement: does the simulated cluster answer as the real one did?

use super::golden::{self, Block};
use super::script::Script;
use super::simulated;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A script of the corpus with its files.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The script.
    pub script: Script,
    /// The release that answered.
    pub release: &'static str,
    /// Where its answers stand.
    pub golden: PathBuf,
}

/// The releases that answers were recorded from: from the first one all, from the others what differs by release.
pub const RELEASES: [&str; 3] = ["5.0.8", "4.1.10", "4.0.19"];

/// The categories that are recorded from every release.
const DIFFERING: [&str; 3] = ["catalog", "errors", "releases"];

/// What a statement's answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The same answer.
    Agrees,
    /// Refused with the words of [`NOT_MODELLED`], where the real one does something else.
    NotModelled,
    /// Different, after a statement of the same script that changes something was not modelled.
    Follows,
    /// Different, since the real cluster came upon an error of its own: nobody can be held to that.
    Fails,
    /// Different.
    Wrong,
}

/// What the simulated cluster says of CQL that it knows not to know.
pub const NOT_MODELLED: &str = "is not modelled by the simulated cluster";

/// One statement, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The script: `category/name`.
    pub script: String,
    /// The line of the statement.
    pub line: usize,
    /// The statement.
    pub statement: Vec<String>,
    /// What the real cluster answered.
    pub expected: Vec<String>,
    /// What the simulated one answers.
    pub actual: Vec<String>,
    /// What it is worth.
    pub verdict: Verdict,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}.cql:{}", self.script, self.line)?;
        for line in &self.statement {
            writeln!(f, "    {line}")?;
        }
        for line in &self.expected {
            let mark = if self.actual.contains(line) { ' ' } else { '-' };
            writeln!(f, "  {mark} {line}")?;
        }
        for line in self.actual.iter().filter(|line| !self.expected.contains(line)) {
            writeln!(f, "  + {line}")?;
        }
        Ok(())
    }
}

/// Statements of a category, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// All.
    pub statements: usize,
    /// With the same answer.
    pub agrees: usize,
    /// Refused as not modelled.
    pub not_modelled: usize,
    /// Different because something before was not modelled.
    #[serde(default)]
    pub follows: usize,
    /// On which the real cluster failed with an internal error.
    #[serde(default)]
    pub fails: usize,
    /// With a wrong answer.
    #[serde(default)]
    pub wrong: usize,
}

/// Counts by category, as they are kept in the repository.
pub type Counts = BTreeMap<String, Count>;

/// Reads the scripts below `folder` whose path contains `filter`, once for each release that they are recorded from.
///
/// # Errors
///
/// As [`load`].
pub fn load_all(folder: &Path, filter: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for release in RELEASES {
        entries.extend(load(folder, filter, release)?);
    }
    Ok(entries)
}

/// Reads the scripts below `folder` that are recorded from a release and whose path contains `filter`, in order.
///
/// # Errors
///
/// A sentence: a file cannot be read, or a script not be understood.
pub fn load(folder: &Path, filter: &str, release: &'static str) -> Result<Vec<Entry>, String> {
    let is_newest = release == RELEASES[0];
    // The golden files of other releases have their first two numbers in their names.
    let line = release.rsplit_once('.').map_or(release, |(line, _)| line);
    let extension = if is_newest { "golden".to_owned() } else { format!("{line}.golden") };
    let mut entries = Vec::new();
    for category in listed(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in listed(&category)? {
            if path.extension().is_none_or(|extension| extension != "cql") {
                continue;
            }
            let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
            let (category, name) = (part(category.file_name()), part(path.file_stem()));
            let is_recorded = is_newest || DIFFERING.contains(&category.as_str());
            if !is_recorded || !format!("{category}/{name}").contains(filter) {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let script = Script::parse(&category, &name, &text).map_err(|e| format!("{}: {e}", path.display()))?;
            entries.push(Entry { script, release, golden: path.with_extension(&extension) });
        }
    }
    Ok(entries)
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut paths = list().map_err(|e| format!("cannot list {}: {e}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

/// Runs the scripts on simulated clusters and judges every statement, in order. `threads` of them run at a time.
///
/// # Errors
///
/// A sentence for each script that was never recorded, has changed since, or cannot be run.
pub fn compare(entries: &[Entry], threads: usize) -> Result<Vec<Judged>, String> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, entries.len().max(1)) {
            scope.spawn(|| {
                while let Some((number, entry)) = take(entries, &next) {
                    let outcome = judge(entry);
                    outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(number, outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut judged, mut errors) = (Vec::new(), Vec::new());
    for outcome in outcomes.into_values() {
        match outcome {
            Ok(statements) => judged.extend(statements),
            Err(sentence) => errors.push(sentence),
        }
    }
    if errors.is_empty() { Ok(judged) } else { Err(errors.join("\n")) }
}

fn take<'a>(entries: &'a [Entry], next: &AtomicUsize) -> Option<(usize, &'a Entry)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    entries.get(number).map(|entry| (number, entry))
}

fn judge(entry: &Entry) -> Result<Vec<Judged>, String> {
    let path = entry.script.path();
    let text = std::fs::read_to_string(&entry.golden)
        .map_err(|_| format!("{path}: not recorded yet: {}", entry.how_to_record()))?;
    let expected = golden::from_text(&text);
    let same = expected.len() == entry.script.steps.len()
        && expected.iter().zip(&entry.script.steps).all(|(block, step)| block.statement == step.source);
    if !same {
        return Err(format!("{path}: changed since it was recorded: {}", entry.how_to_record()));
    }
    let actual = simulated::run(&entry.script, entry.release).map_err(|sentence| format!("{path}: {sentence}"))?;
    let judged = judge_blocks(&entry.script, expected, actual);
    Ok(judged.into_iter().map(|statement| Judged { script: entry.name(), ..statement }).collect())
}

impl Entry {
    /// `category/name`; of other releases than the newest `category@release/name`.
    fn name(&self) -> String {
        let path = self.script.path();
        match path.split_once('/') {
            Some((category, name)) if self.release != RELEASES[0] => format!("{category}@{}/{name}", self.release),
            _ => path,
        }
    }

    fn how_to_record(&self) -> String {
        let line = self.release.rsplit_once('.').map_or(self.release, |(line, _)| line);
        format!("`cargo xtask cassandra record --release {line} --filter {}`", self.script.path())
    }
}

/// Judges what a real and the simulated cluster answered to the same script.
#[must_use]
pub fn judge_blocks(script: &Script, expected: Vec<Block>, actual: Vec<Block>) -> Vec<Judged> {
    let mut has_gap = false;
    let mut judged = Vec::new();
    for ((expected, actual), step) in expected.into_iter().zip(actual).zip(&script.steps) {
        let is_refused = actual.answer.iter().any(|line| line.contains(NOT_MODELLED));
        let verdict = match expected.answer == actual.answer {
            true => Verdict::Agrees,
            false if is_refused => Verdict::NotModelled,
            false if has_gap => Verdict::Follows,
            false if expected.answer.iter().any(|line| is_internal_error(line)) => Verdict::Fails,
            false => Verdict::Wrong,
        };
        has_gap |= matches!(verdict, Verdict::NotModelled | Verdict::Fails) && !is_read(&step.cql);
        judged.push(Judged {
            script: script.path(),
            line: step.line,
            statement: step.source.clone(),
            expected: expected.answer,
            actual: actual.answer,
            verdict,
        });
    }
    judged
}

/// Whether a line says that Cassandra met a Java exception: at the coordinator, or at the one replica.
fn is_internal_error(line: &str) -> bool {
    let is_failed = line.starts_with("error 0x1300 read failure") || line.starts_with("error 0x1500 write failure");
    line.starts_with("error 0x0000 server error: java.") || is_failed && line.contains("1 failures: UNKNOWN")
}

/// Whether nothing later depends on the statement.
fn is_read(cql: &str) -> bool {
    let word = cql.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    matches!(word.as_str(), "select" | "describe" | "desc" | "list")
}

/// The counts by category.
#[must_use]
pub fn count(judged: &[Judged]) -> Counts {
    let mut counts = Counts::new();
    for statement in judged {
        let category = statement.script.split('/').next().unwrap_or_default();
        let count = counts.entry(category.into()).or_default();
        count.statements += 1;
        match statement.verdict {
            Verdict::Agrees => count.agrees += 1,
            Verdict::NotModelled => count.not_modelled += 1,
            Verdict::Follows => count.follows += 1,
            Verdict::Fails => count.fails += 1,
            Verdict::Wrong => count.wrong += 1,
        }
    }
    counts
}

/// The counts as a table for people.
#[must_use]
pub fn table(counts: &Counts) -> String {
    let mut text = String::from("category            statements  agrees  not modelled  follows  fails  WRONG\n");
    let mut total = Count::default();
    let mut line = |name: &str, count: &Count| {
        let Count { statements, agrees, not_modelled, follows, fails, wrong } = count;
        // Writing to a String cannot fail.
        let _ = write!(text, "{name:<20}{statements:>10}{agrees:>8}{not_modelled:>14}{follows:>9}");
        let _ = writeln!(text, "{fails:>7}{wrong:>7}");
    };
    for (category, count) in counts {
        line(category, count);
        total.statements += count.statements;
        total.agrees += count.agrees;
        total.not_modelled += count.not_modelled;
        total.follows += count.follows;
        total.fails += count.fails;
        total.wrong += count.wrong;
    }
    line("all", &total);
    text
}

/// What has become worse than the counts that were kept: fewer agreeing statements, or more wrong ones.
#[must_use]
pub fn losses(kept: &Counts, now: &Counts) -> Vec<String> {
    let mut losses = Vec::new();
    for (category, kept) in kept {
        let now = now.get(category).copied().unwrap_or_default();
        if now.agrees < kept.agrees {
            losses.push(format!("{category}: {} statements agree, {} did before", now.agrees, kept.agrees));
        }
    }
    for (category, now) in now {
        let allowed = kept.get(category).map_or(0, |kept| kept.wrong);
        if now.wrong > allowed {
            losses.push(format!("{category}: {} answers are wrong, {allowed} were before", now.wrong));
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(answers: &[(&str, &str, &str)]) -> Vec<Verdict> {
        let text: Vec<String> = answers.iter().map(|(cql, ..)| format!("{cql};")).collect();
        let script = Script::parse("a", "b", &text.join("\n")).unwrap();
        let blocks = |pick: fn(&(&str, &str, &str)) -> String| {
            let block = |answer: &(&str, &str, &str)| Block { statement: vec![], answer: vec![pick(answer)] };
            answers.iter().map(block).collect()
        };
        let judged = judge_blocks(&script, blocks(|(_, e, _)| (*e).into()), blocks(|(_, _, a)| (*a).into()));
        judged.iter().map(|statement| statement.verdict).collect()
    }

    #[test]
    fn a_statement_on_which_cassandra_fails_is_counted_apart_unless_the_answers_are_the_same() {
        let exception = "error 0x0000 server error: java.lang.ClassCastException: class A cannot be cast to class B";
        let failure = "error 0x1500 write failure: Operation failed - received 0 responses and 1 failures: UNKNOWN";
        assert_eq!(
            verdicts(&[
                ("SELECT 1", exception, exception),
                ("SELECT 2", exception, "void"),
                ("SELECT 3", "error 0x2200 invalid: x", "void"),
                ("UPDATE 4", failure, "void"),
                ("SELECT 5", "void", "other"),
            ]),
            [Verdict::Agrees, Verdict::Fails, Verdict::Wrong, Verdict::Fails, Verdict::Follows]
        );
    }

    #[test]
    fn a_different_answer_is_wrong_unless_something_before_it_was_not_modelled() {
        let refusal = format!("error: X {NOT_MODELLED}");
        assert_eq!(
            verdicts(&[
                ("SELECT 1", "void", "void"),
                ("SELECT 2", "void", &refusal),
                ("SELECT 3", "void", "other"),
                ("CREATE 4", "void", &refusal),
                ("SELECT 5", "void", "other"),
                ("SELECT 6", "void", "void"),
            ]),
            [
                Verdict::Agrees,
                Verdict::NotModelled,
                Verdict::Wrong,
                Verdict::NotModelled,
                Verdict::Follows,
                Verdict::Agrees
            ]
        );
    }

    #[test]
    fn agreement_only_grows_and_errors_only_shrink() {
        let counts = |agrees, wrong| Counts::from([("a".to_string(), Count { agrees, wrong, ..Count::default() })]);
        assert!(losses(&counts(3, 1), &counts(4, 0)).is_empty());
        assert_eq!(losses(&counts(3, 0), &counts(2, 0)).len(), 1);
        assert_eq!(losses(&counts(3, 0), &counts(3, 1)).len(), 1);
        assert_eq!(losses(&counts(3, 0), &Counts::new()).len(), 1);
    }
}
