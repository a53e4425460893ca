//! Which servers in front of this one are believed when they say for whom they ask.

use std::net::IpAddr;

use http::HeaderMap;

/// Addresses of servers that set `X-Forwarded-For`. None are believed unless they are named: everybody else
/// can write what they like into it.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpAddr>);

impl TrustedProxies {
    /// Reads addresses with commas between them.
    ///
    /// # Errors
    /// The part that is no address.
    pub fn parse(list: &str) -> Result<Self, String> {
        let parts = list.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts
            .map(|part| part.parse().map(plain).map_err(|_| part.to_owned()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Who asks: the other end of the connection, or, where that is one of these, whom it names; the last
    /// address that none of these added, since only that was seen by one of them.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = plain(peer);
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let named: Vec<&str> = forwarded
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .collect();
        for named in named.into_iter().rev() {
            if !self.0.contains(&client) {
                break;
            }
            match named.trim().parse() {
                Ok(address) => client = plain(address),
                // What they did not write as they should is not looked past.
                Err(_) => break,
            }
        }
        client
    }
}

/// An IPv4 address is one however it came in.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", http::HeaderValue::from_static(value));
        }
        let trusted = TrustedProxies::parse(trusted).unwrap();
        trusted.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_who_is_named_is_believed_and_only_what_they_saw() {
        const NGINX: &str = "127.0.0.1";
        for (trusted, peer, forwarded, expected) in [
            ("", NGINX, &["203.0.113.7"][..], NGINX),
            (NGINX, NGINX, &[], NGINX),
            (NGINX, NGINX, &["203.0.113.7"], "203.0.113.7"),
            (NGINX, "::ffff:127.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            (NGINX, "198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
            // What the client wrote itself stands before what nginx adds.
            (NGINX, NGINX, &["10.0.0.1, 203.0.113.7"], "203.0.113.7"),
            (NGINX, NGINX, &["10.0.0.1", "203.0.113.7"], "203.0.113.7"),
            (
                "127.0.0.1, 10.0.0.2",
                NGINX,
                &["9.9.9.9, 203.0.113.7, 10.0.0.2"],
                "203.0.113.7",
            ),
            (NGINX, NGINX, &["127.0.0.1"], NGINX),
            (NGINX, NGINX, &["203.0.113.7, unknown"], NGINX),
            (NGINX, NGINX, &[""], NGINX),
            ("::1", "::1", &["2001:db8::5"], "2001:db8::5"),
        ] {
            assert_eq!(client(trusted, peer, forwarded), expected, "{forwarded:?}");
        }
        let wrong = TrustedProxies::parse("127.0.0.1,10.0.0.0/8").unwrap_err();
        assert_eq!(wrong, "10.0.0.0/8");
    }
}
