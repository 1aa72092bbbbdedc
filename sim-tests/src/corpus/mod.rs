//! The corpus: CQL scripts with the answers a real Cassandra gave, to which the simulated cluster is held.
//!
//! Scripts and golden files lie in `sim-tests/corpus`, whose README says how to write them. [`run_script`] is the one
//! way to run a script, in either [`World`]: `record` writes what the real one answers, [`compare()`] runs the simulated
//! one and judges every statement.
//!
//! The client is the corpus's own: decoded with the driver's or the cluster's codec, an answer would hide the mistakes
//! of that codec, and what a driver drops (warnings, flags, the very class names of types) could not be compared.
//!
//! | module | what it is |
//! |---|---|
//! | [`script`], [`literal`] | scripts and bind values as text |
//! | [`types`], [`encode`], [`render`], `reader` | CQL types, values as bytes and as text |
//! | [`client`], [`answer`] | the protocol: what is asked, what is answered |
//! | [`runner`], [`simulated`] | a script in a world |
//! | [`golden`], [`mask`] | answers as files |
//! | [`mod@compare`] | verdicts and counts |
//! | [`tokens`] | the tokens of keys of every shape |
//! | [`frames`] | the bytes that travel |
//! | [`generate`] | scripts from seeds, to find what no one has thought of |

pub mod answer;
pub mod client;
pub mod compare;
pub mod encode;
pub mod frames;
pub mod generate;
pub mod golden;
pub mod literal;
pub mod mask;
pub mod reader;
pub mod render;
pub mod runner;
pub mod script;
pub mod simulated;
pub mod tokens;
pub mod types;

pub use compare::{
    Count, Counts, Entry, Judged, RELEASES, Verdict, compare, count, judge_blocks, load, load_all, losses, table,
};
pub use golden::Block;
pub use runner::{Connecting, World, must, run_script};
pub use script::{Script, ScriptError};

use std::path::PathBuf;

/// The folder of the corpus in the repository.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))
}

/// The counts kept in the repository, `agreement.toml`.
///
/// # Errors
///
/// A sentence if the file cannot be read.
pub fn kept_counts() -> Result<Counts, String> {
    let path = folder().join("agreement.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The text of `agreement.toml`: one line per category.
#[must_use]
pub fn counts_text(counts: &Counts) -> String {
    let mut text = String::from(
        "# Statements of the corpus by category, written by `cargo xtask cassandra compare --update`.\n\
         # `agrees` may only grow and `wrong` may only shrink.\n",
    );
    for (category, Count { statements, agrees, not_modelled, follows, fails, wrong }) in counts {
        text += &format!(
            "{category:?} = {{ statements = {statements}, agrees = {agrees}, not_modelled = {not_modelled}, \
             follows = {follows}, fails = {fails}, wrong = {wrong} }}\n"
        );
    }
    text
}
