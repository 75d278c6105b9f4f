//! The kinds of animals that captioners confuse and people do not.

/// Name of a kind, and the words that name it in captions.
pub(super) const KINDS: [(&str, &[&str]); 16] = [
    ("dog", &["dog", "dogs", "puppy", "puppies"]),
    ("cat", &["cat", "cats", "kitten", "kittens"]),
    ("horse", &["horse", "horses", "pony", "ponies"]),
    (
        "bird",
        &[
            "bird", "birds", "duck", "ducks", "goose", "geese", "swan", "seagull", "seagulls",
            "pigeon", "pigeons",
        ],
    ),
    ("cow", &["cow", "cows", "bull", "bulls", "calf", "cattle"]),
    ("sheep", &["sheep", "lamb", "lambs", "goat", "goats"]),
    ("bear", &["bear", "bears"]),
    ("monkey", &["monkey", "monkeys"]),
    ("elephant", &["elephant", "elephants"]),
    ("tiger", &["tiger", "tigers"]),
    ("lion", &["lion", "lions"]),
    ("zebra", &["zebra", "zebras"]),
    ("rabbit", &["rabbit", "rabbits", "bunny"]),
    ("fish", &["fish"]),
    ("fox", &["fox"]),
    ("turtle", &["turtle", "turtles"]),
];

/// Returns the index of the kind that `word` names.
pub(super) fn kind_of(word: &str) -> Option<usize> {
    KINDS.iter().position(|(_, words)| words.contains(&word))
}

/// Returns the index of the kind with this name.
pub(super) fn named(name: &str) -> Option<usize> {
    KINDS.iter().position(|(kind, _)| *kind == name)
}
