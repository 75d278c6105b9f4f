//! The tokenizer that published caption scores are based on.
//!
//! Published BLEU scores of captions come from the COCO evaluation code, which splits text with the
//! Penn Treebank tokenizer of Stanford CoreNLP 3.4.1 (lower-casing), then drops a list of punctuation marks.
//! A score computed on other tokens is another number. This module therefore reproduces the tokenizer, its odd cases
//! included, for the text that captions contain: contractions, hyphens, abbreviations, numbers, quotes, prices,
//! smileys, web addresses.
//!
//! It is a longest-match lexer. At each position every rule of a short list reports how many characters it recognises.
//! The rule with the longest match wins; among equal ones, the earliest. A token may be shorter than its match: `don't`
//! is recognised whole, but only `do` becomes a token, and `n't` is the next one.
//!
//! Not reproduced, because captions do not contain them: HTML entities, telephone numbers, file names that start with a
//! digit, and curly apostrophes kept as such (`’90s` becomes `'90s`). On the 35,000 captions of Flickr8k both
//! tokenizers give the same tokens on every line.

/// The marks that the COCO evaluation drops after tokenizing. Brackets are not dropped: the evaluation lists them as
/// `-LRB-`, but the lower-casing tokenizer writes `-lrb-`. Published scores include that slip.
const DROPPED: [&str; 9] = ["'", "`", ".", "?", "!", ",", ":", "-", ";"];

/// Splits a caption into lower-case tokens without punctuation.
///
/// ```
/// use glimpse::metrics::ptb::tokenize;
///
/// assert_eq!(tokenize("A dog isn't running."), ["a", "dog", "is", "n't", "running"]);
/// assert_eq!(tokenize("Mr. Smith's T-shirt, 10:30 p.m."), ["mr.", "smith", "'s", "t-shirt", "10:30", "p.m."]);
/// ```
pub fn tokenize(text: &str) -> Vec<String> {
    let text = plain(text);
    let mut tokens = Vec::new();
    let mut rest = &text[..];
    while let Some(&first) = rest.first() {
        if first.is_whitespace() {
            rest = &rest[1..];
            continue;
        }
        let taken = longest(rest);
        let token: String = rest[..taken].iter().collect();
        if !is_dropped(&token) {
            // A tag may contain spaces; each part counts as a word.
            tokens.extend(spelled(&token).split_whitespace().map(str::to_owned));
        }
        rest = &rest[taken..];
    }
    tokens
}

/// Replaces typographic quotes, dashes and dots by their ASCII forms.
fn plain(text: &str) -> Vec<char> {
    let mut plain = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '’' | '‘' | '‚' | '‛' => plain.push('\''),
            '“' | '”' | '„' | '«' | '»' => plain.push('"'),
            '–' | '—' => plain.extend(['-', '-']),
            '…' => plain.extend(['.', '.', '.']),
            _ => plain.push(c),
        }
    }
    plain
}

/// Whether a token is punctuation: a mark of the list, quotes, dots, or a dash of up to four hyphens.
fn is_dropped(token: &str) -> bool {
    let only = |mark| token.chars().all(|c| c == mark);
    DROPPED.contains(&token)
        || only('"')
        || only('\'')
        || only('`')
        || only('.')
        || (only('-') && token.len() <= 4)
}

/// Spells a token as the treebank does: lower-case, brackets by name, currency and fractions in ASCII.
fn spelled(token: &str) -> String {
    let mut spelled = String::with_capacity(token.len());
    let is_tag = token.starts_with('<') && token.ends_with('>');
    for c in token.chars() {
        match c {
            '(' if !is_tag => spelled.push_str("-lrb-"),
            ')' if !is_tag => spelled.push_str("-rrb-"),
            '[' if token.len() == 1 => spelled.push_str("-lsb-"),
            ']' if token.len() == 1 => spelled.push_str("-rsb-"),
            '{' if token.len() == 1 => spelled.push_str("-lcb-"),
            '}' if token.len() == 1 => spelled.push_str("-rcb-"),
            '½' => spelled.push_str("1/2"),
            '¼' => spelled.push_str("1/4"),
            '¾' => spelled.push_str("3/4"),
            '£' => spelled.push('#'),
            '€' => spelled.push('$'),
            '¢' => spelled.push_str("cents"),
            _ => spelled.extend(c.to_lowercase()),
        }
    }
    spelled
}

