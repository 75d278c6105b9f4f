//! The text of `--version`.

use sha2::{Digest, Sha256};

use crate::cpu::Isa;
use crate::model::Captioner;
use crate::train::record;

/// Returns the version, followed by the properties of this build: the commit, the first digits of the bundled model's
/// SHA-256, and the instruction set that is used on this machine.
pub fn long() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = record::commit().unwrap_or("unknown");
    let model = Sha256::digest(Captioner::bundled_file());
    let digits: String = model[..6].iter().map(|b| format!("{b:02x}")).collect();
    let isa = Isa::current();
    format!("{version} (commit {commit}, bundled model {digits}, {isa})")
}
