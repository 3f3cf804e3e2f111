//! Flow captures of real exporters give the spans that their expected records ask for.
//!
//! Each case of the folder `NETFLOW_CAPTURES` (by default `../shared/captures` beside the workspace)
//! is a test of its own. A machine without the folder runs none of them, unless
//! `NETFLOW_CAPTURES_REQUIRED=1` says that it must have it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "without the usual harness it tells whoever runs it what it leaves out"
)]

mod flows;

use std::path::PathBuf;
use std::process::ExitCode;

use flows::Case;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = folder();
    let cases = match Case::all(&folder) {
        Ok(cases) => cases,
        Err(error) if required() => {
            eprintln!("flow captures are required: {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
        Err(error) => {
            println!("no flow captures to check: {}: {error}", folder.display());
            println!("set NETFLOW_CAPTURES to a folder of captures to check them");
            Vec::new()
        }
    };
    if cases.is_empty() && required() {
        eprintln!(
            "flow captures are required: {} holds no case",
            folder.display()
        );
        return ExitCode::FAILURE;
    }
    let trials: Vec<Trial> = cases
        .into_iter()
        .map(|case| {
            Trial::test(case.name.clone(), move || {
                flows::judge(&case).map_err(Into::into)
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Where the captures lie; a relative path starts at the workspace.
fn folder() -> PathBuf {
    let chosen = std::env::var_os("NETFLOW_CAPTURES").filter(|folder| !folder.is_empty());
    flows::workspace_root().join(chosen.unwrap_or_else(|| "../shared/captures".into()))
}

fn required() -> bool {
    std::env::var_os("NETFLOW_CAPTURES_REQUIRED").is_some_and(|value| value == "1")
}
