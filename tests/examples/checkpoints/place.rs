//! Where a tree is stored: a directory of its own, and the bucket of a running local stack.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use e2e::{checkout, stack::Stack};
use emulator::template;

/// The bucket, as ours and restic reach it.
pub(crate) struct Bucket<'stack> {
    stack: &'stack Stack,
    table: String,
    name: String,
    key: (String, String),
}

impl<'stack> Bucket<'stack> {
    pub(crate) fn of(stack: &'stack Stack) -> Self {
        let parameters = [
            ("AccessTokenSha256", "0".repeat(64)),
            ("SigningKey", "k".repeat(32)),
            ("AnthropicApiKey", "k".repeat(32)),
            ("RunnerImage", "none".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let path = checkout::root().join("template.yaml");
        let resources = template::load(&path, &BTreeMap::from(parameters), "shannon")
            .expect("the template resolves");
        Self {
            stack,
            table: resources.tables[0].name.clone(),
            name: resources.buckets[0].name.clone(),
            key: stack.operator_key(),
        }
    }
}

/// Where one tree is, with everything that is made of it.
pub(crate) struct Place<'stack> {
    pub(crate) name: String,
    pub(crate) number: u8,
    pub(crate) directory: PathBuf,
    bucket: &'stack Bucket<'stack>,
}

impl<'stack> Place<'stack> {
    pub(crate) fn new(
        name: &str,
        number: u8,
        below: &Path,
        bucket: &'stack Bucket<'stack>,
    ) -> io::Result<Self> {
        let directory = below.join(format!("place-{number}"));
        fs::create_dir_all(directory.join("files"))?;
        Ok(Self {
            name: name.to_owned(),
            number,
            directory,
            bucket,
        })
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A directory of its own for each that restores: an ext4 without a journal passes over the
    /// inodes of what was just removed, again for each new file.
    pub(crate) fn back(&self, who: &str) -> io::Result<PathBuf> {
        let back = self.at("back").join(who);
        fs::create_dir_all(&back)?;
        Ok(back)
    }

    /// Variables before a shell command.
    pub(crate) fn environment(&self) -> String {
        let Bucket {
            stack,
            table,
            name,
            key,
        } = self.bucket;
        format!(
            "TABLE='{table}' BUCKET='{name}' AWS_URL='{}' AWS_ACCESS_KEY_ID='{}' AWS_SECRET_ACCESS_KEY='{}' \
             AWS_DEFAULT_REGION=us-east-1",
            stack.aws_url(),
            key.0,
            key.1
        )
    }

    /// restic's name of its part of the bucket.
    pub(crate) fn restic(&self) -> String {
        let Bucket { stack, name, .. } = self.bucket;
        format!("s3:{}/{name}/restic-{}", stack.aws_url(), self.number)
    }

    /// Requests to the bucket so far, of everybody who uses the operator's key.
    pub(crate) fn requests(&self) -> io::Result<u64> {
        let options = e2e::stack::Options::default();
        let state = self.bucket.stack.state.display().to_string();
        let output = e2e::stack::run_emulator(&["calls", "--json", "--state", &state], &options);
        let counts: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let of_s3 = |row: &&serde_json::Value| row["service"] == "s3";
        let rows = counts["calls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(of_s3);
        Ok(rows.filter_map(|row| row["count"].as_u64()).sum())
    }
}

/// Bytes of all files below.
pub(crate) fn bytes_in(path: &Path) -> io::Result<u64> {
    let stat = fs::symlink_metadata(path)?;
    if !stat.is_dir() {
        return Ok(stat.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += bytes_in(&entry?.path())?;
    }
    Ok(sum)
}
