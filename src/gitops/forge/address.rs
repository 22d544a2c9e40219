//! Where a repository is on its forge, and where the forge's API is, from the address it is cloned by.

use url::Url;

use super::Kind;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The API, without a slash at the end.
    pub(super) api: String,
    /// The owner: a user, an organisation, a workspace, a project's key; on GitLab a group with its sub-groups.
    pub(super) owner: String,
    /// The repository's name.
    pub(super) name: String,
}

/// The parts of an address to clone by.
struct CloneUrl {
    /// `https://host:port`; of an SSH address, whose port is another server's, `https://host`.
    server: String,
    host: String,
    path: Vec<String>,
    is_ssh: bool,
}

impl Address {
    /// Where the repository is that is cloned by `url`, of whose user and password nothing is kept.
    pub(super) fn of(kind: Kind, url: &str, api: Option<&Url>) -> Result<Self, String> {
        // The address is not quoted: it may have a password.
        let wrong = || format!("url is no repository of {}: write {}", kind.name(), shape(kind));
        let clone = parsed(url).ok_or_else(wrong)?;
        let api = api.map(checked).transpose()?;
        let path: Vec<&str> = clone.path.iter().map(String::as_str).collect();
        let (context, repository) = split(kind, &path, &clone, api.as_deref()).ok_or_else(wrong)?;
        let (name, owner) = repository.split_last().ok_or_else(wrong)?;
        let api = match api {
            Some(api) => api,
            None => default_api(kind, &clone, context)?,
        };
        Ok(Self { api, owner: owner.join("/"), name: (*name).to_owned() })
    }
}

const fn shape(kind: Kind) -> &'static str {
    match kind {
        Kind::GitLab => "https://HOST/GROUP/NAME.git or git@HOST:GROUP/NAME.git",
        Kind::GitHub | Kind::Gitea => "https://HOST/OWNER/NAME.git or git@HOST:OWNER/NAME.git",
        Kind::Bitbucket => "https://bitbucket.org/WORKSPACE/NAME.git or git@bitbucket.org:WORKSPACE/NAME.git",
        Kind::BitbucketDataCenter => {
            "https://HOST/scm/PROJECT/NAME.git or ssh://git@HOST:7999/PROJECT/NAME.git"
        }
    }
}

fn parsed(url: &str) -> Option<CloneUrl> {
    let url = url.trim();
    if !url.contains("://") {
        // As git's SSH has it: user@host:path.
        let (who, path) = url.split_once(':')?;
        let host = who.rsplit('@').next().filter(|host| !host.is_empty() && !host.contains('/'))?;
        return Some(CloneUrl {
            server: format!("https://{host}"),
            host: host.to_ascii_lowercase(),
            path: segments(path)?,
            is_ssh: true,
        });
    }
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host_str()?.to_ascii_lowercase();
    let is_ssh = match parsed.scheme() {
        "ssh" | "git+ssh" | "ssh+git" => true,
        "https" | "http" => false,
        _ => return None,
    };
    let server = match parsed.port() {
        Some(port) if !is_ssh => format!("{}://{host}:{port}", parsed.scheme()),
        _ if is_ssh => format!("https://{host}"),
        _ => format!("{}://{host}", parsed.scheme()),
    };
    Some(CloneUrl { server, host, path: segments(parsed.path())?, is_ssh })
}

/// The parts of a path, none of which leads elsewhere.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let decode = |part: &str| {
        // What a form writes as a space is a plus in a path.
        let form = format!("={}", part.replace('+', "%2B"));
        let decoded = url::form_urlencoded::parse(form.as_bytes()).next()?.1.into_owned();
        let is_name = !matches!(decoded.as_str(), "" | "." | ".." | "-")
            && !decoded.contains(|c: char| c == '/' || c == '\\' || c.is_control());
        is_name.then_some(decoded)
    };
    path.split('/').map(decode).collect()
}

