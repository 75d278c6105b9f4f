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
