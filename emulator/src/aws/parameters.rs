//! The Parameter Store of Systems Manager, as far as secrets are kept in it: PutParameter, GetParameter
//! and DeleteParameter of SecureStrings. Facts: AWS Systems Manager API Reference.
//!
//! Kept in a file of their own, which only its owner can read.

use std::{
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

use crate::{
    encryption::{StateKey, database},
    iam::Request,
    template::{ACCOUNT, REGION},
};

/// Most bytes of a value of the standard tier.
const VALUE_BYTES: usize = 4096;
/// Most characters of a name, and most parts of its path.
const NAME_CHARACTERS: usize = 1011;
const NAME_PARTS: usize = 15;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA secure_delete = ON;
    CREATE TABLE IF NOT EXISTS parameters (
        name TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        changed_at_ms INTEGER NOT NULL,
        value TEXT NOT NULL
    );
";

/// The parameters of one emulator. Cheap to clone.
#[derive(Clone)]
pub(super) struct ParameterService(Arc<Mutex<Connection>>);

/// What a request is about, as IAM sees it.
pub(super) fn wanted(operation: &str, body: &[u8]) -> Request {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = body["Name"].as_str().unwrap_or_default();
    let slash = if name.starts_with('/') { "" } else { "/" };
    let arn = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{slash}{name}");
    Request::new(&format!("ssm:{operation}"), arn)
}

impl ParameterService {
    /// Opens the file, or memory without one.
    pub(super) fn open(file: Option<&Path>, key: Option<&StateKey>) -> rusqlite::Result<Self> {
        let connection = match file {
            None => Connection::open_in_memory()?,
            Some(file) => {
                // SQLite gives its other files the mode of this one.
                let made = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(file);
                if let Err(error) = made {
                    tracing::error!(%error, "the file of parameters cannot be made");
                }
                database::open(file, key)?
            }
        };
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Answers one request whose sender is known and permitted.
    pub(super) fn answer(&self, operation: &str, body: &[u8]) -> Response {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return fault("SerializationException", "the body is not a JSON object");
        };
        let known: &[&str] = match operation {
            "PutParameter" => &["Name", "Value", "Type", "Tier", "Overwrite", "Description"],
            "GetParameter" => &["Name", "WithDecryption"],
            "DeleteParameter" => &["Name"],
            _ => {
                let words = format!("the emulator does not know the action {operation:?} of SSM");
                return fault("UnknownOperationException", &words);
            }
        };
        if let Some(field) = fields.keys().find(|it| !known.contains(&it.as_str())) {
            let words = format!("the emulator does not know the field {field} of {operation}");
            return fault("ValidationException", &words);
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let on = |name: &str| fields.get(name) == Some(&Value::Bool(true));
        let name = text("Name");
        if let Err(words) = check_name(name) {
            return fault("ValidationException", words);
        }
        let done = match operation {
            "PutParameter" => {
                let value = text("Value");
                if text("Type") != "SecureString" {
                    let words = "the emulator keeps parameters of the type SecureString only";
                    return fault("UnsupportedParameterType", words);
                }
                if value.is_empty() || value.len() > VALUE_BYTES || value.contains("{{") {
                    let words = "Value has to be 1 to 4096 bytes without \"{{\"";
                    return fault("ValidationException", words);
                }
                self.put(name, value, on("Overwrite"))
            }
            "GetParameter" => self.get(name, on("WithDecryption")),
            _ => self.delete(name),
        };
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "parameters cannot be read or written");
            fault("InternalServerError", "the parameters cannot be reached")
        })
    }

    fn put(&self, name: &str, value: &str, overwrite: bool) -> rusqlite::Result<Response> {
        let connection = self.lock();
        let before: Option<u64> = connection
            .query_row(
                "SELECT version FROM parameters WHERE name = ?1",
                [name],
                |row| row.get(0),
            )
            .optional()?;
        if before.is_some() && !overwrite {
            let words = "The parameter already exists. To overwrite this value, set Overwrite.";
            return Ok(fault("ParameterAlreadyExists", words));
        }
        let version = before.unwrap_or_default() + 1;
        connection.execute(
            "INSERT OR REPLACE INTO parameters (name, version, changed_at_ms, value)
             VALUES (?1, ?2, ?3, ?4)",
            params![name, version, super::ecs::now(), value],
        )?;
        Ok(Json(json!({"Version": version, "Tier": "Standard"})).into_response())
    }

    /// Without decryption it is what nobody can use.
    fn get(&self, name: &str, decrypted: bool) -> rusqlite::Result<Response> {
        let found = self
            .lock()
            .query_row(
                "SELECT version, changed_at_ms, value FROM parameters WHERE name = ?1",
                [name],
                |row| {
                    let changed: i64 = row.get(1)?;
                    Ok((row.get::<_, u64>(0)?, changed, row.get::<_, String>(2)?))
                },
            )
            .optional()?;
        let Some((version, changed_at, value)) = found else {
            return Ok(fault("ParameterNotFound", ""));
        };
        let value = if decrypted {
            value.as_str()
        } else {
            "encrypted"
        };
        let parameter = json!({
            "Name": name, "Type": "SecureString", "Value": value, "Version": version,
            "LastModifiedDate": changed_at / 1000,
            "ARN": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}"), "DataType": "text",
        });
        Ok(Json(json!({ "Parameter": parameter })).into_response())
    }

    fn delete(&self, name: &str) -> rusqlite::Result<Response> {
        let deleted = self
            .lock()
            .execute("DELETE FROM parameters WHERE name = ?1", [name])?;
        Ok(match deleted {
            0 => fault("ParameterNotFound", ""),
            _ => Json(json!({})).into_response(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if !name.starts_with('/') || name.ends_with('/') || name.contains("//") {
        return Err("the emulator takes names that are a full path: /a/b");
    }
    if name.len() > NAME_CHARACTERS || name.split('/').count() > NAME_PARTS + 1 {
        return Err("a name has at most 1011 characters and 15 parts");
    }
    if !name.bytes().all(plain) {
        return Err("a name consists of a-zA-Z0-9_.- and /");
    }
    if first.starts_with("aws") || first.starts_with("ssm") {
        return Err("a name must not begin with aws or ssm");
    }
    Ok(())
}

/// A refusal; also what it answers when it is told to fail.
pub(super) fn fault(code: &str, message: &str) -> Response {
    let status = match code {
        "InternalServerError" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut response =
        (status, Json(json!({ "__type": code, "message": message }))).into_response();
    if let Ok(code) = HeaderValue::try_from(code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}
