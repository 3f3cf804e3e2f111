//! What the built binary says of itself: help, manual, completions.

use netflow2traces::config::settings;

use super::cli::Program;

#[test]
fn short_help_is_one_screen_that_says_how_to_start() {
    let ended = Program::new(["-h"]).run();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.lines().count() <= 45, "{}", ended.stdout);
    for text in [
        "netflow2traces demo",
        "--otlp-endpoint http://localhost:4317",
        "config print",
    ] {
        assert!(ended.stdout.contains(text), "{text}\n{}", ended.stdout);
    }
}

#[test]
fn long_help_explains_every_setting() {
    for ended in [
        Program::new(["--help"]).run(),
        Program::new(["run", "-h"]).run(),
        Program::new(["run", "--help"]).run(),
        Program::new(["config", "check", "--help"]).run(),
        Program::new(["config", "print", "--help"]).run(),
    ] {
        assert_eq!(ended.code, Some(0));
        assert!(ended.stderr.is_empty());
        for about in settings::ALL {
            assert!(
                ended.stdout.contains(&format!("--{}", about.flag)),
                "{}",
                about.flag
            );
            assert!(
                ended.stdout.contains(about.variable()),
                "{}",
                about.variable()
            );
        }
    }
}

#[test]
fn the_demo_has_its_flags_and_none_of_the_backend() {
    let ended = Program::new(["demo", "--help"]).run();
    assert_eq!(ended.code, Some(0));
    for flag in [
        "--no-traffic",
        "--http-host",
        "--http-port",
        "--listen-port",
        "--attributes",
    ] {
        assert!(ended.stdout.contains(flag), "{flag}");
    }
    assert!(!ended.stdout.contains("--otlp-"));
    assert_eq!(
        Program::new(["demo", "--otlp-endpoint", "http://a:1"])
            .run()
            .code,
        Some(2)
    );
    assert_eq!(
        Program::new(["demo", "--http-port", "99999"]).run().code,
        Some(2)
    );
}

#[test]
fn help_is_a_command_too() {
    let ended = Program::new(["help", "demo"]).run();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("--no-traffic"), "{}", ended.stdout);
}

#[test]
fn the_manual_has_every_setting_and_the_exit_codes() {
    let ended = Program::new(["man"]).run();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains(".TH netflow2traces 1"));
    // Roff writes a dash as \\-.
    let page = ended.stdout.replace("\\-", "-");
    for about in settings::ALL {
        assert!(
            page.contains(&format!("--{}", about.flag)),
            "{}",
            about.flag
        );
    }
    for text in ["SYNOPSIS", "SUBCOMMANDS", "demo", "Exit codes"] {
        assert!(page.contains(text), "{text}");
    }
    let synopsis = page.split(".SH").nth(2).unwrap();
    assert!(synopsis.lines().count() < 8, "{synopsis}");

    let target = tempfile::tempdir().unwrap();
    let pages = target.path().join("man1");
    let ended = Program::new(["man", "--to", pages.to_str().unwrap()]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let page_of = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert_eq!(page_of("netflow2traces.1").replace("\\-", "-"), page);
    assert!(page_of("netflow2traces-decode.1").contains("pcap"));
    assert!(page_of("netflow2traces-config-check.1").contains("connect"));
}

#[test]
fn completions_complete_commands_and_settings() {
    for (shell, sign) in [
        ("bash", "complete -F _netflow2traces"),
        ("zsh", "#compdef netflow2traces"),
        ("fish", "complete -c netflow2traces"),
    ] {
        let ended = Program::new(["completions", shell]).run();
        assert_eq!(ended.code, Some(0), "{shell}");
        assert!(ended.stdout.contains(sign), "{shell}");
        for word in ["healthcheck", "listen-port", "no-traffic"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
    let unknown = Program::new(["completions", "tcl"]).run();
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("bash"), "{}", unknown.stderr);
}

#[test]
fn the_help_of_each_command_teaches_by_examples() {
    for command in [
        &["run"][..],
        &["demo"],
        &["send"],
        &["decode"],
        &["config", "check"],
        &["config", "print"],
    ] {
        let mut program = Program::new(["help"]);
        program.command.args(command);
        let ended = program.run();
        assert_eq!(ended.code, Some(0), "{command:?}");
        let (_, examples) = ended.stdout.split_once("Examples:\n").unwrap();
        let line = format!("netflow2traces {}", command.join(" "));
        assert!(examples.contains(&line), "{command:?}: {examples}");
    }
    let health = Program::new(["healthcheck", "--help"]).run().stdout;
    assert!(health.contains("/readyz") && health.contains("--admin-port"));
    assert!(!health.contains("--trace-url"), "{health}");
}
