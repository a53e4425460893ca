//! Tables of policies and requests.

use serde_json::{Value, json};

use super::{
    Context, Decision, Document, DocumentError, Policy, Request, Role, Trust, decide,
    managed_policy,
};

const TABLE: &str = "arn:aws:dynamodb:us-east-1:0:table/t";

fn document(statements: Value) -> Document {
    Document::read(&json!({ "Version": "2012-10-17", "Statement": statements })).unwrap()
}

fn get(partitions: &[&str]) -> Request {
    Request::new("dynamodb:GetItem", TABLE).with("dynamodb:LeadingKeys", partitions.to_vec())
}

fn allow(condition: Value) -> Value {
    json!({
        "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": TABLE, "Condition": condition,
    })
}

#[test]
fn actions_and_resources_match_by_wildcards() {
    use Decision::{Allowed, NotAllowed};
    for (action, resource, wanted, on, expected) in [
        (
            "dynamodb:GetItem",
            TABLE,
            "dynamodb:GetItem",
            TABLE,
            Allowed,
        ),
        (
            "dynamodb:getitem",
            TABLE,
            "DynamoDB:GetItem",
            TABLE,
            Allowed,
        ),
        (
            "dynamodb:Get*",
            TABLE,
            "dynamodb:GetRecords",
            TABLE,
            Allowed,
        ),
        (
            "dynamodb:Get?tem",
            TABLE,
            "dynamodb:GetItem",
            TABLE,
            Allowed,
        ),
        ("*", "*", "s3:PutObject", "arn:aws:s3:::b/k", Allowed),
        (
            "s3:*Object",
            "arn:aws:s3:::b/*",
            "s3:PutObject",
            "arn:aws:s3:::b/a/b",
            Allowed,
        ),
        (
            "s3:*Object",
            "arn:aws:s3:::b/*",
            "s3:PutObject",
            "arn:aws:s3:::b",
            NotAllowed,
        ),
        (
            "s3:*Object",
            "arn:aws:s3:::b/*",
            "s3:PutObjectAcl",
            "arn:aws:s3:::b/a",
            NotAllowed,
        ),
        (
            "s3:Put",
            "arn:aws:s3:::b/*",
            "s3:PutObject",
            "arn:aws:s3:::b/a",
            NotAllowed,
        ),
        (
            "s3:PutObject",
            "arn:aws:s3:::b/A*",
            "s3:PutObject",
            "arn:aws:s3:::b/a",
            NotAllowed,
        ),
        (
            "s3:PutObject",
            "arn:aws:s3:::b/*/x*y*z",
            "s3:PutObject",
            "arn:aws:s3:::b/1/xyyzz",
            Allowed,
        ),
        (
            "s3:PutObject",
            "arn:aws:s3:::b/*/x*y*z",
            "s3:PutObject",
            "arn:aws:s3:::b/1/xyyzq",
            NotAllowed,
        ),
        (
            "s3:PutObject",
            "arn:aws:s3:::b/${*}",
            "s3:PutObject",
            "arn:aws:s3:::b/a",
            NotAllowed,
        ),
        (
            "s3:PutObject",
            "arn:aws:s3:::b/${*}",
            "s3:PutObject",
            "arn:aws:s3:::b/*",
            Allowed,
        ),
        (
            "dynamodb:Query",
            TABLE,
            "dynamodb:Query",
            &format!("{TABLE}/index/i"),
            NotAllowed,
        ),
    ] {
        let document =
            document(json!({ "Effect": "Allow", "Action": action, "Resource": resource }));
        let decision = decide([&document], &Request::new(wanted, on));
        assert_eq!(decision, expected, "{action} {resource}: {wanted} {on}");
    }
}

#[test]
fn a_refusal_wins_and_what_nothing_permits_is_refused() {
    let all = document(json!([{ "Effect": "Allow", "Action": ["*"], "Resource": ["*"] }]));
    let none = document(json!([{ "Effect": "Deny", "Action": "s3:Put*", "Resource": "*" }]));
    let put = Request::new("s3:PutObject", "arn:aws:s3:::b/k");
    let get = Request::new("s3:GetObject", "arn:aws:s3:::b/k");
    assert_eq!(decide([], &put), Decision::NotAllowed);
    assert_eq!(decide([&all], &put), Decision::Allowed);
    assert_eq!(decide([&all, &none], &put), Decision::Refused);
    assert_eq!(decide([&none, &all], &put), Decision::Refused);
    assert_eq!(decide([&none, &all], &get), Decision::Allowed);
    assert_eq!(decide([&none], &get), Decision::NotAllowed);
}

