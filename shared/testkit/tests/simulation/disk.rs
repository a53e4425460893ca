//! What a runner has on its disk, and how it keeps it in the bucket: a model of checkpoints that
//! shares packs from one to the next, as the real ones do.

use domain::{
    CheckpointId, TreeKey,
    ports::{Checkpoints, Clock, IdSource, PutNew, TreeObjects, Unavailable},
};
use testkit::Fake;

/// Packs after which a checkpoint begins anew instead of adding one more.
const MOST_PACKS: usize = 4;
/// Age at which the sweeps of this simulation take what nobody needs.
pub(crate) const GRACE_MILLISECONDS: u64 = 20_000;

/// Files and conversation. The work on a message leaves one line in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) files: Vec<String>,
    pub(crate) conversation: Vec<String>,
    /// The packs that hold what was restored, and how many lines of each kind they hold.
    base: Option<(Vec<String>, usize, usize)>,
}

/// What a manifest names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) packs: Vec<String>,
}

impl Manifest {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self {
            packs: text.lines().map(ToOwned::to_owned).collect(),
        }
    }
}

pub(crate) fn manifest_name(id: &CheckpointId) -> String {
    format!("manifests/{id}")
}

/// A line of a pack: `f` for files, `c` for the conversation.
fn lines(bytes: &[u8], kind: char) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(|line| line.strip_prefix(kind).map(ToOwned::to_owned))
        .collect()
}

/// Reads both kinds of a manifest from the given packs.
pub(crate) fn content<'a>(packs: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Vec<String>) {
    let (mut files, mut conversation) = (Vec::new(), Vec::new());
    for pack in packs {
        files.extend(lines(pack, 'f'));
        conversation.extend(lines(pack, 'c'));
    }
    (files, conversation)
}

/// Repeats a call until it is answered.
pub(crate) async fn surely<T>(
    fake: &Fake,
    mut call: impl AsyncFnMut() -> Result<T, Unavailable>,
) -> T {
    loop {
        match call().await {
            Ok(value) => return value,
            Err(_) => fake.sleep(50).await,
        }
    }
}

impl Disk {
    /// Restores the files of one manifest and the conversation of another one; `None` when some of
    /// it is not there, which only one who lost the lease may see.
    pub(crate) async fn restore(
        fake: &Fake,
        tree: &TreeKey,
        files: &CheckpointId,
        conversation: &CheckpointId,
    ) -> Option<Self> {
        let (packs, of_files, of_conversation) = read(fake, tree, files).await?;
        if files == conversation {
            let base = Some((packs, of_files.len(), of_conversation.len()));
            return Some(Self {
                files: of_files,
                conversation: of_conversation,
                base,
            });
        }
        let (_, _, of_conversation) = read(fake, tree, conversation).await?;
        Some(Self {
            files: of_files,
            conversation: of_conversation,
            base: None,
        })
    }

    /// Works on a message: whatever the conversation knows already is dropped, as the CLI does.
    pub(crate) fn work(&mut self, message: &str) {
        if !self.conversation.iter().any(|known| known == message) {
            self.files.push(message.to_owned());
            self.conversation.push(message.to_owned());
        }
    }

    /// Stores packs and manifest of a checkpoint, and gives the generation that was read before.
    pub(crate) async fn store(
        &self,
        fake: &Fake,
        tree: &TreeKey,
        id: &CheckpointId,
        anew: bool,
    ) -> (u64, Vec<String>) {
        let generation = surely(fake, async || Ok(fake.tree(tree).await?.generation)).await;
        let (mut packs, files, conversation) = match &self.base {
            Some(base) if !anew && base.0.len() < MOST_PACKS => base.clone(),
            _ => (Vec::new(), 0, 0),
        };
        let new: Vec<String> = self.files[files..]
            .iter()
            .map(|line| format!("f{line}"))
            .chain(
                self.conversation[conversation..]
                    .iter()
                    .map(|line| format!("c{line}")),
            )
            .collect();
        if !new.is_empty() {
            let pack = format!("packs/{id}");
            put(fake, tree, &pack, new.join("\n")).await;
            packs.push(pack);
        }
        put(fake, tree, &manifest_name(id), packs.join("\n")).await;
        (generation, packs)
    }

    /// What was stored is recorded: the next checkpoint builds on it.
    pub(crate) fn recorded(&mut self, packs: Vec<String>) {
        self.base = Some((packs, self.files.len(), self.conversation.len()));
    }

    pub(crate) fn new_id(fake: &Fake) -> CheckpointId {
        CheckpointId::from_random(fake.random())
    }
}

/// Whether all that a manifest needs is there (still).
pub(crate) async fn is_stored(fake: &Fake, tree: &TreeKey, id: &CheckpointId) -> bool {
    let name = manifest_name(id);
    let Some(manifest) = surely(fake, async || fake.get_object(tree, &name).await).await else {
        return false;
    };
    for pack in Manifest::parse(&manifest).packs {
        if surely(fake, async || fake.get_object(tree, &pack).await)
            .await
            .is_none()
        {
            return false;
        }
    }
    true
}

pub(crate) async fn put(fake: &Fake, tree: &TreeKey, name: &str, text: String) {
    let text = text.into_bytes();
    surely(fake, async || {
        match fake.put_new(tree, name, text.clone()).await? {
            PutNew::Created | PutNew::Existed => Ok(()),
        }
    })
    .await;
}

async fn read(
    fake: &Fake,
    tree: &TreeKey,
    id: &CheckpointId,
) -> Option<(Vec<String>, Vec<String>, Vec<String>)> {
    let name = manifest_name(id);
    let manifest = surely(fake, async || fake.get_object(tree, &name).await).await;
    let manifest = Manifest::parse(&manifest?);
    let mut packs = Vec::new();
    for pack in &manifest.packs {
        let bytes = surely(fake, async || fake.get_object(tree, pack).await).await;
        packs.push(bytes?);
    }
    let (files, conversation) = content(packs.iter().map(Vec::as_slice));
    Some((manifest.packs, files, conversation))
}
