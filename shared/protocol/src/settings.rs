//! What a deployment may change of the edge, read from the settings by name.

use crate::Class;

/// Seconds that a subscription has left to end, once its time is over.
const FOR_THE_END: u64 = 30;

/// Checked values; the table of settings gives defaults and ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Largest body of a request, in bytes.
    pub max_request_body_bytes: usize,
    /// Silence after which a stream carries a comment, in seconds.
    pub keep_alive_seconds: u64,
    /// How long clients may cache lists, in seconds.
    pub catalog_ttl_seconds: u64,
    /// Longest request, in seconds: what is still running then is told to try again.
    pub longest_seconds: u64,
    /// How long one subscription is served before it ends, in seconds; 0 where there are none.
    pub listen_seconds: u64,
    /// Origins from which a browser may call.
    pub allowed_origins: Vec<String>,
    /// Hosts under which this is served, with or without a port; all of them when empty.
    pub allowed_hosts: Vec<String>,
    /// The deployment's own address, if it is known: challenges name what is below it.
    pub public_url: Option<String>,
    /// What the issuer puts before the names of our scopes; challenges name them so.
    pub scope_prefix: Option<String>,
}

impl EdgeSettings {
    /// Reads them with the given ways to read a number, a list, and a text that may be missing.
    ///
    /// # Errors
    /// The first error of these ways.
    pub fn read<E>(
        class: Class,
        number: impl Fn(&str) -> Result<u64, E>,
        list: impl Fn(&str) -> Result<Vec<String>, E>,
        text: impl Fn(&str) -> Result<Option<String>, E>,
    ) -> Result<Self, E> {
        let longest = match class {
            Class::Read | Class::Call | Class::Legacy => "SHANNON_REQUEST_TIMEOUT_SECONDS",
            // A subscription ends by itself.
            Class::Listen => "SHANNON_LISTEN_SECONDS",
            Class::Discover | Class::Catalog | Class::Tasks => {
                "SHANNON_SHORT_REQUEST_TIMEOUT_SECONDS"
            }
        };
        let body_bytes = number("SHANNON_MAX_REQUEST_BODY_BYTES")?;
        Ok(Self {
            // At most 5 MiB, which fits everywhere.
            max_request_body_bytes: usize::try_from(body_bytes).unwrap_or(usize::MAX),
            keep_alive_seconds: number("SHANNON_KEEP_ALIVE_SECONDS")?,
            catalog_ttl_seconds: number("SHANNON_CATALOG_TTL_SECONDS")?,
            longest_seconds: number(longest)?
                + if class == Class::Listen {
                    FOR_THE_END
                } else {
                    0
                },
            listen_seconds: match class {
                Class::Listen | Class::Discover => number("SHANNON_LISTEN_SECONDS")?,
                _ => 0,
            },
            allowed_origins: list("SHANNON_ALLOWED_ORIGINS")?,
            allowed_hosts: list("SHANNON_ALLOWED_HOSTS")?,
            public_url: text("SHANNON_PUBLIC_URL")?,
            scope_prefix: text("SHANNON_OIDC_SCOPE_PREFIX")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_comes_from_its_own_setting() {
        let read = |class| {
            EdgeSettings::read(
                class,
                |name| {
                    Ok::<_, String>(match name {
                        "SHANNON_MAX_REQUEST_BODY_BYTES" => 1,
                        "SHANNON_KEEP_ALIVE_SECONDS" => 2,
                        "SHANNON_CATALOG_TTL_SECONDS" => 3,
                        "SHANNON_REQUEST_TIMEOUT_SECONDS" => 4,
                        "SHANNON_SHORT_REQUEST_TIMEOUT_SECONDS" => 5,
                        "SHANNON_LISTEN_SECONDS" => 6,
                        other => return Err(format!("{other} was asked for")),
                    })
                },
                |name| Ok(vec![name.to_owned()]),
                |name| Ok(Some(name.to_owned())),
            )
        };
        let expected = |longest_seconds, listen_seconds| EdgeSettings {
            max_request_body_bytes: 1,
            keep_alive_seconds: 2,
            catalog_ttl_seconds: 3,
            longest_seconds,
            listen_seconds,
            allowed_origins: vec!["SHANNON_ALLOWED_ORIGINS".to_owned()],
            allowed_hosts: vec!["SHANNON_ALLOWED_HOSTS".to_owned()],
            public_url: Some("SHANNON_PUBLIC_URL".to_owned()),
            scope_prefix: Some("SHANNON_OIDC_SCOPE_PREFIX".to_owned()),
        };
        for (class, longest, listen) in [
            (Class::Call, 4, 0),
            (Class::Read, 4, 0),
            (Class::Legacy, 4, 0),
            (Class::Discover, 5, 6),
            (Class::Catalog, 5, 0),
            (Class::Tasks, 5, 0),
            (Class::Listen, 6 + FOR_THE_END, 6),
        ] {
            assert_eq!(read(class), Ok(expected(longest, listen)), "{class:?}");
        }
    }
}
