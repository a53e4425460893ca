//! The page on which the person decides: plain HTML, for a phone too, without scripts.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use url::Url;

use super::authorize::Asked;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem;\
color:#1b1b1b;background:#fff}h1{font-size:1.3rem}label{display:block;margin:.4rem 0}\
input[type=password]{width:100%;font:inherit;padding:.5rem;box-sizing:border-box}\
button{font:inherit;padding:.6rem 1.2rem;margin:.8rem .8rem 0 0}.problem{color:#a00000;font-weight:600}\
code{overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}\
.problem{color:#ff9a9a}}";

fn meaning(scope: &str) -> &'static str {
    match scope {
        "sessions:read" => "see your sessions, their files and what they say",
        "sessions:write" => "start sessions, send messages to them and end them",
        "approve" => {
            "decide in your place what a session may do: only for a program that asks you each time"
        }
        _ => "look at the audit and change what the whole deployment is allowed",
    }
}

/// Asks the person, with what was wrong the last time.
pub(super) fn ask(asked: &Asked, problem: Option<&str>) -> Response {
    let place = Url::parse(&asked.redirect).ok();
    let place = place
        .as_ref()
        .map_or("", |url| url.host_str().unwrap_or_else(|| url.scheme()));
    let status = match problem {
        None => StatusCode::OK,
        Some(_) => StatusCode::FORBIDDEN,
    };
    let page = html! {
        h1 { "A program wants to use this Shannon stack" }
        p {
            "It calls itself " strong { (asked.client.name) } ", and the answer goes to " code { (place) }
            ". Go on only if you have just started a login there."
        }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        form method="post" action="/oauth/authorize" {
            @for (name, value) in asked.form.repeated() {
                input type="hidden" name=(name) value=(value);
            }
            p { "It may:" }
            @for scope in &asked.scopes {
                label {
                    input type="checkbox" name="granted" value=(scope) checked[asked.is_ticked(scope)];
                    " " (meaning(scope)) " (" code { (scope) } ")"
                }
            }
            label {
                "The development token of this stack (printed at its start, kept in the file " code { "token" } " of its state):"
                input type="password" name="development_token" autocomplete="off" autofocus;
            }
            button name="decision" value="allow" { "Allow" }
            button name="decision" value="deny" { "Deny" }
        }
    };
    respond(status, "Log in", &page)
}

/// What went wrong, for the person whose browser was sent here.
pub(super) fn problem(problem: &str) -> Response {
    let page = html! {
        h1 { "This login cannot go on" }
        p.problem role="alert" { (problem) }
        p { "Nothing was allowed. Start the login again in the program that you came from." }
    };
    respond(StatusCode::BAD_REQUEST, "Log in", &page)
}

fn respond(status: StatusCode, title: &str, content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Shannon" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body { (content) }
        }
    };
    let mut response = Response::new(Body::from(page.into_string()));
    *response.status_mut() = status;
    // No form-action: browsers apply it to where the answer to the form leads, which is the client.
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
