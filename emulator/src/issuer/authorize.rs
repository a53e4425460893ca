//! `/oauth/authorize`: a client sends a person's browser here; the person proves who they are and says
//! what the client may do.
//!
//! Nothing is remembered between the page and the decision: the form brings everything again, and
//! everything is checked again. A decision needs the development token each time, so that no other
//! page can make a browser decide.

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::{
    Issuer, SCOPES,
    clients::Client,
    form::{Form, MOST_BYTES},
    grants::{Login, NotGranted},
    now, page,
};

/// What clients get that ask for nothing.
const DEFAULT_SCOPES: &[&str] = SCOPES.split_at(2).0;

/// A request that can be put before a person.
pub(super) struct Asked {
    pub(super) form: Form,
    pub(super) client: Client,
    pub(super) redirect: String,
    pub(super) scopes: Vec<String>,
    challenge: String,
}

impl Asked {
    /// What is usual is, until the person has said something else.
    pub(super) fn is_ticked(&self, scope: &String) -> bool {
        match self.form.get("decision") {
            Some(_) => self.form.granted.contains(scope),
            None => scope.starts_with("sessions:"),
        }
    }
}

/// Why it cannot.
enum Unusable {
    /// Where to send the browser is not known, or not to be trusted: the person reads it.
    Here(String),
    /// The client is told.
    There(Box<Form>, &'static str, String),
}

impl Issuer {
    async fn asked(&self, text: &[u8]) -> Result<Asked, Unusable> {
        if text.len() > MOST_BYTES {
            return Err(Unusable::Here("the request is too long".to_owned()));
        }
        let form = Form::parse(text).map_err(Unusable::Here)?;
        let client_id = form.need("client_id").map_err(Unusable::Here)?;
        let redirect = form.need("redirect_uri").map_err(Unusable::Here)?;
        let redirect = redirect.to_owned();
        let client = self.0.registration.client(client_id).await;
        let client = client.map_err(Unusable::Here)?;
        if !client.may_have(&redirect) {
            let problem = "redirect_uri is none that the client registered".to_owned();
            return Err(Unusable::Here(problem));
        }
        match self.checked(&form) {
            Ok((scopes, challenge)) => Ok(Asked {
                form,
                client,
                redirect,
                scopes,
                challenge,
            }),
            Err((code, problem)) => Err(Unusable::There(Box::new(form), code, problem)),
        }
    }

    /// The scopes and the challenge.
    fn checked(&self, form: &Form) -> Result<(Vec<String>, String), (&'static str, String)> {
        let invalid = |problem: &str| ("invalid_request", problem.to_owned());
        if form.get("response_type") != Some("code") {
            let problem = "response_type is code".to_owned();
            return Err(("unsupported_response_type", problem));
        }
        if form.get("code_challenge_method") != Some("S256") {
            return Err(invalid("code_challenge_method is S256"));
        }
        let challenge = form.need("code_challenge").map_err(|it| invalid(&it))?;
        if challenge.len() != 43 {
            return Err(invalid("code_challenge is a SHA-256 in base64url"));
        }
        if let Some(resource) = form.get("resource")
            && !self.is_resource(resource)
        {
            let ours = &self.0.options.resource;
            let problem = format!("resource: tokens of this issuer are for {ours}");
            return Err(("invalid_target", problem));
        }
        // What is not known here (openid, offline_access) is left out, as RFC 6749 allows.
        let wanted = form.get("scope").map(str::split_whitespace);
        let scopes: Vec<String> = match wanted {
            None => DEFAULT_SCOPES.iter().map(ToString::to_string).collect(),
            Some(wanted) => wanted
                .filter(|scope| SCOPES.contains(scope))
                .map(str::to_owned)
                .collect(),
        };
        if scopes.is_empty() {
            let problem = format!("scope has none of {}", SCOPES.join(" "));
            return Err(("invalid_scope", problem));
        }
        Ok((scopes, challenge.to_owned()))
    }

    /// Sends the browser back to the client.
    fn back(&self, form: &Form, answer: &[(&str, &str)]) -> Response {
        let redirect = form.get("redirect_uri").unwrap_or_default();
        let Ok(mut url) = Url::parse(redirect) else {
            return page::problem("redirect_uri is no address");
        };
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(answer);
            if let Some(state) = form.get("state") {
                query.append_pair("state", state);
            }
            query.append_pair("iss", &self.0.options.url);
        }
        let Ok(location) = HeaderValue::from_str(url.as_str()) else {
            return page::problem("redirect_uri is no address");
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(header::LOCATION, location);
        let store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, store);
        response
    }

    fn refused(&self, unusable: Unusable) -> Response {
        match unusable {
            Unusable::Here(problem) => page::problem(&problem),
            Unusable::There(form, code, problem) => {
                self.back(&form, &[("error", code), ("error_description", &problem)])
            }
        }
    }

    /// Compares digests: how long it takes says nothing about the token.
    fn is_person(&self, given: &str) -> bool {
        crate::token::sha256_hex(given) == crate::token::sha256_hex(&self.0.options.token)
    }
}

/// `GET`: shows the page. Changes nothing.
pub(super) async fn ask(State(issuer): State<Issuer>, RawQuery(query): RawQuery) -> Response {
    match issuer.asked(query.unwrap_or_default().as_bytes()).await {
        Ok(asked) => page::ask(&asked, None),
        Err(unusable) => issuer.refused(unusable),
    }
}

/// `POST`: the person's decision.
pub(super) async fn decide(State(issuer): State<Issuer>, body: Bytes) -> Response {
    let asked = match issuer.asked(&body).await {
        Ok(asked) => asked,
        Err(unusable) => return issuer.refused(unusable),
    };
    if asked.form.get("decision") != Some("allow") {
        let denied = [("error", "access_denied")];
        return issuer.back(&asked.form, &denied);
    }
    let given = asked.form.get("development_token").unwrap_or_default();
    if !issuer.is_person(given.trim()) {
        return page::ask(&asked, Some("This is not the development token."));
    }
    let granted = |scope: &&String| asked.form.granted.contains(scope);
    let scopes: Vec<String> = asked.scopes.iter().filter(granted).cloned().collect();
    if scopes.is_empty() {
        return page::ask(&asked, Some("Choose what it may do, or deny it."));
    }
    let login = Login {
        client_id: asked.form.get("client_id").unwrap_or_default().to_owned(),
        scopes,
    };
    let code = issuer
        .grants()
        .code(login, &asked.redirect, &asked.challenge, now());
    match code {
        Ok(code) => issuer.back(&asked.form, &[("code", &code)]),
        Err(NotGranted::Invalid(problem)) => page::problem(problem),
        Err(NotGranted::NotKept(error)) => page::problem(&error.to_string()),
    }
}
