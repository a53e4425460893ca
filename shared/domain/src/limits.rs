//! Every fixed limit, unit in the name, with the source of the number. What a deployment may change
//! is a setting and stands in [`crate::deployment::Deployment`].

/// Longest prompt or message. Own: half of DynamoDB's item limit, so that a command is one item
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const MESSAGE_BYTES: usize = 200 * 1024;
/// Longest addition to the system prompt. Own: it shares the head item with the rest of the spec.
pub const SYSTEM_PROMPT_ADDITION_BYTES: usize = 32 * 1024;
/// Tags of one session. Own: as AWS resource tags
/// (<https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>).
pub const TAGS: usize = 50;
/// Longest tag.
pub const TAG_CHARACTERS: usize = 128;
/// Attachments of one message. Own.
pub const ATTACHMENTS: usize = 20;
/// Longest name of an attachment or a file component: NAME_MAX of Linux.
pub const FILE_NAME_BYTES: usize = 255;
/// Longest path: PATH_MAX of Linux, without its terminator.
pub const PATH_BYTES: usize = 4095;
/// Longest git URL or ref. Own.
pub const GIT_URL_BYTES: usize = 2048;
/// Longest name of a git host, with its port. RFC 1035: 253 characters of a name.
pub const GIT_HOST_BYTES: usize = 253 + 6;
/// Longest user name for a git host. Own.
pub const GIT_USERNAME_BYTES: usize = 128;
/// Longest token for one. Own: a parameter of Systems Manager has 4 KiB, in base64.
pub const GIT_TOKEN_BYTES: usize = 2048;
/// Hosts for which an owner may have a credential. Own.
pub const GIT_CREDENTIALS: usize = 20;
/// Longest client token. Own: as an idempotency token of AWS APIs.
pub const CLIENT_TOKEN_CHARACTERS: usize = 64;
/// A body above this goes to the bucket and leaves a preview in the log. Own: keeps a batch item
/// under [`crate::deployment::Deployment::append_batch_bytes`] with room for neighbours.
pub const EVENT_BODY_BYTES: usize = 8 * 1024;
/// Bytes of each long text that stay in the log as the preview of a body in the bucket.
pub const EVENT_PREVIEW_BYTES: usize = 2 * 1024;
/// Events in one batch item. Own.
pub const EVENTS_PER_BATCH: usize = 500;
/// Most bytes one `read_file` returns. Own: base64 of it stays under a function's 6 MB and a
/// DynamoDB item (400 KB) can carry it.
pub const READ_FILE_BYTES: usize = 128 * 1024;
/// Sessions and tasks that one subscription follows. Own: each is read about once a second.
pub const SUBSCRIPTIONS: usize = 20;
/// Sessions on one page of `list_sessions`.
pub const LIST_PAGE: usize = 50;
/// Most live text (not yet an event) kept for readers. Own.
pub const LIVE_TEXT_BYTES: usize = 16 * 1024;
/// How often a session is taken over from a lost runner without a newer checkpoint or the end of a
/// turn in between. Own: what kills five machines in a row kills the sixth.
pub const RECOVERIES: u32 = 5;
/// Longest input of a question to a person that the head carries. Own.
pub const QUESTION_BYTES: usize = 32 * 1024;
/// Longest input of a call that a person can be asked about: what fits the log beside the rest. Own.
pub const APPROVAL_INPUT_BYTES: usize = 256 * 1024;
/// As much of it stands in the head; the event has all of it. Own.
pub const APPROVAL_SHOWN_BYTES: usize = 8 * 1024;
/// Longest diff that an approval carries. Own.
pub const APPROVAL_PREVIEW_BYTES: usize = 16 * 1024;
/// Longest policy that an approval offers for the rest of the session. Own.
pub const PATTERN_BYTES: usize = 2 * 1024;
/// What a person may allow for the rest of one session: calls and patterns together. Own.
pub const GRANTS: usize = 32;
/// Longest reason of a decision. Own.
pub const DECISION_REASON_BYTES: usize = 2000;
/// Longest answer. Own.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// Longest message of a checkpoint.
pub const CHECKPOINT_MESSAGE_BYTES: usize = 4 * 1024;
/// Rules of one session that say what its checkpoints leave out. Own.
pub const IGNORE_RULES: usize = 100;
/// Longest of them.
pub const IGNORE_RULE_BYTES: usize = 256;
/// How long the address of an export is good. Own: long enough to fetch a large one, and to hand it
/// to a program.
pub const EXPORT_URL_MILLISECONDS: u64 = 3_600_000;
/// Checkpoints on one page of `list_checkpoints`.
pub const CHECKPOINT_PAGE: usize = 100;
/// Between two sweeps of a tree. Own: garbage waits for the grace time anyway.
pub const TREE_SWEEP_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;
/// How long after its end something may still write for a session that was erased. Own: the
/// credentials of a runner last an hour, and a call of a function a quarter of one.
pub const LATE_WRITES_MILLISECONDS: u64 = 2 * 60 * 60 * 1000;
/// Named refs of one session. Own.
pub const REFS: usize = 1000;
/// Commands that one append takes and finishes. Own: a DynamoDB transaction has at most 100 parts
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>).
pub const COMMANDS_PER_APPEND: usize = 90;
/// How long a created session may stay without a task before the sweep repeats its start. Own: far
/// above what a function needs from recording a session to starting its task.
pub const START_MILLISECONDS: u64 = 15_000;
/// How long a session may wait for a runner that was asked for before the start counts as failed. Own: twice the
/// slowest Fargate start seen in AWS's own figures.
pub const PROVISIONING_MILLISECONDS: u64 = 300_000;
/// How long a call waits for a person's answer on its own stream. Own: a function is paid for while
/// it waits.
pub const ANSWER_MILLISECONDS: u64 = 120_000;
/// How long a question can be answered by repeating the request. Own.
pub const ROUND_MILLISECONDS: u64 = 3_600_000;
/// Rounds of questions that one request may take: what clients go through by themselves
/// (`DEFAULT_MRTR_MAX_ROUNDS` of rmcp, and the other official SDKs).
pub const ROUNDS: u32 = 10;
/// Most that a client carries of earlier answers. Own: fits every limit of headers and bodies.
pub const CARRIED_ANSWER_BYTES: usize = 64 * 1024;
/// Longest text of a turn's end that a command keeps with its outcome; the whole is in the log. A
/// hundred of them fit one transaction of 4 MB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>).
pub const OUTCOME_TEXT_BYTES: usize = 32 * 1024;
/// How long what was sent to a client of the initialize era is kept, for when its stream breaks. Own.
pub const STREAM_KEPT_MILLISECONDS: u64 = 3_600_000;
/// How long a message from a client of 2024-11-05 waits for the instance that holds its stream. Own:
/// longer than a client needs to connect again.
pub const POSTED_MILLISECONDS: u64 = 120_000;
/// Longest text of the policies that a deployment or an owner adds. Own.
pub const POLICIES_BYTES: usize = 128 * 1024;
/// Policies that a deployment or an owner adds. Own: as many as are decided on within a millisecond.
pub const POLICIES: usize = 200;
/// Stored policies of a deployment, or of an owner: texts with a name, each with one or more policies.
/// Own: a person looks through them.
pub const STORED_POLICIES: usize = 50;
/// Longest text of one. Own: with the limit above they fit one answer of a query (1 MB,
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>).
pub const STORED_POLICY_BYTES: usize = 16 * 1024;
/// Longest id of a policy. Own.
pub const POLICY_ID_CHARACTERS: usize = 64;
/// Longest shell command that is read; a longer one is not understood. Own: far above what a model
/// writes in one call.
pub const SHELL_COMMAND_BYTES: usize = 64 * 1024;
/// Longest name or id that an entry of the audit keeps; the rest is in the session's log. Own.
pub const AUDIT_NAME_BYTES: usize = 200;
/// Policies that an entry of the audit names for one decision. Own.
pub const AUDIT_POLICIES: usize = 10;
/// Events of the piece of a log that one entry of the audit is about. Own: what matters of them fits an
/// item of DynamoDB of 400 KB many times, packed
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const AUDIT_PIECE_EVENTS: u64 = 200;
/// Between a change of an audit chain and the next seal of it. Own: what could be changed unseen by
/// somebody who has both the table and the functions.
pub const SEAL_MILLISECONDS: u64 = 15 * 60 * 1000;
/// Entries of the audit on one page.
pub const AUDIT_PAGE: usize = 100;
/// Facts of them, after which a page ends. Own: with those of one more entry they fit what clients take
/// of one result.
pub const AUDIT_PAGE_FACTS: usize = 200;
/// How long a command of the caller may run, when nothing is said. As the CLI's own shell tool.
pub const RUN_DEFAULT_SECONDS: u32 = 120;
/// And at the most.
pub const RUN_SECONDS: u32 = 600;
/// Bytes of each output of such a command that stay, half of them of its end. Own: more than anybody
/// reads; a file takes the rest.
pub const RUN_OUTPUT_BYTES: usize = 256 * 1024;
/// Good API keys of a deployment. Own: an administrator looks through them.
pub const KEYS: usize = 1000;
/// Longest life of one, in days. Own: a year and a day, so that it can be replaced on the same date.
pub const KEY_DAYS: u64 = 366;
/// What it has when nothing is said, in days. Own.
pub const KEY_DEFAULT_DAYS: u64 = 90;
/// Longest name of a person for whom a key is made. Own.
pub const KEY_PERSON_CHARACTERS: usize = 128;
/// How exactly is known when a key was last used. Own: a write an hour for each key costs nothing.
pub const KEY_USE_MILLISECONDS: u64 = 3_600_000;
/// Longest bearer token that is looked at. Own: API Gateway takes 10,240 bytes of headers together, and
/// tokens of identity providers are far below
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
pub const TOKEN_BYTES: usize = 8 * 1024;
/// Longest name of a person that an issuer gives. Own: RFC 7519 has no limit, OpenID Connect 255 characters
/// (<https://openid.net/specs/openid-connect-core-1_0.html#IDToken>).
pub const SUBJECT_BYTES: usize = 255;
