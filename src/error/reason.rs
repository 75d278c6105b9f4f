//! Errors of the operating system in plain words.

use std::io::{self, ErrorKind};

/// The reason of a system error, such as `permission denied`, worded to follow a colon.
///
/// An error that is not in the list keeps the system's own text, without its number, which only programmers look up.
pub fn reason(error: &io::Error) -> String {
    if is_link_loop(error) {
        return "a link in its path leads back to itself".into();
    }
    let known = match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::IsADirectory => "it is a folder",
        ErrorKind::NotADirectory => "a part of its path is a file, not a folder",
        ErrorKind::StorageFull => "the disk is full",
        ErrorKind::QuotaExceeded => "the disk quota is used up",
        ErrorKind::FileTooLarge => "it would be larger than the system allows",
        ErrorKind::ReadOnlyFilesystem => "its file system is read-only",
        ErrorKind::InvalidFilename => "the system allows no such name",
        ErrorKind::StaleNetworkFileHandle => "the network drive has lost it; mount the drive again",
        ErrorKind::ResourceBusy => "something else is using it",
        ErrorKind::TimedOut => "no answer came in time",
        ErrorKind::UnexpectedEof => "it ends early",
        ErrorKind::BrokenPipe => "whoever read it has gone",
        ErrorKind::ConnectionRefused => "the connection was refused",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => "the connection broke off",
        ErrorKind::HostUnreachable => "the host cannot be reached",
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => "the network cannot be reached",
        ErrorKind::AddrInUse => "the address is in use already",
        ErrorKind::AddrNotAvailable => "this machine has no such address",
        ErrorKind::OutOfMemory => "memory does not suffice",
        ErrorKind::WouldBlock => "the system allows no more at the moment",
        ErrorKind::Unsupported => "the system does not support it",
        // The standard library reports this for text that is not UTF-8.
        ErrorKind::InvalidData if error.raw_os_error().is_none() => "it is not UTF-8 text",
        _ => {
            let text = error.to_string();
            match text.contains("lookup address") {
                true => "no such host is known",
                false => return systems_own(&text),
            }
        }
    };
    known.into()
}

/// Whether the error is a symbolic link that leads back to itself.
pub fn is_link_loop(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    // ERROR_CANT_RESOLVE_FILENAME
    #[cfg(windows)]
    let is_loop = error.raw_os_error() == Some(1921);
    #[cfg(not(any(unix, windows)))]
    let is_loop = false;
    is_loop
}

/// A message of the system, worded to follow in the middle of a sentence.
fn systems_own(text: &str) -> String {
    let text = without_numbers(text);
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text,
    }
}

/// `text` without error numbers such as ` (os error 13)`.
pub(super) fn without_numbers(text: &str) -> String {
    const BEFORE: &str = " (os error ";
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(BEFORE) {
        let after = rest[at + BEFORE.len()..]
            .trim_start_matches(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        match after.strip_prefix(')') {
            Some(after) => {
                kept.push_str(&rest[..at]);
                rest = after;
            }
            None => {
                kept.push_str(&rest[..at + BEFORE.len()]);
                rest = &rest[at + BEFORE.len()..];
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_meet_is_in_our_words() {
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(reason(&denied), "permission denied");
        let missing = std::fs::read("/no/such/file").unwrap_err();
        assert_eq!(reason(&missing), "there is no such file or folder");
        // A text that a library put into the error is not part of the reason.
        let wrapped = io::Error::new(ErrorKind::StorageFull, "Error { inner: 28 }");
        assert_eq!(reason(&wrapped), "the disk is full");
    }

    #[cfg(unix)]
    #[test]
    fn the_rest_is_the_systems_text_without_its_number() {
        let link_loop = io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
        assert_eq!(
            reason(&link_loop),
            "a link in its path leads back to itself"
        );
        let text = reason(&io::Error::from_raw_os_error(
            rustix::io::Errno::IO.raw_os_error(),
        ));
        assert!(
            text.starts_with('i') && !text.contains("os error"),
            "{text}"
        );
    }

    #[test]
    fn numbers_go_and_the_rest_stays() {
        for (text, expected) in [
            ("Denied (os error 13) at x", "Denied at x"),
            ("a (os error -5); b (os error 5)", "a; b"),
            ("a (os error of mine)", "a (os error of mine)"),
            ("(os error", "(os error"),
        ] {
            assert_eq!(without_numbers(text), expected);
        }
    }
}
