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
