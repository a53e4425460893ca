//! Trace context (W3C, <https://www.w3.org/TR/trace-context/>) of a request: `traceparent` in
//! `_meta`, or else in the header of that name.

use http::HeaderMap;
use serde_json::Value;

/// Which trace a request belongs to, and whose child it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    /// 32 hexadecimal digits.
    pub(crate) trace_id: String,
    /// 16 hexadecimal digits: the client's span.
    pub(crate) parent_id: String,
}

impl TraceParent {
    /// What the request says; `None` when it says nothing, or nothing valid: whoever sends something
    /// else is served without a trace.
    pub(crate) fn of(headers: &HeaderMap, meta: Option<&Value>) -> Option<Self> {
        let in_meta = meta
            .and_then(|meta| meta.get("traceparent"))
            .and_then(Value::as_str);
        let in_headers = || headers.get("traceparent").and_then(|it| it.to_str().ok());
        Self::parse(in_meta.or_else(in_headers)?)
    }

    /// `00-<trace id>-<parent id>-<flags>`; later versions may have more behind it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id, parent_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, digits: usize| {
            part.len() == digits
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let known = hex(version, 2) && version != "ff" && hex(flags, 2);
        let whole = version != "00" || parts.next().is_none();
        let valid = known
            && whole
            && hex(trace_id, 32)
            && hex(parent_id, 16)
            && !zero(trace_id)
            && !zero(parent_id);
        valid.then(|| Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    #[test]
    fn only_what_the_standard_allows_is_taken() {
        let good = format!("00-{TRACE}-{PARENT}-01");
        let parsed = TraceParent::parse(&good).expect("valid");
        assert_eq!(
            (parsed.trace_id.as_str(), parsed.parent_id.as_str()),
            (TRACE, PARENT)
        );
        let later = format!("01-{TRACE}-{PARENT}-00-more");
        assert!(TraceParent::parse(&later).is_some());
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}\n-{PARENT}-01"),
            "é".repeat(30),
        ] {
            assert_eq!(TraceParent::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn meta_goes_before_the_header() {
        let mut headers = HeaderMap::new();
        let other = format!("00-{}-{PARENT}-01", "1".repeat(32));
        let value = HeaderValue::from_str(&other).expect("a value");
        headers.insert("traceparent", value);
        let meta = json!({"traceparent": format!("00-{TRACE}-{PARENT}-01")});
        let from_meta = TraceParent::of(&headers, Some(&meta)).expect("there");
        assert_eq!(from_meta.trace_id, TRACE);
        let from_header = TraceParent::of(&headers, None).expect("there");
        assert_eq!(from_header.trace_id, "1".repeat(32));
        assert_eq!(TraceParent::of(&HeaderMap::new(), Some(&json!({}))), None);
    }
}
