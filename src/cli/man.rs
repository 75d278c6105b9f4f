//! `glimpse man`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{Cli, output};
use crate::data::store;
use crate::error::{Error, Result, name, reason};

/// Print the manual page, or write one for every command
#[derive(Args)]
pub struct ManArgs {
    /// Write the pages glimpse.1, glimpse-caption.1 and so on into this folder, created if missing, and print their
    /// paths [default: print glimpse.1]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: &ManArgs) -> Result<ExitCode> {
    let program = program();
    match &args.out {
        Some(folder) => write(&program, folder)?,
        None => {
            let (_, page) = page(&program)?;
            output::line(page.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The program's command line, with the options that all commands share in each of them.
fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

/// Writes the pages of the program and of its commands into `folder`.
fn write(program: &Command, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|e| Error::file(folder, format_args!("cannot be made: {}", reason(&e))))?;
    for command in [program].into_iter().chain(program.get_subcommands()) {
        let (file, page) = page(command)?;
        let path = folder.join(file);
        store::write_atomically(&path, page.as_bytes())?;
        output::line(name(&path))?;
    }
    Ok(())
}

/// Returns the file name and the text of a command's page.
fn page(command: &Command) -> Result<(String, String)> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    let rendered = man.render(&mut page).and_then(|()| {
        let is_program = command.get_name() == "glimpse";
        last_sections(is_program).to_writer(&mut page)
    });
    rendered.map_err(|e: io::Error| {
        Error::usage(format_args!(
            "the manual page cannot be made: {}",
            reason(&e)
        ))
    })?;
    let file = man.get_filename();
    let title = file.trim_end_matches(".1");
    let page = with_title(&String::from_utf8_lossy(&page), title);
    Ok((file, without_letters_beyond_ascii(&page)))
}

/// Replaces the title line of a page: `clap_mangen` writes an empty date without quotes, which shifts the fields after it.
/// The two added lines keep long words, such as paths, from being broken.
fn with_title(page: &str, title: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let lines = page.lines().map(|line| match line.starts_with(".TH ") {
        true => {
            format!(".TH \"{title}\" 1 \"\" \"glimpse {version}\" \"Glimpse\"\n.nh\n.ad l\n")
        }
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// Escapes letters beyond ASCII, because `man` may take them for another encoding.
fn without_letters_beyond_ascii(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for c in page.chars() {
        match c.is_ascii() {
            true => text.push(c),
            false => text += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    text
}

/// The sections that follow those of the command line.
fn last_sections(is_program: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in [
        ("0", "Success."),
        ("1", "It failed; a line on standard error says why."),
        ("2", "The command line is wrong."),
    ] {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
    if !is_program {
        let page: [Inline; 2] = [bold("glimpse"), roman("(1)")];
        roff.control("SH", ["SEE ALSO"]);
        roff.text(page);
    }
    roff
}