/// The path to the forge, and that to the repository.
fn split<'a>(
    kind: Kind,
    path: &'a [&'a str],
    clone: &CloneUrl,
    api: Option<&str>,
) -> Option<(&'a [&'a str], &'a [&'a str])> {
    let end = path.len().checked_sub(2)?;
    let (context, last) = path.split_at_checked(end)?;
    match kind {
        Kind::GitHub | Kind::Bitbucket => context.is_empty().then_some((context, last)),
        Kind::Gitea => Some((context, last)),
        Kind::BitbucketDataCenter if clone.is_ssh => context.is_empty().then_some((context, last)),
        Kind::BitbucketDataCenter => match context.split_last() {
            Some((&"scm", context)) => Some((context, last)),
            _ => None,
        },
        // A group may be called as the path to the forge is: only a given API tells that there is one.
        Kind::GitLab => {
            let root = api.and_then(|api| api.strip_suffix("/api/v4")?.strip_prefix(clone.server.as_str()));
            let context = root.map_or(0, |root| root.split('/').filter(|part| !part.is_empty()).count());
            let prefix: String = path.iter().take(context).flat_map(|part| ["/", part]).collect();
            let context = if root == Some(prefix.as_str()) { context } else { 0 };
            path.split_at_checked(context).filter(|(_, repository)| repository.len() > 1)
        }
    }
}

/// A given API, as far as it can be one.
fn checked(api: &Url) -> Result<String, String> {
    let is_plain = matches!(api.scheme(), "https" | "http")
        && api.has_host()
        && api.username().is_empty()
        && api.password().is_none()
        && api.query().is_none()
        && api.fragment().is_none();
    if !is_plain {
        return Err("forge.api is no address of an API: write it as https://HOST/PATH, \
                    without user, password and query"
            .to_owned());
    }
    Ok(api.as_str().trim_end_matches('/').to_owned())
}

