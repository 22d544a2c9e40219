//! What whoever runs the write-back has configured: into which repositories, how, and as whom.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::forge::Kind;

/// The key of the `ConfigMap` that holds it, as YAML.
pub const KEY: &str = "config.yaml";
/// The port of SSH.
const SSH_PORT: u16 = 22;
/// Most repositories, and most links.
const MOST: usize = 100;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The repositories that may be written to; no other one is.
    #[serde(default)]
    pub repositories: Vec<Repository>,
    /// Whether a rejected tag is added to the `ignore-tags` of Applications that Image Updater keeps up.
    #[serde(default)]
    pub image_updater: bool,
    /// Links under the evidence, title by address; `{namespace}`, `{name}` and `{hash}` are filled in.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

/// A repository, or all below an address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repository {
    /// Its address, or the beginning of several, as `https://git.example.com/shop/`.
    pub url: String,
    /// The Secret with the credentials, beside the `ConfigMap`; `None` where none are needed.
    #[serde(default)]
    pub secret: Option<String>,
    /// The namespaces whose Rollouts it is written for; `None` for all. Whoever may change an Application decides from where
    /// its Rollouts come: this bounds it.
    #[serde(default)]
    pub namespaces: Option<Vec<String>>,
    /// How it is written to.
    #[serde(default)]
    pub mode: Mode,
    /// Where pull requests are opened; without it a branch is pushed, and people are told.
    #[serde(default)]
    pub forge: Option<ForgeConfig>,
    /// Who writes.
    #[serde(default)]
    pub author: Author,
}

/// How a repository is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// By a commit on the branch, where that is certain; else by a pull request.
    #[default]
    Commit,
    /// By a pull request, always.
    PullRequest,
}

/// The forge of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgeConfig {
    /// Whose software it is.
    pub kind: Kind,
    /// The root of its API, where it is elsewhere than usual.
    #[serde(default)]
    pub api: Option<Url>,
}

/// Who writes commits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Author {
    /// The name.
    #[serde(default = "default_name")]
    pub name: String,
    /// The address.
    #[serde(default = "default_email")]
    pub email: String,
}

impl Default for Author {
    fn default() -> Self {
        Self { name: default_name(), email: default_email() }
    }
}

fn default_name() -> String {
    "Serin".to_owned()
}

fn default_email() -> String {
    "serin@localhost".to_owned()
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// Which field is wrong, and what to write.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        let value: serde_json::Value =
            serde_saphyr::from_str(yaml).map_err(|why| format!("{KEY} is no YAML: {}", first_line(&why)))?;
        let config: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { KEY.to_owned() } else { format!("{KEY}: {path}") };
            format!("{place}: {}", error.into_inner())
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.repositories.len() > MOST || self.links.len() > MOST {
            return Err(format!("{KEY}: more than {MOST} repositories or links"));
        }
        for (at, repository) in self.repositories.iter().enumerate() {
            let place = |field: &str| format!("{KEY}: repositories[{at}].{field}");
            Location::parse(&repository.url).map_err(|why| format!("{}: {why}", place("url")))?;
            let author = &repository.author;
            if [&author.name, &author.email].into_iter().any(|text| !is_author(text)) {
                return Err(format!(
                    "{}: neither name nor email may be empty or have <, > or a line break",
                    place("author")
                ));
            }
        }
        for (title, address) in &self.links {
            if !(address.starts_with("https://") || address.starts_with("http://")) {
                return Err(format!("{KEY}: links.{title}: write an address that begins with https://"));
            }
        }
        Ok(())
    }

    /// What is configured for a repository that a Rollout of `namespace` comes from: of several that fit, the one with the
    /// longest address.
    ///
    /// # Errors
    /// Why it is not written to, for people.
    pub fn repository(&self, wanted: &Location, namespace: &str) -> Result<&Repository, String> {
        let known = self.repositories.iter().filter_map(|repository| {
            let location = Location::parse(&repository.url).ok()?;
            location.holds(wanted).then_some((location.path.len(), repository))
        });
        let found = known.max_by_key(|(length, _)| *length).map(|(_, repository)| repository);
        let found = found.ok_or_else(|| {
            format!("{} is not among the repositories of the configuration", wanted.address())
        })?;
        let is_for = |names: &Vec<String>| names.iter().any(|name| name == namespace);
        if !found.namespaces.as_ref().is_none_or(is_for) {
            return Err(format!("{} is not written for Rollouts of namespace {namespace}", wanted.address()));
        }
        Ok(found)
    }
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn is_author(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 200 && !text.contains(['<', '>', '\n', '\r', '\0'])
}

