//! Floors: a module imports only from strictly lower floors and from itself.
//!
//! The floor of every top-level module is written down here; the imports are what the code really names, in `use`
//! declarations, in paths and inside macros. Because the floors are a strict order, no import cycle can exist.

use super::Finding;
use super::sources::{Source, Sources};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Floors of `helenus` (design section 3.1), lowest first.
const DRIVER: &[(&str, u8)] = &[
    ("env", 0),
    ("value", 0),
    ("observe", 0),
    ("protocol", 1),
    ("topology", 2),
    ("connection", 2),
    ("policy", 3),
    ("statement", 4),
    ("pool", 4),
    ("control", 5),
    ("execution", 6),
    ("session", 7),
    ("error", 8),
];

/// Floors of `simcluster` (design section 4.2, with `types` and `schema` as floors of their own).
const SIMCLUSTER: &[(&str, u8)] = &[
    ("kernel", 0),
    ("entropy", 0),
    ("remembered", 0),
    ("trace", 1),
    ("types", 0),
    ("schema", 1),
    ("network", 1),
    ("ring", 1),
    ("protocol", 1),
    ("storage", 2),
    ("cql", 3),
    ("replica", 3),
    ("coordinator", 4),
    ("node", 5),
    ("fault", 6),
    ("prime", 6),
    ("engine", 7),
    ("cluster", 8),
    ("helenus", 9),
];

/// The one file of `simcluster` that may name the driver.
const ADAPTER: &str = "helenus";

/// Every import that goes upward, sideways, or to the other half.
pub fn check(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &sources.files {
        let floors = match source.package.as_str() {
            "driver" => DRIVER,
            "simcluster" => SIMCLUSTER,
            _ => continue,
        };
        if source.module.first().is_some_and(|m| m.starts_with('<')) {
            continue; // Integration tests and examples stand outside the crate.
        }
        findings.extend(check_file(source, floors));
    }
    findings
}

fn check_file(source: &Source, floors: &[(&str, u8)]) -> Vec<Finding> {
    let mut imports = Imports { module: source.module.clone(), found: Vec::new() };
    imports.visit_file(&source.tree);
    let floor_of = |name: &str| floors.iter().find(|(n, _)| *n == name).map(|(_, floor)| *floor);
    let mut findings = Vec::new();
    let mut report = |line: usize, message: String| {
        findings.push(Finding { file: source.path.clone(), line, message });
    };

    let Some(own) = source.module.first() else {
        for (line, import) in imports.found {
            if let Import::Extern(name) = import {
                forbid_other_half(&source.package, "", &name, line, &mut report);
            }
        }
        return findings; // lib.rs stands above all floors.
    };
    let Some(own_floor) = floor_of(own) else {
        report(
            0,
            format!("module `{own}` has no floor: give it one in xtask/src/tidy/floors.rs and in ARCHITECTURE.md"),
        );
        return findings;
    };
    for (line, import) in imports.found {
        match import {
            Import::Extern(name) => forbid_other_half(&source.package, own, &name, line, &mut report),
            Import::Own(name) if name == *own => {}
            Import::Own(name) => match floor_of(&name) {
                Some(floor) if floor < own_floor => {}
                Some(floor) => {
                    let allowed: Vec<&str> = floors.iter().filter(|(_, f)| *f < own_floor).map(|(n, _)| *n).collect();
                    report(
                        line,
                        format!(
                            "`{own}` (floor {own_floor}) imports `{name}` (floor {floor}): it may import only {}",
                            if allowed.is_empty() { "nothing".into() } else { allowed.join(", ") }
                        ),
                    );
                }
                // A macro or re-export at the crate's root: only the root itself may be named so.
                None => {
                    report(
                        line,
                        format!("`crate::{name}` is not a module with a floor: name the module it comes from"),
                    );
                }
            },
        }
    }
    findings
}

