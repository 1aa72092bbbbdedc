//! `cargo xtask tidy`: what the compiler does not check but this project relies on.
//!
//! Every check looks at the sources as they are parsed, names file and line, and says what to do. The checks have
//! tests of their own: a checker that cannot fail protects nothing.

mod floors;
mod locks;
mod named_tests;
mod sources;
mod text;

use sources::Sources;
use std::fmt;
use std::path::Path;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root of the workspace.
    pub file: String,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line.max(1), self.message)
    }
}

/// Runs every check on the workspace at `root`; the findings in order of file and line.
///
/// # Errors
///
/// A sentence, if the sources cannot be read or parsed.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let sources = Sources::read(root)?;
    let mut findings = Vec::new();
    findings.extend(floors::check(&sources));
    findings.extend(text::check(&sources));
    findings.extend(sources.unreachable_files());
    let architecture = read(root, "ARCHITECTURE.md")?;
    findings.extend(missing_reasons(&read(root, "Cargo.toml")?, &architecture));
    findings.extend(named_tests::check(&sources, "ARCHITECTURE.md", &architecture));
    let rules = "driver/RULES.md";
    findings.extend(named_tests::check(&sources, rules, &read(root, rules)?));
    for lock in ["bench/Cargo.lock", "fuzz/Cargo.lock"] {
        let locked = read(root, lock)?;
        for (package, manifest) in [("helenus", "driver/Cargo.toml"), ("simcluster", "simcluster/Cargo.toml")] {
            findings.extend(locks::check(lock, &locked, package, &read(root, manifest)?));
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn read(root: &Path, name: &str) -> Result<String, String> {
    std::fs::read_to_string(root.join(name)).map_err(|e| format!("cannot read {name}: {e}"))
}

/// Every shared dependency needs its sentence in `ARCHITECTURE.md`.
fn missing_reasons(manifest: &str, architecture: &str) -> Vec<Finding> {
    let mut inside = false;
    let mut findings = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[workspace.dependencies]";
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        if !inside || value.contains("path =") || line.trim_start().starts_with('#') {
            continue;
        }
        let name = name.trim();
        if !architecture.contains(&format!("`{name}`")) {
            findings.push(Finding {
                file: "Cargo.toml".into(),
                line: index + 1,
                message: format!(
                    "dependency `{name}` has no reason in ARCHITECTURE.md, section Dependencies: add a sentence"
                ),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found_by_line() {
        let manifest =
            "[workspace.dependencies]\nown = { path = \"own\" }\nbytes = \"1\"\nsnap = \"1\"\n[profile.dev]\nx = 1\n";
        let found = missing_reasons(manifest, "`bytes` because it is needed");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 4);
    }

    #[test]
    fn this_workspace_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace");
        let findings = check(root).expect("the workspace can be read");
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", shown.join("\n"));
    }
}
