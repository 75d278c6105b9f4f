//! Explains a wrong command line in one line, in the program's own words.

use std::error::Error as _;
use std::io::{self, Write};
use std::net::AddrParseError;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::output;
use crate::data::folder::kinds::{self, Named};
use crate::error::{Error, name};

/// Shows the help that was asked for, or explains in one line why the command line is wrong.
pub fn not_parsed(error: &clap::Error) -> ExitCode {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if let DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand = error.kind() {
        let printed = error.print().and_then(|()| io::stdout().flush());
        return match printed {
            _ if error.use_stderr() => ExitCode::from(2),
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                output::complain(output::unprinted(&e));
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        };
    }
    output::misused(explain(error).unwrap_or_else(|| as_reported(error)))
}

const MORE: &str = "-h explains the options";

/// The explanation; `None` for mistakes that have no words of their own here.
fn explain(error: &clap::Error) -> Option<String> {
    let text = |kind| texts(error, kind).into_iter().next();
    let argument = || text(ContextKind::InvalidArg);
    Some(match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand)?;
            no_command(&word, &texts(error, ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument => {
            let word = argument()?;
            unknown_argument(&word, text(ContextKind::SuggestedArg).as_deref())
        }
        ErrorKind::InvalidValue => {
            let (option, value) = (argument()?, text(ContextKind::InvalidValue)?);
            let known = texts(error, ContextKind::ValidValue);
            let option = option_name(&option);
            match value.is_empty() {
                true if known.is_empty() => format!("{} needs a value; {MORE}", argument()?),
                true => format!("{option} needs a value: {}", any_of(&known)),
                false => format!("{option} takes {}, not `{}`", any_of(&known), name(&value)),
            }
        }
        ErrorKind::ValueValidation => {
            let (option, value) = (argument()?, text(ContextKind::InvalidValue)?);
            let option = option_name(&option);
            let why = error.source().map_or_else(String::new, why_not);
            format!("{option} does not take `{}`: {why}; {MORE}", name(&value))
        }
        ErrorKind::MissingRequiredArgument => {
            format!(
                "{} is missing; {MORE}",
                texts(error, ContextKind::InvalidArg).join(" and ")
            )
        }
        ErrorKind::ArgumentConflict => {
            let (option, others) = (argument()?, texts(error, ContextKind::PriorArg));
            let option = option_name(&option);
            let others: Vec<&str> = others.iter().map(|other| option_name(other)).collect();
            match others[..] {
                [same] if same == option => format!("{option} is there twice; leave one out"),
                _ => format!(
                    "{option} and {} exclude each other; take one of them",
                    others.join(" or ")
                ),
            }
        }
        ErrorKind::TooManyValues => {
            let value = text(ContextKind::InvalidValue)?;
            format!(
                "{} takes no value, and `{}` is one too many; {MORE}",
                option_name(&argument()?),
                name(&value)
            )
        }
        _ => return None,
    })
}

