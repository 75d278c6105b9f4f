//! `glimpse completions`

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::error::Result;

/// Print a shell's completions: what Tab offers after `glimpse`
///
/// Where they belong:
///
///   bash        glimpse completions bash > ~/.local/share/bash-completion/completions/glimpse
///   zsh         glimpse completions zsh > DIR/_glimpse, with a DIR that is in $fpath
///   fish        glimpse completions fish > ~/.config/fish/completions/glimpse.fish
///   powershell  glimpse completions powershell >> $PROFILE
///   elvish      glimpse completions elvish >> ~/.config/elvish/rc.elv
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "glimpse", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
