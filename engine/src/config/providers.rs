//! `${provider:path:key}` in values, and the three providers that come with Kafka.
//!
//! Public source: `ConfigTransformer` and `org.apache.kafka.common.config.provider`. Files and the
//! environment are handed in, so that resolving a file can be tested and repeated.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::properties::{self, Entry};
use super::values;
use crate::policy::java_regex::Pattern;

/// What resolving may ask of the outside.
pub trait Surroundings {
    /// The bytes of a file, or why it cannot be read.
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, String>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Surroundings without files and variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSurroundings;

impl Surroundings for NoSurroundings {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, String> {
        Err(format!("{} cannot be read here", path.display()))
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

/// What could not be resolved, and what to do about it.
pub(super) type Unresolved = (String, String);

enum Provider {
    File { allowed: Option<Vec<PathBuf>> },
    Directory { allowed: Option<Vec<PathBuf>> },
    Environment { allowlist: Option<Pattern> },
}

/// The providers that a file names.
pub(super) struct Providers<'a> {
    known: BTreeMap<String, Provider>,
    surroundings: &'a dyn Surroundings,
}

const PACKAGE: &str = "org.apache.kafka.common.config.provider.";

impl<'a> Providers<'a> {
    /// Sets up the providers; `refuse` is told about keys that name something unknown.
    pub(super) fn new(
        settings: &BTreeMap<&str, &Entry>,
        surroundings: &'a dyn Surroundings,
        mut refuse: impl FnMut(&Entry, Unresolved),
    ) -> Self {
        let mut known = BTreeMap::new();
        let Some(names) = settings.get("config.providers") else {
            return Self { known, surroundings };
        };
        for name in values::list(&names.value) {
            let class_key = format!("config.providers.{name}.class");
            let Some(class) = settings.get(class_key.as_str()) else {
                let remedy = format!("set `{class_key}`");
                refuse(names, (format!("the provider `{name}` has no class"), remedy));
                continue;
            };
            let parameter = |key: &str| {
                settings.get(format!("config.providers.{name}.param.{key}").as_str()).copied()
            };
            match provider(class, parameter) {
                Ok(provider) => {
                    known.insert(name, provider);
                }
                Err((entry, unresolved)) => refuse(entry, unresolved),
            }
        }
        Self { known, surroundings }
    }

    /// Replaces every reference in a value. What stands in for it is not looked at again.
    pub(super) fn expand(&self, value: &str) -> Result<String, Unresolved> {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, inner, after)) = next_reference(rest) {
            out.push_str(before);
            let (name, path_and_key) = inner.split_once(':').unwrap_or((inner, ""));
            let (path, key) = path_and_key.split_once(':').unwrap_or(("", path_and_key));
            match self.known.get(name) {
                None => out.push_str(&format!("${{{inner}}}")),
                Some(provider) => out.push_str(&self.lookup(provider, name, path, key)?),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The names of providers that a value refers to and that are not set up.
    pub(super) fn unknown_names<'v>(&self, value: &'v str) -> Vec<&'v str> {
        let mut names = Vec::new();
        let mut rest = value;
        while let Some((_, inner, after)) = next_reference(rest) {
            let name = inner.split_once(':').map_or(inner, |(name, _)| name);
            if !self.known.contains_key(name) {
                names.push(name);
            }
            rest = after;
        }
        names
    }

