//! What people allowed: codes that wait to be fetched, and logins that go on by refresh tokens.
//!
//! Of secrets only the SHA-256 is kept. The file is written beside and renamed into place before an
//! answer leaves, so that who has a token has one that is known here, whenever this is cut.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};

use super::IssuerError;
use crate::{
    encryption::{self, StateKey},
    token::sha256_hex,
};

/// A code is fetched at once by the program whose page has just been opened.
const CODE_SECONDS: u64 = 60;
/// How long a code is known after that, so that who brings it a second time is found.
const KNOWN_SECONDS: u64 = 600;
/// A login that is not used for so long is over.
const LOGIN_SECONDS: u64 = 30 * 24 * 60 * 60;
/// More do not happen on one machine: the oldest go.
const MOST: usize = 1000;

/// What a person allowed a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
}

/// A login that has not been fetched yet.
struct Code {
    login: Login,
    redirect: String,
    challenge: String,
    expires: u64,
    /// The login that was made of it. A fetched code stays known for a while.
    fetched: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct KeptLogin {
    login: Login,
    /// Of the one refresh token that is good.
    refresh_sha256: String,
    used: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    seed: String,
    logins: BTreeMap<String, KeptLogin>,
}

/// See the module.
pub(super) struct Grants {
    path: PathBuf,
    key: Option<StateKey>,
    kept: Kept,
    codes: BTreeMap<String, Code>,
}

/// A refresh token and the login that it stands for.
pub(super) struct Refreshed {
    pub(super) login: Login,
    pub(super) refresh_token: String,
}

/// Why there is no token. The words are for the client.
#[derive(Debug)]
pub(super) enum NotGranted {
    /// Log in again.
    Invalid(&'static str),
    /// It could not be kept; try again.
    NotKept(io::Error),
}

fn random() -> Result<String, NotGranted> {
    crate::token::random().map_err(|error| NotGranted::NotKept(io::Error::other(error)))
}

impl Grants {
    /// Reads what is kept, or begins; with the seed of the issuer's key.
    pub(super) fn open(
        path: &Path,
        key: Option<&StateKey>,
    ) -> Result<(Self, [u8; 32]), IssuerError> {
        let unreadable = |problem: &str| IssuerError::Unreadable {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let kept = match encryption::read(path, key) {
            Ok(json) => serde_json::from_slice(&json).map_err(|it| unreadable(&it.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept {
                seed: crate::token::random().map_err(|it| IssuerError::Key(it.to_string()))?,
                ..Kept::default()
            },
            Err(source) => {
                let path = path.to_owned();
                return Err(IssuerError::Kept { path, source });
            }
        };
        let seed = BASE64.decode(&kept.seed).ok();
        let seed = seed.and_then(|seed| seed.try_into().ok());
        let seed = seed.ok_or_else(|| unreadable("its key is none"))?;
        let grants = Self {
            path: path.to_owned(),
            key: key.cloned(),
            kept,
            codes: BTreeMap::new(),
        };
        grants.write().map_err(|source| IssuerError::Kept {
            path: path.to_owned(),
            source,
        })?;
        Ok((grants, seed))
    }

    fn write(&self) -> io::Result<()> {
        let kept = serde_json::to_vec(&self.kept)?;
        encryption::write_private(&self.path, &encryption::sealed(&kept, self.key.as_ref())?)
    }

    /// A code for what a person allowed.
    pub(super) fn code(
        &mut self,
        login: Login,
        redirect: &str,
        challenge: &str,
        now: u64,
    ) -> Result<String, NotGranted> {
        self.codes
            .retain(|_, code| code.expires + KNOWN_SECONDS > now);
        while self.codes.len() >= MOST {
            let oldest = self.codes.iter().min_by_key(|(_, code)| code.expires);
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else {
                break;
            };
            self.codes.remove(&oldest);
        }
        let code = random()?;
        let waiting = Code {
            login,
            redirect: redirect.to_owned(),
            challenge: challenge.to_owned(),
            expires: now + CODE_SECONDS,
            fetched: None,
        };
        self.codes.insert(sha256_hex(&code), waiting);
        Ok(code)
    }

    /// Fetches a code, once. The second time its login ends, since one of the two is a thief.
    pub(super) fn fetch(
        &mut self,
        code: &str,
        client_id: &str,
        redirect: &str,
        verifier: &str,
        now: u64,
    ) -> Result<Refreshed, NotGranted> {
        let invalid = Err(NotGranted::Invalid(
            "the code is not good, or not any more: log in again",
        ));
        let Some(waiting) = self.codes.get_mut(&sha256_hex(code)) else {
            return invalid;
        };
        if let Some(login) = waiting.fetched.clone() {
            self.end(&login)?;
            return invalid;
        }
        let proof = BASE64.encode(<sha2::Sha256 as sha2::Digest>::digest(verifier));
        let fits = waiting.login.client_id == client_id
            && waiting.redirect == redirect
            && waiting.challenge == proof
            && waiting.expires > now;
        if !fits {
            return invalid;
        }
        let login = waiting.login.clone();
        let id = random()?;
        let refreshed = self.keep(&id, login, now)?;
        if let Some(waiting) = self.codes.get_mut(&sha256_hex(code)) {
            waiting.fetched = Some(id);
        }
        Ok(refreshed)
    }

    /// The next refresh token of a login. With one that was used before, the login ends.
    pub(super) fn refresh(
        &mut self,
        token: &str,
        client_id: &str,
        now: u64,
    ) -> Result<Refreshed, NotGranted> {
        let invalid = Err(NotGranted::Invalid(
            "the refresh token is not good, or not any more: log in again",
        ));
        let Some((id, _)) = token.split_once('.') else {
            return invalid;
        };
        let Some(kept) = self.kept.logins.get(id) else {
            return invalid;
        };
        if kept.login.client_id != client_id {
            return invalid;
        }
        if kept.refresh_sha256 != sha256_hex(token) || kept.used + LOGIN_SECONDS < now {
            self.end(id)?;
            return invalid;
        }
        let login = kept.login.clone();
        self.keep(id, login, now)
    }

    /// Nobody has this login any more.
    fn end(&mut self, id: &str) -> Result<(), NotGranted> {
        let mut logins = self.kept.logins.clone();
        logins.remove(id);
        self.replace(logins)
    }

    fn keep(&mut self, id: &str, login: Login, now: u64) -> Result<Refreshed, NotGranted> {
        let refresh_token = format!("{id}.{}", random()?);
        let mut logins = self.kept.logins.clone();
        logins.retain(|_, login| login.used + LOGIN_SECONDS >= now);
        while logins.len() >= MOST {
            let oldest = logins.iter().min_by_key(|(_, login)| login.used);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            logins.remove(&oldest);
        }
        let kept = KeptLogin {
            login: login.clone(),
            refresh_sha256: sha256_hex(&refresh_token),
            used: now,
        };
        logins.insert(id.to_owned(), kept);
        self.replace(logins)?;
        Ok(Refreshed {
            login,
            refresh_token,
        })
    }

    /// Keeps these. When they cannot be written, those before count: whoever was told to try again still
    /// has what is good.
    fn replace(&mut self, logins: BTreeMap<String, KeptLogin>) -> Result<(), NotGranted> {
        let before = std::mem::replace(&mut self.kept.logins, logins);
        self.write().map_err(|error| {
            self.kept.logins = before;
            NotGranted::NotKept(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn grants() -> (tempfile::TempDir, Grants) {
        let directory = tempfile::tempdir().unwrap();
        let (grants, _) = Grants::open(&directory.path().join("issuer.json"), None).unwrap();
        (directory, grants)
    }

    fn code(grants: &mut Grants, at: u64) -> String {
        let login = Login {
            client_id: "c".to_owned(),
            scopes: vec!["sessions:read".to_owned()],
        };
        let challenge = BASE64.encode(<sha2::Sha256 as sha2::Digest>::digest("verifier"));
        grants.code(login, "https://r/", &challenge, at).unwrap()
    }

    #[test]
    fn a_code_is_good_once_for_a_minute_and_for_whom_it_was_made() {
        let (_directory, mut grants) = grants();
        for (client, redirect, verifier, at) in [
            ("d", "https://r/", "verifier", NOW),
            ("c", "https://s/", "verifier", NOW),
            ("c", "https://r/", "other", NOW),
            ("c", "https://r/", "verifier", NOW + 60),
        ] {
            let code = code(&mut grants, NOW);
            let fetched = grants.fetch(&code, client, redirect, verifier, at);
            assert!(matches!(fetched, Err(NotGranted::Invalid(_))));
        }
        let code = code(&mut grants, NOW);
        let fetch =
            |grants: &mut Grants| grants.fetch(&code, "c", "https://r/", "verifier", NOW + 59);
        let first = fetch(&mut grants).unwrap();
        // Also when others log in meanwhile.
        super::tests::code(&mut grants, NOW + 1);
        assert!(fetch(&mut grants).is_err());
        assert!(fetch(&mut grants).is_err());
        // One of the two is a thief.
        assert!(grants.refresh(&first.refresh_token, "c", NOW).is_err());
    }

    #[test]
    fn a_refresh_token_is_good_once_and_for_a_month() {
        let (_directory, mut grants) = grants();
        let begin = |grants: &mut Grants| {
            let code = code(grants, NOW);
            let begun = grants.fetch(&code, "c", "https://r/", "verifier", NOW);
            begun.unwrap().refresh_token
        };
        let first = begin(&mut grants);
        assert!(grants.refresh(&first, "other", NOW).is_err());
        let second = grants.refresh(&first, "c", NOW + 1).unwrap();
        assert_eq!(second.login.scopes, ["sessions:read"]);
        let late = NOW + 1 + LOGIN_SECONDS;
        let third = grants.refresh(&second.refresh_token, "c", late).unwrap();
        assert!(grants.refresh(&second.refresh_token, "c", late).is_err());
        assert!(
            grants.refresh(&third.refresh_token, "c", late).is_err(),
            "ended"
        );
        let unused = begin(&mut grants);
        assert!(
            grants
                .refresh(&unused, "c", NOW + LOGIN_SECONDS + 1)
                .is_err()
        );
        for garbage in ["", ".", "x.y", &"x".repeat(10_000)] {
            assert!(grants.refresh(garbage, "c", NOW).is_err());
        }
    }

    #[test]
    fn what_cannot_be_kept_changes_nothing() {
        let (directory, mut grants) = grants();
        let code = code(&mut grants, NOW);
        let path = directory.path().join("issuer.new");
        // Nothing can be written where a directory is.
        fs::create_dir(&path).unwrap();
        let fetch = |grants: &mut Grants| grants.fetch(&code, "c", "https://r/", "verifier", NOW);
        assert!(matches!(fetch(&mut grants), Err(NotGranted::NotKept(_))));
        fs::remove_dir(&path).unwrap();
        let token = fetch(&mut grants).unwrap().refresh_token;
        fs::create_dir(&path).unwrap();
        let refused = grants.refresh(&token, "c", NOW);
        assert!(matches!(refused, Err(NotGranted::NotKept(_))));
        fs::remove_dir(&path).unwrap();
        assert!(grants.refresh(&token, "c", NOW).is_ok());
    }

    #[test]
    fn logins_outlive_a_restart_and_what_is_broken_is_named() {
        let (directory, mut grants) = grants();
        let path = directory.path().join("issuer.json");
        let code = code(&mut grants, NOW);
        let login = grants.fetch(&code, "c", "https://r/", "verifier", NOW);
        let token = login.unwrap().refresh_token;
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&token), "secrets are not kept");
        let (mut again, seed) = Grants::open(&path, None).unwrap();
        assert_eq!(Grants::open(&path, None).unwrap().1, seed);
        assert!(again.refresh(&token, "c", NOW).is_ok());
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        for broken in ["", "{", r#"{"seed":"x","logins":{}}"#] {
            fs::write(&path, broken).unwrap();
            let error = Grants::open(&path, None).err().unwrap().to_string();
            assert!(error.contains("delete it"), "{error}");
        }
        assert!(Grants::open(Path::new("/nowhere/issuer.json"), None).is_err());
    }
}
