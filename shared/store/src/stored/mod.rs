//! Stored shapes of domain values. Each mirrors a domain type (serde's `remote`, so a change there
//! does not compile until it is decided here what old rows mean) and is pinned by a test.

pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod checkpoint;
pub(crate) mod command;
pub(crate) mod event;
pub(crate) mod preview;
pub(crate) mod spec;

/// Serialises a name as its text and checks the rule when it is read.
macro_rules! stored_name {
    ($module:ident, $name:ty) => {
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub(crate) fn serialize<S: Serializer>(
                value: &$name,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(value.as_str())
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$name, D::Error> {
                <$name>::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

pub(crate) use stored_name;

stored_name!(checkpoint_id, domain::CheckpointId);
stored_name!(command_id, domain::CommandId);
stored_name!(question_id, domain::QuestionId);
stored_name!(session_id, domain::SessionId);
stored_name!(upload_id, domain::UploadId);
stored_name!(relative_path, domain::workspace::RelativePath);

/// The same for a name that may be missing.
macro_rules! optional_name {
    ($module:ident, $name:ty) => {
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

            pub(crate) fn serialize<S: Serializer>(
                value: &Option<$name>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                value.as_ref().map(<$name>::as_str).serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<$name>, D::Error> {
                Option::<String>::deserialize(deserializer)?
                    .map(|text| <$name>::parse(&text).map_err(D::Error::custom))
                    .transpose()
            }
        }
    };
}

optional_name!(optional_checkpoint_id, domain::CheckpointId);
optional_name!(optional_ref_name, domain::RefName);
optional_name!(optional_path, domain::workspace::RelativePath);
optional_name!(optional_reference, domain::workspace::GitReference);

/// When checkpoints are taken, as its word.
pub(crate) mod optional_strategy {
    use domain::checkpoint::CheckpointStrategy;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<CheckpointStrategy>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(CheckpointStrategy::as_str).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<CheckpointStrategy>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                let strategy = CheckpointStrategy::parse(&text);
                strategy.ok_or_else(|| D::Error::custom("not a checkpoint strategy"))
            })
            .transpose()
    }
}

/// A git URL was checked when the session was created; whether loopback is allowed was decided
/// then, so it is read with the wider rule.
pub(crate) mod git_url {
    use domain::workspace::GitUrl;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        value: &GitUrl,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<GitUrl, D::Error> {
        GitUrl::parse(&String::deserialize(deserializer)?, true).map_err(D::Error::custom)
    }
}

/// A list of command names.
pub(crate) mod command_ids {
    use domain::CommandId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        values: &[CommandId],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(CommandId::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<CommandId>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| CommandId::parse(text).map_err(D::Error::custom))
            .collect()
    }
}

/// A `with` module for a list of a mirrored type.
macro_rules! stored_list {
    ($list:ident, $domain:ty, $mirror:literal) => {
        pub(crate) mod $list {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            #[derive(Serialize, Deserialize)]
            #[serde(transparent)]
            struct One(#[serde(with = $mirror)] $domain);

            pub(crate) fn serialize<S: Serializer>(
                values: &[$domain],
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(values.iter().cloned().map(One))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Vec<$domain>, D::Error> {
                Ok(Vec::<One>::deserialize(deserializer)?
                    .into_iter()
                    .map(|one| one.0)
                    .collect())
            }
        }
    };
}
pub(crate) use stored_list;
