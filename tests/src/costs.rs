//! What recorded calls cost: the arithmetic of `infra/COST.md`.

use std::collections::BTreeMap;

use crate::checkout;

/// Calls by `service operation`, in the order of their names.
pub type Calls = BTreeMap<String, f64>;

/// The table of prices: US dollars per million.
#[derive(Debug)]
pub struct Prices(BTreeMap<String, f64>);

impl Prices {
    /// As `infra/prices.toml` has them.
    ///
    /// # Panics
    /// When a price has no number, source or date.
    pub fn load() -> Self {
        let table = toml(&checkout::read("infra/prices.toml"));
        let prices = table.into_iter().map(|(name, row)| {
            let field = |field: &str| {
                let value = row.get(field);
                value
                    .unwrap_or_else(|| panic!("{name} has no {field}"))
                    .clone()
            };
            assert!(
                field("source").starts_with("https://aws.amazon.com/"),
                "{name}"
            );
            assert_eq!(field("date").len(), 7, "{name}: year and month");
            let price = field("usd_per_million").parse();
            (
                name.clone(),
                price.unwrap_or_else(|_| panic!("{name}: no number")),
            )
        });
        Self(prices.collect())
    }

    /// So many of it, in US dollars.
    ///
    /// # Panics
    /// When there is no such price.
    pub fn of(&self, name: &str, count: f64) -> f64 {
        let price = self.0.get(name);
        price.unwrap_or_else(|| panic!("no price for {name}")) * count / 1_000_000.0
    }

    /// What these calls cost: each at the unit of [`units`], and an update of a row at `update_units`.
    pub fn of_calls(&self, calls: &Calls, update_units: f64) -> f64 {
        let costs = calls.iter().map(|(call, count)| {
            if call == "dynamodb UpdateItem" {
                return self.of("dynamodb_write_unit", count * update_units);
            }
            let (name, units) = units(call);
            name.map_or(0.0, |name| self.of(name, count * units))
        });
        costs.sum()
    }
}

/// An update of a session's head moves its entry in the index `live` as well, which is two writes.
const HEAD_UNITS: f64 = 3.0;
/// The row that counts requests is in no index.
const COUNT_UNITS: f64 = 1.0;

/// What a call is paid as, and how many units it is. Rows of ours have less than 1 KiB, except
/// batches of events; every read counts as a consistent one of at most 4 KiB.
///
/// # Panics
/// When nobody has thought of this call.
pub fn units(call: &str) -> (Option<&'static str>, f64) {
    let (name, units) = match call {
        "dynamodb GetItem" => ("dynamodb_read_unit", 1.0),
        "dynamodb Query" => ("dynamodb_read_unit", 1.0),
        "dynamodb PutItem" | "dynamodb DeleteItem" => ("dynamodb_write_unit", 1.0),
        // Twice the price of a write for each of about three rows, and two in the index.
        "dynamodb TransactWriteItems" => ("dynamodb_write_unit", 8.0),
        "s3 PutObject"
        | "s3 ListObjectsV2"
        | "s3 ListObjectVersions"
        | "s3 CreateMultipartUpload" => ("s3_write", 1.0),
        "s3 GetObject" | "s3 HeadObject" => ("s3_read", 1.0),
        "sns Publish" => ("sns_publish", 1.0),
        // Calls of ECS, questions about backups, and deletions in S3, cost nothing.
        "dynamodb DescribeContinuousBackups"
        | "ecs RunTask"
        | "ecs StopTask"
        | "ecs DescribeTasks"
        | "s3 DeleteObject"
        | "s3 DeleteObjects" => return (None, 0.0),
        // The stream is read by Lambda, which pays nothing for it.
        other => panic!("{other} has no unit in tests/src/costs.rs"),
    };
    (Some(name), units)
}

/// What was recorded, by activity: `infra/recorded-calls.toml`.
pub fn recorded() -> BTreeMap<String, Calls> {
    let table = toml(&checkout::read("infra/recorded-calls.toml"));
    let number = |(name, value): (String, String)| {
        let number = value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: no number"));
        (name, number)
    };
    let rows = table.into_iter();
    rows.map(|(activity, row)| (activity, row.into_iter().map(number).collect()))
        .collect()
}

