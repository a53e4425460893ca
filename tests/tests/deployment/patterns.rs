//! The judge of filter patterns judges right.

use e2e::metric_filters::matches;
use serde_json::json;

#[test]
fn patterns_match_as_cloudwatch_says() {
    let line =
        json!({"message": "event", "count": 5, "text": "5", "record": {"metrics": {"used": 7.5}}});
    for (pattern, expected) in [
        (r#"{ $.message = "event" }"#, true),
        (r#"{ $.message = "events" }"#, false),
        ("{ $.count >= 5 }", true),
        ("{ $.count > 5 }", false),
        ("{ $.text >= 5 }", false),
        ("{ $.missing >= 0 }", false),
        ("{ $.record.metrics.used > 7 }", true),
        (r#"{ $.message = "event" && $.error NOT EXISTS }"#, true),
        (r#"{ $.message = "event" && $.count NOT EXISTS }"#, false),
        (r#"{ $.message = "no" || $.count >= 5 }"#, true),
    ] {
        assert_eq!(matches(pattern, &line), expected, "{pattern}");
    }
}
