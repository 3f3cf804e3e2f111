//! The words by which servers say what a status leaves open.

/// Phrases, in lower case, by which servers say that a message exceeds their size limit. Mostly the
/// transport's own words: limits on traces, tenants and rates use others. What exceeds the burst of
/// a rate limit never passes, however often it is sent.
const TOO_LARGE: [&str; 11] = [
    "received message larger than max", // grpc-go, gRPC core, grpc-js
    "received message after decompression larger than max", // grpc-go
    "message length too large",         // tonic
    "exceeded while decompressing message", // tonic
    "grpc message exceeds maximum size", // grpc-java
    "message exceeds the maximum configured message size", // grpc-dotnet
    "payload too large",                // Envoy's local reply
    "request_payload_too_large",        // Envoy's response code details
    "payload size exceeds the limit",   // Google's front ends
    "request body too large",           // Go's http.MaxBytesReader
    OVER_BURST,
];

/// Tempo's words for a request larger than its rate limit's burst.
pub(super) const OVER_BURST: &str = "exceeds ingestion limit";

pub(super) fn says_too_large(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    TOO_LARGE.iter().any(|phrase| message.contains(phrase))
}

/// Phrases, in lower case, by which servers say that a body ended before its stated length.
const CUT_SHORT: [&str; 7] = [
    "unexpected eof",                    // Go
    "unexpected end of",                 // many
    "end of file before message length", // hyper
    "premature",                         // Java, Python
    "early eof",                         // Jetty
    "request aborted",                   // Node's raw-body
    "incomplete",                        // Netty, aiohttp
];

pub(super) fn says_cut_short(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    CUT_SHORT.iter().any(|phrase| message.contains(phrase))
}

pub(super) fn says_compression(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["compress", "grpc-encoding", "content is"]
        .iter()
        .any(|word| message.contains(word))
}

/// Phrases by which servers answer plain HTTP on a port of TLS.
const PLAIN_TO_TLS: [&str; 3] = [
    "HTTP request to an HTTPS server",                   // Go
    "plain HTTP request was sent to HTTPS port",         // nginx
    "speaking plain HTTP to an SSL-enabled server port", // Apache
];

/// The phrase in it that says so.
pub(super) fn plain_to_tls(text: &str) -> Option<&'static str> {
    PLAIN_TO_TLS
        .into_iter()
        .find(|&phrase| text.contains(phrase))
}

/// What a page of HTML says in short: that phrase, or its title.
pub(super) fn page_text(page: &str) -> String {
    if let Some(phrase) = plain_to_tls(page) {
        return phrase.to_owned();
    }
    let small = page.to_ascii_lowercase();
    let title = small.find("<title").and_then(|tag| {
        let begin = tag + small[tag..].find('>')? + 1;
        let end = begin + small[begin..].find('<')?;
        page.get(begin..end)
    });
    title.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_says_its_title_or_that_it_wants_tls() {
        let nginx = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>";
        assert!(plain_to_tls(&page_text(nginx)).is_some());
        let apache = "<TITLE>400 Bad Request</TITLE> You're speaking plain HTTP to an SSL-enabled server port.<br />";
        assert!(plain_to_tls(&page_text(apache)).is_some());
        for (page, title) in [
            ("<head><TITLE lang=en>\n Sign in </Title>", "Sign in"),
            ("<title>cut", ""),
            ("<title", ""),
            ("no page", ""),
        ] {
            assert_eq!(page_text(page), title, "{page}");
        }
    }

    proptest! {
        #[test]
        fn no_page_panics(page in "(<title|>|</title>|é|İ|[ -~]){0,40}") {
            let _ = page_text(&page);
        }
    }
}