/// The little of TOML that these two files use: tables of one line for each value.
fn toml(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(table) = line.strip_prefix('[') {
            name = table.trim_end_matches(']').to_owned();
            tables.entry(name.clone()).or_default();
        } else if let Some((key, value)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            let unquoted = |text: &str| text.trim_matches('"').to_owned();
            let table = tables.entry(name.clone()).or_default();
            table.insert(unquoted(key), unquoted(value));
        }
    }
    tables
}

/// Memory of a function in GB, and how long one of its calls takes on AWS at most usually, in seconds.
const FUNCTION_GB: f64 = 0.25;
const REQUEST_SECONDS: f64 = 0.05;
const SWEEP_SECONDS: f64 = 0.3;
/// Of the authorizer, API Gateway keeps an answer for a minute: its calls are left out, as the page says.
const MINUTES_OF_MONTH: f64 = 30.0 * 24.0 * 60.0;

/// One line of the page.
pub type Line = (String, f64);

/// Sums of an activity, line by line.
pub fn figures(
    prices: &Prices,
    recorded: &BTreeMap<String, Calls>,
) -> BTreeMap<&'static str, Vec<Line>> {
    let of = |activity: &str, update_units| prices.of_calls(&recorded[activity], update_units);
    let line = |name: &str, usd: f64| (name.to_owned(), usd);
    let invoked = |count: f64, seconds: f64| {
        prices.of("lambda_request", count)
            + prices.of("lambda_gb_second", count * seconds * FUNCTION_GB)
    };
    let million = 1_000_000.0;
    // The defaults of RunnerCpuUnits and RunnerMemoryMib.
    let machine = |hours: f64| {
        prices.of("fargate_vcpu_hour", hours)
            + prices.of("fargate_gb_hour", 2.0 * hours)
            + prices.of("public_ipv4_hour", hours)
    };
    let idle = vec![
        line(
            "the sweep's calls, each minute",
            of("sweep", HEAD_UNITS) * MINUTES_OF_MONTH,
        ),
        line(
            "the sweep as a function",
            invoked(MINUTES_OF_MONTH, SWEEP_SECONDS),
        ),
    ];
    let requests = vec![
        line("API Gateway", prices.of("api_request", million)),
        line("functions", invoked(million, REQUEST_SECONDS)),
        line(
            "calls of `tools/call get_session`",
            of("request", COUNT_UNITS) * million,
        ),
    ];
    let running = vec![
        line("the machine", machine(1.0)),
        line(
            "its calls, and those that follow it",
            of("running_hour", HEAD_UNITS),
        ),
    ];
    // A turn of five minutes, then suspended: nothing calls anything until the answer wakes it.
    let share = 5.0 / 60.0;
    let waiting = vec![
        line("the machine, for 5 minutes", machine(share)),
        line(
            "its calls, and those that follow it",
            of("running_hour", HEAD_UNITS) * share,
        ),
        line(
            "suspending, and waking again",
            of("suspend_and_wake", HEAD_UNITS),
        ),
    ];
    BTreeMap::from([
        ("an idle month", idle),
        ("a million requests", requests),
        ("a session hour, running", running),
        ("a session hour, mostly waiting", waiting),
    ])
}

/// As the page has it.
pub fn table(figures: &BTreeMap<&'static str, Vec<Line>>) -> String {
    let mut text = String::from("| | US dollars |\n| --- | --- |\n");
    for (what, lines) in figures {
        let sum: f64 = lines.iter().map(|(_, usd)| usd).sum();
        text.push_str(&format!("| **{what}** | **{}** |\n", dollars(sum)));
        for (name, usd) in lines {
            text.push_str(&format!("| {name} | {} |\n", dollars(*usd)));
        }
    }
    text
}

/// Two digits of what matters.
fn dollars(usd: f64) -> String {
    if usd >= 1.0 {
        format!("{usd:.2}")
    } else {
        format!("{usd:.4}")
    }
}