/// The match of a rule at the start of the text.
#[derive(Clone, Copy)]
struct Match {
    /// The number of characters that the rule recognised; the longest match wins.
    seen: usize,
    /// The number of characters that become the token.
    taken: usize,
}

impl Match {
    /// A match of which only the first part becomes the token.
    fn part(seen: usize, taken: usize) -> Option<Match> {
        Some(Match { seen, taken })
    }
}

/// A match that becomes the token as a whole; `None` if it is empty.
fn whole(len: usize) -> Option<Match> {
    whole_if(len > 0, len)
}

/// A match that becomes the token as a whole if `holds`.
fn whole_if(holds: bool, len: usize) -> Option<Match> {
    holds.then_some(Match {
        seen: len,
        taken: len,
    })
}

/// A rule: looks at the start of the text, which is never empty.
type Rule = fn(&[char]) -> Option<Match>;

/// The rules; among matches of equal length, the earliest rule wins.
const RULES: [Rule; 17] = [
    two_words_in_one,
    before_clitic,
    clitic,
    with_apostrophe,
    before_number,
    abbreviation,
    acronym,
    dotted,
    compound,
    number,
    email,
    web_address,
    handle,
    initials,
    smiley,
    tag,
    run_of_marks,
];

/// Returns the length of the token at the start of `rest`, at least one character.
fn longest(rest: &[char]) -> usize {
    RULES
        .iter()
        .filter_map(|rule| rule(rest))
        .reduce(|best, next| if next.seen > best.seen { next } else { best })
        .map_or(1, |best| best.taken)
}

// --- Small helpers on characters -----------------------------------------------------------------

/// Counts the characters at the start that satisfy `wanted`.
fn run(rest: &[char], wanted: impl Fn(char) -> bool) -> usize {
    rest.iter().take_while(|&&c| wanted(c)).count()
}

/// Whether the text starts with `prefix`, ignoring case.
fn starts(rest: &[char], prefix: &str) -> bool {
    let mut rest = rest.iter();
    prefix
        .chars()
        .all(|p| rest.next().is_some_and(|c| c.to_ascii_lowercase() == p))
}

