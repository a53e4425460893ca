//! Whose credential a request comes with: the deployment's own token, an API key, or an access token of the
//! deployment's issuer.

use boot::AccessToken;
use boot::access_token::bearer;
use domain::ports::{ApiKeys, Clock};
use domain::use_cases::{KeyRefused, check_key};
use domain::{Principal, UnixMillis, api_key, limits};
use thiserror::Error;

use crate::issuer::{Issuer, TokenRefused};
use crate::jwks::KeySource;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// When their credential ends, if it does.
    pub(crate) expires_at: Option<UnixMillis>,
}

/// Why nobody is let in.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    /// There is no bearer token.
    #[error("there is no bearer token")]
    NoToken,
    /// Longer than any token of ours.
    #[error("the token has {0} bytes")]
    TooLong(usize),
    /// It is not the deployment's, nor anything that others make.
    #[error("it is no token of this deployment")]
    Unknown,
    /// It is, or pretends to be, a key.
    #[error(transparent)]
    Key(KeyRefused),
    /// It is, or pretends to be, a token of the issuer.
    #[error(transparent)]
    Token(TokenRefused),
    /// Whether it is good cannot be found out now.
    #[error("a credential cannot be checked now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<KeyRefused> for Refused {
    fn from(refused: KeyRefused) -> Self {
        match refused {
            KeyRefused::Unavailable(error) => Self::Unavailable(error.into()),
            refused => Self::Key(refused),
        }
    }
}

impl From<TokenRefused> for Refused {
    fn from(refused: TokenRefused) -> Self {
        match refused {
            TokenRefused::Unavailable(error) => Self::Unavailable(error.into()),
            refused => Self::Token(refused),
        }
    }
}

/// What lets callers in.
pub(crate) struct Doors<S> {
    /// The deployment's own token.
    pub(crate) token: AccessToken,
    /// Whoever logs people in, if anybody does.
    pub(crate) issuer: Option<Issuer<S>>,
}

/// Who calls, from the value of the `Authorization` header.
///
/// The kind of a credential is seen from its form, which is no secret. Once an hour it is noted that a key
/// is used; where that fails, the log says so and the caller is let in.
///
/// # Errors
/// [`Refused`]. Only [`Refused::Unavailable`] may be told from the others.
pub(crate) async fn caller<P: ApiKeys + Clock, S: KeySource>(
    doors: &Doors<S>,
    ports: &P,
    authorization: Option<&str>,
) -> Result<Caller, Refused> {
    let given = bearer(authorization).ok_or(Refused::NoToken)?;
    if given.len() > limits::TOKEN_BYTES {
        return Err(Refused::TooLong(given.len()));
    }
    if let Some(principal) = doors.token.is(given) {
        return Ok(Caller {
            principal,
            expires_at: None,
        });
    }
    if !given.starts_with(api_key::PREFIX) {
        let is_token = given.bytes().filter(|byte| *byte == b'.').count() == 2;
        return match &doors.issuer {
            Some(issuer) if is_token => Ok(issuer.check(given, ports.now()).await?),
            _ => Err(Refused::Unknown),
        };
    }
    let record = check_key(ports, given).await?;
    let now = ports.now();
    if record.is_use_news(now)
        && let Err(error) = ports.note_key_use(&record.id, now).await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            key = %record.id,
            "that an API key was used is not noted"
        );
    }
    Ok(Caller {
        principal: record.principal(),
        expires_at: Some(record.expires_at),
    })
}

#[cfg(test)]
mod tests {
    use domain::ports::{KeyRing, NewKey, RevokedKey};
    use domain::{ApiKey, KeyName, KeyRecord, OwnerId};
    use sha2::{Digest, Sha256};
    use testkit::{Fake, FaultTime};

    use super::*;
    use crate::issuer::ScopeRules;
    use crate::jwks::Keys;
    use crate::test_issuer::{Published, Signer};

    const OWN: &str = "the-token-of-this-deployment-is-long";

    fn own() -> Doors<Published> {
        let digest = Sha256::digest(OWN);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Doors {
            token: AccessToken::from_sha256_hex(&hex).expect("a hash"),
            issuer: None,
        }
    }

    async fn key(fake: &Fake, id: u8) -> (ApiKey, NewKey) {
        let key = ApiKey::from_random([id; 17], [[2; 17], [3; 17]]);
        let new = NewKey {
            record: KeyRecord {
                id: key.id().clone(),
                owner: OwnerId::of("i", "s"),
                name: KeyName::parse("ci").expect("valid"),
                scopes: vec!["sessions:read".to_owned()],
                digest: key.digest(),
                created_at: fake.now(),
                expires_at: fake.now().plus(10 * limits::KEY_USE_MILLISECONDS),
                revoked_at: None,
                used_at: None,
            },
            by: OwnerId::of("i", "administrator"),
        };
        fake.add_key(&new).await.expect("added");
        (key, new)
    }

    async fn call(fake: &Fake, token: &str) -> Result<Caller, Refused> {
        caller(&own(), fake, Some(&format!("Bearer {token}"))).await
    }

