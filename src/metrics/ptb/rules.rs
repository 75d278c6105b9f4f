//! The rules of the lexer, by what they recognise. Each looks at the start of the text, which is never empty.

use super::{Match, at, is_digit, is_letter, is_vowel, is_word, run, starts, whole, whole_if};

// --- Words with apostrophes ----------------------------------------------------------------------

/// Words that hide two: `cannot` is `can not`, `'tis` is `'t is`.
pub(super) fn two_words_in_one(rest: &[char]) -> Option<Match> {
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
pub(super) fn before_clitic(rest: &[char]) -> Option<Match> {
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
pub(super) fn clitic(rest: &[char]) -> Option<Match> {
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
pub(super) fn with_apostrophe(rest: &[char]) -> Option<Match> {
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
pub(super) fn abbreviation(rest: &[char]) -> Option<Match> {
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
pub(super) fn before_number(rest: &[char]) -> Option<Match> {
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
pub(super) fn acronym(rest: &[char]) -> Option<Match> {
    let pairs = rest
        .chunks_exact(2)
        .take_while(|pair| is_letter(pair[0]) && pair[1] == '.')
        .count();
    let len = 2 * pairs;
    whole_if(pairs >= 2, len + hyphenated_tail(&rest[len..]))
}

/// Words joined by full stops or the like: a host name, or two sentences without their space.
pub(super) fn dotted(rest: &[char]) -> Option<Match> {
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
pub(super) fn compound(rest: &[char]) -> Option<Match> {
    let word = run(rest, is_word);
    whole_if(
        word > 0,
        word + joined_tail(&rest[word..], &['-', '/', '_']),
    )
}

/// A number with a sign, points, commas or colons inside: `-5`, `3.5`, `10,000`, `10:30`, `3.5-inch`.
pub(super) fn number(rest: &[char]) -> Option<Match> {
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
pub(super) fn email(rest: &[char]) -> Option<Match> {
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
pub(super) fn web_address(rest: &[char]) -> Option<Match> {
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
pub(super) fn handle(rest: &[char]) -> Option<Match> {
    let name = match rest {
        ['#', c, ..] if is_letter(*c) => run(&rest[1..], is_word),
        ['@', c, ..] if is_letter(*c) || *c == '_' => run(&rest[1..], |c| is_word(c) || c == '_'),
        _ => return None,
    };
    whole(1 + name)
}

/// Capitals joined by `&`, or before a dollar sign: `AT&T`, `US$`.
pub(super) fn initials(rest: &[char]) -> Option<Match> {
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
pub(super) fn smiley(rest: &[char]) -> Option<Match> {
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
pub(super) fn tag(rest: &[char]) -> Option<Match> {
    let name = match rest {
        ['<', '/', c, ..] if is_letter(*c) => 3,
        ['<', c, ..] if is_letter(*c) => 2,
        _ => return None,
    };
    let len = name + run(&rest[name..], |c| c != '<' && c != '>');
    whole_if(at(rest, len, |c| c == '>'), len + 1)
}

/// A repeated mark, or a mix of question and exclamation marks, as one token: `!?!`, `***`, `--`.
pub(super) fn run_of_marks(rest: &[char]) -> Option<Match> {
    whole(match rest[0] {
        '!' | '?' => run(rest, |c| c == '!' || c == '?'),
        '<' | '>' => run(rest, |c| c == rest[0]).min(2),
        '-' | '.' | '\'' | '"' | '`' | '*' | '_' | '#' | '@' => run(rest, |c| c == rest[0]),
        _ => 1,
    })
}
