//! The lock files of workspaces beside this one know what our packages depend on.
//!
//! Cargo adds what is missing silently, so that a fresh clone would be changed by building it, and `--locked` refuses.

use super::Finding;

/// Compares the dependencies of `package` in a lock file with those of its manifest.
pub fn check(file: &str, lock: &str, package: &str, manifest: &str) -> Option<Finding> {
    let (line, locked) = locked(lock, package)?;
    let wanted = wanted(manifest);
    let missing = wanted.iter().filter(|(name, is_optional)| !is_optional && !locked.contains(name));
    let forgotten = locked.iter().filter(|name| wanted.iter().all(|(wanted, _)| wanted != *name));
    let names: Vec<_> = missing.map(|(name, _)| *name).chain(forgotten.copied()).collect();
    let folder = file.split('/').next().unwrap_or(file);
    (!names.is_empty()).then(|| Finding {
        file: file.to_owned(),
        line,
        message: format!(
            "`{package}` and this lock file do not agree on {}: run `cargo update --workspace` in {folder}/",
            names.join(", ")
        ),
    })
}

/// Where a lock file lists a package, and what it depends on there.
fn locked<'l>(lock: &'l str, package: &str) -> Option<(usize, Vec<&'l str>)> {
    let title = format!("name = \"{package}\"");
    let line = lock.lines().position(|line| line == title)?;
    let of_package = lock.lines().skip(line).take_while(|line| !line.is_empty());
    let entries = of_package.filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
    Some((line + 1, entries.collect()))
}

/// The names in the section `[dependencies]` of a manifest, and whether it can do without them.
fn wanted(manifest: &str) -> Vec<(&str, bool)> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let entries = section.take_while(|line| !line.starts_with('[')).filter(|line| !line.trim_start().starts_with('#'));
    let named =
        entries.filter_map(|line| Some((line.split(['.', '=', ' ']).next()?, line.contains("optional = true"))));
    named.filter(|(name, _)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"ours\"\n\n[dependencies]\n# Why.\nbytes.workspace = true\n\
        tokio = { version = \"1\" }\nserde = { version = \"1\", optional = true }\n\n[dev-dependencies]\nproptest.workspace = true\n";

    fn lock(dependencies: &[&str]) -> String {
        let entries: String = dependencies.iter().map(|name| format!(" \"{name}\",\n")).collect();
        format!("[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n{entries}]\n\n[[package]]\n")
    }

    #[test]
    fn a_lock_that_knows_all_dependencies_is_in_order() {
        assert_eq!(check("fuzz/Cargo.lock", &lock(&["bytes", "tokio 1.47.0"]), "ours", MANIFEST), None);
        assert_eq!(check("fuzz/Cargo.lock", &lock(&[]), "another", MANIFEST), None, "it is not used there");
    }

    #[test]
    fn a_dependency_that_one_of_the_two_lacks_is_named() {
        for (locked, name) in [(&["bytes"][..], "tokio"), (&["bytes", "snap", "tokio"], "snap")] {
            let finding = check("fuzz/Cargo.lock", &lock(locked), "ours", MANIFEST).expect("they differ");
            assert!(finding.message.contains(&format!("agree on {name}: run")), "{finding}");
            assert_eq!(finding.line, 2);
        }
    }
}
