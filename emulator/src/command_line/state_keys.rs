//! `emulator state-key`: the key with which the state is encrypted.

use super::{FAILED, SUCCESS, backup_arguments::StateKeyCommand, out, say_error};
use crate::encryption::StateKey;

pub(super) fn run(command: &StateKeyCommand) -> u8 {
    let StateKeyCommand::New { file } = command;
    match StateKey::make(file) {
        Ok(key) => {
            out(&format!(
                "{}: key {}\nSet SHANNON_STATE_KEY_FILE to it before the first start. Keep a copy elsewhere: \
                 without it the state and its backups are lost.\n",
                file.display(),
                key.id()
            ));
            SUCCESS
        }
        Err(error) => {
            say_error(&error);
            FAILED
        }
    }
}
