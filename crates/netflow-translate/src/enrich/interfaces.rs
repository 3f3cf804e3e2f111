//! `NETFLOW_INTERFACES`: names, speeds and descriptions of interfaces.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::csv;
use super::networks::{FileError, check_text};

/// Interfaces of one file.
const MAX_INTERFACES: usize = 1 << 20;

/// One version of the file.
#[derive(Debug, Default)]
pub struct Interfaces(HashMap<IpAddr, OfExporter>);

/// The interfaces of one exporter.
#[derive(Debug, Default)]
pub struct OfExporter(HashMap<u32, Interface, RandomState>);

impl OfExporter {
    /// The name of an interface.
    #[inline]
    #[must_use]
    pub fn name(&self, index: u32) -> Option<&str> {
        Some(&self.0.get(&index)?.name)
    }
}

/// What the file says of an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Never empty.
    pub name: Box<str>,
    /// Bits a second.
    pub speed: Option<u64>,
    /// May be empty.
    pub description: Box<str>,
}

impl Interfaces {
    /// Reads `exporter,ifindex,name[,speed,description]`, one interface a line. The speed is in bits a second, a number
    /// or one with `k`, `M`, `G` or `T`.
    ///
    /// # Errors
    /// The first line that can't be used, with what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut interfaces: HashMap<IpAddr, OfExporter> = HashMap::new();
        let mut number = 0;
        for (line, text) in (1..).zip(text.lines()) {
            let fail = |problem: String| FileError::new(line, problem);
            let fields = csv::fields(text).map_err(|problem| fail(problem.to_owned()))?;
            let Some(fields) = fields else { continue };
            let [exporter, index, name, rest @ ..] = fields.as_slice() else {
                return Err(fail(
                    "expected exporter,ifindex,name[,speed,description]".to_owned(),
                ));
            };
            if line == 1 && exporter.eq_ignore_ascii_case("exporter") {
                continue;
            }
            let address: IpAddr = exporter
                .parse()
                .map_err(|_| fail(format!("{exporter} is not an IP address")))?;
            let index: u32 = index
                .parse()
                .ok()
                .filter(|index| *index > 0)
                .ok_or_else(|| fail(format!("{index} is not an ifIndex, a number from 1")))?;
            check_text("the name", name).map_err(fail)?;
            let (speed, description) = match rest {
                [] => ("", ""),
                [speed] => (speed.as_str(), ""),
                [speed, description] => (speed.as_str(), description.as_str()),
                _ => return Err(fail("there are more than five fields".to_owned())),
            };
            if !description.is_empty() {
                check_text("the description", description).map_err(fail)?;
            }
            number += 1;
            if number > MAX_INTERFACES {
                return Err(fail(format!("more than {MAX_INTERFACES} interfaces")));
            }
            let interface = Interface {
                name: name.as_str().into(),
                speed: parse_speed(speed).map_err(fail)?,
                description: description.into(),
            };
            let of_exporter = interfaces.entry(address.to_canonical()).or_default();
            if of_exporter.0.insert(index, interface).is_some() {
                return Err(fail(format!(
                    "interface {index} of {exporter} is on an earlier line already"
                )));
            }
        }
        Ok(Self(interfaces))
    }

    /// What the file says of an interface.
    #[must_use]
    pub fn get(&self, exporter: IpAddr, index: u32) -> Option<&Interface> {
        self.of(exporter)?.0.get(&index)
    }

    /// What the file says of an exporter's interfaces.
    #[must_use]
    pub fn of(&self, exporter: IpAddr) -> Option<&OfExporter> {
        self.0.get(&exporter)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|of| of.0.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_speed(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        Some((at, 'T')) => (&text[..at], 1_000_000_000_000),
        _ => (text, 1),
    };
    let speed = number.trim().parse::<u64>().ok();
    let speed = speed.and_then(|number| number.checked_mul(factor));
    match speed.filter(|speed| *speed > 0) {
        Some(speed) => Ok(Some(speed)),
        None => Err(format!(
            "{text} is not a speed in bits a second, such as 10G or 2500000"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_a_name_and_maybe_more() {
        let text = "exporter,ifindex,name,speed,description\n192.0.2.1,3,Gi0/3,10G,\"to Berlin, main\"\n\
                    2001:db8::1,4,eth0\n192.0.2.1,5,Gi0/5,,spare\n";
        let interfaces = Interfaces::parse(text).unwrap();
        assert_eq!(interfaces.len(), 3);
        let get = |exporter: &str, index| interfaces.get(exporter.parse().unwrap(), index);
        let first = get("192.0.2.1", 3).unwrap();
        assert_eq!(&*first.name, "Gi0/3");
        assert_eq!(first.speed, Some(10_000_000_000));
        assert_eq!(&*first.description, "to Berlin, main");
        assert_eq!(get("2001:db8::1", 4).unwrap().speed, None);
        assert_eq!(&*get("192.0.2.1", 5).unwrap().description, "spare");
        assert_eq!(get("192.0.2.1", 4), None);
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, sentence) in [
            (
                "192.0.2.1,3",
                "line 1: expected exporter,ifindex,name[,speed,description]",
            ),
            ("# routers\nhere,3,a", "line 2: here is not an IP address"),
            (
                "192.0.2.1,0,a",
                "line 1: 0 is not an ifIndex, a number from 1",
            ),
            (
                "192.0.2.1,1,a,fast",
                "line 1: fast is not a speed in bits a second, such as 10G or 2500000",
            ),
            (
                "192.0.2.1,1,a\n192.0.2.1,1,b",
                "line 2: interface 1 of 192.0.2.1 is on an earlier line already",
            ),
        ] {
            let error = Interfaces::parse(text).unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
    }
}
