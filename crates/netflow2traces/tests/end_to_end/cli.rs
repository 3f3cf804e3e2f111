//! The built binary: what it prints, and its exit codes.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::ffi::OsString;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};

use netflow2traces::cli::{self, DemoOptions};
use tempfile::TempDir;

use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};

/// The binary, in an empty directory and without any environment.
pub(super) struct Program {
    directory: TempDir,
    pub(super) command: Command,
}

pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Program {
    pub(super) fn new<const N: usize>(arguments: [&str; N]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netflow2traces"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(directory.path());
        Self { directory, command }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn dotenv(self, text: &str) -> Self {
        std::fs::write(self.path().join(".env"), text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn run(mut self) -> Ended {
        self.run_again()
    }

    fn run_again(&mut self) -> Ended {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().unwrap();
        Ended {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[test]
fn without_endpoint_it_exits_2_and_suggests_the_demo() {
    for ended in [Program::new([]).run(), Program::new(["run"]).run()] {
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(ENDPOINT), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("netflow2traces demo"),
            "{}",
            ended.stderr
        );
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn every_mistake_has_a_line() {
    let ended = Program::new(["--listen-port", "70000"])
        .env("NETFLOW_WORKERS", "none")
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", "absent.pem")
        .env("NETFLOW_NETWORKS", "absent.csv")
        .env("NETFLOW_TEMPLATE_STORE", "/proc/templates")
        .dotenv("NETFLOW_ATTRIBUTES=some\n")
        .run();
    assert_eq!(ended.code, Some(2));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "error: the configuration has 7 errors; nothing was started"
    );
    assert_eq!(lines.len(), 8, "{}", ended.stderr);
    for start in [
        "  OTEL_EXPORTER_OTLP_CERTIFICATE=absent.pem (environment): the file can't be read",
        "  OTEL_EXPORTER_OTLP_ENDPOINT: not set",
        "  --listen-port=70000: 70000 is not a UDP port",
        "  NETFLOW_WORKERS=none (environment): none is not a whole number",
        "  NETFLOW_ATTRIBUTES=some (.env, line 1): some is not a valid value",
        "  NETFLOW_NETWORKS=absent.csv (environment): it can't be read",
        "  NETFLOW_TEMPLATE_STORE=/proc/templates: its directory /proc can't be written",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{start}\n{}",
            ended.stderr
        );
    }
}

#[test]
fn another_file_of_variables_stands_in_for_dotenv() {
    let program = Program::new(["config", "print", "--env-file", "other.env"])
        .env(ENDPOINT, "http://tempo:4317")
        .dotenv("NETFLOW_WORKERS=7\n");
    std::fs::write(program.path().join("other.env"), "\nNETFLOW_WORKERS=3\n").unwrap();
    let ended = program.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = ended
        .stdout
        .lines()
        .find(|line| line.contains("NETFLOW_WORKERS"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[..2], ["NETFLOW_WORKERS", "3"]);
    assert_eq!(words[2..], ["--env-file,", "line", "2"]);
    let absent = Program::new(["run", "--env-file", "absent.env"])
        .env(ENDPOINT, "http://tempo:4317")
        .run();
    assert_eq!(absent.code, Some(2));
    assert!(
        absent
            .stderr
            .contains("--env-file=absent.env: can't be read"),
        "{}",
        absent.stderr
    );
}

#[test]
fn the_version_is_that_of_the_package() {
    let ended = Program::new(["--version"]).run();
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.stdout,
        format!("netflow2traces {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn an_unknown_flag_gets_a_suggestion_and_exit_code_2() {
    let ended = Program::new(["--listen-prt", "1"]).run();
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--listen-port"), "{}", ended.stderr);
    assert_eq!(Program::new(["fly"]).run().code, Some(2));
}

#[test]
fn variables_and_values_in_place_of_flags_get_a_suggestion() {
    for (arguments, tip) in [
        (
            ["run", "NETFLOW_LISTEN_PORT=9995"],
            "its flag is --listen-port",
        ),
        (
            ["run", "--NETFLOW_LISTEN_PORT=9995"],
            "its flag is --listen-port",
        ),
        (["run", "-listen-port=9995"], "two dashes: --listen-port"),
    ] {
        let ended = Program::new(arguments).run();
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(tip), "{}", ended.stderr);
    }
    for arguments in [["run", "--workers=-1"], ["send", "--count=-1"]] {
        let apart: Vec<&str> = arguments[1].split('=').collect();
        for ended in [
            Program::new(arguments).run(),
            Program::new([arguments[0], apart[0], apart[1]]).run(),
        ] {
            assert_eq!(ended.code, Some(2));
            assert!(
                ended.stderr.contains("not a whole number"),
                "{}",
                ended.stderr
            );
        }
    }
    let apart = Program::new(["run", "--scale-sampled", "true"]).run();
    let tip = "--scale-sampled=true";
    assert!(apart.stderr.contains(tip), "{}", apart.stderr);
    let twice = Program::new(["--log-level=info", "--log-level=warn"]).run();
    assert_eq!(twice.code, Some(2));
    assert!(
        !twice.stderr.contains("after the command"),
        "{}",
        twice.stderr
    );
}

#[test]
fn flags_before_the_command_get_a_tip() {
    let ended = Program::new(["--listen-port", "1", "demo"]).run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("flags go after the command"),
        "{}",
        ended.stderr
    );
}

#[test]
fn print_shows_values_and_origins() {
    let ended = Program::new(["config", "print", "--scale-sampled", "--listen-port=9995"])
        .env(ENDPOINT, "http://tempo:4317")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2")
        .dotenv("NETFLOW_LISTEN_PORT=1\nNETFLOW_WORKERS=3\n")
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let has = |words: &str| {
        let found = ended
            .stdout
            .lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
        assert!(found, "{words}\n{}", ended.stdout);
    };
    has("NETFLOW_SCALE_SAMPLED true flag --scale-sampled");
    has("NETFLOW_LISTEN_PORT 9995 flag --listen-port");
    has("NETFLOW_WORKERS 3 .env, line 2");
    has("OTEL_EXPORTER_OTLP_ENDPOINT http://tempo:4317 environment");
    has("OTEL_EXPORTER_OTLP_HEADERS (hidden) environment");
    has("NETFLOW_QUEUE_SIZE 64MiB default");
    has("receives on 0.0.0.0:9995 (UDP), 3 workers");
    has("sends to http://tempo:4317 over grpc");
    assert!(!ended.stdout.contains("hunter2"));
}

#[test]
fn print_shows_the_values_also_when_there_are_mistakes() {
    let ended = Program::new(["config", "print"])
        .env("NETFLOW_WORKERS", "0")
        .run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stdout.contains("NETFLOW_QUEUE_SIZE"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("NETFLOW_WORKERS=0"),
        "{}",
        ended.stderr
    );
}

#[test]
fn check_says_whether_the_configuration_is_valid() {
    let sound = Program::new(["config", "check"])
        .env(ENDPOINT, "http://tempo:4317")
        .env("NETFLOW_WORKRS", "2")
        .run();
    assert_eq!(sound.code, Some(0), "{}", sound.stderr);
    assert!(
        sound.stdout.starts_with("The configuration is valid.\n"),
        "{}",
        sound.stdout
    );
    assert!(
        sound.stdout.contains("did you mean NETFLOW_WORKERS?"),
        "{}",
        sound.stdout
    );
    let unsound = Program::new(["config", "check"]).run();
    assert_eq!(unsound.code, Some(2));
    assert!(unsound.stdout.is_empty());
    assert!(unsound.stderr.contains(ENDPOINT));
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_a_failure() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = receiver.local_addr().unwrap().to_string();
    let commands = [
        &["config", "check"][..],
        &["config", "print"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["send", "-h"],
        &["--version"],
        &["send", "--to", &to, "--count", "1"],
    ];
    for arguments in commands {
        let mut program = Program::new([]).env("OTEL_TRACES_EXPORTER", "none");
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        program.command.args(arguments).stdout(full.unwrap());
        let ended = program.run();
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("stdout can't be written"),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_demo_goes_on_when_nothing_can_be_said() {
    let demo = r#"exec "$0" demo --no-traffic --http-port 0 >/dev/full"#;
    let demo = Setup::to_console().through(&["sh", "-c", demo]);
    let daemon = demo.start().await;
    // What it says comes before anything is received.
    Exporter::new("127.0.0.2", daemon.address()).send(&v5_datagram(now(), 0, 1000, 1));
    daemon.says("exporter appeared").await;
    let ended = daemon.end_by("TERM").await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
}

#[test]
fn check_finds_the_files_that_would_stop_the_daemon() {
    for (variable, value, problem) in [
        ("NETFLOW_SPOOL_DIR", "plain/spool", "plain can't be written"),
        ("NETFLOW_SPOOL_DIR", "/proc/spool", "/proc can't be written"),
        (
            "NETFLOW_TEMPLATE_STORE",
            "absent/templates",
            "no directory absent",
        ),
        (
            "NETFLOW_TEMPLATE_STORE",
            "/proc/templates",
            "its directory /proc can't be written",
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "plain",
            "no certificate in the file",
        ),
    ] {
        for command in [
            ["config", "check"],
            ["config", "print"],
            ["run", "--log-level=info"],
        ] {
            let mut program = Program::new(command)
                .env(ENDPOINT, "https://tempo.invalid:4317")
                .env("NETFLOW_LISTEN_HOST", "127.0.0.1")
                .env("NETFLOW_LISTEN_PORT", "0")
                .env("NETFLOW_ADMIN_PORT", "0")
                .env("NETFLOW_WORKRS", "1")
                .env(variable, value);
            std::fs::write(program.path().join("plain"), "text").unwrap();
            std::fs::create_dir(program.path().join("directory")).unwrap();
            let before = names_in(program.path());
            let ended = program.run_again();
            assert_eq!(ended.code, Some(2), "{command:?} {value}: {}", ended.stderr);
            let shown = &ended.stdout;
            assert_eq!(shown.is_empty(), command[1] != "print", "{shown}");
            assert!(ended.stderr.contains("did you mean NETFLOW_WORKERS?"));
            let line = ended.stderr.lines().find(|line| line.contains(variable));
            let line = line.unwrap_or_else(|| unreachable!("{}", ended.stderr));
            assert!(line.contains(value) && line.contains(problem), "{line}");
            assert_eq!(names_in(program.path()), before);
        }
    }
}

#[test]
fn check_leaves_no_trace() {
    let mut program = Program::new(["config", "check"])
        .env(ENDPOINT, "http://tempo:4317")
        .env("NETFLOW_SPOOL_DIR", "new/spool")
        .env("NETFLOW_TEMPLATE_STORE", "templates");
    let before = names_in(program.path());
    let ended = program.run_again();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(names_in(program.path()), before);
}

fn names_in(directory: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_mistake_in_dotenv_names_the_line() {
    let ended = Program::new(["config", "check"])
        .env(ENDPOINT, "http://tempo:4317")
        .dotenv("# ours\nNETFLOW_WORKERS 3\n")
        .run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .stderr
            .contains("NETFLOW_WORKERS (.env, line 2): the line is not a setting"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_directory_named_dotenv_is_left_alone() {
    let program = Program::new(["config", "check"]).env(ENDPOINT, "http://tempo:4317");
    std::fs::create_dir(program.path().join(".env")).unwrap();
    assert_eq!(program.run().code, Some(0));
}

#[test]
fn the_log_is_json_on_stderr_and_a_port_in_use_ends_with_1() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ended = Program::new(["--listen-host", "127.0.0.1", "--log-format=json"])
        .env(
            "NETFLOW_LISTEN_PORT",
            &taken.local_addr().unwrap().port().to_string(),
        )
        .env("OTEL_TRACES_EXPORTER", "none")
        .env("NETFLOW_WORKRS", "2")
        .run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
    let lines: Vec<serde_json::Value> = ended
        .stderr
        .lines()
        .map_while(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(lines[0]["message"], "netflow2traces starts");
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["exporter"], "none");
    assert_eq!(lines[1]["level"], "WARN");
    assert!(
        lines[1]["warning"]
            .as_str()
            .unwrap()
            .contains("NETFLOW_WORKERS")
    );
    assert!(
        ended.stderr.lines().last().unwrap().starts_with("error: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_level_holds_back_what_is_below() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ended = Program::new(["--listen-host", "127.0.0.1", "--log-level", "warning"])
        .env(
            "NETFLOW_LISTEN_PORT",
            &taken.local_addr().unwrap().port().to_string(),
        )
        .env("OTEL_TRACES_EXPORTER", "none")
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(!ended.stderr.contains("INFO"), "{}", ended.stderr);
}

#[test]
fn options_of_the_demo_reach_it() {
    let parsed = |arguments: &[&str]| {
        let arguments = ["netflow2traces", "demo"]
            .iter()
            .chain(arguments)
            .map(OsString::from);
        match cli::parse(arguments, &[("NETFLOW_LISTEN_PORT", "9995")]) {
            Ok(cli::Command::Demo(options, loaded)) => (options, loaded.config.receive.listen),
            other => unreachable!("{other:?}"),
        }
    };
    let listen = vec!["0.0.0.0:9995".parse().unwrap()];
    let default = DemoOptions {
        traffic: true,
        http_host: "127.0.0.1".parse().unwrap(),
        http_port: 3200,
    };
    assert_eq!(parsed(&[]), (default, listen));
    let given = DemoOptions {
        traffic: false,
        http_host: "::".parse().unwrap(),
        http_port: 0,
    };
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let flags = [
        "--no-traffic",
        "--http-host=::",
        "--http-port=0",
        "--listen-host=127.0.0.1",
        "--listen-port",
        "0",
    ];
    assert_eq!(parsed(&flags), (given, listen));
}

#[test]
fn a_switch_does_not_swallow_the_word_after_it() {
    let parsed = |arguments: &[&str]| {
        let arguments = ["netflow2traces"]
            .iter()
            .chain(arguments)
            .map(OsString::from);
        match cli::parse(arguments, &[(ENDPOINT, "http://tempo:4317")]) {
            Ok(cli::Command::Run(loaded)) => loaded.config.translate.scale_sampled,
            other => unreachable!("{other:?}"),
        }
    };
    assert!(!parsed(&["run"]));
    assert!(parsed(&["run", "--scale-sampled", "--workers", "1"]));
    assert!(parsed(&["--scale-sampled=yes"]));
    assert!(!parsed(&["--scale-sampled=false"]));
}
