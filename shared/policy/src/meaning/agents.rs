//! Programs that are agents: what they do nobody decides about.

use super::Known;
use crate::shell::Word;
use crate::shell::options::Options;
use crate::shell::wrappers::is;

/// Takes the effect `agent` from what an agent's program does when it starts no agent. Only the very
/// first word counts: anything later may be the value of an option.
pub(super) fn known(name: &str, arguments: &[Word], known: &mut Known) {
    let starts_none = match name {
        "goose" => migrates(arguments),
        _ => match arguments {
            [only] => ["--version", "-v", "--help", "-h", "doctor"]
                .iter()
                .any(|told| is(Some(only), told)),
            [first, second, rest @ ..] => {
                is(Some(first), "mcp")
                    && !rest
                        .iter()
                        .any(|word| word.literal_start().starts_with('-'))
                    && ["list", "get", "--help"]
                        .iter()
                        .any(|told| is(Some(second), told))
            }
            [] => false,
        },
    };
    if starts_none {
        known.effects.remove("agent");
    }
}

/// The other program of this name changes databases.
const MIGRATIONS: Options = Options::leading(
    "vsh",
    "dir: table: certfile: ssl-cert: ssl-key: env: timeout: allow-missing no-versioning no-color
     verbose help version",
);

const COMMANDS: &[&str] = &[
    "create",
    "down",
    "down-to",
    "fix",
    "redo",
    "reset",
    "status",
    "up",
    "up-by-one",
    "up-to",
    "validate",
    "version",
];

const DATABASES: &[&str] = &[
    "clickhouse",
    "duckdb",
    "mssql",
    "mysql",
    "postgres",
    "redshift",
    "sqlite",
    "sqlite3",
    "tidb",
    "turso",
    "vertica",
    "ydb",
];

fn migrates(arguments: &[Word]) -> bool {
    // Its long options may have one dash.
    let doubled: Vec<Word> = arguments.iter().map(with_two_dashes).collect();
    let given = MIGRATIONS.read(&doubled);
    let first = given.operands.first().and_then(Word::text);
    given.strange.is_empty()
        && first.is_some_and(|first| {
            COMMANDS.contains(&first.as_str()) || DATABASES.contains(&first.as_str())
        })
}

fn with_two_dashes(word: &Word) -> Word {
    let start = word.literal_start();
    if start.len() < 3 || !start.starts_with('-') || start.starts_with("--") {
        return word.clone();
    }
    let mut doubled = Word::literal("-");
    word.pieces
        .iter()
        .for_each(|piece| doubled.push(piece.clone()));
    doubled
}
