//! Whole numbers of the command line, with what is accepted in the words of people.

use std::ops::RangeInclusive;

/// A reader of whole numbers in a range.
pub fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| match (range.start(), range.end()) {
            (0, &u64::MAX) => "not a whole number".to_owned(),
            (start, &u64::MAX) => format!("not a whole number of {start} or more"),
            (start, end) => format!("not a whole number from {start} to {end}"),
        })
    }
}

/// Reads a port.
///
/// # Errors
/// What is none.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "not a port, a whole number from 0 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_in_the_range_is_told_the_range() {
        let read = whole::<u32>(1..=1000);
        assert_eq!(read("1000"), Ok(1000));
        for text in ["0", "1001", "-3", "abc", "", "1.5", "99999999999999999999"] {
            let error = read(text).unwrap_err();
            assert_eq!(error, "not a whole number from 1 to 1000", "{text}");
        }
        assert_eq!(
            whole::<u64>(1..=u64::MAX)("0").unwrap_err(),
            "not a whole number of 1 or more"
        );
        assert_eq!(
            whole::<u64>(0..=u64::MAX)("x").unwrap_err(),
            "not a whole number"
        );
        assert_eq!(
            port("65536").unwrap_err(),
            "not a port, a whole number from 0 to 65535"
        );
    }
}
