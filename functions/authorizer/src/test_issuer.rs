//! An issuer for tests: keys of each kind, and tokens signed with them, or badly.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use crate::jwks::{FetchError, KeySource};

pub(crate) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// The key of these tests, which is no secret: making one takes too long.
    pub(crate) fn rsa() -> Self {
        let text: String = include_str!("rsa-for-tests.txt")
            .split_whitespace()
            .collect();
        let der = STANDARD.decode(text).expect("base64");
        let pair = RsaKeyPair::from_der(&der).expect("a key");
        Self::Rsa(Box::new(pair))
    }

    pub(crate) fn ec() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random);
        Self::Ec(pair.expect("a key"))
    }

    pub(crate) fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key"))
    }

    pub(crate) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    /// What the issuer publishes.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encoded(public.n), "e": encoded(public.e)})
            }
            Self::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = (encoded(&point[..32]), encoded(&point[32..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key())})
            }
        };
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm().into();
        jwk
    }

    pub(crate) fn sign(&self, message: &str) -> Vec<u8> {
        let (message, random) = (message.as_bytes(), SystemRandom::new());
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.expect("signed");
                signature
            }
            Self::Ec(pair) => pair
                .sign(&random, message)
                .expect("signed")
                .as_ref()
                .to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let signature = encoded(self.sign(&signed));
        format!("{signed}.{signature}")
    }
}

/// What the issuer answers, one after the other; the last one for ever. `None`: it is down.
#[derive(Clone)]
pub(crate) struct Published {
    answers: Arc<Mutex<VecDeque<Option<Value>>>>,
    asked: Arc<Mutex<usize>>,
}

impl Published {
    pub(crate) fn new(answers: impl IntoIterator<Item = Option<Value>>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        }
    }

    pub(crate) fn keys(keys: &[Value]) -> Option<Value> {
        Some(json!({ "keys": keys }))
    }

    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().expect("unpoisoned")
    }
}

impl KeySource for Published {
    async fn fetch(&self) -> Result<Value, FetchError> {
        *self.asked.lock().expect("unpoisoned") += 1;
        let mut answers = self.answers.lock().expect("unpoisoned");
        let answer = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().flatten(),
        };
        answer.ok_or_else(|| FetchError::because("it is down"))
    }
}