#[test]
fn conditions_compare_the_values_of_the_call() {
    let keys =
        |operator: &str, patterns: Value| json!({ operator: { "dynamodb:LeadingKeys": patterns } });
    for (condition, partitions, expected) in [
        (
            keys("ForAllValues:StringEquals", json!(["a"])),
            &["a"][..],
            true,
        ),
        (keys("ForAllValues:StringEquals", json!("a")), &["a"], true),
        (
            keys("ForAllValues:StringEquals", json!(["a"])),
            &["a", "b"],
            false,
        ),
        (
            keys("ForAllValues:StringEquals", json!(["a", "b"])),
            &["a", "b"],
            true,
        ),
        (
            keys("ForAllValues:StringEquals", json!(["a*"])),
            &["ab"],
            false,
        ),
        (
            keys("ForAllValues:StringLike", json!(["a*"])),
            &["ab", "a"],
            true,
        ),
        (
            keys("ForAllValues:StringLike", json!(["a*"])),
            &["ab", "ba"],
            false,
        ),
        (
            keys("ForAllValues:StringLike", json!(["??"])),
            &["ab"],
            true,
        ),
        (
            keys("ForAllValues:StringLike", json!(["??"])),
            &["abc"],
            false,
        ),
        // Of none, all are as they should be.
        (keys("ForAllValues:StringLike", json!(["a*"])), &[], true),
        (
            keys("ForAnyValue:StringLike", json!(["a*"])),
            &["ab", "ba"],
            true,
        ),
        (
            keys("ForAnyValue:StringLike", json!(["a*"])),
            &["ba"],
            false,
        ),
        (keys("ForAnyValue:StringLike", json!(["a*"])), &[], false),
        (
            keys("ForAnyValue:StringNotLike", json!(["a*"])),
            &["ab", "ba"],
            true,
        ),
        (
            keys("ForAnyValue:StringNotLike", json!(["a*"])),
            &["ab"],
            false,
        ),
        (
            keys("ForAllValues:StringNotLike", json!(["a*"])),
            &["ab", "ba"],
            false,
        ),
    ] {
        let document = document(allow(condition.clone()));
        let allowed = decide([&document], &get(partitions)) == Decision::Allowed;
        assert_eq!(allowed, expected, "{condition} {partitions:?}");
    }
}

#[test]
fn a_key_with_one_value_may_be_missing() {
    let prefix = |operator: &str, pattern: &str| {
        let statement = json!({
            "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
            "Condition": { operator: { "s3:prefix": pattern } },
        });
        document(statement)
    };
    let list = Request::new("s3:ListBucket", "arn:aws:s3:::b");
    for (operator, pattern, given, expected) in [
        ("StringLike", "a/*", Some("a/b"), true),
        ("StringLike", "a/*", Some("b/a/"), false),
        ("StringLike", "a/*", None, false),
        ("StringLikeIfExists", "a/*", None, true),
        ("StringLikeIfExists", "a/*", Some("b"), false),
        ("StringNotLike", "a/*", None, true),
        ("StringNotEquals", "a/*", Some("a/b"), true),
        ("StringEquals", "a", Some("a"), true),
    ] {
        let request = list.clone().with("s3:prefix", given);
        let allowed = decide([&prefix(operator, pattern)], &request) == Decision::Allowed;
        assert_eq!(allowed, expected, "{operator} {pattern} {given:?}");
    }
}

