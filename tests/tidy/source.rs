//! A source file as the checks see it: the paths it names, its functions, its exports, its length.
//! Knows no rule.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// The contents of one file. Nothing here is from a `#[cfg(test)]` module, except `unsafe_lines`.
pub struct Source {
    /// From the root of the repository, with slashes.
    pub path: String,
    /// Lines of the file, without those of its test modules.
    pub lines: usize,
    pub names: Vec<Name>,
    pub functions: Vec<Function>,
    pub exports: Vec<Export>,
    /// Lines with `unsafe`, or with an attribute about `unsafe_code`.
    pub unsafe_lines: Vec<usize>,
}

/// A path in the code: one leaf of a `use`, or `a::b` anywhere else.
pub struct Name {
    /// As written, with the braces of a `use` resolved.
    pub segments: Vec<String>,
    /// The inline modules that contain it, outermost first.
    pub within: Vec<String>,
    /// The name that a `use` brings into scope; `None` for `*`, `as _` and paths outside `use`.
    pub binds: Option<String>,
    pub line: usize,
}

pub struct Function {
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// From `fn` to the closing brace, both included.
    pub lines: usize,
}

/// A `pub mod`, or one name of a `pub use` (`*` for all), at the top level of the file.
pub struct Export {
    pub name: String,
    /// Under `#[doc(hidden)]`.
    pub hidden: bool,
    pub line: usize,
}

impl Source {
    /// Panics with the path if `text` is not Rust.
    pub fn new(path: &str, text: &str) -> Self {
        let stream: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            names: Vec::new(),
            functions: Vec::new(),
            exports: Vec::new(),
            unsafe_lines: Vec::new(),
        };
        source.find_unsafe(stream.clone());
        let tokens = Vec::from_iter(stream);
        source.find_exports(&tokens);
        source.read(&tokens, &[]);
        source
    }

    fn find_unsafe(&mut self, stream: TokenStream) {
        for token in stream {
            match &token {
                TokenTree::Group(group) => self.find_unsafe(group.stream()),
                TokenTree::Ident(word) if word == "unsafe" || word == "unsafe_code" => {
                    self.unsafe_lines.push(line(&token));
                }
                _ => {}
            }
        }
    }

    fn find_exports(&mut self, tokens: &[TokenTree]) {
        let mut hidden = false;
        let mut at = 0;
        while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(attribute) = attribute(rest) {
                hidden |= attribute == "doc(hidden)";
                at += 2;
                continue;
            }
            if is_word(rest, 0, "pub") && is_word(rest, 1, "mod") {
                let name = rest[2].to_string();
                let line = line(&rest[0]);
                self.exports.push(Export { name, hidden, line });
            } else if is_word(rest, 0, "pub") && is_word(rest, 1, "use") {
                for Name { binds, line, .. } in uses(until_semicolon(&rest[2..]), &[]) {
                    let name = binds.unwrap_or_else(|| "*".to_owned());
                    self.exports.push(Export { name, hidden, line });
                }
            }
            hidden = false;
            at += 1;
        }
    }

    fn read(&mut self, tokens: &[TokenTree], within: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            at += self.read_one(&tokens[at..], within);
        }
    }

    /// Reads the item at the beginning of `tokens`, which is not empty; returns the number of
    /// tokens read.
    fn read_one(&mut self, tokens: &[TokenTree], within: &[String]) -> usize {
        if let Some((length, lines)) = test_module(tokens) {
            self.lines -= lines;
            return length;
        }
        match tokens {
            // `use<'a>` is a bound, not an import.
            [TokenTree::Ident(word), next, ..] if word == "use" && !is_punct(next, '<') => {
                let tree = until_semicolon(&tokens[1..]);
                self.names
                    .extend(uses(tree, &[]).into_iter().map(|name| Name {
                        within: within.to_vec(),
                        ..name
                    }));
                1 + tree.len()
            }
            [
                TokenTree::Ident(word),
                TokenTree::Ident(name),
                TokenTree::Group(body),
                ..,
            ] if word == "mod" => {
                let within = [within, &[name.to_string()]].concat();
                self.read(&tokens_of(body), &within);
                3
            }
            [TokenTree::Ident(word), TokenTree::Ident(name), ..] if word == "fn" => {
                self.functions.extend(function(&name.to_string(), tokens));
                2
            }
            // The path in `pub(in path)` names a module that contains this one, and imports nothing
            // from it.
            [TokenTree::Ident(word), TokenTree::Group(scope), ..]
                if word == "pub" && is_word(&tokens_of(scope), 0, "in") =>
            {
                2
            }
            [TokenTree::Ident(_), ..] => {
                let (segments, length) = path(tokens);
                if segments.len() > 1 {
                    self.names.push(Name {
                        segments,
                        within: within.to_vec(),
                        binds: None,
                        line: line(&tokens[0]),
                    });
                }
                length
            }
            [TokenTree::Group(group), ..] => {
                self.read(&tokens_of(group), within);
                1
            }
            _ => 1,
        }
    }
}