    fn lookup(
        &self,
        provider: &Provider,
        name: &str,
        path: &str,
        key: &str,
    ) -> Result<String, Unresolved> {
        match provider {
            Provider::Environment { allowlist } => {
                if !path.is_empty() {
                    let remedy = format!("write `${{{name}:{key}}}`");
                    return Err((format!("`{name}` reads variables, which have no path"), remedy));
                }
                let listed = allowlist.as_ref().is_none_or(|list| list.matches(key) == Ok(true));
                let value = self.surroundings.variable(key).filter(|_| listed);
                value.ok_or_else(|| match listed {
                    true => (format!("the variable `{key}` is not set"), "set it".to_owned()),
                    false => (
                        format!("the variable `{key}` may not be read"),
                        "name it in `allowlist.pattern`".to_owned(),
                    ),
                })
            }
            Provider::File { allowed } => {
                let bytes = self.read(allowed.as_deref(), Path::new(path))?;
                let text = String::from_utf8_lossy(&bytes);
                let (entries, _) = properties::parse_text(&text);
                let found = entries.into_iter().rev().find(|entry| entry.key == key);
                found.map(|entry| entry.value).ok_or_else(|| {
                    (format!("{path} has no key `{key}`"), "add it there".to_owned())
                })
            }
            Provider::Directory { allowed } => {
                let bytes = self.read(allowed.as_deref(), &Path::new(path).join(key))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    fn read(&self, allowed: Option<&[PathBuf]>, path: &Path) -> Result<Vec<u8>, Unresolved> {
        let plain = normalized(path);
        if allowed.is_some_and(|allowed| !allowed.iter().any(|start| plain.starts_with(start))) {
            let problem = format!("{} may not be read", path.display());
            return Err((problem, "name its directory in `allowed.paths`".to_owned()));
        }
        self.surroundings.read_file(&plain).map_err(|why| {
            (format!("{} cannot be read: {why}", path.display()), "make it readable".to_owned())
        })
    }
}

fn provider<'e>(
    class: &'e Entry,
    parameter: impl Fn(&str) -> Option<&'e Entry>,
) -> Result<Provider, (&'e Entry, Unresolved)> {
    let allowed = || -> Option<Vec<PathBuf>> {
        let paths = values::list(&parameter("allowed.paths")?.value);
        Some(paths.iter().map(|path| normalized(Path::new(path))).collect())
    };
    match class.value.trim().strip_prefix(PACKAGE) {
        Some("FileConfigProvider") => Ok(Provider::File { allowed: allowed() }),
        Some("DirectoryConfigProvider") => Ok(Provider::Directory { allowed: allowed() }),
        Some("EnvVarConfigProvider") => {
            let allowlist = match parameter("allowlist.pattern") {
                None => None,
                Some(entry) => Some(Pattern::new(&entry.value).map_err(|error| {
                    let remedy = "correct the regular expression".to_owned();
                    (entry, (format!("the pattern cannot be used: {error}"), remedy))
                })?),
            };
            Ok(Provider::Environment { allowlist })
        }
        _ => Err((
            class,
            (
                format!("the Java class `{}` cannot be loaded", class.value.trim()),
                format!(
                    "use FileConfigProvider, DirectoryConfigProvider or EnvVarConfigProvider of {}",
                    PACKAGE.trim_end_matches('.')
                ),
            ),
        )),
    }
}

/// What stands before the next `${a:b}`, what stands inside, and what stands behind.
fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find("${")?;
        let inside = text.get(start + 2..)?;
        let end = inside.find('}')?;
        let (inner, after) = (inside.get(..end)?, inside.get(end + 1..)?);
        if inner.contains(':') {
            return Some((text.get(..start)?, inner, after));
        }
        from = start + 2;
    }
}

/// `Path.normalize`: `.` and `..` are taken out by name alone.
fn normalized(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World;

    impl Surroundings for World {
        fn read_file(&self, path: &Path) -> Result<Vec<u8>, String> {
            match path.to_str() {
                Some("/etc/secret.properties") => Ok(b"user = me\npass=p=1 \n".to_vec()),
                Some("/run/secrets/token") => Ok(b"abc\n".to_vec()),
                _ => Err("no such file".to_owned()),
            }
        }

        fn variable(&self, name: &str) -> Option<String> {
            (name == "HOST" || name == "OTHER").then(|| "h1".to_owned())
        }
    }

    fn expand(file: &str, value: &str) -> Result<String, Unresolved> {
        let (entries, _) = properties::parse_bytes(file.as_bytes());
        let settings = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        let providers = Providers::new(&settings, &World, |entry, why| {
            panic!("{}: {why:?}", entry.key);
        });
        providers.expand(value)
    }

    const FILE: &str = "
        config.providers = f, d, e
        config.providers.f.class = org.apache.kafka.common.config.provider.FileConfigProvider
        config.providers.d.class = org.apache.kafka.common.config.provider.DirectoryConfigProvider
        config.providers.d.param.allowed.paths = /run/secrets, /tmp
        config.providers.e.class = org.apache.kafka.common.config.provider.EnvVarConfigProvider
        config.providers.e.param.allowlist.pattern = HO.*|UNSET";

    #[test]
    fn references_are_replaced() {
        assert_eq!(expand(FILE, "${e:HOST}:9092").as_deref(), Ok("h1:9092"));
        let two = "${f:/etc/secret.properties:user}/${f:/etc/secret.properties:pass}|";
        assert_eq!(expand(FILE, two).as_deref(), Ok("me/p=1 |"));
        assert_eq!(expand(FILE, "${d:/run/secrets:token}").as_deref(), Ok("abc\n"));
        for verbatim in ["${x:y}", "$e:HOST", "${HOST}", "${e:HOST", "a{1,2}", ""] {
            assert_eq!(expand(FILE, verbatim).as_deref(), Ok(verbatim));
        }
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        for (value, part) in [
            ("${e:UNSET}", "not set"),
            ("${e:OTHER}", "may not be read"),
            ("${e:/x:HOST}", "no path"),
            ("${f:/etc/secret.properties:nope}", "no key `nope`"),
            ("${f:/nowhere:user}", "no such file"),
            ("${d:/etc:secret.properties}", "may not be read"),
            ("${d:/run/secrets/../../etc:secret.properties}", "may not be read"),
        ] {
            let (problem, _) = expand(FILE, value).expect_err(value);
            assert!(problem.contains(part), "{value}: {problem}");
        }
    }
}
