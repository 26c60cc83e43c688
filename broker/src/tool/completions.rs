//! Shell completions and man pages, generated from the command line's own definitions.

use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::failure::Failure;

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CompletionShell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// The completions for a shell.
pub(crate) fn completions(mut command: Command, shell: CompletionShell) -> String {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, "coreline", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The man page of the program, or every page into a folder; what to print.
pub(crate) fn man(mut command: Command, folder: Option<&Path>) -> Result<String, String> {
    command.build();
    match folder {
        None => {
            let mut out = Vec::new();
            clap_mangen::Man::new(command).render(&mut out).map_err(|e| e.to_string())?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        }
        Some(folder) => {
            let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(command, folder).map_err(failed)?;
            Ok(String::new())
        }
    }
}

/// Prints text; a reader that went away is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
