//! Manual pages and shell completions, made from the same definitions as `--help`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Failure;
use super::arguments::command;
use crate::stdout;

const NAME: &str = env!("CARGO_PKG_NAME");

/// Writes the page of the program to stdout, or a page for each command into a directory.
///
/// # Errors
/// When a page can't be written.
pub fn show_manual(directory: Option<&Path>) -> Result<ExitCode, Failure> {
    let written = match directory {
        Some(directory) => write_pages(directory)
            .with_context(|| format!("can't write manual pages into {}", directory.display())),
        None => page()
            .context("can't write the manual page")
            .and_then(|page| stdout::write(&page)),
    };
    written.map_err(Failure::Running)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the completions of a shell to stdout.
///
/// # Errors
/// When they can't be written.
pub fn show_completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut script);
    stdout::write(&script).map_err(Failure::Running)?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command(), directory)?;
    std::fs::write(directory.join(format!("{NAME}.1")), page()?)?;
    Ok(())
}

/// The page of the program. Its synopsis is ours: clap's would list every setting.
fn page() -> io::Result<Vec<u8>> {
    let man = Man::new(command());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend_from_slice(SYNOPSIS.as_bytes());
    man.render_description_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

const SYNOPSIS: &str = concat!(
    ".SH SYNOPSIS\n\\fB",
    env!("CARGO_PKG_NAME"),
    "\\fR [\\fIOPTIONS\\fR]\n.br\n\\fB",
    env!("CARGO_PKG_NAME"),
    "\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n"
);
