//! Arguments → configuration → logging → app. Exit codes: 0 all went well; 1 it could not run, or
//! data was lost; 2 the arguments or the configuration can't be used.

use std::process::ExitCode;

use netflow2traces::app;
use netflow2traces::cli::{self, Command, Failure};
use netflow2traces::config::sources::Process;
use netflow2traces::decode;
use netflow2traces::observe::logging;
use netflow2traces::send;

fn main() -> ExitCode {
    let code = cli::parse(std::env::args_os(), &Process)
        .and_then(execute)
        .unwrap_or_else(|failure| failure.report());
    logging::flush();
    code
}

fn execute(command: Command) -> Result<ExitCode, Failure> {
    let (demo, loaded) = match command {
        Command::ConfigCheck(loaded, connect) => {
            app::check_files(&loaded)?;
            let valid = cli::show_check(&loaded)?;
            if !connect {
                return Ok(valid);
            }
            return app::try_backend(&loaded.config.deliver.exporter);
        }
        Command::Healthcheck(admin) => return cli::show_health(admin),
        Command::Decode(options) => return decode::run(&options).map_err(Failure::Running),
        Command::Send(options) => return send::run(&options).map_err(Failure::Running),
        Command::ConfigPrint(table, loaded) => {
            let loaded = loaded.map_err(Failure::Configuration);
            let usable = loaded.and_then(|loaded| app::check_files(&loaded).map(|()| loaded));
            return cli::show_settings(&table, usable);
        }
        Command::Manual(directory) => return cli::show_manual(directory.as_deref()),
        Command::Completions(shell) => return cli::show_completions(shell),
        Command::Run(loaded) => (None, loaded),
        Command::Demo(options, loaded) => (Some(options), loaded),
    };
    app::check_files(&loaded)?;
    logging::start(&loaded.config.log).map_err(Failure::Running)?;
    logging::announce(&loaded, demo.is_some());
    let ended = match demo {
        None => app::run(&loaded.config),
        Some(options) => app::demo(&options, &loaded.config),
    };
    ended.map_err(Failure::Running)
}
