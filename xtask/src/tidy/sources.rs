//! The Rust files of the workspace, read and parsed once.

use super::Finding;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The packages whose `src` is looked at; the first two have floors.
pub const PACKAGES: [&str; 4] = ["driver", "simcluster", "sim-tests", "xtask"];

/// One parsed file.
pub struct Source {
    /// The package folder, e.g. `driver`.
    pub package: String,
    /// Path from the root of the workspace, with forward slashes.
    pub path: String,
    /// Module path inside the crate: `["connection", "task"]`; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// The text.
    pub text: String,
    /// The syntax tree.
    pub tree: syn::File,
}

/// All of them.
pub struct Sources {
    /// In order of path.
    pub files: Vec<Source>,
}

impl Sources {
    /// Reads the sources of every package (and its `tests`, `examples`, `benches`) below `root`.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        for package in PACKAGES {
            for part in ["src", "tests", "examples", "benches", "macros/src"] {
                let base = root.join(package).join(part);
                for path in rust_files(&base)? {
                    let text =
                        std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                    let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                    let relative = path.strip_prefix(&base).unwrap_or(&path);
                    let module = if part == "src" { module_path(relative) } else { vec![format!("<{part}>")] };
                    files.push(Source::parse(package, &shown, module, text)?);
                }
            }
        }
        Ok(Self { files })
    }

    /// Files below `src` that no `mod` declaration leads to: dead text that looks like code.
    pub fn unreachable_files(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for package in PACKAGES {
            let files: Vec<&Source> =
                self.files.iter().filter(|f| f.package == package && f.path.contains("/src/")).collect();
            let mut declared: BTreeSet<Vec<String>> = BTreeSet::from([Vec::new()]);
            for file in &files {
                declare(&file.module, &file.tree.items, &mut declared);
            }
            for file in files {
                if !declared.contains(&file.module) && !file.path.contains("/src/bin/") {
                    findings.push(Finding {
                        file: file.path.clone(),
                        line: 0,
                        message: "no `mod` declaration leads to this file: declare it or delete it".into(),
                    });
                }
            }
        }
        findings
    }
}

impl Source {
    /// Parses one file's text.
    pub fn parse(package: &str, path: &str, module: Vec<String>, text: String) -> Result<Self, String> {
        let tree = syn::parse_file(&text).map_err(|e| format!("{path}:{}: {e}", e.span().start().line))?;
        Ok(Self { package: package.into(), path: path.into(), module, text, tree })
    }
}

fn declare(inside: &[String], items: &[syn::Item], declared: &mut BTreeSet<Vec<String>>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let mut path = inside.to_vec();
        path.push(module.ident.to_string());
        if let Some((_, items)) = &module.content {
            declare(&path, items, declared);
        }
        declared.insert(path);
    }
}

fn module_path(relative: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        relative.with_extension("").components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    parts
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot list {}: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("cannot list {}: {e}", folder.display()))?.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_mod_declaration_is_found() {
        let source = |module: &[&str], text: &str| {
            let path = format!("driver/src/{}.rs", module.join("/"));
            Source::parse("driver", &path, module.iter().map(ToString::to_string).collect(), text.into()).unwrap()
        };
        let sources = Sources { files: vec![source(&[], "mod used;"), source(&["used"], ""), source(&["lost"], "")] };

        let found = sources.unreachable_files();

        assert_eq!(found.iter().map(|f| f.file.as_str()).collect::<Vec<_>>(), ["driver/src/lost.rs"]);
    }

    #[test]
    fn module_paths_follow_the_file_names() {
        assert_eq!(module_path(Path::new("lib.rs")), Vec::<String>::new());
        assert_eq!(module_path(Path::new("pool/mod.rs")), ["pool"]);
        assert_eq!(module_path(Path::new("pool/task.rs")), ["pool", "task"]);
    }
}
