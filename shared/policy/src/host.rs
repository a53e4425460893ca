//! Which machine a name or address means, in whatever form it is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use url::{Host as Written, Url};

/// A machine on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Its name in lower case or its address in its usual form; empty when it is not known.
    pub name: String,
    /// What kind of machine it is.
    pub kind: HostKind,
}

/// Kinds of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    /// Anything on the internet.
    Public,
    /// This machine.
    Loopback,
    /// An address or name of a private network.
    Private,
    /// Hands out the credentials of the machine: the metadata service of a cloud, and everything
    /// link-local.
    Metadata,
    /// Not known before the call.
    Unknown,
}

impl HostKind {
    /// The word that policies use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Metadata => "metadata",
            Self::Unknown => "unknown",
        }
    }
}

/// Names under which clouds serve metadata (AWS, Google, Azure, Alibaba, Oracle).
const METADATA_NAMES: [&str; 6] = [
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.azure.internal",
    "metadata.goog",
    "metadata.google.internal",
];

/// Metadata addresses outside 169.254.0.0/16: Alibaba, Oracle, Azure's wire server.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Metadata addresses of EC2, of EKS pods, and of Google.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

impl Host {
    /// A machine that is not known.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            name: String::new(),
            kind: HostKind::Unknown,
        }
    }

    /// The machine of an address: a URL, `user@host:path`, `host:port` or a host alone.
    #[must_use]
    pub fn of(address: &str) -> Self {
        let address = address.trim();
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => (String::new(), address),
        };
        // A file is no host; and programs do not agree on what a backslash means.
        if scheme == "file" || rest.contains('\\') {
            return Self::unknown();
        }
        // Programs replace braces and brackets in addresses by several hosts.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let written = authority.rsplit('@').next().unwrap_or_default();
        if written.is_empty()
            || written.contains(['{', '}', ' ', '$', '*'])
            || written.contains('[') && !written.starts_with('[')
        {
            return Self::unknown();
        }
        // Every scheme is read like http, which knows all forms of addresses.
        let url = Url::parse(&format!("http://{written}/"))
            .or_else(|_| Url::parse(&format!("http://{}/", before_port(written))));
        match url.as_ref().map(Url::host) {
            Ok(Some(Written::Ipv4(address))) => Self::from_address(IpAddr::V4(address)),
            Ok(Some(Written::Ipv6(address))) => Self::from_address(IpAddr::V6(address)),
            Ok(Some(Written::Domain(name))) => Self::from_name(name),
            _ => Self::unknown(),
        }
    }

    fn from_address(address: IpAddr) -> Self {
        let address = match address {
            IpAddr::V6(six) => inner_v4(six).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let kind = match address {
            IpAddr::V4(four) if four.is_link_local() || METADATA_V4.contains(&four) => {
                HostKind::Metadata
            }
            IpAddr::V6(six) if METADATA_V6.contains(&six) || is_link_local(six) => {
                HostKind::Metadata
            }
            address if address.is_loopback() || address.is_unspecified() => HostKind::Loopback,
            IpAddr::V4(four) if four.is_private() || four.is_broadcast() => HostKind::Private,
            IpAddr::V6(six) if six.is_unique_local() => HostKind::Private,
            _ => HostKind::Public,
        };
        Self {
            name: address.to_string(),
            kind,
        }
    }

    fn from_name(name: &str) -> Self {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // Public services answer names such as 169.254.169.254.example with that address.
        let dotted = name.replace('-', ".");
        let holds_metadata = METADATA_V4
            .iter()
            .map(ToString::to_string)
            .chain(["169.254.".to_owned(), "a9fea9fe".to_owned()])
            .any(|address| dotted.contains(&address));
        let kind = if holds_metadata || METADATA_NAMES.contains(&name.as_str()) {
            HostKind::Metadata
        } else if name == "localhost" || name.ends_with(".localhost") {
            HostKind::Loopback
        } else if !name.contains('.')
            || [".internal", ".local", ".lan", ".corp", ".home.arpa"]
                .iter()
                .any(|suffix| name.ends_with(suffix))
        {
            HostKind::Private
        } else {
            HostKind::Public
        };
        Self { name, kind }
    }
}

/// `host:22`, `host:path` and `host` without what follows the colon.
fn before_port(written: &str) -> &str {
    if written.starts_with('[') {
        return written;
    }
    written.split(':').next().unwrap_or_default()
}

/// The IPv4 address that an IPv6 address carries: mapped, compatible, NAT64 or 6to4.
fn inner_v4(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = six.segments();
    let four = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(four(high, low))
        }
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 => Some(four(high, low)),
        [0x2002, high, low, ..] => Some(four(high, low)),
        _ => None,
    }
}

fn is_link_local(six: Ipv6Addr) -> bool {
    six.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_form() {
        let metadata = [
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254",
            "169.254.169.254:80",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0xA9.0xFE.0xA9.0xFE/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]:80/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:0ec2:0000::0254]/",
            "http://169.254.170.2/v2/credentials",
            "http://user:pw@169.254.169.254/",
            "http://example.com@169.254.169.254/",
            "HTTP://METADATA.GOOGLE.INTERNAL./computeMetadata/v1/",
            "http://169.254.169.254.nip.io/",
            "http://169-254-169-254.sslip.io/",
            "http://１６９.２５４.１６９.２５４/",
            "http://100.100.100.200/",
            "http://[fe80::1]/",
        ];
        for address in metadata {
            assert_eq!(Host::of(address).kind, HostKind::Metadata, "{address}");
        }
        let others = [
            ("https://example.com/169.254.169.254", HostKind::Public),
            ("https://169.254.169.254@example.com/", HostKind::Public),
            ("git@github.com:a/b.git", HostKind::Public),
            ("ssh://git@github.com:22/a/b", HostKind::Public),
            ("http://localhost:3000/", HostKind::Loopback),
            ("127.1", HostKind::Loopback),
            ("[::1]:8080", HostKind::Loopback),
            ("0.0.0.0:80", HostKind::Loopback),
            ("10.0.0.7", HostKind::Private),
            ("db.internal", HostKind::Private),
            ("http://169.254.169.{253,254}/", HostKind::Unknown),
            ("http://169.254.169.[250-254]/", HostKind::Unknown),
            ("", HostKind::Unknown),
            ("http://", HostKind::Unknown),
            ("http://a b/", HostKind::Unknown),
            ("file:///etc/shadow", HostKind::Unknown),
            ("http://example.com\\@169.254.169.254/", HostKind::Unknown),
        ];
        for (address, kind) in others {
            assert_eq!(Host::of(address).kind, kind, "{address}");
        }
    }
}
