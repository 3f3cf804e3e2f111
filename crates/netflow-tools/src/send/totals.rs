//! What was sent, exactly.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::Transport;

/// Exporters that are reported one by one.
const FEW: usize = 16;

/// Sums at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) by_exporter: Vec<Sent>,
    /// Datagrams of nothing but templates, which are among the datagrams.
    pub(super) template_datagrams: u64,
    /// Datagrams that were answered with "port unreachable", as far as the answers could be distinguished from others.
    pub(super) refused: u64,
    /// From the first datagram to the last.
    pub(super) elapsed: Duration,
    /// Time by which a rate or a capture's own pace could not be kept.
    pub(super) missed: Duration,
    /// Why it ended before all was sent.
    pub(super) failure: Option<String>,
    /// Payloads of a capture that were left out: not captured whole.
    pub(super) cut: u64,
    /// Payloads of a capture that were left out: over a connection only IPFIX can be sent.
    pub(super) not_ipfix: u64,
    /// Whether flow records are counted: those of a capture aren't.
    pub(super) counts_flows: bool,
    pub(super) transport: Transport,
}

/// What one exporter sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Its address, domain or name in the capture.
    pub(super) name: String,
    pub(super) datagrams: u64,
    /// Of UDP payload.
    pub(super) octets: u64,
    pub(super) flows: u64,
}

impl Totals {
    pub(super) fn datagrams(&self) -> u64 {
        self.by_exporter.iter().map(|sent| sent.datagrams).sum()
    }

    pub(super) fn octets(&self) -> u64 {
        self.by_exporter.iter().map(|sent| sent.octets).sum()
    }

    pub(super) fn flows(&self) -> u64 {
        self.by_exporter.iter().map(|sent| sent.flows).sum()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let seconds = self.elapsed.as_secs_f64();
        let datagrams = self.datagrams();
        let units = self.transport.units();
        let what = [
            self.counts_flows
                .then(|| format!("{} flow records in ", grouped(self.flows()))),
            Some(format!(
                "{} {units} ({} bytes) in {seconds:.3} s",
                grouped(datagrams),
                grouped(self.octets())
            )),
        ];
        let what: String = what.into_iter().flatten().collect();
        let _ = writeln!(text, "sent {what}");
        if seconds > 0.0 {
            let a_second = |number: u64| grouped((number as f64 / seconds) as u64);
            let _ = match self.counts_flows {
                true => writeln!(
                    text,
                    "     {} flow records/s, {} {units}/s",
                    a_second(self.flows()),
                    a_second(datagrams)
                ),
                false => writeln!(text, "     {} {units}/s", a_second(datagrams)),
            };
        }
        if self.template_datagrams > 0 {
            let templates = grouped(self.template_datagrams);
            let _ = writeln!(text, "     {units} with templates: {templates}");
        }
        if (2..=FEW).contains(&self.by_exporter.len()) {
            for sent in &self.by_exporter {
                let flows = match self.counts_flows {
                    true => format!("{:>15} flow records", grouped(sent.flows)),
                    false => String::new(),
                };
                let _ = writeln!(
                    text,
                    "     {:<32}{flows}{:>12} {units}",
                    sent.name,
                    grouped(sent.datagrams)
                );
            }
        } else if self.by_exporter.len() > FEW {
            let exporters = grouped(self.by_exporter.len() as u64);
            let _ = writeln!(text, "     {exporters} exporters");
        }
        text
    }

    /// A line of JSON.
    pub(super) fn json(&self) -> String {
        let exporters: Vec<_> = self
            .by_exporter
            .iter()
            .take(FEW)
            .map(|sent| {
                json!({
                    "name": sent.name,
                    "datagrams": sent.datagrams,
                    "octets": sent.octets,
                    "flow_records": self.counts_flows.then_some(sent.flows),
                })
            })
            .collect();
        let line = json!({
            "datagrams": self.datagrams(),
            "octets": self.octets(),
            "flow_records": self.counts_flows.then(|| self.flows()),
            "template_datagrams": self.template_datagrams,
            "exporters": self.by_exporter.len(),
            "by_exporter": exporters,
            "refused": self.refused,
            "left_out": self.cut,
            "seconds": self.elapsed.as_secs_f64(),
            "seconds_behind": self.missed.as_secs_f64(),
        });
        format!("{line}\n")
    }

    /// What went wrong or otherwise than asked, a line each.
    pub(super) fn complaints(&self) -> String {
        let mut text = String::new();
        if self.refused > 0 {
            let refused = grouped(self.refused);
            let _ = writeln!(
                text,
                "warning: at least {refused} of the datagrams reached no program"
            );
        }
        if self.cut > 0 {
            let cut = grouped(self.cut);
            let _ = writeln!(
                text,
                "warning: {cut} payloads were left out: the capture has only a part of them"
            );
        }
        if self.not_ipfix > 0 {
            let others = grouped(self.not_ipfix);
            let _ = writeln!(
                text,
                "warning: {others} payloads were left out: over TCP and TLS only IPFIX can be sent"
            );
        }
        if !self.missed.is_zero() {
            let missed = self.missed.as_secs_f64();
            let _ = writeln!(
                text,
                "warning: the pace could not be kept; the schedule was {missed:.1} s behind in all"
            );
        }
        if let Some(failure) = &self.failure {
            let _ = writeln!(text, "error: {failure}");
        }
        text
    }

    /// Whether something listened to everything that was sent.
    pub(super) fn is_success(&self) -> bool {
        self.failure.is_none() && self.refused == 0 && self.cut == 0 && self.not_ipfix == 0
    }
}

/// Digits in threes.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_threes() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn text_and_json_tell_the_same_sums() {
        let sent = |name: &str, datagrams| Sent {
            name: name.to_owned(),
            datagrams,
            octets: datagrams * 100,
            flows: datagrams * 30,
        };
        let totals = Totals {
            by_exporter: vec![sent("127.0.0.1", 100), sent("127.0.0.2", 50)],
            elapsed: Duration::from_millis(1_500),
            template_datagrams: 2,
            counts_flows: true,
            ..Totals::default()
        };
        assert_eq!(
            totals.text(),
            "sent 4,500 flow records in 150 datagrams (15,000 bytes) in 1.500 s\n     \
             3,000 flow records/s, 100 datagrams/s\n     \
             datagrams with templates: 2\n     \
             127.0.0.1                                 3,000 flow records         100 datagrams\n     \
             127.0.0.2                                 1,500 flow records          50 datagrams\n"
        );
        let over_tcp = Totals {
            transport: Transport::Tcp,
            ..totals.clone()
        };
        assert_eq!(
            over_tcp.text(),
            totals.text().replace("datagrams", "messages")
        );
        let json: serde_json::Value = serde_json::from_str(&totals.json()).unwrap();
        assert_eq!(json["flow_records"], 4_500);
        assert_eq!(json["by_exporter"][1]["octets"], 5_000);
        assert!(totals.is_success());
    }
}