/// The explanation in clap's words, for mistakes that have none here.
fn as_reported(error: &clap::Error) -> String {
    // Hints and the usage follow the first paragraph; they are dropped.
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.trim_start_matches("error: ");
    Error::usage(format_args!("{first}; {MORE}")).to_string()
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The option's name: `--beam` of `--beam <N>`, `WHAT` of `[WHAT]`.
fn option_name(argument: &str) -> &str {
    let first = argument.split([' ', '=']).next().unwrap_or(argument);
    first.trim_matches(['<', '>', '[', ']', '.'])
}

/// Formats a list as `a, b or c`.
fn any_of(words: &[String]) -> String {
    match words {
        [] => "nothing".into(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Suggests a command for one that does not exist. If it is a picture, the user probably wants it captioned.
fn no_command(word: &str, nearest: &[String]) -> String {
    let path = Path::new(word);
    let what = match word {
        "-" => "the picture on standard input",
        _ if path.is_dir() => "the pictures of a folder",
        _ if may_be_picture(path) => "a picture",
        _ => {
            let word = name(word);
            return match nearest
                .iter()
                .max_by_key(|known| alike(&word.to_string(), known))
            {
                Some(nearest) => {
                    format!("there is no command `{word}`; did you mean `glimpse {nearest}`?")
                }
                None => format!("there is no command `{word}`; `glimpse -h` lists them"),
            };
        }
    };
    let word = name(word).to_string();
    let word = match word.contains([' ', '\'', '"', '(', ')', '&', ';', '$']) {
        true => format!("'{}'", word.replace('\'', "'\\''")),
        false => word,
    };
    format!("{word} is no command; to caption {what}, write `glimpse caption {word}`")
}

/// Whether the file at `path`, which need not exist, may be a picture by its name.
fn may_be_picture(path: &Path) -> bool {
    match kinds::named(path) {
        Named::Image | Named::Foreign(_) => true,
        Named::Nothing => path.is_file(),
        Named::Other => false,
    }
}

fn unknown_argument(word: &str, nearest: Option<&str>) -> String {
    let shown = name(word);
    match nearest {
        Some(nearest) => format!("there is no option {shown} here; did you mean {nearest}?"),
        None if word.starts_with('-') => format!("there is no option {shown} here; {MORE}"),
        None => format!("`{shown}` is one argument too many; {MORE}"),
    }
}

/// Number of letters that two words have in common at the beginning.
fn alike(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// The reason why a value is refused. The program's own parsers state it; for library errors it is worded here.
fn why_not(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(e) = error.downcast_ref::<ParseIntError>() {
        return match e.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "it is too large a number",
            _ => "it must be a whole number",
        }
        .into();
    }
    if error.is::<ParseFloatError>() {
        return "it must be a number".into();
    }
    if error.is::<AddrParseError>() {
        return "it must be an address and a port, such as 127.0.0.1:8080".into();
    }
    let text = error.to_string();
    // Parses clap's message `0 is not in 1..=1000`.
    let range = text.split_once(" is not in ").map(|(_, range)| range);
    match range.and_then(|range| range.split_once("..")) {
        Some((low, "")) => format!("it must be a whole number from {low} on"),
        Some((low, high)) => {
            let high = high.trim_start_matches('=');
            format!("it must be a whole number from {low} to {high}")
        }
        None if text.starts_with("must ") => format!("it {text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn said(args: &[&str]) -> String {
        let caption = Command::new("caption").args([
            Arg::new("paths")
                .num_args(1..)
                .required(true)
                .value_name("PATH"),
            Arg::new("beam")
                .long("beam")
                .value_name("N")
                .value_parser(clap::value_parser!(u16).range(1..=1000)),
            Arg::new("choose")
                .long("choose")
                .value_parser(["likeliest", "agreement"]),
            Arg::new("sample")
                .long("sample")
                .num_args(0)
                .action(clap::ArgAction::SetTrue)
                .conflicts_with("choose"),
            Arg::new("seed")
                .long("seed")
                .value_name("S")
                .requires("sample"),
        ]);
        let program = Command::new("glimpse")
            .subcommand_required(true)
            .subcommands([caption, Command::new("calibrate"), Command::new("inspect")]);
        let args = [&["glimpse"], args].concat();
        explain(&program.try_get_matches_from(args).unwrap_err()).unwrap()
    }

    #[test]
    fn unknown_words_lead_to_what_was_meant() {
        for (word, expected) in [
            (
                "captions",
                "there is no command `captions`; did you mean `glimpse caption`?",
            ),
            (
                "captoin",
                "there is no command `captoin`; did you mean `glimpse caption`?",
            ),
            (
                "calibrat",
                "there is no command `calibrat`; did you mean `glimpse calibrate`?",
            ),
            ("zzz", "there is no command `zzz`; `glimpse -h` lists them"),
            (
                "photo.jpg",
                "photo.jpg is no command; to caption a picture, write `glimpse caption photo.jpg`",
            ),
            (
                "my photo.HEIC",
                "'my photo.HEIC' is no command; to caption a picture, write `glimpse caption 'my photo.HEIC'`",
            ),
            (
                "Cargo.toml",
                "there is no command `Cargo.toml`; `glimpse -h` lists them",
            ),
            (
                "src",
                "src is no command; to caption the pictures of a folder, write `glimpse caption src`",
            ),
            (
                "-",
                "- is no command; to caption the picture on standard input, write `glimpse caption -`",
            ),
            (
                "a\nb",
                "there is no command `a\\nb`; `glimpse -h` lists them",
            ),
        ] {
            assert_eq!(said(&[word]), expected);
        }
    }

    #[test]
    fn wrong_options_are_explained() {
        for (args, expected) in [
            (
                &["a", "--bem", "3"][..],
                "there is no option --bem here; did you mean --beam?",
            ),
            (
                &["a", "--zzz"],
                "there is no option --zzz here; -h explains the options",
            ),
            (
                &["a", "--beam", "x"],
                "--beam does not take `x`: it must be a whole number; -h explains the options",
            ),
            (
                &["a", "--beam", "0"],
                "--beam does not take `0`: it must be a whole number from 1 to 1000; -h explains the options",
            ),
            (
                &["a", "--beam"],
                "--beam <N> needs a value; -h explains the options",
            ),
            (
                &["a", "--choose", "x"],
                "--choose takes likeliest or agreement, not `x`",
            ),
            (
                &["a", "--choose"],
                "--choose needs a value: likeliest or agreement",
            ),
            (
                &["a", "--sample", "--choose", "agreement"],
                "--sample and --choose exclude each other; take one of them",
            ),
            (
                &["a", "--beam", "1", "--beam", "2"],
                "--beam is there twice; leave one out",
            ),
            (
                &["a", "--seed", "1"],
                "--sample is missing; -h explains the options",
            ),
            (&[], "<PATH>... is missing; -h explains the options"),
            (
                &["a", "--sample=3"],
                "--sample takes no value, and `3` is one too many; -h explains the options",
            ),
        ] {
            assert_eq!(said(&[&["caption"], args].concat()), expected);
        }
        assert_eq!(
            said(&["inspect", "b"]),
            "`b` is one argument too many; -h explains the options"
        );
    }
}