/// Where a repository is, in parts that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    scheme: String,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The parts of its path, without `.git` at the end.
    path: Vec<String>,
    /// The path as it was written.
    written: String,
    /// Whether it was written as `user@host:path`.
    is_short: bool,
}

impl Location {
    /// Reads an address: `https://`, `http://`, `ssh://`, or `user@host:path`.
    ///
    /// # Errors
    /// What is wrong with it; the address is not quoted, because it may have a password.
    pub fn parse(address: &str) -> Result<Self, String> {
        let wrong = || "write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH".to_owned();
        // Programs differ in what they make of anything else, and one may connect to another host than was looked at.
        let is_plain = |c: char| {
            c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}')
        };
        let lower = address.to_lowercase();
        if !address.chars().all(is_plain) || ["%2e", "%2f", "%5c"].iter().any(|hidden| lower.contains(hidden))
        {
            return Err(wrong());
        }
        let is_short = !address.contains("://");
        let (url, written) = if is_short {
            let (who, path) = address.split_once(':').ok_or_else(wrong)?;
            (Url::parse(&format!("ssh://{who}/{}", path.trim_start_matches('/'))), path.to_owned())
        } else {
            let url = Url::parse(address);
            let path = url.as_ref().map(|url| url.path().to_owned()).unwrap_or_default();
            (url, path)
        };
        let url = url.map_err(|_| wrong())?;
        let is_ssh = url.scheme() == "ssh";
        if !(is_ssh || matches!(url.scheme(), "https" | "http")) {
            return Err(wrong());
        }
        if url.password().is_some() || (!is_ssh && !url.username().is_empty()) {
            return Err("take user and password out of the address and put them into a Secret".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() || written.split('/').any(|part| part == "..") {
            return Err(wrong());
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        Ok(Self {
            scheme: url.scheme().to_owned(),
            user: Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned),
            host: url.host_str().ok_or_else(wrong)?.to_lowercase(),
            port: url.port_or_known_default().or_else(|| is_ssh.then_some(SSH_PORT)),
            path: path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            written,
            is_short,
        })
    }

    /// The address, made of what was read: whoever connects to it connects to what was looked at.
    #[must_use]
    pub fn address(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let (host, written) = (&self.host, &self.written);
        if self.is_short {
            return format!("{user}{host}:{written}");
        }
        let is_usual = matches!(
            (&*self.scheme, self.port),
            ("https", Some(443)) | ("http", Some(80)) | ("ssh", Some(SSH_PORT))
        );
        let port = self.port.filter(|_| !is_usual).map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{user}{host}{port}{written}", self.scheme)
    }

    /// Whether this is the other one, or a folder that it is in.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.is_server_of(other) && other.path.starts_with(&self.path)
    }

    /// Whether credentials for the one may be sent to the other: the same server, asked in the same way.
    #[must_use]
    pub fn is_server_of(&self, other: &Self) -> bool {
        (&self.scheme, &self.host, self.port) == (&other.scheme, &other.host, other.port)
    }

