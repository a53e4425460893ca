//! Access tokens of an identity provider: JSON Web Tokens that one issuer signed for this deployment
//! (OAuth 2.1, section 5.2; RFC 9068; RFC 8707 for the audience; RFC 8725 for what may go wrong).
//!
//! Which algorithms count is the deployment's decision, never the token's. Signature and issuer are
//! checked by `jsonwebtoken`; for whom a token is, and times, here, by this function's clock.
//!
//! Some issuers (Amazon Cognito, unless a client asks for a resource) name no audience in access tokens,
//! only the client that got it. Such a token is good when the deployment names that client
//! (`SHANNON_OIDC_CLIENTS`), whose tokens are for nothing else; a token that names an audience never is by
//! its client.

use std::collections::BTreeMap;

use boot::{Settings, SettingsError, StartError};
use domain::roles::{self, Role};
use domain::{OwnerId, Principal, UnixMillis, limits};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::credential::Caller;
use crate::discovery::Discovery;
use crate::jwks::{FetchError, KeySource, Keys, NoKey};
use crate::signature;

/// Why a token of an issuer is no good.
#[derive(Debug, Error)]
pub(crate) enum TokenRefused {
    /// It is no JSON Web Token, or one that is not signed, or not by a way that this deployment permits.
    #[error("the token cannot be read, or is signed in a way that is not permitted")]
    Form(#[source] jsonwebtoken::errors::Error),
    /// Its header asks for something that nobody here does.
    #[error("the token has a header `crit`")]
    Critical,
    /// Nobody has such a key.
    #[error("the token is signed with a key that its issuer has not got")]
    Key,
    /// It is for somebody else, or an identity token.
    #[error("the token is not one for this deployment")]
    Audience,
    /// Signature or issuer.
    #[error("the token is not one that its issuer made")]
    Claims(#[source] jsonwebtoken::errors::Error),
    /// A claim that must be there is missing, or is no text or number.
    #[error("the claim {0} is missing or of the wrong kind")]
    Claim(&'static str),
    /// Too old.
    #[error("the token has expired")]
    Expired,
    /// Too young.
    #[error("the token is not valid yet")]
    NotYet,
    /// Whether it is good cannot be found out now.
    #[error(transparent)]
    Unavailable(FetchError),
}

impl From<NoKey> for TokenRefused {
    fn from(none: NoKey) -> Self {
        match none {
            NoKey::Unknown => Self::Key,
            NoKey::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

/// What of a token's claims becomes scopes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeRules {
    /// The claims that hold them: a text with blanks between them, or a list of texts.
    claims: Vec<String>,
    /// What the issuer's own names stand for. In claims that are about scopes our names need none;
    /// elsewhere (groups, roles) a name that is like one of ours was made for something else.
    map: BTreeMap<String, Vec<&'static str>>,
    /// What the issuer puts before our names where it has to.
    prefix: String,
}

impl ScopeRules {
    /// `map`: pairs `theirs=ours`, where ours is a scope, or `role:` and a role.
    ///
    /// # Errors
    /// The pair that is none.
    pub(crate) fn new(claims: Vec<String>, map: &[String]) -> Result<Self, String> {
        let mut rules = Self {
            claims,
            map: BTreeMap::new(),
            prefix: String::new(),
        };
        for pair in map {
            // Their names may have this sign, ours have none.
            let (theirs, ours) = pair.rsplit_once('=').ok_or_else(|| pair.clone())?;
            let scopes: Vec<&'static str> = match ours.strip_prefix("role:") {
                Some(role) => Role::parse(role).map(|role| role.scopes().to_vec()),
                None => {
                    let scope = roles::SCOPES.into_iter().find(|scope| *scope == ours);
                    scope.map(|scope| vec![scope])
                }
            }
            .ok_or_else(|| pair.clone())?;
            rules
                .map
                .entry(theirs.to_owned())
                .or_default()
                .extend(scopes);
        }
        Ok(rules)
    }

    /// The same for an issuer that puts this before our names.
    pub(crate) fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    fn scopes(&self, claims: &Map<String, Value>) -> Vec<String> {
        let mut scopes: Vec<&str> = Vec::new();
        for claim in &self.claims {
            let names: Vec<&str> = match claims.get(claim) {
                Some(Value::String(text)) => text.split_whitespace().collect(),
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
                _ => continue,
            };
            let mapped = names.iter().filter_map(|name| self.map.get(*name));
            scopes.extend(mapped.flatten().copied());
            if OF_SCOPES.contains(&claim.as_str()) {
                let ours = names
                    .iter()
                    .filter_map(|it| it.strip_prefix(self.prefix.as_str()));
                scopes.extend(ours);
            }
        }
        roles::known(scopes)
    }
}

/// Claims that hold scopes and nothing else (RFC 9068, and what some issuers call it).
const OF_SCOPES: [&str; 2] = ["scope", "scp"];

/// The one issuer of a deployment.
pub(crate) struct Issuer<S> {
    name: String,
    /// Under which name its people are owners.
    owners: String,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    audiences: Vec<String>,
    /// Whose tokens without an audience are for this deployment.
    clients: Vec<String>,
    skew_milliseconds: u64,
    rules: ScopeRules,
    keys: Keys<S>,
}

impl Issuer<Discovery> {
    /// Reads the settings; `None` where there is no issuer.
    ///
    /// # Errors
    /// A setting that is wrong.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Option<Self>, StartError> {
        let Some(name) = settings.optional("SHANNON_OIDC_ISSUER")? else {
            return Ok(None);
        };
        let invalid = |name: &str, problem: String, allowed: &str| SettingsError::Invalid {
            name: name.to_owned(),
            problem,
            allowed: allowed.to_owned(),
        };
        let mut audiences = settings.list("SHANNON_OIDC_AUDIENCE")?;
        if audiences.is_empty()
            && let Some(url) = settings.optional("SHANNON_PUBLIC_URL")?
        {
            // What clients name as the resource that they want a token for (RFC 8707).
            audiences.push(format!("{}/mcp", url.trim_end_matches('/')));
        }
        if audiences.is_empty() {
            let problem = "it is empty, and so is SHANNON_PUBLIC_URL".to_owned();
            let allowed = "what the issuer writes into the claim aud of tokens for this deployment";
            return Err(invalid("SHANNON_OIDC_AUDIENCE", problem, allowed).into());
        }
        let mut algorithms = Vec::new();
        for wanted in settings.list("SHANNON_OIDC_ALGORITHMS")? {
            let known = signature::ALGORITHMS.iter().find(|it| it.0 == wanted);
            let known = known.ok_or_else(|| {
                let problem = format!("{wanted} is none of them");
                invalid("SHANNON_OIDC_ALGORITHMS", problem, "RS256, ES256, EdDSA")
            })?;
            algorithms.push(known.1);
        }
        let claims = settings.list("SHANNON_OIDC_SCOPE_CLAIMS")?;
        let map = settings.list("SHANNON_OIDC_SCOPE_MAP")?;
        let rules = ScopeRules::new(claims, &map).map_err(|pair| {
            let allowed = "pairs theirs=ours; ours is a scope, or role:viewer, role:developer, role:operator, role:admin";
            invalid("SHANNON_OIDC_SCOPE_MAP", format!("{pair:?} is none"), allowed)
        })?;
        let rules = match settings.optional("SHANNON_OIDC_SCOPE_PREFIX")? {
            Some(prefix) => rules.with_prefix(prefix),
            None => rules,
        };
        let source = Discovery::from_settings(name, settings)?;
        let issuer = Self::new(
            name,
            &audiences,
            algorithms,
            settings.integer("SHANNON_CLOCK_SKEW_SECONDS")?,
            rules,
            Keys::new(source, settings.integer("SHANNON_JWKS_CACHE_SECONDS")?),
        )
        .with_clients(settings.list("SHANNON_OIDC_CLIENTS")?);
        Ok(Some(match settings.optional("SHANNON_OIDC_OWNERS")? {
            Some(owners) => issuer.with_owners(owners),
            None => issuer,
        }))
    }
}

impl<S: KeySource> Issuer<S> {
    pub(crate) fn new(
        name: &str,
        audiences: &[String],
        algorithms: Vec<Algorithm>,
        skew_seconds: u64,
        rules: ScopeRules,
        keys: Keys<S>,
    ) -> Self {
        signature::install();
        // The algorithm is that of a token, once it is one of ours.
        let mut validation = Validation::default();
        validation.set_issuer(&[name]);
        validation.set_required_spec_claims(&["iss", "sub", "exp"]);
        // Below, and by our clock.
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            name: name.to_owned(),
            owners: name.to_owned(),
            algorithms,
            validation,
            audiences: audiences.to_vec(),
            clients: Vec::new(),
            skew_milliseconds: skew_seconds * 1000,
            rules,
            keys,
        }
    }

    /// The same, with its people known under another name than its address.
    fn with_owners(mut self, owners: &str) -> Self {
        owners.clone_into(&mut self.owners);
        self
    }

    /// The same, which also takes tokens without an audience that one of these clients got.
    pub(crate) fn with_clients(mut self, clients: Vec<String>) -> Self {
        self.clients = clients;
        self
    }

    /// Whether a token is one for this deployment, and no identity token (`token_use` of Cognito).
    fn is_for_us(&self, claims: &Map<String, Value>) -> bool {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if claims.contains_key("token_use") && text("token_use") != Some("access") {
            return false;
        }
        let ours = |audience: &Value| {
            let audience = audience.as_str();
            audience.is_some_and(|it| self.audiences.iter().any(|ours| ours == it))
        };
        match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(ours),
            Some(one) => ours(one),
            None => {
                let client = text("client_id");
                client.is_some_and(|it| self.clients.iter().any(|known| known == it))
            }
        }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub(crate) async fn check(&self, token: &str, now: UnixMillis) -> Result<Caller, TokenRefused> {
        let header = decode_header(token).map_err(TokenRefused::Form)?;
        // The library asks for a key first, and looks at the algorithm then.
        if !self.algorithms.contains(&header.alg) {
            let kind = jsonwebtoken::errors::ErrorKind::InvalidAlgorithm;
            return Err(TokenRefused::Form(kind.into()));
        }
        if header.crit.is_some() {
            return Err(TokenRefused::Critical);
        }
        let key = self.keys.find(header.kid.as_deref(), header.alg, now);
        let key = key.await?;
        // It takes algorithms of one kind of key only.
        let validation = Validation {
            algorithms: vec![header.alg],
            ..self.validation.clone()
        };
        let claims = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(TokenRefused::Claims)?
            .claims;
        // A list of issuers would pass above.
        if claims.get("iss") != Some(&Value::from(self.name.as_str())) {
            return Err(TokenRefused::Claim("iss"));
        }
        if !self.is_for_us(&claims) {
            return Err(TokenRefused::Audience);
        }
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject
            .filter(|it| (1..=limits::SUBJECT_BYTES).contains(&it.len()))
            .ok_or(TokenRefused::Claim("sub"))?;
        let end = time(&claims, "exp")?.ok_or(TokenRefused::Claim("exp"))?;
        let expires_at = end.plus(self.skew_milliseconds);
        if now >= expires_at {
            return Err(TokenRefused::Expired);
        }
        let begin = time(&claims, "nbf")?;
        if begin.is_some_and(|begin| begin > now.plus(self.skew_milliseconds)) {
            return Err(TokenRefused::NotYet);
        }
        Ok(Caller {
            principal: Principal {
                owner: OwnerId::of(&self.owners, subject),
                scopes: self.rules.scopes(&claims),
            },
            expires_at: Some(expires_at),
        })
    }
}

/// A time in seconds, which may have a fraction (RFC 7519, section 2).
fn time(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<UnixMillis>, TokenRefused> {
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(_) => None,
    };
    // Until the year 4000: beyond it a sum could not be made.
    let fits = |seconds: &f64| (0.0..64_060_588_800.0).contains(seconds);
    let seconds = seconds.filter(fits).ok_or(TokenRefused::Claim(name))?;
    let seconds = std::time::Duration::from_secs_f64(seconds);
    let milliseconds = u64::try_from(seconds.as_millis());
    let milliseconds = milliseconds.map_err(|_| TokenRefused::Claim(name))?;
    Ok(Some(UnixMillis(milliseconds)))
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;