#[test]
fn variables_stand_for_the_tags_of_the_caller_and_are_no_wildcards() {
    let document = document(json!([
        allow(json!({ "ForAllValues:StringEquals": {
            "dynamodb:LeadingKeys": ["${aws:PrincipalTag/owner}#${aws:PrincipalTag/session}"],
        } })),
        {
            "Effect": "Allow", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/owner}/*",
        },
    ]));
    let tagged = |owner: &str, session: &str| {
        Context::default()
            .with("aws:PrincipalTag/owner", [owner])
            .with("aws:PrincipalTag/session", [session])
    };
    let object = Request::new("s3:GetObject", "arn:aws:s3:::b/o/1");
    for (context, partition, row, bytes) in [
        (tagged("o", "s"), "o#s", true, true),
        (tagged("o", "s"), "o#t", false, true),
        (tagged("*", "*"), "o#s", false, false),
        (tagged("*", "*"), "*#*", true, false),
        (Context::default(), "o#s", false, false),
        (
            Context::default(),
            "${aws:PrincipalTag/owner}#${aws:PrincipalTag/session}",
            false,
            false,
        ),
    ] {
        let mut get = get(&[partition]);
        get.context = get.context.and(&context);
        let mut object = object.clone();
        object.context = context.clone();
        let allowed = |request: &Request| decide([&document], request) == Decision::Allowed;
        assert_eq!(allowed(&get), row, "{context:?} {partition}");
        assert_eq!(allowed(&object), bytes, "{context:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let statement = |name: &str, value: Value| {
        let mut statement = json!({ "Effect": "Allow", "Action": "a:B", "Resource": "*" });
        statement[name] = value;
        json!({ "Version": "2012-10-17", "Statement": statement })
    };
    let condition = |value: Value| statement("Condition", value);
    for (document, expected) in [
        (
            json!({}),
            DocumentError::Shape("Statement is missing".into()),
        ),
        (
            statement("NotAction", json!("a:C")),
            DocumentError::Element("NotAction".into()),
        ),
        (
            statement("Effect", json!("allow")),
            DocumentError::Shape("Effect has to be Allow or Deny".into()),
        ),
        (
            statement("Action", json!([])),
            DocumentError::Shape("Action is empty".into()),
        ),
        (
            condition(json!({ "NumericLessThan": { "s3:prefix": "1" } })),
            DocumentError::Operator("NumericLessThan".into()),
        ),
        (
            condition(json!({ "StringLike": { "aws:SourceIp": "1" } })),
            DocumentError::Key("aws:SourceIp".into()),
        ),
        (
            condition(json!({ "StringLike": { "dynamodb:LeadingKeys": "1" } })),
            DocumentError::Quantity("dynamodb:LeadingKeys".into()),
        ),
        (
            condition(json!({ "ForAllValues:StringLike": { "s3:prefix": "1" } })),
            DocumentError::Quantity("s3:prefix".into()),
        ),
        (
            statement("Resource", json!("${aws:username}")),
            DocumentError::Variable("${aws:username}".into()),
        ),
        (
            statement("Resource", json!("${aws:PrincipalTag/owner")),
            DocumentError::Variable("${aws:PrincipalTag/owner".into()),
        ),
        (
            json!({ "Statement": [{
                "Effect": "Allow", "Action": "a:B", "Resource": "${aws:PrincipalTag/owner}",
            }] }),
            DocumentError::VariableWithoutVersion("${aws:PrincipalTag/owner}".into()),
        ),
    ] {
        assert_eq!(
            Document::read(&document).unwrap_err(),
            expected,
            "{document}"
        );
    }
    assert!(managed_policy("arn:aws:iam::aws:policy/AdministratorAccess").is_none());
}

#[test]
fn managed_policies_are_read() {
    let stream = managed_policy("arn:aws:iam::aws:policy/x/AWSLambdaDynamoDBExecutionRole");
    let read = Request::new(
        "dynamodb:GetRecords",
        "arn:aws:dynamodb:r:0:table/t/stream/s",
    );
    let stream = stream.expect("known");
    assert_eq!(decide([&stream], &read), Decision::Allowed);
    for name in [
        "AWSLambdaBasicExecutionRole",
        "AmazonECSTaskExecutionRolePolicy",
    ] {
        let document = managed_policy(name).expect("known");
        let logs = Request::new("logs:PutLogEvents", "arn:aws:logs:r:0:log-group:g");
        assert_eq!(decide([&document], &logs), Decision::Allowed, "{name}");
        assert_eq!(decide([&document], &read), Decision::NotAllowed, "{name}");
    }
}

#[test]
fn a_role_trusts_those_that_its_document_names() {
    let trust = Trust::read(&json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": "arn:aws:iam::0:role/gateway" },
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": { "StringLike": { "aws:RequestTag/owner": "?*" } },
        }],
    }))
    .unwrap();
    let tagged = Context::default().with("aws:RequestTag/owner", ["o"]);
    let gateway = "arn:aws:iam::0:role/gateway";
    assert!(trust.permits(gateway, "sts:AssumeRole", &tagged));
    assert!(trust.permits(gateway, "sts:TagSession", &tagged));
    assert!(!trust.permits(gateway, "sts:AssumeRole", &Context::default()));
    assert!(!trust.permits("arn:aws:iam::0:role/call", "sts:AssumeRole", &tagged));
    assert!(!trust.permits(gateway, "sts:SetSourceIdentity", &tagged));
    let service = Trust::of_service("lambda.amazonaws.com");
    let none = Context::default();
    assert!(service.permits("lambda.amazonaws.com", "sts:AssumeRole", &none));
    assert!(!service.permits(gateway, "sts:AssumeRole", &none));
}

#[test]
fn grants_are_told_apart_by_what_uses_them() {
    let policy = Policy {
        name: "p".to_owned(),
        written_here: true,
        document: document(json!([{
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:Query"],
            "Resource": TABLE,
            "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["a*", "b*"] } },
        }, {
            "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": { "ForAnyValue:StringEquals": { "dynamodb:LeadingKeys": ["c"] } },
        }])),
    };
    assert_eq!(policy.grants().len(), 4);
    let used = policy.used(&get(&["a1"]));
    let used: Vec<_> = used
        .iter()
        .map(|it| (&*it.action, &*it.condition))
        .collect();
    assert_eq!(used, [("dynamodb:getitem", "a*")]);
    assert!(policy.used(&get(&["c"])).is_empty());
    let role = Role {
        name: "r".to_owned(),
        arn: "arn:aws:iam::0:role/r".to_owned(),
        policies: vec![policy],
        trust: Trust::default(),
    };
    assert_eq!(role.decide(&get(&["b1"])), Decision::Allowed);
}