    #[tokio::test]
    async fn a_key_opens_what_it_allows_until_it_ends() {
        let fake = Fake::new(1);
        let (key, new) = key(&fake, 1).await;
        let caller = call(&fake, key.expose()).await.expect("let in");
        assert_eq!(caller.principal, new.record.principal());
        assert_eq!(caller.expires_at, Some(new.record.expires_at));
        let own = call(&fake, OWN).await.expect("let in");
        assert_eq!(own.expires_at, None);
        assert_ne!(own.principal.owner, caller.principal.owner);
        let left = new.record.expires_at.0 - fake.now().0;
        fake.clock().advance(left - 1);
        assert!(call(&fake, key.expose()).await.is_ok());
        fake.clock().advance(1);
        let refused = call(&fake, key.expose()).await;
        assert!(matches!(refused, Err(Refused::Key(KeyRefused::Expired(_)))));
    }

    #[tokio::test]
    async fn a_revoked_key_opens_nothing() {
        let fake = Fake::new(1);
        let (key, new) = key(&fake, 1).await;
        let revoked = RevokedKey {
            record: new.record,
            by: new.by,
            now: fake.now(),
        };
        assert!(fake.revoke_key(&revoked).await.expect("revoked"));
        let refused = call(&fake, key.expose()).await;
        assert!(matches!(refused, Err(Refused::Key(KeyRefused::Revoked(_)))));
    }

    /// What is looked up and written for a key that is there with another secret, and for one that is not
    /// there, is the same; what cannot be a key is not looked up.
    #[tokio::test]
    async fn unknown_ids_and_wrong_secrets_take_the_same_work() {
        let fake = Fake::new(1);
        let (key, _) = key(&fake, 1).await;
        let wrong = ApiKey::from_random([1; 17], [[2; 17], [9; 17]]);
        let unknown = ApiKey::from_random([7; 17], [[2; 17], [3; 17]]);
        assert_eq!(wrong.id(), key.id());
        let mut work = Vec::new();
        for key in [&wrong, &unknown] {
            let before = fake.calls_by_name();
            let refused = call(&fake, key.expose()).await;
            assert!(matches!(refused, Err(Refused::Key(KeyRefused::Unknown))));
            let mut calls = fake.calls_by_name();
            calls.retain(|name, count| {
                *count -= before.get(name).copied().unwrap_or_default();
                *count > 0
            });
            work.push(calls);
        }
        assert_eq!(work[0], work[1]);
        assert_eq!(work[0].len(), 1, "{work:?}");
        let before = fake.calls();
        let mistyped = key.expose().replace("shn_a", "shn_b");
        for none in [
            mistyped.as_str(),
            "shn_",
            "other",
            "sk-ant-1",
            &"x".repeat(limits::TOKEN_BYTES + 1),
        ] {
            assert!(call(&fake, none).await.is_err(), "{none}");
        }
        assert_eq!(fake.calls(), before);
    }

    #[tokio::test]
    async fn tokens_are_for_deployments_with_an_issuer() {
        let fake = Fake::new(1);
        let signer = Signer::ed();
        let claims = serde_json::json!({"iss": "i", "sub": "s", "aud": "a", "exp": fake.now().0 / 1000 + 100});
        let header = serde_json::json!({"alg": "EdDSA", "kid": "k"});
        let token = format!("Bearer {}", signer.token(&header, &claims));
        let mut doors = own();
        let refused = caller(&doors, &fake, Some(&token)).await;
        assert!(matches!(refused, Err(Refused::Unknown)), "{refused:?}");
        for up in [true, false] {
            let published = if up {
                Published::keys(&[signer.jwk("k")])
            } else {
                None
            };
            let keys = Keys::new(Published::new([published]), 300);
            let (rules, all) = (ScopeRules::default(), vec![jsonwebtoken::Algorithm::EdDSA]);
            let issuer = Issuer::new("i", &["a".to_owned()], all, 0, rules, keys);
            doors.issuer = Some(issuer);
            let called = caller(&doors, &fake, Some(&token)).await;
            match called {
                Ok(caller) => assert!(up && caller.principal.owner == OwnerId::of("i", "s")),
                Err(refused) => assert!(!up && matches!(refused, Refused::Unavailable(_))),
            }
        }
        // The others open all the same.
        assert!(
            caller(&doors, &fake, Some(&format!("Bearer {OWN}")))
                .await
                .is_ok()
        );
        let huge = format!("Bearer {}.{}.x", "x".repeat(limits::TOKEN_BYTES), "y");
        let refused = caller(&doors, &fake, Some(&huge)).await;
        assert!(matches!(refused, Err(Refused::TooLong(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn that_a_key_is_used_is_noted_once_an_hour_and_never_in_the_way() {
        let fake = Fake::new(1);
        let (key, _) = key(&fake, 1).await;
        let used = async || fake.api_key(key.id()).await.expect("read").expect("there");
        // The look-up is the first call, the note the second.
        fake.fail_call(2, FaultTime::Before);
        assert!(call(&fake, key.expose()).await.is_ok());
        assert_eq!(used().await.used_at, None);
        assert!(call(&fake, key.expose()).await.is_ok());
        let first = fake.now();
        assert_eq!(used().await.used_at, Some(first));
        fake.clock().advance(limits::KEY_USE_MILLISECONDS - 1);
        assert!(call(&fake, key.expose()).await.is_ok());
        assert_eq!(used().await.used_at, Some(first));
        fake.clock().advance(1);
        assert!(call(&fake, key.expose()).await.is_ok());
        assert_eq!(used().await.used_at, Some(fake.now()));
        // Where keys cannot be read nobody is let in, and it is no refusal.
        fake.fail_call(1, FaultTime::Before);
        let refused = call(&fake, key.expose()).await;
        assert!(matches!(refused, Err(Refused::Unavailable(_))));
    }
}
