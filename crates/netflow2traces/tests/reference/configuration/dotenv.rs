//! Lines of `.env`: which are settings, which are mistakes, and which belong to other programs.

use netflow2traces::config::sources::Origin;
use proptest::prelude::*;

use super::*;

#[test]
fn a_dollar_in_a_line_of_dotenv_that_is_replaced_by_nothing_gives_a_warning() {
    let warnings = |line: &str| Surroundings::sound().dotenv(line).warnings();
    let lost = warnings("OTEL_EXPORTER_OTLP_HEADERS=a=pass$wordxyzzy\n");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].contains("single quotes"), "{lost:?}");
    assert!(!lost[0].contains("xyzzy"), "{lost:?}");
    for kept in [
        "OTEL_EXPORTER_OTLP_HEADERS='a=pass$wordxyzzy'\n",
        "OTEL_EXPORTER_OTLP_HEADERS=a=pass\\$wordxyzzy\n",
        "SITE=berlin\nOTEL_SERVICE_NAME=netflow-$SITE\n",
        "SITE=berlin\nOTEL_SERVICE_NAME=netflow-${SITE}\n",
    ] {
        assert_eq!(warnings(kept), [""; 0], "{kept}");
    }
}

#[test]
fn a_line_that_is_no_setting_is_named_and_the_others_hold() {
    let surroundings = Surroundings::sound().dotenv(
        "\u{feff}NETFLOW_WORKERS=3\r\n\n# a comment\nnonsense\nNETFLOW_LISTEN_PORT=1 2\n\
         export LOG_LEVEL=DEBUG # fine\nNETFLOW_ATTRIBUTES='all\nNETFLOW_SPAN_TIME=flow\n",
    );
    let mistakes = surroundings.mistakes();
    let lines: Vec<&str> = mistakes
        .iter()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(
        lines,
        [
            "NETFLOW_LISTEN_PORT (.env, line 5)",
            "NETFLOW_ATTRIBUTES (.env, line 7)"
        ]
    );
    assert!(mistakes[0].contains("NAME=value"), "{mistakes:?}");
    let table = print::table(&surroundings.sources(), &machine());
    let line_of = |name| table.lines().find(|line| line.contains(name)).unwrap();
    let workers = line_of("NETFLOW_WORKERS");
    assert!(
        workers.contains(" 3 ") && workers.ends_with(".env, line 1"),
        "{workers}"
    );
    let level = line_of("LOG_LEVEL ");
    assert!(
        level.contains("DEBUG") && level.ends_with(".env, line 6"),
        "{level}"
    );
}

#[test]
fn a_dotenv_of_another_program_stops_nothing() {
    let unreadable = Surroundings {
        dotenv_fails: true,
        ..Surroundings::sound()
    };
    assert_eq!(
        unreadable.warnings(),
        [".env of the working directory is ignored: it can't be read: permission denied"]
    );
    let other = Surroundings::sound().dotenv("[section]\nkey: value\nNETFLOW_WORKERS=3\nit's\n");
    assert_eq!(other.config().receive.workers, 3);
    let warnings = other.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings[0].starts_with(".env, line 1, is ignored"),
        "{warnings:?}"
    );
    // A quote that is left open must not hide a setting.
    let open = Surroundings::sound().dotenv("it's\nNETFLOW_WORKERS=3\n");
    let mistakes = open.mistakes();
    assert!(
        mistakes[0].starts_with("NETFLOW_WORKERS (.env, line 1): "),
        "{mistakes:?}"
    );
}

proptest! {
    #[test]
    fn no_dotenv_panics(text in "([A-Z_= '\"#$\\\\{}\u{a0}\n\r]|NETFLOW_WORKERS=|é){0,60}") {
        let sources = Surroundings::sound().dotenv(&text).sources();
        for mistake in sources.mistakes() {
            prop_assert!(mistake.to_string().contains(".env, line "), "{mistake}");
        }
    }

    #[test]
    fn the_line_of_a_setting_in_dotenv_is_counted(
        before in proptest::collection::vec("(#[ a-z'\"]{0,20}|[A-Z]{1,9}=[a-z]{0,9}|)\r?", 0..20),
        length in 1_usize..20_000,
    ) {
        let value = "a".repeat(length);
        let text = format!("{}OTEL_SERVICE_NAME={value}", before.join("\n") + "\n");
        let sources = Surroundings::sound().dotenv(&text).sources();
        let given = sources.variable("OTEL_SERVICE_NAME").expect("set");
        prop_assert_eq!(given.origin, Origin::DotEnv(before.len().max(1) + 1));
        prop_assert_eq!(given.value, value);
    }
}
