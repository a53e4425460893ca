//! `DescribeContinuousBackups`: what AWS says of a table with point-in-time recovery. There is nothing to
//! restore from here; what keeps a local stack's tables is `emulator backup`.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeContinuousBackups.html>

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::Answer;
use crate::template::TableResource;

/// As the API names it.
pub(super) const OPERATION: &str = "DescribeContinuousBackups";
/// "LatestRestorableDateTime is typically 5 minutes before the current time."
const BEHIND: Duration = Duration::from_secs(5 * 60);
/// As far back as it goes.
const KEPT: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// The tables of the template, and whether each has it.
#[derive(Debug)]
pub(super) struct ContinuousBackups(BTreeMap<String, bool>);

impl ContinuousBackups {
    pub(super) fn of(tables: &[TableResource]) -> Self {
        let tables = tables.iter();
        Self(
            tables
                .map(|table| (table.name.clone(), table.point_in_time_recovery))
                .collect(),
        )
    }

    pub(super) fn describe(&self, body: &[u8], now: SystemTime) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let asked = body["TableName"].as_str().unwrap_or_default();
        let name = asked.rsplit_once(":table/").map_or(asked, |(_, name)| name);
        let Some(enabled) = self.0.get(name) else {
            let words = format!("Table not found: {name}");
            return Answer::error(400, "TableNotFoundException", &words);
        };
        let recovery = if *enabled {
            json!({
                "PointInTimeRecoveryStatus": "ENABLED",
                "RecoveryPeriodInDays": 35,
                "EarliestRestorableDateTime": seconds(now, KEPT),
                "LatestRestorableDateTime": seconds(now, BEHIND),
            })
        } else {
            json!({"PointInTimeRecoveryStatus": "DISABLED"})
        };
        let body = json!({"ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": recovery,
        }});
        Answer {
            status: 200,
            body: body.to_string(),
        }
    }
}

/// So long ago, as JSON of AWS has times.
fn seconds(now: SystemTime, ago: Duration) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.saturating_sub(ago).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(enabled: bool, name: &str) -> (u16, Value) {
        let tables = [TableResource {
            name: "t".to_owned(),
            create_table: json!({}),
            ttl_attribute: None,
            point_in_time_recovery: enabled,
        }];
        let now = UNIX_EPOCH + Duration::from_secs(10_000_000);
        let body = json!({"TableName": name}).to_string();
        let answer = ContinuousBackups::of(&tables).describe(body.as_bytes(), now);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    #[test]
    fn it_is_as_the_template_has_it() {
        for name in ["t", "arn:aws:dynamodb:us-east-1:1:table/t"] {
            let (status, answer) = described(true, name);
            let found = &answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
            assert_eq!(
                (status, &found["PointInTimeRecoveryStatus"]),
                (200, &json!("ENABLED"))
            );
            assert_eq!(found["LatestRestorableDateTime"], 10_000_000 - 300);
            assert_eq!(found["EarliestRestorableDateTime"], 10_000_000 - 3_024_000);
        }
        let (_, answer) = described(false, "t");
        let found = &answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
        assert_eq!(*found, json!({"PointInTimeRecoveryStatus": "DISABLED"}));
        for unknown in ["", "other"] {
            let (status, answer) = described(true, unknown);
            assert_eq!(status, 400);
            let kind = answer["__type"].as_str().unwrap();
            assert!(kind.ends_with("#TableNotFoundException"), "{kind}");
        }
    }
}
