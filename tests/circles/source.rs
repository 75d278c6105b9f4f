//! Reads Rust source text: tokens, then the declarations, imports and paths of each module in a file.

use std::collections::HashSet;

/// A word, or one mark of punctuation, and the line that it is on.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// One name that a `use` line brings into a module, or, where `name` is `*`, all names of another module.
#[derive(Clone, Debug)]
pub struct Import {
    pub path: Vec<String>,
    pub name: String,
    /// Whether the `use` line has a visibility, as `pub use` and `pub(crate) use` have.
    pub public: bool,
    pub line: usize,
}

/// A path outside `use` lines, such as `crate::cpu::rows::moments` or `naive::forward`.
#[derive(Clone, Debug)]
pub struct Mention {
    pub path: Vec<String>,
    pub line: usize,
}

/// A module that another declares.
#[derive(Debug)]
pub struct Child {
    pub name: String,
    pub content: Content,
}

/// Where the text of a module is.
#[derive(Debug)]
pub enum Content {
    /// In a file: at the usual place, or at the path of a `#[path]` attribute.
    File(Option<String>),
    /// Between braces in the file of the parent.
    Inline(Source),
}

/// The parts of one module's text that say which other modules it uses. Code for tests is left out.
#[derive(Debug, Default)]
pub struct Source {
    pub children: Vec<Child>,
    pub imports: Vec<Import>,
    pub mentions: Vec<Mention>,
    /// The names of functions, types, traits, constants and macros that the module defines.
    pub defined: HashSet<String>,
    /// All words outside `use` lines.
    pub words: HashSet<String>,
}

/// Splits text into tokens, without comments, lifetimes and literals of characters. `::` is one token, and so is a
/// string, with its opening quote.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        let mut text = String::new();
        match (at(i), at(i + 1)) {
            ('/', '/') => i += chars[i..].iter().take_while(|&&c| c != '\n').count(),
            ('/', '*') => i = after_block_comment(&chars, i),
            ('"', _) => {
                i = after_string(&chars, i).min(chars.len());
                text = chars[start..i.saturating_sub(1)].iter().collect();
            }
            ('\'', next) if at(i + 2) == '\'' && next != '\\' => i += 3,
            ('\'', '\\') => i += 3 + chars[i + 3..].iter().take_while(|&&c| c != '\'').count() + 1,
            // A lifetime or a label.
            ('\'', _) => i += 1 + chars[i + 1..].iter().take_while(|&&c| is_word(c)).count(),
            (':', ':') => (text, i) = ("::".to_string(), i + 2),
            (c, _) if c.is_whitespace() => i += 1,
            (c, _) if is_word(c) => {
                text = chars[i..]
                    .iter()
                    .copied()
                    .take_while(|&c| is_word(c))
                    .collect();
                i += text.chars().count();
                let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
                if matches!(text.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                    i = after_raw_string(&chars, i, hashes);
                    text.clear();
                }
            }
            (c, _) => (text, i) = (c.to_string(), i + 1),
        }
        if !text.is_empty() {
            found.push(Token { text, line });
        }
        line += chars[start..i.min(chars.len())]
            .iter()
            .filter(|&&c| c == '\n')
            .count();
    }
    found
}