/// `#[cfg(test)] mod name { .. }`, possibly with other attributes: its number of tokens and lines.
fn test_module(tokens: &[TokenTree]) -> Option<(usize, usize)> {
    if attribute(tokens)? != "cfg(test)" {
        return None;
    }
    let mut at = 2;
    while attribute(&tokens[at..]).is_some() {
        at += 2;
    }
    match &tokens[at..] {
        [
            TokenTree::Ident(word),
            TokenTree::Ident(_),
            TokenTree::Group(body),
            ..,
        ] if word == "mod" => Some((at + 3, 1 + end_line(body) - line(&tokens[0]))),
        _ => None,
    }
}

/// The text in the brackets of the attribute at the beginning of `tokens`, without blanks.
fn attribute(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [hash, TokenTree::Group(group), ..]
            if is_punct(hash, '#') && group.delimiter() == Delimiter::Bracket =>
        {
            Some(group.stream().to_string().replace(' ', ""))
        }
        _ => None,
    }
}

/// The function `name` whose `fn` is at the beginning of `tokens`; `None` if it has no body.
fn function(name: &str, tokens: &[TokenTree]) -> Option<Function> {
    let body = until_semicolon(tokens)
        .iter()
        .find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
            _ => None,
        })?;
    let line = line(&tokens[0]);
    Some(Function {
        name: name.to_owned(),
        line,
        lines: 1 + end_line(body) - line,
    })
}

/// The leaves of a `use` tree, each with `prefix` in front.
fn uses(tree: &[TokenTree], prefix: &[String]) -> Vec<Name> {
    let Some(first) = tree.first() else {
        return Vec::new(); // After the last comma.
    };
    let mut segments = prefix.to_vec();
    let mut glob = false;
    let mut renamed = None;
    for (at, token) in tree.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                return tokens_of(group)
                    .split(|token| is_punct(token, ','))
                    .flat_map(|part| uses(part, &segments))
                    .collect();
            }
            TokenTree::Ident(word) if word == "as" => {
                renamed = Some(tree[at + 1].to_string());
                break;
            }
            TokenTree::Ident(word) => segments.push(word.to_string()),
            _ => glob |= is_punct(token, '*'),
        }
    }
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    let bound = renamed.or_else(|| segments.last().cloned());
    vec![Name {
        binds: bound.filter(|name| !glob && name != "_"),
        segments,
        within: Vec::new(),
        line: line(first),
    }]
}

/// The path at the beginning of `tokens`, up to generic arguments, and its number of tokens.
fn path(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string());
        at += 1;
        match tokens.get(at..at + 3) {
            Some([first, second, TokenTree::Ident(_)]) if is_double_colon(first, second) => at += 2,
            _ => break,
        }
    }
    (segments, at)
}

fn until_semicolon(tokens: &[TokenTree]) -> &[TokenTree] {
    let end = tokens.iter().position(|token| is_punct(token, ';'));
    &tokens[..end.unwrap_or(tokens.len())]
}

fn tokens_of(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn is_word(tokens: &[TokenTree], at: usize, word: &str) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_double_colon(first: &TokenTree, second: &TokenTree) -> bool {
    let joint = matches!(first, TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint);
    joint && is_punct(first, ':') && is_punct(second, ':')
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

fn end_line(group: &Group) -> usize {
    group.span_close().end().line
}
