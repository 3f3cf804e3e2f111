//! Names of values, put together on the stack.

/// A short text put together on the stack.
pub(crate) struct ShortText {
    octets: [u8; 64],
    len: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        Self {
            octets: [0; 64],
            len: 0,
        }
    }
}

impl ShortText {
    pub(crate) fn push(&mut self, octet: u8) {
        if let Some(to) = self.octets.get_mut(self.len) {
            *to = octet;
            self.len += 1;
        }
    }

    pub(crate) fn push_number(&mut self, value: u64) {
        let mut digits = [0; 20];
        let len = otlp_wire::text::put_decimal(&mut digits, value);
        digits.iter().take(len).for_each(|digit| self.push(*digit));
    }

    /// "idle timeout" becomes "idle_timeout".
    pub(crate) fn push_snake_case(&mut self, name: &str) {
        for octet in name.bytes() {
            if octet.is_ascii_alphanumeric() {
                self.push(octet.to_ascii_lowercase());
            } else if self.len > 0 && self.octets.get(self.len - 1) != Some(&b'_') {
                self.push(b'_');
            }
        }
        while self.len > 0 && self.octets.get(self.len - 1) == Some(&b'_') {
            self.len -= 1;
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.octets
            .get(..self.len)
            .and_then(|text| str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}