fn forbid_other_half(package: &str, own: &str, name: &str, line: usize, report: &mut impl FnMut(usize, String)) {
    if package == "driver" && name == "simcluster" {
        report(line, "the driver never names the simulated cluster: they meet on the wire".into());
    }
    if package == "simcluster" && name == "helenus" && own != ADAPTER {
        report(line, "only simcluster/src/helenus.rs may name the driver: they meet on the wire".into());
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Import {
    /// `crate::name…`, by the name of the top-level module.
    Own(String),
    /// `helenus::…` or `simcluster::…`.
    Extern(String),
}

/// Collects what a file names: `use` trees, paths, and paths inside macro calls.
struct Imports {
    module: Vec<String>,
    found: Vec<(usize, Import)>,
}

impl Imports {
    /// Takes one path as written, from the module at `self.module`.
    fn path(&mut self, line: usize, segments: &[String]) {
        let Some(first) = segments.first() else { return };
        match first.as_str() {
            "crate" => {
                if let Some(name) = segments.get(1) {
                    self.found.push((line, Import::Own(name.clone())));
                }
            }
            "super" => {
                let ups = segments.iter().take_while(|s| *s == "super").count();
                // From the root, `super` chains name a top-level module next; deeper they stay inside our own.
                if ups >= self.module.len()
                    && let Some(name) = segments.get(ups)
                {
                    self.found.push((line, Import::Own(name.clone())));
                }
            }
            "helenus" | "simcluster" => self.found.push((line, Import::Extern(first.clone()))),
            _ => {}
        }
    }

    fn use_tree(&mut self, prefix: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.use_tree(prefix, &path.tree);
                prefix.pop();
            }
            syn::UseTree::Name(name) => self.leaf(prefix, &name.ident),
            syn::UseTree::Rename(name) => self.leaf(prefix, &name.ident),
            syn::UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.path(line, prefix);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(prefix, tree);
                }
            }
        }
    }

    fn leaf(&mut self, prefix: &mut Vec<String>, ident: &syn::Ident) {
        prefix.push(ident.to_string());
        self.path(ident.span().start().line, prefix);
        prefix.pop();
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path(line, &path);
                        path.clear();
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.path(line, &path);
                    path.clear();
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(line, &path);
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.path(first.ident.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {} // `pub(crate)` is no import.

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {} // Documentation links are no imports.

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.visit_path(&mac.path);
        self.tokens(mac.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: &str, module: &[&str], text: &str) -> Vec<String> {
        let module = module.iter().map(ToString::to_string).collect();
        let source = Source::parse(package, "file.rs", module, text.into()).unwrap();
        check(&Sources { files: vec![source] }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn imports_from_lower_floors_and_from_itself_pass() {
        let text = "use crate::env::Instant;\nuse crate::pool::plan;\nuse super::plan::Plan;\nuse std::fmt;";
        assert_eq!(findings("driver", &["pool", "task"], text), Vec::<String>::new());
    }

    #[test]
    fn upward_and_sideways_imports_are_refused_with_their_line() {
        for (text, line) in [
            ("\nuse crate::session::Session;", 2),
            ("use crate::{env::Instant,\n session::Session};", 2),
            ("use super::super::session::Session;", 1),
            ("fn f() {\n crate::session::go() }", 2),
            ("fn f() {\n assert!(\n crate::session::go()) }", 3),
            ("use crate::statement::Statement;", 1),
            ("mod inner { use super::super::super::session::X; }", 1),
        ] {
            let found = findings("driver", &["pool", "task"], text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(&format!("file.rs:{line}: `pool` (floor 4) imports")), "{found:?}");
        }
    }

    #[test]
    fn the_halves_do_not_name_each_other() {
        assert_eq!(findings("driver", &["env"], "use simcluster::run;").len(), 1);
        assert_eq!(findings("driver", &[], "use simcluster::run;").len(), 1);
        assert_eq!(findings("simcluster", &["node"], "use helenus::Session;").len(), 1);
        assert_eq!(findings("simcluster", &["helenus"], "use helenus::Session;").len(), 0);
    }

    #[test]
    fn a_module_without_a_floor_is_refused() {
        assert_eq!(findings("driver", &["misc"], "").len(), 1);
    }

    #[test]
    fn documentation_and_visibility_are_no_imports() {
        let text = "/// See [`crate::session::Session`].\npub(crate) struct A;";
        assert_eq!(findings("driver", &["env"], text), Vec::<String>::new());
    }
}
