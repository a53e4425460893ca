//! What a session was asked to be, as JSON text in its head.

use domain::{
    PermissionMode, SessionSpec, Tier, UploadId,
    checkpoint::CheckpointStrategy,
    workspace::{GitReference, GitUrl, RelativePath, Workspace, WorkspaceSource},
};
use serde::{Deserialize, Serialize};

/// The spec as JSON text.
pub(crate) fn write(spec: &SessionSpec) -> Result<String, serde_json::Error> {
    let mut text = Vec::new();
    StoredSpec::serialize(spec, &mut serde_json::Serializer::new(&mut text))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads what [`write`] wrote.
pub(crate) fn read(text: &str) -> Result<SessionSpec, serde_json::Error> {
    StoredSpec::deserialize(&mut serde_json::Deserializer::from_str(text))
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SessionSpec")]
struct StoredSpec {
    #[serde(with = "StoredWorkspace")]
    workspace: Workspace,
    model: Option<String>,
    #[serde(with = "StoredMode")]
    permission_mode: PermissionMode,
    #[serde(with = "StoredTier", default, skip_serializing_if = "is_default")]
    tier: Tier,
    max_turns: u32,
    max_budget_usd: f64,
    system_prompt_addition: Option<String>,
    tags: Vec<String>,
    #[serde(
        with = "super::optional_strategy",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    checkpoint_strategy: Option<CheckpointStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint_ignore: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PermissionMode", rename_all = "snake_case")]
enum StoredMode {
    Review,
    AcceptEdits,
    Bypass,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Tier", rename_all = "snake_case")]
enum StoredTier {
    Auto,
    Review,
    Strict,
}

fn is_default(tier: &Tier) -> bool {
    *tier == Tier::default()
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Workspace")]
struct StoredWorkspace {
    #[serde(with = "StoredSource")]
    source: WorkspaceSource,
    #[serde(with = "super::optional_path", default)]
    subdirectory: Option<RelativePath>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WorkspaceSource", rename_all = "snake_case")]
enum StoredSource {
    Empty,
    Git {
        #[serde(with = "super::git_url")]
        url: GitUrl,
        #[serde(with = "super::optional_reference", default)]
        reference: Option<GitReference>,
    },
    Directory {
        path: String,
    },
    Upload(#[serde(with = "super::upload_id")] UploadId),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(source: WorkspaceSource) -> SessionSpec {
        SessionSpec {
            workspace: Workspace {
                source,
                subdirectory: Some(RelativePath::parse("a/b").expect("valid")),
            },
            model: Some("haiku".to_owned()),
            permission_mode: PermissionMode::AcceptEdits,
            tier: Tier::Review,
            max_turns: 7,
            max_budget_usd: 0.25,
            system_prompt_addition: None,
            tags: vec!["x".to_owned()],
            checkpoint_strategy: None,
            checkpoint_ignore: None,
        }
    }

    #[test]
    fn how_checkpoints_are_taken_is_read_back_and_absent_in_old_rows() {
        for strategy in CheckpointStrategy::ALL {
            let mut spec = spec(WorkspaceSource::Empty);
            spec.checkpoint_strategy = Some(strategy);
            spec.checkpoint_ignore = Some(vec!["out/".to_owned(), "!out/kept".to_owned()]);
            let text = write(&spec).expect("serialises");
            assert!(
                text.ends_with(&format!(
                    r#","checkpoint_strategy":"{}","checkpoint_ignore":["out/","!out/kept"]}}"#,
                    strategy.as_str()
                )),
                "{text}"
            );
            assert_eq!(read(&text).expect("reads"), spec);
            assert!(read(&text.replace(strategy.as_str(), "sometimes")).is_err());
        }
    }

    #[test]
    fn the_tier_is_read_back_and_absent_in_old_rows() {
        for tier in Tier::ALL {
            let mut spec = spec(WorkspaceSource::Empty);
            spec.tier = tier;
            let text = write(&spec).expect("serialises");
            assert_eq!(text.contains("tier"), tier != Tier::Review, "{text}");
            assert_eq!(read(&text).expect("reads"), spec);
        }
        let strict = write(&SessionSpec {
            tier: Tier::Strict,
            ..spec(WorkspaceSource::Empty)
        });
        assert!(read(&strict.expect("serialises").replace("strict", "lax")).is_err());
    }

    #[test]
    fn every_source_is_read_back() {
        for source in [
            WorkspaceSource::Empty,
            WorkspaceSource::Git {
                url: GitUrl::parse("https://example.org/a.git", false).expect("valid"),
                reference: Some(GitReference::parse("main").expect("valid")),
            },
            WorkspaceSource::Git {
                url: GitUrl::parse("http://localhost:1/a.git", true).expect("valid"),
                reference: None,
            },
            WorkspaceSource::Directory {
                path: "/somewhere".to_owned(),
            },
            WorkspaceSource::Upload(UploadId::from_random([1; 17])),
        ] {
            let spec = spec(source);
            let text = write(&spec).expect("serialises");
            assert_eq!(read(&text).expect("reads"), spec, "{text}");
        }
    }

    #[test]
    fn the_stored_shape_stays() {
        assert_eq!(
            write(&spec(WorkspaceSource::Empty)).expect("serialises"),
            r#"{"workspace":{"source":"empty","subdirectory":"a/b"},"model":"haiku","permission_mode":"accept_edits","max_turns":7,"max_budget_usd":0.25,"system_prompt_addition":null,"tags":["x"]}"#
        );
    }
}
