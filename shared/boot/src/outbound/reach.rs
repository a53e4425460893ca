//! Which addresses a program may call when somebody else chose them. A name is looked up and checked
//! in one step, so that it cannot mean another address when it is called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses, over https.
    Public,
    /// Also private ones, and this machine over http: for a stack on this machine.
    Local,
}

/// Why an address may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ForbiddenAddress {
    /// It is no address of HTTP with a host.
    #[error("no address such as https://example.com/path")]
    Malformed,
    /// It names a user or a password, which would be shown to others.
    #[error("the address holds a user or a password")]
    Credentials,
    /// It is not https.
    #[error("the address is not https")]
    Plain,
    /// It is not public.
    #[error("the address is not public")]
    Private,
}

impl Reach {
    /// Checks an address before it is called. Names are checked once more when they are looked up.
    ///
    /// # Errors
    /// [`ForbiddenAddress`]; choose another address.
    pub fn check(self, address: &str) -> Result<(), ForbiddenAddress> {
        let url = Url::parse(address).map_err(|_| ForbiddenAddress::Malformed)?;
        let host = url.host_str().ok_or(ForbiddenAddress::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ForbiddenAddress::Credentials);
        }
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let loopback = ip.map_or(host == "localhost", |ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if self == Self::Local && loopback => {}
            "http" => return Err(ForbiddenAddress::Plain),
            _ => return Err(ForbiddenAddress::Malformed),
        }
        match (self, ip) {
            (Self::Public, Some(ip)) if !is_public(ip) => Err(ForbiddenAddress::Private),
            _ => Ok(()),
        }
    }
}

/// Looks names up and leaves out what may not be called.
pub(super) struct Guard(pub(super) Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found
                .filter(|address| reach == Reach::Local || is_public(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(ForbiddenAddress::Private.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet: none of the special-purpose ones (RFC 6890 and
/// the registries of IANA), nor one that leads to such a one.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, third, _] = ip.octets();
    let special = match (first, second) {
        (0 | 10 | 127, _) => true,
        (100, 64..=127) => true,
        (169, 254) | (192, 168) => true,
        (172, 16..=31) => true,
        (192, 0) => third == 0 || third == 2,
        (192, 88) => third == 99,
        (198, 18 | 19) => true,
        (198, 51) => third == 100,
        (203, 0) => third == 113,
        (224.., _) => true,
        _ => false,
    };
    !special
}

/// Only what is given out (2000::/3), without what holds an address of IPv4 or is for documents.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    if let Some(inner) = ip.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let given_out = segments[0] & 0xe000 == 0x2000;
    let special = matches!(
        (segments[0], segments[1]),
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff)
    );
    given_out && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(
                !is_public(private.parse().expect("an address")),
                "{private}"
            );
        }
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "203.0.112.1",
            "223.255.255.254",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn addresses_are_checked_before_they_are_called() {
        use ForbiddenAddress::{Credentials, Malformed, Plain, Private};
        let cases = [
            ("https://example.com/hook", Ok(()), Ok(())),
            ("http://example.com/hook", Err(Plain), Err(Plain)),
            ("http://127.0.0.1:9/hook", Err(Plain), Ok(())),
            ("http://[::1]:9/hook", Err(Plain), Ok(())),
            ("http://localhost/hook", Err(Plain), Ok(())),
            ("http://localhost.example.com/", Err(Plain), Err(Plain)),
            ("http://10.0.0.1/", Err(Plain), Err(Plain)),
            ("https://127.0.0.1/hook", Err(Private), Ok(())),
            ("https://169.254.169.254/", Err(Private), Ok(())),
            // Other spellings of 127.0.0.1.
            ("https://2130706433/", Err(Private), Ok(())),
            ("https://0x7f.1/", Err(Private), Ok(())),
            ("https://[::ffff:127.0.0.1]/", Err(Private), Ok(())),
            (
                "https://u:p@example.com/",
                Err(Credentials),
                Err(Credentials),
            ),
            ("ftp://example.com/", Err(Malformed), Err(Malformed)),
            ("example.com", Err(Malformed), Err(Malformed)),
            ("", Err(Malformed), Err(Malformed)),
        ];
        for (address, public, local) in cases {
            assert_eq!(Reach::Public.check(address), public, "{address}");
            assert_eq!(Reach::Local.check(address), local, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_called_from_a_deployment() {
        use std::time::Duration;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let second = Duration::from_secs(5);
        let url = format!("https://localhost:{port}/");
        let client = crate::outbound::client_within(&url, Reach::Public, second, second);
        let sent = client.expect("a client").post(&url).send().await;
        let mut error: &dyn std::error::Error = &sent.expect_err("refused");
        while let Some(cause) = error.source() {
            error = cause;
        }
        assert_eq!(error.to_string(), ForbiddenAddress::Private.to_string());
        let nobody = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(nobody.is_err(), "it was called");
    }
}