fn after_block_comment(chars: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn after_string(chars: &[char], mut i: usize) -> usize {
    i += 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn after_raw_string(chars: &[char], mut i: usize, hashes: usize) -> usize {
    i += hashes + 1;
    let ends = |i: usize| chars[i] == '"' && chars[i + 1..].iter().take(hashes).all(|&c| c == '#');
    while i < chars.len() && !ends(i) {
        i += 1;
    }
    i + 1 + hashes
}

/// Reads the text of one file.
pub fn read(text: &str) -> Source {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
    };
    reader.module()
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    /// Reads up to the brace that closes the module, or to the end of the file.
    fn module(&mut self) -> Source {
        let mut source = Source::default();
        let (mut depth, mut public, mut file) = (0, false, None);
        while self.at < self.tokens.len() {
            let word = self.text(self.at).to_string();
            match word.as_str() {
                "#" => {
                    if self.attribute(&mut file) {
                        self.skip_item();
                    }
                    continue;
                }
                "pub" => {
                    public = true;
                    self.at += 1;
                    if self.text(self.at) == "(" {
                        self.skip_group();
                    }
                    continue;
                }
                "mod" => self.child(&mut source, file.take()),
                "use" if self.text(self.at + 1) != "<" => {
                    self.at += 1;
                    self.imports(&mut Vec::new(), public, &mut source.imports);
                }
                "}" if depth == 0 => break,
                "{" => depth += 1,
                "}" => depth -= 1,
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" => {
                    source.defined.insert(self.text(self.at + 1).to_string());
                }
                "macro_rules" => {
                    source.defined.insert(self.text(self.at + 2).to_string());
                }
                _ => self.mention(&mut source),
            }
            (public, file) = (false, None);
            self.at += 1;
        }
        source
    }

    /// Reads an attribute, keeps the path of `#[path = "..."]`, and returns whether it marks an item for tests only.
    fn attribute(&mut self, file: &mut Option<String>) -> bool {
        let start = self.at;
        self.at += if self.text(start + 1) == "!" { 2 } else { 1 };
        if self.text(self.at) != "[" {
            return false;
        }
        self.skip_group();
        let words: Vec<&str> = (start..self.at).map(|at| self.text(at)).collect();
        if let ["#", "[", "path", "=", path, "]"] = words[..] {
            *file = Some(path.trim_start_matches('"').to_string());
        }
        words[..3] == ["#", "[", "cfg"]
            && words.contains(&"test")
            && !["any", "not"].iter().any(|word| words.contains(word))
    }

    /// Skips one group in brackets, with all groups in it. The reader is at its opening bracket.
    fn skip_group(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
    }

    /// Skips the item after an attribute: up to its semicolon, or past its braces.
    fn skip_item(&mut self) {
        while self.text(self.at) == "#" {
            self.attribute(&mut None);
        }
        let first = self.at + usize::from(self.text(self.at) == "pub");
        let ends_in_semicolon = matches!(self.text(first), "use" | "const" | "static" | "let");
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "}" => break,
                ";" => {
                    self.at += 1;
                    break;
                }
                bracket @ ("(" | "[" | "{") => {
                    let braces = bracket == "{";
                    self.skip_group();
                    if braces && !ends_in_semicolon {
                        break;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Reads `mod name;` or `mod name { ... }`, up to the semicolon or the closing brace.
    fn child(&mut self, source: &mut Source, file: Option<String>) {
        let name = self.text(self.at + 1).to_string();
        self.at += 2;
        let content = if self.text(self.at) == "{" {
            self.at += 1;
            Content::Inline(self.module())
        } else {
            Content::File(file)
        };
        source.children.push(Child { name, content });
    }

    /// Reads one tree of a `use` line, up to the mark after it.
    fn imports(&mut self, before: &mut Vec<String>, public: bool, found: &mut Vec<Import>) {
        let line = self.line();
        let word = self.text(self.at).to_string();
        self.at += 1;
        match word.as_str() {
            "::" => self.imports(before, public, found),
            "{" => {
                while !matches!(self.text(self.at), "}" | "") {
                    self.imports(before, public, found);
                    self.at += usize::from(self.text(self.at) == ",");
                }
                self.at += 1;
            }
            _ => {
                let length = before.len();
                // In braces, `self` is the module before them.
                if !(matches!(word.as_str(), "self" | "*") && length > 0) {
                    before.push(word.clone());
                }
                if self.text(self.at) == "::" {
                    self.at += 1;
                    self.imports(before, public, found);
                } else {
                    let mut name = before.last().cloned().unwrap_or_default();
                    if word == "*" {
                        name = word;
                    } else if self.text(self.at) == "as" {
                        name = self.text(self.at + 1).to_string();
                        self.at += 2;
                    }
                    let path = before.clone();
                    found.push(Import {
                        path,
                        name,
                        public,
                        line,
                    });
                }
                before.truncate(length);
            }
        }
    }

    /// Reads a word, or the path that begins with it, up to its last word.
    fn mention(&mut self, source: &mut Source) {
        let is_word = |text: &str| text.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !is_word(self.text(self.at)) {
            return;
        }
        let line = self.line();
        let mut path = vec![self.text(self.at).to_string()];
        while self.text(self.at + 1) == "::" && is_word(self.text(self.at + 2)) {
            self.at += 2;
            path.push(self.text(self.at).to_string());
        }
        source.words.extend(path.iter().cloned());
        if path.len() > 1 {
            source.mentions.push(Mention { path, line });
        }
    }
}