/// Whether the character at `at` exists and satisfies `wanted`.
fn at(rest: &[char], at: usize, wanted: impl Fn(char) -> bool) -> bool {
    rest.get(at).is_some_and(|&c| wanted(c))
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic()
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_word(c: char) -> bool {
    is_letter(c) || is_digit(c)
}

fn is_vowel(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u')
}

// --- Words with apostrophes ----------------------------------------------------------------------

/// Words that hide two: `cannot` is `can not`, `'tis` is `'t is`.
fn two_words_in_one(rest: &[char]) -> Option<Match> {
    const WORDS: [(&str, usize); 8] = [
        ("cannot", 3),
        ("gonna", 3),
        ("gotta", 3),
        ("lemme", 3),
        ("gimme", 3),
        ("wanna", 3),
        ("'tis", 2),
        ("'twas", 2),
    ];
    let (word, taken) = WORDS.into_iter().find(|(word, _)| starts(rest, word))?;
    Match::part(word.len(), taken)
}

/// Returns the length of `'s`, `'m`, `'d`, `'ll`, `'re` or `'ve` if a word ends with it.
fn short_verb(rest: &[char]) -> Option<usize> {
    let verb = ["'s", "'m", "'d", "'ll", "'re", "'ve"]
        .into_iter()
        .find(|verb| starts(rest, verb))?;
    (!at(rest, verb.len(), is_letter)).then_some(verb.len())
}

/// Whether the text starts with `n't`.
fn negation(rest: &[char]) -> bool {
    starts(rest, "n't")
}

/// A word before a clitic. The match covers both: `she|'s`, `do|n't`.
fn before_clitic(rest: &[char]) -> Option<Match> {
    let letters = run(rest, is_letter);
    if letters > 1 && rest[letters - 2] != 'n' && negation(&rest[letters - 1..]) {
        return Match::part(letters + 2, letters - 1);
    }
    let word = run(rest, is_word);
    match short_verb(&rest[word..]) {
        Some(verb) if word > 0 => Match::part(word + verb, word),
        _ => None,
    }
}

/// A clitic, which is a token of its own: `'s`, `n't`, `'em`, `'60s`.
fn clitic(rest: &[char]) -> Option<Match> {
    if negation(rest) {
        return whole(3);
    }
    if !starts(rest, "'") {
        return None;
    }
    if let Some(verb) = short_verb(rest) {
        return whole(verb);
    }
    if let Some(word) = ["'n'", "'em", "'till", "'til", "'cause"]
        .into_iter()
        .find(|word| starts(rest, word))
    {
        return whole(word.len());
    }
    if starts(rest, "'n") && !at(rest, 2, is_word) {
        return whole(2);
    }
    let digits = run(&rest[1..], is_digit);
    let decade = at(rest, 1, |c| ('2'..='9').contains(&c)) && starts(&rest[2..], "0s");
    match digits {
        2 if decade => whole(4),
        2 if !at(rest, 3, |c| !c.is_whitespace()) => whole(3),
        _ => None,
    }
}

/// Words that keep their apostrophe: `o'clock`, `O'Brien`, `ma'am`, and a few by name.
fn with_apostrophe(rest: &[char]) -> Option<Match> {
    const BY_NAME: [&str; 12] = [
        "s'mores",
        "c'mon",
        "e'er",
        "li'l",
        "ev'ry",
        "nat'l",
        "nor'easter",
        "dunkin'",
        "somethin'",
        "d'ye",
        "ol'",
        "o'o",
    ];
    let letters = run(rest, is_letter);
    if !at(rest, letters, |c| c == '\'') {
        return None;
    }
    let after = run(&rest[letters + 1..], is_letter);
    let all = letters + 1 + after;
    let elided = letters == 1
        && after >= 2
        && (matches!(rest[0], 'n' | 'd' | 'o' | 'l')
            || rest[0].is_uppercase() && !matches!(rest[0], 'I' | 'Y'));
    let inside = letters >= 2
        && (is_vowel(rest[letters - 1]) || matches!(rest[letters - 1], 'y' | 'Y'))
        && at(rest, letters + 1, |c| is_vowel(c) || c.is_uppercase());
    if elided {
        // A double name continues after a hyphen: O'Brien-Smith.
        return whole(all + hyphenated_tail(&rest[all..]));
    }
    if inside {
        return whole(all);
    }
    if let Some(word) = BY_NAME.into_iter().find(|word| starts(rest, word)) {
        return whole(word.len());
    }
    // d' l' j' y' before a word: y'all is y' all.
    let article =
        letters == 1 && after > 0 && matches!(rest[0].to_ascii_lowercase(), 'd' | 'l' | 'j' | 'y');
    whole_if(article, 2)
}

// --- Words with full stops -----------------------------------------------------------------------

/// Abbreviations that keep their full stop.
const ABBREVIATIONS: &str = " \
    al cf co ct dr ft ga jr ky lt md mo mr ms mt ph rd rt sq sr st va vs vt wm \
    adj adm adv ala apr aug ave bhd cie col cos cpl dak dec det drs ens esq est etc ext feb fla fri gen gov hon inc \
    ind jan jos jul jun kan ltd maj mar mfg mme mon mrs mtg neb nev nov oct pfc plc pte pty pvt rep rev sen sep seq \
    sfc sgt spc ste sys tel thu tue wed wis wyo \
    alex ariz assn asst atty bldg blvd brig bros capt cmdr colo conn corp dept elec govs insp intl invt kans mich \
    minn mlle mont msgr natl okla penn ppte ppty pres prof ptes ptys reps sens sept supt tenn tues univ wisc \
    assoc attys calif comdr lieut pptes pptys profs supts thurs treas messrs ";

/// Abbreviations only if capitalised, because they are words in lower case: `Wash.`, but `a wash.`
const CAPITALISED: &str = " az la pa ark del ill ore tex mass miss wash ";

/// Abbreviations only before a number: `No. 5`.
const BEFORE_NUMBER: &str = " ca no op pp art fig nos figs prop ";

/// Whether one of the lists above contains `word`.
fn listed(list: &str, word: &[char]) -> bool {
    let word: String = word.iter().map(char::to_ascii_lowercase).collect();
    list.contains(&format!(" {word} "))
}

/// Returns the letters before a full stop; `None` if no full stop follows them.
fn stopped(rest: &[char]) -> Option<&[char]> {
    let letters = run(rest, is_letter);
    (letters > 0 && at(rest, letters, |c| c == '.')).then_some(&rest[..letters])
}

/// An abbreviation with its full stop, or a single letter with one: `Mr.`, `U.`, `St.-Bernard`.
fn abbreviation(rest: &[char]) -> Option<Match> {
    if starts(rest, "ph.d.") {
        return whole(5 + hyphenated_tail(&rest[5..]));
    }
    let word = stopped(rest)?;
    let known = word.len() == 1
        || listed(ABBREVIATIONS, word)
        || (word[0].is_uppercase() && listed(CAPITALISED, word));
    let len = word.len() + 1;
    whole_if(known, len + hyphenated_tail(&rest[len..]))
}

/// An abbreviation that counts as one only before a number.
fn before_number(rest: &[char]) -> Option<Match> {
    let word = stopped(rest)?;
    let len = word.len() + 1;
    let blanks = run(&rest[len..], char::is_whitespace);
    let number = at(rest, len + blanks, is_digit);
    if number && listed(BEFORE_NUMBER, word) {
        return Match::part(len + blanks + 1, len);
    }
    None
}

/// Single letters with full stops: `U.S.`, `p.m.`, and `U.S.-based`.
fn acronym(rest: &[char]) -> Option<Match> {
    let pairs = rest
        .chunks_exact(2)
        .take_while(|pair| is_letter(pair[0]) && pair[1] == '.')
        .count();
    let len = 2 * pairs;
    whole_if(pairs >= 2, len + hyphenated_tail(&rest[len..]))
}

/// Words joined by full stops or the like: a host name, or two sentences without their space.
fn dotted(rest: &[char]) -> Option<Match> {
    if !at(rest, 0, is_letter) {
        return None;
    }
    let first = run(rest, is_word);
    let mut len = first;
    while at(rest, len, |c| ".!?".contains(c)) && at(rest, len + 1, is_letter) {
        len += 1 + run(&rest[len + 1..], is_word);
    }
    let several = len > first;
    // A host name continues after a hyphen, sentences do not.
    if !rest[..len].iter().any(|&c| c == '!' || c == '?') {
        len += hyphenated_tail(&rest[len..]);
    }
    whole_if(several, len)
}

// --- Plain words and numbers ---------------------------------------------------------------------

/// Returns the length of `-word-word...` at the start.
fn hyphenated_tail(rest: &[char]) -> usize {
    joined_tail(rest, &['-'])
}

/// Returns the length of the words that follow, each after one of the `joints`.
fn joined_tail(rest: &[char], joints: &[char]) -> usize {
    let mut len = 0;
    while at(rest, len, |c| joints.contains(&c)) && at(rest, len + 1, is_word) {
        len += 1 + run(&rest[len + 1..], is_word);
    }
    len
}

/// A word, or several joined by hyphens, slashes or underscores: `merry-go-round`, `and/or`, `1/2`.
fn compound(rest: &[char]) -> Option<Match> {
    let word = run(rest, is_word);
    whole_if(
        word > 0,
        word + joined_tail(&rest[word..], &['-', '/', '_']),
    )
}

/// A number with a sign, points, commas or colons inside: `-5`, `3.5`, `10,000`, `10:30`, `3.5-inch`.
fn number(rest: &[char]) -> Option<Match> {
    let sign = usize::from(at(rest, 0, |c| c == '-' || c == '+'));
    let mut len = sign + run(&rest[sign..], is_digit);
    let mut can_be_hyphenated = at(rest, 0, is_digit);
    while at(rest, len, |c| matches!(c, '.' | ':' | ',')) && at(rest, len + 1, is_digit) {
        can_be_hyphenated &= rest[len] != ':';
        len += 1 + run(&rest[len + 1..], is_digit);
    }
    let any = len > sign;
    if can_be_hyphenated {
        len += hyphenated_tail(&rest[len..]);
    }
    whole_if(any, len)
}

// --- Everything else -----------------------------------------------------------------------------

/// An e-mail address: `name@host`.
fn email(rest: &[char]) -> Option<Match> {
    let is_part = |c| is_word(c) || matches!(c, '.' | '_' | '-');
    let name = run(rest, is_part);
    let host = name + 1;
    if name == 0 || !at(rest, name, |c| c == '@') || !at(rest, host, is_word) {
        return None;
    }
    let mut len = host + run(&rest[host..], is_part);
    while rest[len - 1] == '.' {
        len -= 1;
    }
    whole(len)
}

/// A web address with its scheme, or a path on a well-known kind of host: `https://a.b/c`, `foo.com/bar`.
fn web_address(rest: &[char]) -> Option<Match> {
    let host = run(rest, |c| is_word(c) || c == '.');
    let name: String = rest[..host].iter().collect();
    let is_known = [".com", ".net", ".org", ".edu"]
        .iter()
        .any(|domain| name.ends_with(domain));
    let start = if let Some(scheme) = ["http://", "https://"]
        .iter()
        .find(|scheme| starts(rest, scheme))
    {
        scheme.len()
    } else if is_known && at(rest, host, |c| c == '/') {
        host + 1
    } else {
        return None;
    };
    let ends_address = |c: char| c.is_whitespace() || "<>|\"(){}".contains(c);
    let mut len = start + run(&rest[start..], |c| !ends_address(c));
    while len > start && ".,;:!?'-".contains(rest[len - 1]) {
        len -= 1;
    }
    whole_if(len > start, len)
}

/// `#tag`, `@name`.
fn handle(rest: &[char]) -> Option<Match> {
    let name = match rest {
        ['#', c, ..] if is_letter(*c) => run(&rest[1..], is_word),
        ['@', c, ..] if is_letter(*c) || *c == '_' => run(&rest[1..], |c| is_word(c) || c == '_'),
        _ => return None,
    };
    whole(1 + name)
}

/// Capitals joined by `&`, or before a dollar sign: `AT&T`, `US$`.
fn initials(rest: &[char]) -> Option<Match> {
    let is_capital = |c: char| c.is_ascii_uppercase();
    let mut len = run(rest, is_capital);
    if matches!(len, 1 | 2) && at(rest, len, |c| c == '$') {
        return whole(len + 1);
    }
    let first = len;
    while len > 0 && at(rest, len, |c| c == '&') && at(rest, len + 1, is_capital) {
        len += 1 + run(&rest[len + 1..], is_capital);
    }
    whole_if(len > first, len)
}

/// `:-)` and its family, not right before a word.
fn smiley(rest: &[char]) -> Option<Match> {
    let is_mouth = |c| "()DPdpO\\{@|[]".contains(c);
    let eyes = usize::from(at(rest, 0, |c| c == '<' || c == '>'));
    let mut mouth = eyes + 1;
    if at(rest, mouth, |c| "-o*'".contains(c)) && at(rest, mouth + 1, is_mouth) {
        mouth += 1;
    }
    let face = at(rest, eyes, |c| ":;=".contains(c)) && at(rest, mouth, is_mouth);
    whole_if(face && !at(rest, mouth + 1, is_word), mouth + 1)
}

/// A tag such as `<unk>`.
fn tag(rest: &[char]) -> Option<Match> {
    let name = match rest {
        ['<', '/', c, ..] if is_letter(*c) => 3,
        ['<', c, ..] if is_letter(*c) => 2,
        _ => return None,
    };
    let len = name + run(&rest[name..], |c| c != '<' && c != '>');
    whole_if(at(rest, len, |c| c == '>'), len + 1)
}

/// A repeated mark, or a mix of question and exclamation marks, as one token: `!?!`, `***`, `--`.
fn run_of_marks(rest: &[char]) -> Option<Match> {
    whole(match rest[0] {
        '!' | '?' => run(rest, |c| c == '!' || c == '?'),
        '<' | '>' => run(rest, |c| c == rest[0]).min(2),
        '-' | '.' | '\'' | '"' | '`' | '*' | '_' | '#' | '@' => run(rest, |c| c == rest[0]),
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks text and expected tokens, both as one string.
    fn check(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(tokenize(text).join(" "), *expected, "tokens of {text:?}");
        }
    }

    #[test]
    fn contractions_split_where_the_treebank_splits_them() {
        check(&[
            (
                "He can't, won't and didn't.",
                "he ca n't wo n't and did n't",
            ),
            (
                "they're I'll she'd we've I'm it's",
                "they 're i 'll she 'd we 've i 'm it 's",
            ),
            ("cannot gonna wannabe 'tis", "can not gon na wannabe 't is"),
            (
                "the dogs' toys, the dog 's toy",
                "the dogs toys the dog 's toy",
            ),
            (
                "rock'n'roll o'clock O'Brien ma'am y'all",
                "rock 'n' roll o'clock o'brien ma'am y' all",
            ),
            ("get 'em from the '60s", "get 'em from the '60s"),
            ("DON'T, it’s", "do n't it 's"),
        ]);
    }

    #[test]
    fn hyphens_and_slashes_hold_words_together() {
        check(&[
            ("A T-shirt, a merry-go-round.", "a t-shirt a merry-go-round"),
            ("bird's-eye view", "bird 's eye view"),
            (
                "half- dressed -foo and/or w/ his/her's",
                "half dressed foo and/or w / his/her 's",
            ),
            ("a -- b — c --- d", "a b c d"),
        ]);
    }

    #[test]
    fn full_stops_stay_with_abbreviations_only() {
        check(&[
            (
                "Mr. and Mrs. Smith on St. Marks Ave.",
                "mr. and mrs. smith on st. marks ave.",
            ),
            (
                "a U.S. flag in D.C. at 5 p.m.",
                "a u.s. flag in d.c. at 5 p.m.",
            ),
            ("a wash. A dog ran. No. 5, no.", "a wash a dog ran no. 5 no"),
            ("Wait... what.. end…", "wait what end"),
            ("field.The Hello!Now", "field.the hello!now"),
        ]);
    }

    #[test]
    fn numbers_prices_and_marks() {
        check(&[
            (
                "10,000 at 5:30pm, 3.5mm, 1/2, -5, 4x4",
                "10,000 at 5:30 pm 3.5 mm 1/2 -5 4x4",
            ),
            (
                "$5.50 US$5 £5 50% #5 #tag",
                "$ 5.50 us$ 5 # 5 50 % # 5 #tag",
            ),
            (
                "AT&T R&B black&white m&m's",
                "at&t r&b black & white m & m 's",
            ),
            (
                "\"Stop!\" 'go' ``now''; what?! wow!!",
                "stop go now what ?! wow !!",
            ),
            (
                "(a) [b] {c} :-) <unk>",
                "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb- :--rrb- <unk>",
            ),
            (
                "flickr.com's foo.com/bar, me@a.org",
                "flickr.com 's foo.com/bar me@a.org",
            ),
        ]);
    }

    #[test]
    fn nothing_and_only_marks_give_no_tokens() {
        check(&[("", ""), (" \t\n", ""), (" . , '' \" - ...", "")]);
    }
}
