//! Rules for one Rust file: header, length, names, nothing left undone.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{spanned::Spanned, visit::Visit};

use super::tree::empty_word;

const FILE_MAX_LINES: usize = 600;
const FUNCTION_MAX_LINES: usize = 70;

/// Findings in the file at `path` with this text.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let header = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//!"));
    if header.is_none_or(|header| header.trim().is_empty()) {
        findings.push(format!(
            "{path}:1: must open with a `//!` line that says what the file is for"
        ));
    }
    let lines = text.lines().count();
    if lines > FILE_MAX_LINES {
        findings.push(format!(
            "{path}: {lines} lines, over the limit of {FILE_MAX_LINES}; split it"
        ));
    }
    match syn::parse_file(text) {
        Ok(file) => {
            let mut visitor = Visitor {
                path,
                findings: Vec::new(),
            };
            visitor.visit_file(&file);
            findings.append(&mut visitor.findings);
        }
        Err(error) => findings.push(format!("{path}: does not parse: {error}")),
    }
    // Macros hide their bodies from the visitor, so undone work is looked for in the bare tokens.
    if let Ok(tokens) = text.parse() {
        undone(path, tokens, &mut findings);
    }
    findings
}

struct Visitor<'a> {
    path: &'a str,
    findings: Vec<String>,
}

impl Visitor<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line + 1 - first;
        let (path, name) = (self.path, &signature.ident);
        if lines > FUNCTION_MAX_LINES {
            self.findings.push(format!(
                "{path}:{first}: fn {name} has {lines} lines, over the limit of {FUNCTION_MAX_LINES}; split it"
            ));
        }
        if name.to_string().starts_with("test_") {
            self.findings.push(format!(
                "{path}:{first}: fn {name}: a test's name is a sentence, without `test_`"
            ));
        }
    }

    fn name(&mut self, ident: &syn::Ident) {
        if let Some(word) = empty_word(&ident.to_string()) {
            let (path, line) = (self.path, ident.span().start().line);
            self.findings.push(format!(
                "{path}:{line}: {ident}: `{word}` says nothing; name what it is"
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.name(&item.ident);
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.name(&item.ident);
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.name(&item.ident);
        syn::visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.name(&item.ident);
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.name(&item.ident);
        syn::visit::visit_item_type(self, item);
    }
}

/// Reports placeholders for work to come, ignored tests, and a core that lifts its own bans.
fn undone(path: &str, tokens: TokenStream, findings: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) => {
                let called =
                    matches!(tokens.get(at + 1), Some(TokenTree::Punct(p)) if p.as_char() == '!');
                if called && ["todo", "unimplemented"].iter().any(|name| ident == name) {
                    let line = ident.span().start().line;
                    findings.push(format!(
                        "{path}:{line}: {ident}! is not an answer; write it or leave it out"
                    ));
                }
            }
            TokenTree::Group(group) => {
                let attribute = at > 0
                    && group.delimiter() == Delimiter::Bracket
                    && is_attribute_mark(&tokens[..at]);
                if attribute {
                    check_attribute(path, &group.stream(), findings);
                }
                undone(path, group.stream(), findings);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether the tokens end in `#` or `#!`.
fn is_attribute_mark(before: &[TokenTree]) -> bool {
    let punct = |token: Option<&TokenTree>, mark: char| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == mark);
    let (last, before_last) = (before.last(), before.iter().rev().nth(1));
    punct(last, '#') || (punct(last, '!') && punct(before_last, '#'))
}

fn check_attribute(path: &str, attribute: &TokenStream, findings: &mut Vec<String>) {
    let words = attribute.to_string();
    let first = attribute.clone().into_iter().next();
    let line = first.as_ref().map_or(0, |token| token.span().start().line);
    let name = first.map(|token| token.to_string()).unwrap_or_default();
    if name == "ignore" {
        findings.push(format!(
            "{path}:{line}: an ignored test proves nothing; mend it or remove it"
        ));
    }
    let lifts = (name == "allow" || name == "expect") && words.contains("disallowed_");
    if lifts && path.starts_with("server/core/") {
        findings.push(format!(
            "{path}:{line}: the core does not lift its own bans"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, body: &str) -> String {
        let findings = check(path, &format!("//! Header.\n{body}"));
        assert_eq!(findings.len(), 1, "{body}: {findings:?}");
        findings.into_iter().next().expect("one finding")
    }

    #[test]
    fn a_good_file_passes() {
        let text = "//! Header.\n\n/// Doc with todo!() in it.\npub struct Lessor;\n\nfn grant() {\n    let _ = \"todo!()\";\n}\n";
        assert_eq!(check("server/core/src/x.rs", text), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_header_is_found() {
        for text in ["fn a() {}\n", "//!\nfn a() {}\n", "\n//! Late.\n", ""] {
            assert_eq!(check("a.rs", text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_function_of_71_lines_is_found_wherever_it_is() {
        let body = "    let _ = 1;\n".repeat(69);
        let long = format!("fn a() {{\n{body}}}\n");
        assert!(one("a.rs", &long).contains("71 lines"));
        assert!(one("a.rs", &format!("impl X {{ {long} }}")).contains("71 lines"));
        assert!(one("a.rs", &format!("trait X {{ {long} }}")).contains("71 lines"));
        assert!(one("a.rs", &format!("mod x {{ {long} }}")).contains("71 lines"));
        let body = "    let _ = 1;\n".repeat(68);
        assert!(check("a.rs", &format!("//! H.\nfn a() {{\n{body}}}\n")).is_empty());
    }

    #[test]
    fn a_file_of_601_lines_is_found() {
        assert!(one("a.rs", &"\n".repeat(600)).contains("601 lines"));
        assert!(check("a.rs", &format!("//! H.\n{}", "\n".repeat(599))).is_empty());
    }

    #[test]
    fn empty_names_are_found() {
        for item in [
            "struct LeaseManager;",
            "enum Info {}",
            "mod utils {}",
            "trait Common {}",
            "type KeyData = u8;",
        ] {
            assert!(one("a.rs", item).contains("says nothing"), "{item}");
        }
    }

    #[test]
    fn undone_work_is_found_even_inside_macros() {
        assert!(one("a.rs", "fn a() { todo!() }").contains("todo!"));
        assert!(one("a.rs", "fn a() { unimplemented!(\"x\") }").contains("unimplemented!"));
        assert!(one("a.rs", "view! { <p>{todo!()}</p> }").contains("todo!"));
        assert!(one("a.rs", "#[test] #[ignore] fn a() {}").contains("ignored"));
        assert!(one("a.rs", "#[test] #[ignore = \"slow\"] fn a() {}").contains("ignored"));
    }

    #[test]
    fn the_core_may_not_lift_its_bans() {
        let lift = "#[allow(clippy::disallowed_methods)] fn a() {}";
        assert!(one("server/core/src/a.rs", lift).contains("bans"));
        assert!(
            one(
                "server/core/src/a.rs",
                "#![expect(clippy::disallowed_types)]"
            )
            .contains("bans")
        );
        assert!(check("server/storage/src/a.rs", &format!("//! H.\n{lift}")).is_empty());
    }

    #[test]
    fn a_test_is_a_sentence() {
        assert!(one("a.rs", "#[test] fn test_put() {}").contains("sentence"));
    }
}
