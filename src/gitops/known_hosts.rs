//! Whether a server of SSH is the one it says it is: its key, looked up in lines as `known_hosts` of OpenSSH has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The port that stands in no line.
const SSH_PORT: u16 = 22;

/// What the lines say of a server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the server's.
    Known,
    /// The server has another key of this kind.
    Other,
    /// No line names the server with a key of this kind.
    Unknown,
    /// It is the server's, and must not be trusted any more.
    Revoked,
}

/// What `lines` say of `key`, in the form in which SSH sends it, of the server at `host` and `port`. Lines of authorities
/// (`@cert-authority`) and such as make no sense are passed over.
#[must_use]
pub fn look_up(lines: &str, host: &str, port: Option<u16>, key: &[u8]) -> Verdict {
    let name = match port {
        None | Some(SSH_PORT) => host.to_lowercase(),
        Some(port) => format!("[{}]:{port}", host.to_lowercase()),
    };
    let mut verdict = Verdict::Unknown;
    for line in lines.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (marker, line) = match line.split_once(char::is_whitespace) {
            Some((marker, rest)) if marker.starts_with('@') => (Some(marker), rest.trim_start()),
            _ => (None, line),
        };
        let mut fields = line.split_whitespace();
        let (Some(hosts), Some(kind), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let is_key = STANDARD.decode(text).is_ok_and(|found| found == key);
        match marker {
            Some("@revoked") if is_key && names(hosts, &name) => return Verdict::Revoked,
            None if names(hosts, &name) && is_key => verdict = Verdict::Known,
            None if verdict == Verdict::Unknown && is_of_kind(key, kind) && names(hosts, &name) => {
                verdict = Verdict::Other;
            }
            _ => {}
        }
    }
    verdict
}

/// Whether a key is of a kind, as `ssh-ed25519`: what it begins with, after the length of that.
fn is_of_kind(key: &[u8], kind: &str) -> bool {
    key.get(4..).is_some_and(|rest| rest.starts_with(kind.as_bytes()))
}

/// Whether a list of hosts has this one, and does not leave it out.
fn names(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return is_hash_of(hashed, name);
    }
    let (mut named, mut left_out) = (false, false);
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) => left_out |= fits(pattern, name),
            None => named |= fits(pattern, name),
        }
    }
    named && !left_out
}

/// Whether `<salt>|<hash>` is that of a name.
fn is_hash_of(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    hmac::verify(&key, name.as_bytes(), &hash).is_ok()
}

/// Whether a pattern with `*` and `?` fits a name.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), name.chars().collect());
    // reached[i]: whether the pattern up to here fits the first i characters.
    let mut reached: Vec<bool> = (0..=name.len()).map(|at| at == 0).collect();
    for &part in &pattern {
        let mut next = vec![false; reached.len()];
        for (at, slot) in next.iter_mut().enumerate() {
            let before = at.checked_sub(1);
            let one =
                before.and_then(|before| Some(*reached.get(before)? && fits_one(part, *name.get(before)?)));
            *slot = if part == '*' {
                reached.iter().take(at.saturating_add(1)).any(|is| *is)
            } else {
                one.unwrap_or(false)
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

fn fits_one(part: char, c: char) -> bool {
    part == '?' || part == c
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519key";
    /// The same as a line has it, and another one.
    const A: &str = "AAAAC3NzaC1lZDI1NTE5a2V5";
    const B: &str = "AAAAC3NzaC1lZDI1NTE5b3RoZXI=";

    fn verdict(lines: &str) -> Verdict {
        look_up(lines, "Git.example.com", Some(22), KEY)
    }

    #[test]
    fn a_key_is_known_by_the_line_of_its_host() {
        assert_eq!(verdict(&format!("# hosts\ngit.example.com ssh-ed25519 {A} comment")), Verdict::Known);
        assert_eq!(verdict(&format!("a.example.com,git.example.com ssh-ed25519 {A}")), Verdict::Known);
        assert_eq!(verdict(&format!("*.example.com ssh-ed25519 {A}")), Verdict::Known);
        let two = format!("git.example.com ssh-rsa {B}\ngit.example.com ssh-ed25519 {A}");
        assert_eq!(verdict(&two), Verdict::Known);
    }

    #[test]
    fn another_key_or_another_host_is_not() {
        assert_eq!(verdict(&format!("git.example.com ssh-ed25519 {B}")), Verdict::Other);
        assert_eq!(verdict(&format!("git.example.com ssh-rsa {B}")), Verdict::Unknown);
        assert_eq!(verdict(&format!("git.example.com.evil.org ssh-ed25519 {A}")), Verdict::Unknown);
        assert_eq!(verdict(&format!("[git.example.com]:2222 ssh-ed25519 {A}")), Verdict::Unknown);
        assert_eq!(verdict(&format!("!git.example.com,*.example.com ssh-ed25519 {A}")), Verdict::Unknown);
        assert_eq!(verdict(&format!("@cert-authority git.example.com ssh-ed25519 {A}")), Verdict::Unknown);
        assert_eq!(verdict("git.example.com ssh-ed25519 not-base64!"), Verdict::Other);
        assert_eq!(verdict(""), Verdict::Unknown);
    }

    #[test]
    fn a_port_of_its_own_stands_in_the_line() {
        let lines = format!("[git.example.com]:2222 ssh-ed25519 {A}");
        assert_eq!(look_up(&lines, "git.example.com", Some(2222), KEY), Verdict::Known);
    }

    #[test]
    fn a_revoked_key_is_refused_wherever_else_it_stands() {
        let lines = format!("git.example.com ssh-ed25519 {A}\n@revoked git.example.com ssh-ed25519 {A}");
        assert_eq!(verdict(&lines), Verdict::Revoked);
    }

    #[test]
    fn a_hashed_name_is_found() {
        let salt = b"0123456789abcdef0123";
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
        let hash = hmac::sign(&key, b"git.example.com");
        let host = format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash.as_ref()));
        assert_eq!(verdict(&format!("{host} ssh-ed25519 {A}")), Verdict::Known);
        assert_eq!(
            look_up(&format!("{host} ssh-ed25519 {A}"), "other.example.com", None, KEY),
            Verdict::Unknown
        );
    }
}
