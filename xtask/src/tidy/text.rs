//! House rules on single files: headers, lengths, names of tests, unfinished or nondeterministic code.

use super::Finding;
use super::sources::{Source, Sources};
use proc_macro2::TokenTree;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file before its tests. Most files have 100 to 400; past this one subject has become two.
const LINES_MAX: usize = 500;

/// Files that are longer, with what they have: they may shrink, not grow.
const LONGER: &[(&str, usize)] = &[];

/// Lines of a function. A flat `match` over message kinds may be long, so the list of exceptions is by name.
const FUNCTION_LINES_MAX: usize = 100;

/// Functions that are longer: (file, function, lines). They may shrink, not grow.
const LONGER_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// All checks on every file.
pub fn check(sources: &Sources) -> Vec<Finding> {
    sources.files.iter().flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line: usize, message: String| {
        findings.push(Finding { file: source.path.clone(), line, message });
    };
    if !source.text.starts_with("//!") && !source.text.starts_with("#!") {
        report(1, "no header: begin the file with `//!`, what it is and why it is here".into());
    }
    let lines = lines_before_tests(source);
    let limit = LONGER.iter().find(|(path, _)| *path == source.path).map_or(LINES_MAX, |(_, lines)| *lines);
    if lines > limit {
        report(limit, format!("{lines} lines before the tests, at most {limit}: split it by subject"));
    }
    if machine_path(&source.text).is_some() {
        let (line, found) = machine_path(&source.text).unwrap_or_default();
        report(line, format!("`{found}` is a path of one machine: take it from an argument"));
    }
    let mut rules = Rules { path: &source.path, in_tests: false, found: Vec::new() };
    rules.visit_file(&source.tree);
    for (line, message) in rules.found {
        report(line, message);
    }
    findings
}

fn lines_before_tests(source: &Source) -> usize {
    if source.path.ends_with("/tests.rs") || source.path.contains("/tests/") {
        return 0;
    }
    let tests = source.tree.items.iter().find_map(|item| match item {
        syn::Item::Mod(module) if is_test_only(&module.attrs) => Some(module.span().start().line - 1),
        _ => None,
    });
    tests.unwrap_or_else(|| source.text.lines().count())
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("cfg") && a.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

fn machine_path(text: &str) -> Option<(usize, String)> {
    // Spelled in pieces, so that this file does not find itself.
    let roots = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/t", "mp/wt"),
    ];
    text.lines().enumerate().find_map(|(index, line)| {
        roots.iter().find(|root| line.contains(**root)).map(|root| (index + 1, (*root).to_string()))
    })
}

struct Rules<'a> {
    path: &'a str,
    in_tests: bool,
    found: Vec<(usize, String)>,
}

impl Rules<'_> {
    fn function(&mut self, attributes: &[syn::Attribute], name: &syn::Ident, block: &syn::Block) {
        let line = name.span().start().line;
        for attribute in attributes {
            if attribute.path().is_ident("ignore") {
                self.found.push((line, "an ignored test protects nothing: mend it or delete it".into()));
            }
            let is_test = attribute.path().segments.last().is_some_and(|s| s.ident == "test");
            if is_test && name.to_string().starts_with("test_") {
                self.found.push((line, "name the test with a sentence that is true when it passes".into()));
            }
        }
        let lines = block.span().end().line - block.span().start().line + 1;
        let limit = LONGER_FUNCTIONS
            .iter()
            .find(|(path, function, _)| *path == self.path && name == function)
            .map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines);
        if lines > limit && !self.in_tests {
            self.found.push((line, format!("`{name}` has {lines} lines, at most {limit}: name its parts")));
        }
    }
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outside = self.in_tests;
        self.in_tests |= is_test_only(&item.attrs);
        visit::visit_item_mod(self, item);
        self.in_tests = outside;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.attrs, &item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let Some(name) = mac.path.segments.last() else { return };
        let line = name.ident.span().start().line;
        if name.ident == "select" {
            let first = mac.tokens.clone().into_iter().next();
            if !matches!(first, Some(TokenTree::Ident(ident)) if ident == "biased") {
                self.found.push((
                    line,
                    "`select!` without `biased;` picks a branch at random: begin it with `biased;`".into(),
                ));
            }
        }
        if name.ident == "todo" || name.ident == "unimplemented" {
            self.found
                .push((line, format!("`{}!` is not finished: build it or refuse it with a typed error", name.ident)));
        }
        visit::visit_macro(self, mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let source = Source::parse("driver", "file.rs", vec!["env".into()], text.into()).unwrap();
        check_file(&source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clean_file_passes() {
        let text = "//! What it is.\nfn f() { select! { biased; a = b => {} } }\n#[test]\nfn it_holds() {}";
        assert_eq!(findings(text), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_its_breach() {
        for (text, words) in [
            ("fn f() {}", "no header"),
            ("//! x\nfn f() { tokio::select! { a = b => {} } }", "biased"),
            ("//! x\nfn f() { todo!() }", "not finished"),
            ("//! x\n#[test]\nfn test_it() {}", "sentence"),
            ("//! x\n#[test]\n#[ignore]\nfn it_holds() {}", "ignored"),
        ] {
            let found = findings(text);
            assert!(found.len() == 1 && found[0].contains(words), "{text}: {found:?}");
        }
        let machine = format!("//! x\nconst A: &str = \"{}a\";", concat!("/ho", "me/"));
        assert!(findings(&machine)[0].starts_with("file.rs:2:"));
    }

    #[test]
    fn lengths_count_up_to_the_tests() {
        let body = "fn f() {}\n".repeat(LINES_MAX - 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{} }}", "fn g() {}\n".repeat(LINES_MAX));
        assert_eq!(findings(&format!("//! x\n{body}{tests}")), Vec::<String>::new());
        assert_eq!(findings(&format!("//! x\n{body}fn g() {{}}\n{tests}")).len(), 1);
    }

    #[test]
    fn long_functions_are_found() {
        let function = format!("//! x\nfn f() {{\n{}}}", "    g();\n".repeat(FUNCTION_LINES_MAX));
        assert!(findings(&function)[0].contains("at most"));
    }
}