    /// The port; of SSH 22 where none is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(urls: &[&str]) -> Config {
        let entries: Vec<_> = urls.iter().map(|url| format!("- url: {url}\n")).collect();
        Config::parse(&format!("repositories:\n{}", entries.concat())).unwrap()
    }

    fn of<'a>(config: &'a Config, url: &str) -> Option<&'a Repository> {
        config.repository(&Location::parse(url).ok()?, "shop").ok()
    }

    #[test]
    fn everything_can_be_said() {
        let config = Config::parse(
            "repositories:\n- url: https://git.example.com/shop/\n  secret: git\n  mode: pullRequest\n  \
             forge: {kind: github, api: 'https://git.example.com/api/v3'}\n  author: {name: Bot, email: bot@example.com}\n\
             imageUpdater: true\nlinks: {Dashboard: 'https://grafana.example.com/d/rollout?var-name={name}'}\n",
        )
        .unwrap();
        let repository = of(&config, "https://git.example.com/shop/web.git").unwrap();
        assert_eq!((repository.mode, repository.secret.as_deref()), (Mode::PullRequest, Some("git")));
        assert!(config.image_updater && config.links.len() == 1);
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let refused = |yaml: &str, part: &str| {
            let why = Config::parse(yaml).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        refused(
            "repositories: [{url: 'https://h/x', mode: push}]",
            "repositories[0].mode: unknown variant `push`",
        );
        refused("repositories: [{url: 'https://h/x', token: t}]", "unknown field `token`");
        refused("repositories: [{url: 'file:///srv/git'}]", "repositories[0].url: write https://HOST/PATH");
        refused("repositories: [{url: 'https://u:p@h/x'}]", "put them into a Secret");
        refused("repositories: [{url: 'https://h/x', author: {name: 'a<b'}}]", "repositories[0].author");
        refused("links: {Board: 'javascript:x'}", "links.Board");
        refused("repositories: [", "is no YAML");
    }

    #[test]
    fn a_repository_belongs_to_the_longest_address_that_it_is_below() {
        let config = config(&["https://git.example.com/", "https://git.example.com/shop"]);
        let of = |url: &str| of(&config, url).map(|repository| repository.url.as_str());
        assert_eq!(of("https://git.example.com/shop/web.git"), Some("https://git.example.com/shop"));
        assert_eq!(of("https://GIT.example.com:443/shop.git/"), Some("https://git.example.com/shop"));
        assert_eq!(of("https://git.example.com/shopping"), Some("https://git.example.com/"));
    }

    #[test]
    fn a_repository_is_written_for_its_namespaces_alone() {
        let config = Config::parse("repositories: [{url: 'https://h/', namespaces: [pay]}]").unwrap();
        let wanted = Location::parse("https://h/pay.git").unwrap();
        assert!(config.repository(&wanted, "pay").is_ok());
        let why = config.repository(&wanted, "shop").unwrap_err();
        assert_eq!(why, "https://h/pay.git is not written for Rollouts of namespace shop");
    }

    #[test]
    fn an_address_is_connected_to_as_it_was_read() {
        for address in [
            "https://h.example.com/shop/web.git",
            "ssh://git@h:2222/shop/web",
            "git@h:shop/web.git",
            "http://h:3000/x",
        ] {
            assert_eq!(Location::parse(address).unwrap().address(), address);
        }
        assert_eq!(Location::parse("https://H:443/x").unwrap().address(), "https://h/x");
        assert_eq!(
            Location::parse("ssh://git@h:22/x").unwrap(),
            Location { written: "/x".into(), ..Location::parse("ssh://git@h/x").unwrap() }
        );
    }

    #[test]
    fn credentials_go_to_no_other_server() {
        let config = config(&["https://git.example.com/", "git@git.example.com:shop/"]);
        for other in [
            "https://git.example.com.evil.org/x",
            "https://git.example.com@evil.org/x",
            "http://git.example.com/x",
            "https://git.example.com:8443/x",
            "git@evil.org:shop/x",
            "git@git.example.com:shopping/x",
            "https://git.example.com\\@evil.org/x",
            "https://git.example.com\t/x",
            "git@git.example.com:shop/../pay",
            "https://git.example.com/shop/..%2fpay",
            "https://gít.example.com/x",
            "file:///x",
            "",
        ] {
            assert_eq!(of(&config, other), None, "{other}");
        }
        assert!(of(&config, "ssh://git@git.example.com/shop/web").is_some());
    }
}
