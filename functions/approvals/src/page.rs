//! Requests to the pages: who asks, what waits, what they decided.
//!
//! GET changes nothing, so a link preview decides nothing; without a login it shows nothing either. A
//! POST decides only with the login's cookie, a token that only our page can have put into the form,
//! and from our own site. Doing it twice is harmless: the first decision counts.

use boot::AccessToken;
use boot::http::{Body, full};
use bytes::Bytes;
use domain::approval::{self, Login, Way};
use domain::authorization::Approve;
use domain::ports::{
    ApiKeys, Clock, Compute, GitCredentials, IdSource, Inbox, KeyRing, PolicyBooks, RefusalCounts,
    SessionDirectory, SessionLog, Unavailable, WholeBodies,
};
use domain::session_token::SigningKey;
use domain::use_cases::{
    DecideApproval, DecideError, KeyRefused, check_key, decide_approval, given_decision,
};
use domain::{
    ApprovalLink, ApprovalRequest, CallDigest, CommandOutcome, Decision, Deployment, Head,
    Principal, UnixMillis,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;

use crate::asked::around;
use crate::html::{self, Waiting};
use crate::{git_credentials, keys, policies};

/// Where refused logins come from, in the audit: the address of whoever opened the page is not known.
const SOURCE: &str = "approvals";
const COOKIE: &str = "shannon_approver";
/// How long a login lasts. Own: a working day.
const LOGIN_MILLISECONDS: u64 = 12 * 60 * 60 * 1000;

/// What the pages need of the store.
pub(crate) trait Ports:
    SessionDirectory
    + SessionLog
    + WholeBodies
    + Inbox
    + Compute
    + PolicyBooks
    + GitCredentials
    + ApiKeys
    + KeyRing
    + RefusalCounts
    + Clock
    + IdSource
{
}
impl<P> Ports for P where
    P: SessionDirectory
        + SessionLog
        + WholeBodies
        + Inbox
        + Compute
        + PolicyBooks
        + GitCredentials
        + ApiKeys
        + KeyRing
        + RefusalCounts
        + Clock
        + IdSource
{
}

/// The pages of one deployment.
pub(crate) struct Pages<P> {
    pub(crate) ports: P,
    pub(crate) deployment: Deployment,
    pub(crate) key: SigningKey,
    pub(crate) token: AccessToken,
    /// Hash of the token: a login ends when it is replaced.
    pub(crate) credential: String,
    /// Empty when it is not known.
    pub(crate) public_url: String,
}

/// An answer, or the page that says why there is none.
type Answer = Result<Response<Body>, Box<Response<Body>>>;

impl<P: Ports> Pages<P> {
    /// `principal`: whose token came with the request. Pages have a login of their own.
    pub(crate) async fn handle(
        &self,
        request: Request<Bytes>,
        principal: Option<Principal>,
    ) -> Response<Body> {
        let (ports, principal) = (&self.ports, principal.as_ref());
        let mut response = if let Some(response) =
            policies::answer(ports, &request, principal).await
        {
            response
        } else if let Some(response) = keys::answer(ports, &request, principal).await {
            response
        } else if let Some(response) = git_credentials::answer(ports, &request, principal).await {
            response
        } else {
            let answered = self.answer(request).await;
            answered.unwrap_or_else(|refused| *refused)
        };
        let headers = response.headers_mut();
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            // The form's own origin must arrive with it; no other site gets the address.
            ("referrer-policy", "same-origin"),
            ("x-robots-tag", "noindex, nofollow"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(policy) = HeaderValue::from_str(&html::content_security_policy()) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        if self.is_secure() {
            let year = HeaderValue::from_static("max-age=63072000");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
        }
        response
    }

    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let now = self.ports.now();
        let path = request.uri().path().to_owned();
        let link = path
            .strip_prefix(protocol::approval::PATH)
            .and_then(|text| ApprovalLink::verify(text, &self.key, now).ok())
            .ok_or_else(|| {
                note(
                    StatusCode::NOT_FOUND,
                    "Nothing here",
                    "This address is not good, or not any more. list_approvals gives the address of what \
                     waits now.",
                )
            })?;
        let cookie = cookie(request.headers());
        let login = match cookie.as_deref() {
            Some(text) => self.login(text, now).await?.map(|login| (text, login)),
            None => None,
        };
        match (request.method(), login) {
            (&Method::GET | &Method::HEAD, None) => {
                Ok(page(StatusCode::UNAUTHORIZED, html::login(None)))
            }
            (&Method::GET | &Method::HEAD, Some((text, login))) => {
                self.show(&link, &login, text, None).await
            }
            (&Method::POST, login) => {
                let form = Form::read(request.body());
                is_own_site(request.headers(), &self.public_url)?;
                match (form.field("action"), login) {
                    ("login", _) => self.log_in(&path, form.field("token")).await,
                    (_, None) => Ok(page(
                        StatusCode::UNAUTHORIZED,
                        html::login(Some("Your login has ended. Log in again, then decide.")),
                    )),
                    (_, Some((text, login))) => {
                        self.decide(&path, &link, &login, text, &form).await
                    }
                }
            }
            _ => {
                let mut refused = *note(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Not allowed",
                    "This page takes GET and POST.",
                );
                refused
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                Ok(refused)
            }
        }
    }

    fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// For the audit. A count that cannot be kept is an error in the log, and changes no answer.
    async fn count_refusal(&self) {
        let counted = self.ports.count_refusal(SOURCE, self.ports.now()).await;
        if let Err(error) = counted {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a refused login was not counted"
            );
        }
    }

    /// The login of a cookie, if what it was made with is still good.
    async fn login(
        &self,
        text: &str,
        now: UnixMillis,
    ) -> Result<Option<Login>, Box<Response<Body>>> {
        let credential = match Login::claimed_key(text) {
            None => self.credential.clone(),
            Some(id) => match self.ports.api_key(&id).await.map_err(unavailable)? {
                Some(record) if record.is_good(now) => record.digest.to_hex(),
                _ => return Ok(None),
            },
        };
        Ok(Login::verify(text, &credential, &self.key, now).ok())
    }

    /// Who logs in with this, and what the login depends on.
    async fn approver(&self, token: &str) -> Result<Option<(Login, String)>, Unavailable> {
        let day = self.ports.now().plus(LOGIN_MILLISECONDS);
        let (principal, key, expires_at, credential) = match self.token.is(token) {
            Some(principal) => (principal, None, day, self.credential.clone()),
            None => match check_key(&self.ports, token).await {
                Ok(it) => {
                    let (ends, digest) = (it.expires_at.min(day), it.digest.to_hex());
                    (it.principal(), Some(it.id), ends, digest)
                }
                Err(KeyRefused::Unavailable(error)) => return Err(error),
                Err(_) => return Ok(None),
            },
        };
        let approver = principal.authorize::<Approve>().ok();
        Ok(approver.map(|approver| {
            let login = Login {
                owner: approver.owner().clone(),
                key,
                expires_at,
            };
            (login, credential)
        }))
    }

    async fn log_in(&self, path: &str, token: &str) -> Answer {
        let approver = self.approver(token.trim()).await.map_err(unavailable)?;
        let Some((login, credential)) = approver else {
            tracing::warn!("a login to an approval was refused");
            self.count_refusal().await;
            return Ok(page(
                StatusCode::UNAUTHORIZED,
                html::login(Some("This is not a token that may approve.")),
            ));
        };
        let value = login.sign(&credential, &self.key);
        let (secure, place) = (
            if self.is_secure() { "; Secure" } else { "" },
            self.cookie_path(),
        );
        let cookie = format!(
            "{COOKIE}={value}; Path={place}; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            LOGIN_MILLISECONDS / 1000
        );
        let mut response = self.see_other(path);
        let cookie = HeaderValue::from_str(&cookie).map_err(|_| broken())?;
        response.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(response)
    }

    /// Where the pages are for a browser, which sees the stage in front of them.
    fn cookie_path(&self) -> String {
        let below = url::Url::parse(&self.public_url).ok();
        match below {
            Some(url) => format!(
                "{}{}",
                url.path().trim_end_matches('/'),
                protocol::approval::PATH
            ),
            None => "/".to_owned(),
        }
    }

    /// Back to the page, by the last part of its address: a browser may see more in front of it.
    fn see_other(&self, path: &str) -> Response<Body> {
        let last = path.rsplit('/').next().unwrap_or_default();
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = StatusCode::SEE_OTHER;
        if let Ok(location) = HeaderValue::from_str(last) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    async fn head(&self, link: &ApprovalLink, login: &Login) -> Result<Head, Box<Response<Body>>> {
        if login.owner != link.key.owner {
            return Err(note(
                StatusCode::FORBIDDEN,
                "Not yours",
                "This is about a session of somebody else.",
            ));
        }
        let head = self.ports.head(&link.key).await.map_err(unavailable)?;
        head.ok_or_else(|| {
            note(
                StatusCode::NOT_FOUND,
                "Nothing here",
                "The session is not there any more.",
            )
        })
    }

    async fn show(
        &self,
        link: &ApprovalLink,
        login: &Login,
        login_text: &str,
        problem: Option<(StatusCode, String)>,
    ) -> Answer {
        let head = self.head(link, login).await?;
        let given = given_decision(&self.ports, &link.key, &link.approval);
        if let Some(given) = given.await.map_err(unavailable)? {
            let mut words = html::decided(&given.decision);
            match &given.outcome {
                None => words.push_str(" The session takes it as soon as it goes on."),
                Some(CommandOutcome::Refused(why)) => {
                    words.push_str(&format!(" It did not come to that: {why}."));
                }
                Some(_) => {}
            }
            if let Some((_, problem)) = &problem {
                words.push_str(&format!(" {problem}"));
            }
            let status = problem.map_or(StatusCode::OK, |(status, _)| status);
            return Ok(page(status, html::note("Decided", &words)));
        }
        let now = self.ports.now();
        let waits = head
            .question
            .as_ref()
            .filter(|waits| waits.id == link.approval && !head.state.is_ended())
            .and_then(|waits| Some((waits, waits.approval.as_ref()?)))
            .filter(|(_, request)| !request.is_expired(now));
        let Some((waits, request)) = waits else {
            return Ok(*note(
                StatusCode::GONE,
                "It does not wait any more",
                "The call was withdrawn with its turn, the session has ended, or time was up. Nothing ran \
                 because of it.",
            ));
        };
        let around = around(&self.ports, &head, &link.approval)
            .await
            .map_err(unavailable)?;
        let form_token =
            approval::form_token(login_text, &link.approval, &request.digest, &self.key);
        let waiting = Waiting {
            head: &head,
            request,
            around: &around,
            shown: &waits.input,
            form_token: &form_token,
            now,
            problem: problem.as_ref().map(|(_, words)| words.as_str()),
        };
        let status = problem
            .as_ref()
            .map_or(StatusCode::OK, |(status, _)| *status);
        Ok(page(status, waiting.page()))
    }

    async fn decide(
        &self,
        path: &str,
        link: &ApprovalLink,
        login: &Login,
        login_text: &str,
        form: &Form,
    ) -> Answer {
        let problem = |status, words: &str| Some((status, words.to_owned()));
        let Ok(digest) = CallDigest::parse(form.field("digest")) else {
            let odd = problem(StatusCode::BAD_REQUEST, "The form was not complete.");
            return self.show(link, login, login_text, odd).await;
        };
        let token = form.field("form_token");
        if !approval::is_form_token(token, login_text, &link.approval, &digest, &self.key) {
            let odd = problem(
                StatusCode::FORBIDDEN,
                "The form was not one of this page. Decide again.",
            );
            return self.show(link, login, login_text, odd).await;
        }
        let head = self.head(link, login).await?;
        let decision = match self.decision(&head, link, form).await {
            Ok(decision) => decision,
            Err(words) => {
                let odd = Some((StatusCode::BAD_REQUEST, words));
                return self.show(link, login, login_text, odd).await;
            }
        };
        let approver = Principal {
            owner: login.owner.clone(),
            scopes: vec![<Approve as domain::Scope>::NAME.to_owned()],
        };
        let approver = approver.authorize().map_err(|_| broken())?;
        let kind = decision.kind();
        let decide = DecideApproval {
            key: link.key.clone(),
            approval: link.approval.clone(),
            digest,
            decision,
            way: Way::Page,
        };
        match decide_approval(&self.ports, &self.deployment, &approver, decide).await {
            Ok(_) => {
                tracing::info!(session = %link.key.session, approval = %link.approval, kind, "decided");
                Ok(self.see_other(path))
            }
            Err(DecideError::Unavailable(error)) => Err(unavailable(error)),
            Err(error) => {
                let words = sentence(&error.to_string());
                let odd = Some((StatusCode::CONFLICT, words));
                self.show(link, login, login_text, odd).await
            }
        }
    }

    /// Reads the decision of a form. Only what stands whole on the page can be allowed.
    async fn decision(
        &self,
        head: &Head,
        link: &ApprovalLink,
        form: &Form,
    ) -> Result<Decision, String> {
        let decision = match form.field("decision") {
            "allow_once" => Decision::AllowOnce,
            "allow_call" => Decision::AllowCall,
            "allow_pattern" => Decision::AllowPattern,
            "allow_edited" => Decision::AllowEdited {
                input: edited(head, form)?,
            },
            "deny" => {
                return Ok(Decision::Deny {
                    reason: form.field("reason").trim().to_owned(),
                });
            }
            _ => return Err("Choose one of the buttons.".to_owned()),
        };
        let Some((waits, request)) = waiting(head) else {
            return Ok(decision);
        };
        let around = around(&self.ports, head, &link.approval)
            .await
            .map_err(|_| "The log cannot be read now. Try again.".to_owned())?;
        let looked = Waiting {
            head,
            request,
            around: &around,
            shown: &waits.input,
            form_token: "",
            now: self.ports.now(),
            problem: None,
        };
        if looked.is_whole() {
            Ok(decision)
        } else {
            Err("Not all of it could be shown, so it cannot be allowed.".to_owned())
        }
    }
}

fn waiting(head: &Head) -> Option<(&domain::checkpoint::PendingQuestion, &ApprovalRequest)> {
    let waits = head.question.as_ref()?;
    Some((waits, waits.approval.as_ref()?))
}

/// The input that a person wrote: the whole, or the command in it.
fn edited(head: &Head, form: &Form) -> Result<String, String> {
    let input = form.field("input").trim();
    if !input.is_empty() {
        let parsed: Value = serde_json::from_str(input)
            .map_err(|error| format!("The input is not valid JSON: {error}."))?;
        if !parsed.is_object() {
            return Err("The input must be a JSON object.".to_owned());
        }
        return Ok(parsed.to_string());
    }
    let command = form.field("command");
    if command.trim().is_empty() {
        return Err("The command is empty.".to_owned());
    }
    let shown = waiting(head).map_or("", |(waits, _)| waits.input.as_str());
    let mut input: Value =
        serde_json::from_str(shown).map_err(|_| "This input cannot be edited.".to_owned())?;
    input["command"] = command.into();
    Ok(input.to_string())
}

/// The fields of a form, as browsers send them.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &Bytes) -> Self {
        let fields = url::form_urlencoded::parse(body);
        // Browsers send every line break of a text as two characters.
        Self(
            fields
                .map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")))
                .collect(),
        )
    }

    fn field(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A browser says where a form comes from; one of another site is refused.
fn is_own_site(headers: &HeaderMap, public_url: &str) -> Result<(), Box<Response<Body>>> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = headers
        .get("sec-fetch-site")
        .and_then(|value| value.to_str().ok());
    let of_others = site.is_some_and(|site| site != "same-origin");
    let origin = text(header::ORIGIN).filter(|_| site.is_none());
    let host = text(header::HOST).unwrap_or_default();
    // Behind a distribution the host is another one than the browser's.
    let authority = |url: &str| {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let public = authority(public_url);
    let foreign = origin
        .map(authority)
        .is_some_and(|it| it != host && it != public);
    if of_others || foreign {
        return Err(note(
            StatusCode::FORBIDDEN,
            "Not from here",
            "The form was sent from another site. Open the address of the approval itself.",
        ));
    }
    Ok(())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

fn page(status: StatusCode, html: String) -> Response<Body> {
    let mut response = Response::new(full(html));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

fn note(status: StatusCode, title: &str, words: &str) -> Box<Response<Body>> {
    Box::new(page(status, html::note(title, words)))
}

fn unavailable(error: Unavailable) -> Box<Response<Body>> {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "an approval cannot be served now"
    );
    note(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not now",
        "The session's records cannot be reached now. Load the page again in a moment.",
    )
}

fn broken() -> Box<Response<Body>> {
    note(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something is wrong",
        "The deployment's log says more.",
    )
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