fn default_api(kind: Kind, clone: &CloneUrl, context: &[&str]) -> Result<String, String> {
    let CloneUrl { server, host, .. } = clone;
    let root: String = context.iter().flat_map(|part| ["/".to_owned(), super::encoded(part)]).collect();
    let api = match (kind, host.as_str()) {
        (Kind::GitHub, "github.com" | "www.github.com" | "ssh.github.com") => {
            "https://api.github.com".to_owned()
        }
        (Kind::GitHub, host) if host.ends_with(".ghe.com") => format!("https://api.{host}"),
        (Kind::GitHub, _) => format!("{server}/api/v3"),
        (Kind::GitLab, "altssh.gitlab.com") => "https://gitlab.com/api/v4".to_owned(),
        (Kind::GitLab, _) => format!("{server}/api/v4"),
        (Kind::Gitea, _) => format!("{server}{root}/api/v1"),
        (Kind::Bitbucket, "bitbucket.org" | "www.bitbucket.org" | "altssh.bitbucket.org") => {
            "https://api.bitbucket.org/2.0".to_owned()
        }
        (Kind::Bitbucket, _) => {
            return Err(
                "forge.kind bitbucket is for bitbucket.org: write bitbucket-data-center for a server of \
                        one's own, or set forge.api"
                    .to_owned(),
            );
        }
        (Kind::BitbucketDataCenter, "bitbucket.org") => {
            return Err(
                "forge.kind bitbucket-data-center is for a server of one's own: write bitbucket for \
                        bitbucket.org"
                    .to_owned(),
            );
        }
        (Kind::BitbucketDataCenter, _) => format!("{server}{root}/rest/api/1.0"),
    };
    Ok(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, url: &str, api: Option<&str>, expected: [&str; 3]) {
        let api = api.map(|api| Url::parse(api).unwrap());
        let [api_root, owner, name] = expected.map(str::to_owned);
        let expected = Address { api: api_root, owner, name };
        assert_eq!(Address::of(kind, url, api.as_ref()), Ok(expected), "{url}");
    }

    fn error(kind: Kind, url: &str, api: Option<&str>) -> String {
        let api = api.map(|api| Url::parse(api).unwrap());
        Address::of(kind, url, api.as_ref()).unwrap_err()
    }

    #[test]
    fn a_repository_is_known_by_any_of_its_addresses() {
        for url in [
            "https://github.com/shop/web",
            "https://github.com/shop/web.git/",
            "https://bot:s3cret@github.com/shop/web.git",
            "git@github.com:shop/web.git",
            "ssh://git@github.com/shop/web",
            "ssh://git@ssh.github.com:443/shop/web.git",
        ] {
            check(Kind::GitHub, url, None, ["https://api.github.com", "shop", "web"]);
        }
        let expected = ["https://gitlab.com/api/v4", "shop/eu", "web"];
        check(Kind::GitLab, "git@gitlab.com:shop/eu/web.git", None, expected);
        let expected = ["https://api.bitbucket.org/2.0", "shop", "web"];
        check(Kind::Bitbucket, "https://bot@bitbucket.org/shop/web.git", None, expected);
    }

    #[test]
    fn a_forge_of_one_s_own_has_its_api_on_its_host() {
        let expected = ["https://git.shop.test/api/v3", "shop", "web"];
        check(Kind::GitHub, "https://git.shop.test/shop/web", None, expected);
        let expected = ["https://api.shop.ghe.com", "shop", "web"];
        check(Kind::GitHub, "https://shop.ghe.com/shop/web", None, expected);
        let expected = ["http://gitea:3000/api/v1", "shop", "web"];
        check(Kind::Gitea, "http://gitea:3000/shop/web.git", None, expected);
        let expected = ["https://shop.test/git/api/v1", "shop", "web"];
        check(Kind::Gitea, "https://shop.test/git/shop/web.git", None, expected);
        let expected = ["https://gitea/api/v1", "shop", "web"];
        check(Kind::Gitea, "ssh://git@gitea:2222/shop/web.git", None, expected);
        let expected = ["https://bb.test/rest/api/1.0", "SHOP", "web"];
        check(Kind::BitbucketDataCenter, "ssh://git@bb.test:7999/SHOP/web.git", None, expected);
        check(Kind::BitbucketDataCenter, "https://bb.test/scm/SHOP/web.git", None, expected);
        let expected = ["https://bb.test/bitbucket/rest/api/1.0", "~bot", "web"];
        check(Kind::BitbucketDataCenter, "https://bb.test/bitbucket/scm/~bot/web.git", None, expected);
    }

    #[test]
    fn a_given_api_is_taken() {
        let api = Some("http://proxy.test/github/");
        check(Kind::GitHub, "git@github.com:shop/web.git", api, ["http://proxy.test/github", "shop", "web"]);
        let api = Some("https://shop.test/gitlab/api/v4");
        let expected = ["https://shop.test/gitlab/api/v4", "shop/eu", "web"];
        check(Kind::GitLab, "https://shop.test/gitlab/shop/eu/web.git", api, expected);
        let expected = ["https://shop.test/gitlab/api/v4", "shop", "web"];
        check(Kind::GitLab, "git@shop.test:shop/web.git", api, expected);
    }

    #[test]
    fn what_is_no_repository_is_refused_and_not_quoted() {
        for url in [
            "",
            "shop/web",
            "/srv/git/shop/web",
            "file:///srv/git/shop/web",
            "https://github.com/shop",
            "https://github.com/shop/web/tree/main",
            "https://bot:s3cret@github.com/shop/../../web",
            "https://bot:s3cret@github.com/shop/%2e%2e",
            "https://bot:s3cret@github.com/shop/a%2Fb",
            "https://bot:s3cret@github.com//web",
            "git@github.com:../web.git",
        ] {
            let error = error(Kind::GitHub, url, None);
            assert_eq!(
                error,
                "url is no repository of GitHub: write https://HOST/OWNER/NAME.git or git@HOST:OWNER/NAME.git",
                "{url}"
            );
        }
        let without_scm = error(Kind::BitbucketDataCenter, "https://bb.test/projects/SHOP/repos/web", None);
        assert!(without_scm.contains("/scm/PROJECT/NAME.git"), "{without_scm}");
        assert!(error(Kind::GitLab, "https://gitlab.com/web", None).starts_with("url is"));
        assert!(error(Kind::GitLab, "https://gitlab.com/shop/web/-/tree/main", None).starts_with("url is"));
    }

    #[test]
    fn the_two_bitbuckets_are_told_apart() {
        let server = error(Kind::Bitbucket, "https://bb.test/shop/web", None);
        assert!(server.starts_with("forge.kind bitbucket is for bitbucket.org"), "{server}");
        let cloud = error(Kind::BitbucketDataCenter, "git@bitbucket.org:shop/web", None);
        assert!(cloud.contains("write bitbucket for"), "{cloud}");
    }

    #[test]
    fn an_api_with_a_password_is_refused_and_not_quoted() {
        for api in ["https://bot:s3cret@git.test/api", "https://git.test/api?x=s3cret", "ftp://git.test"] {
            let error = error(Kind::GitHub, "https://github.com/shop/web", Some(api));
            assert!(error.starts_with("forge.api is no address"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
