//! The table of all settings, in a room for each group. Each setting stands here once; a row added
//! to a room is a flag, a variable, a line of `config print` and an entry of the reference.

use std::time::Duration;

use super::setting::About;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

macro_rules! secrecy {
    () => {
        Secrecy::Open
    };
    ($secrecy:ident) => {
        Secrecy::$secrecy
    };
}

macro_rules! settings {
    ($table:ident: $($name:ident: $type:ty {
        section: $section:ident,
        variables: $variables:expr,
        flag: $flag:literal,
        placeholder: $placeholder:literal,
        preset: $preset:expr,
        accepted: $accepted:literal,
        summary: $summary:literal,
        details: $details:literal,
        $(secrecy: $secrecy:ident,)?
        $(switch: $switch:literal,)?
        parse: $parse:expr,
    })*) => {
        $(pub static $name: Setting<$type> = Setting {
            about: About {
                section: Section::$section,
                variables: &$variables,
                flag: $flag,
                placeholder: $placeholder,
                preset: $preset,
                accepted: $accepted,
                summary: $summary,
                details: $details,
                secrecy: secrecy!($($secrecy)?),
                switch: false $(|| $switch)?,
            },
            parse: $parse,
        };)*

        pub(super) const $table: &[&About] = &[$(&$name.about),*];
    };
}

mod backend;
mod decoding;
mod delivery;
mod flow_metrics;
mod kafka;
mod logging;
mod own_metrics;
mod receiving;
mod resource;
mod selection;
mod spans;
mod streams;
mod watching;

pub use backend::*;
pub use decoding::*;
pub use delivery::*;
pub use flow_metrics::*;
pub use kafka::*;
pub use logging::*;
pub use own_metrics::*;
pub use receiving::*;
pub use resource::*;
pub use selection::*;
pub use spans::*;
pub use streams::*;
pub use watching::*;

/// The rooms, in the order in which they are shown.
const ROOMS: [&[&About]; 13] = [
    BACKEND,
    RECEIVING,
    STREAMS,
    DECODING,
    SPANS,
    SELECTION,
    RESOURCE,
    DELIVERY,
    KAFKA,
    FLOW_METRICS,
    WATCHING,
    LOGGING,
    OWN_METRICS,
];

/// Every setting, in the order in which they are shown.
pub static ALL: &[&About] = &all();

const COUNT: usize = {
    let mut count = 0;
    let mut room = 0;
    while room < ROOMS.len() {
        count += ROOMS[room].len();
        room += 1;
    }
    count
};

/// The rooms' rows, one after another.
const fn all() -> [&'static About; COUNT] {
    let mut all = [ROOMS[0][0]; COUNT];
    let (mut room, mut row, mut at) = (0, 0, 0);
    while room < ROOMS.len() {
        if row < ROOMS[room].len() {
            all[at] = ROOMS[room][row];
            (row, at) = (row + 1, at + 1);
        } else {
            (room, row) = (room + 1, 0);
        }
    }
    all
}
