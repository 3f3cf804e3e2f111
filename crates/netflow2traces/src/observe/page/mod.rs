//! The page at `/`: files that are part of the program, and nothing from anywhere else. What they show comes from
//! `/api/live`.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

/// Everything is ours and from here, scripts can't write markup, and nobody frames us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $kind:ident $file:literal),+ $(,)?) => {
        &[$(($path, $kind, include_str!($file))),+]
    };
}

/// Path, media type, content.
static FILES: &[(&str, &str, &str)] = files![
    "/" HTML "index.html",
    "/page/base.css" CSS "base.css",
    "/page/parts.css" CSS "parts.css",
    "/page/icon.svg" SVG "icon.svg",
    "/page/theme.js" SCRIPT "theme.js",
    "/page/main.js" SCRIPT "main.js",
    "/page/dom.js" SCRIPT "dom.js",
    "/page/format.js" SCRIPT "format.js",
    "/page/chart.js" SCRIPT "chart.js",
    "/page/overview.js" SCRIPT "overview.js",
    "/page/exporters.js" SCRIPT "exporters.js",
    "/page/flows.js" SCRIPT "flows.js",
    "/page/tops.js" SCRIPT "tops.js",
    "/page/trace.js" SCRIPT "trace.js",
];

/// A route for each file.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(
                path,
                get(move || async move {
                    let headers = [(CONTENT_TYPE, *kind), (CONTENT_SECURITY_POLICY, POLICY)];
                    (headers, *text).into_response()
                }),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quoted words of a text that begin so.
    fn quoted<'a>(text: &'a str, begins: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(['"', '\''])
            .filter(move |word| word.starts_with(begins))
    }

    #[test]
    fn every_file_that_is_asked_for_is_there_and_none_for_nothing() {
        let mut asked = vec!["/"];
        for (_, _, text) in FILES {
            asked.extend(quoted(text, "/page/"));
            for import in quoted(text, "./") {
                let there = |(path, _, _): &&(&str, &str, &str)| {
                    path.strip_prefix("/page") == import.strip_prefix('.')
                };
                asked.extend(FILES.iter().find(there).map(|(path, _, _)| *path));
                assert!(FILES.iter().any(|file| there(&file)), "{import}");
            }
        }
        for path in &asked {
            assert!(FILES.iter().any(|(known, _, _)| known == path), "{path}");
        }
        for (path, _, _) in FILES {
            assert!(asked.contains(path), "nothing asks for {path}");
        }
    }

    #[test]
    fn nothing_is_inline_or_written_as_markup() {
        for (path, _, text) in FILES {
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                " style=\"",
                " onclick=",
            ] {
                assert!(!text.contains(banned), "{path} has {banned}");
            }
            let hosts = text.match_indices("://").filter(|(at, _)| {
                // The name of a language isn't an address.
                !text[at + 3..].starts_with("www.w3.org/")
            });
            assert_eq!(hosts.count(), 0, "{path} names another host");
        }
    }
}
